"""Files on a disk and in a bucket of a real S3 server: the same promises for both."""

import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import s3fs
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage import files
from experiment_pipeline_tests.ports import closed_port

IMPORTS = "from experiment_pipeline.storage.files import *\n"
WRITE_ON = """
for n in range(1, 10_000):
    write_bytes(storage_root() / "file", bytes([n % 256]) * 3_000_000)
"""
STREAM = """
with streamed(storage_root() / "file") as place:
    place.write_text("part")
    print(flush=True)
    input()
"""


def program(code: str, **options) -> subprocess.Popen:
    """A process that runs code on the files of the storage root."""
    return subprocess.Popen([sys.executable, "-c", IMPORTS + code], **options)


def test_a_file_is_read_as_it_was_written_and_replaced_whole(place: UPath):
    """What is written is read back, empty or not, and a second write replaces it."""
    path = place / "a folder" / "fil€ with [brackets] 100%.bin"
    for content in (b"", b"second"):
        files.write_bytes(path, content)
        assert files.read_bytes(path) == content
    assert files.list_names(place / "a folder") == [path.name]


def test_a_folder_lists_its_visible_names_sorted(place: UPath):
    """Files and folders, without hidden ones; a file has none. A folder is removed
    with all below it, and nothing beside it.
    """
    folder = place / "folder"
    for name in ("a2", "a/inside", ".hidden"):
        files.write_bytes(folder / name, b"x")
    assert files.list_names(folder) == ["a", "a2"]
    assert files.files_below(folder).keys() == {"a2", "a/inside", ".hidden"}
    assert files.list_names(place / "nothing") == files.list_names(folder / "a2") == []
    assert files.exists(folder / "a2")
    assert not files.exists(folder)
    assert not files.exists(folder / "a2" / "below")
    for _ in range(2):
        files.remove(folder / "a")
    assert files.files_below(folder).keys() == {"a2", ".hidden"}


def test_many_are_read_at_once_and_missing_ones_left_out(place: UPath):
    """Reading many files returns those that exist, each under its path."""
    paths = [place / f"{number}" for number in range(40)]
    for path in paths[::2]:
        files.write_bytes(path, path.name.encode())
    assert files.read_many(paths) == {path: path.name.encode() for path in paths[::2]}
    assert files.read_if_exists(paths[1]) is None
    with pytest.raises(StorageUnreachable, match="does not exist") as caught:
        files.read_bytes(paths[1])
    assert caught.value.culprit == str(paths[1])


def test_what_another_writer_wrote_is_seen(place: UPath):
    """Nothing is cached: listing and reading again shows another process's files."""
    files.write_bytes(place / "a", b"x")
    assert files.list_names(place) == ["a"]
    theirs = files.storage_root()  # a file system of its own, as another process has
    for name in "ab":
        files.write_bytes(theirs / name, b"theirs")
    assert files.list_names(place) == ["a", "b"]
    assert files.read_bytes(place / "a") == b"theirs"


def test_readers_never_see_half_a_file(place: UPath):
    """While a file is overwritten, each read returns one of the versions."""
    versions = [bytes([n]) * 200_000 for n in range(5)]
    files.write_bytes(place / "file", versions[0])
    contents, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            contents.add(files.read_bytes(place / "file"))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions * 4:
        files.write_bytes(place / "file", version)
    done.set()
    reader.join()
    assert contents
    assert contents <= set(versions)


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(storage: Path):
    """Kill -9 during writes leaves a whole file, and nothing that a listing shows."""
    path = UPath(storage) / "file"
    files.write_bytes(path, b"\0" * 3_000_000)
    writer = program(WRITE_ON)
    while files.read_bytes(path)[:1] < b"\2":
        assert writer.poll() is None
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    content = files.read_bytes(path)
    assert content == content[:1] * 3_000_000
    assert files.list_names(UPath(storage)) == ["file"]


def test_what_a_killed_writer_left_is_removed_by_the_next_one(storage: Path):
    """Parts of a stream that was killed go, those of one that still writes stay."""
    killed = program(STREAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline()
    with files.streamed(UPath(storage) / "first") as first:
        first.write_text("whole")
        assert len(list(storage.glob(".*.tmp"))) == 2
        killed.kill()
        killed.communicate()
        with files.streamed(UPath(storage) / "second") as second:
            second.write_text("whole")
    assert sorted(path.name for path in storage.iterdir()) == ["first", "second"]


def test_of_many_racers_one_creates(place: UPath):
    """Of six who create one file at once, one succeeds, and the file is theirs."""
    start = threading.Barrier(6)
    racers = [f"racer {number}".encode() for number in range(6)]

    def wins(content: bytes) -> bool:
        start.wait()
        return files.create_exclusive(place / "race", content)

    with ThreadPoolExecutor(len(racers)) as pool:
        won = dict(zip(racers, pool.map(wins, racers), strict=True))
    assert [racer for racer in racers if won[racer]] == [
        files.read_bytes(place / "race")
    ]
    assert files.list_names(place) == ["race"]


@pytest.mark.slow
def test_a_server_that_ignores_conditions_is_refused(s3_bucket, monkeypatch):
    """Where a server silently overwrites, nothing is created, and the error says so."""
    conditional = s3fs.S3FileSystem._pipe_file

    async def careless(self, path, data, mode="overwrite", **options):
        return await conditional(self, path, data, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", careless)
    path = files.location(f"s3://{s3_bucket}/file")
    with pytest.raises(StorageUnreachable, match="no conditional writes"):
        files.create_exclusive(path, b"x")
    assert not files.exists(path)


@pytest.mark.slow
def test_a_large_file_goes_to_a_bucket_in_parts(s3_bucket):
    """Memory holds some of its parts, and not all."""
    size, path = 128 * 2**20, files.location(f"s3://{s3_bucket}/zeros")
    tracemalloc.start()
    with files.streamed(path) as place, place.open("wb") as file:
        file.truncate(size)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size == size
    assert peak < 0.8 * size


# --- where things are ---


@pytest.mark.parametrize(
    ("variable", "root"),
    [("", "artifacts"), ("file:///some/where", "/some/where"), (None, "artifacts")],
)
def test_the_root_comes_from_the_environment(variable, root, tmp_path, monkeypatch):
    """Unset or empty, it is `artifacts` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(files.STORAGE_VARIABLE, variable or "")
    if variable is None:
        monkeypatch.delenv(files.STORAGE_VARIABLE)
    assert str(files.storage_root()) == str(tmp_path / root)


@pytest.mark.parametrize("url", ["s4://bucket/x", "s3:///x", "a\0b"])
def test_an_impossible_url_is_refused(url: str):
    """A URL that leads nowhere is an error that names it."""
    with pytest.raises(StorageUnreachable) as caught:
        files.location(url)
    assert caught.value.culprit in {url, repr(url)}


def test_errors_of_the_storage_show_no_secret_and_bugs_pass():
    """User, password and signature of a URL are left out; a bug stays as it is."""
    path = files.location("https://me:pass@host/table.csv?X-Amz-Signature=abc")
    with pytest.raises(StorageUnreachable) as caught, files.explained(path):
        raise TimeoutError
    assert caught.value.culprit == "https://***@host/table.csv?X-Amz-Signature=***"
    with pytest.raises(KeyError), files.explained(path):
        raise KeyError("bug")


# --- what cannot be reached ---


@pytest.fixture
def keys(monkeypatch) -> None:
    """Some keys, so that a server is asked."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somekey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "somesecret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def silent(monkeypatch, keys: None) -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    monkeypatch.setattr(files, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        server.setblocking(False)
        yield server


def address_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def connections_to(server: socket.socket) -> int:
    """How often somebody has connected."""
    number = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            number += 1
    return number


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation", [files.read_bytes, lambda path: files.write_bytes(path, b"x")]
)
def test_a_server_that_never_answers_is_given_up(operation, silent):
    """An operation on a silent server ends after the attempts."""
    path = files.location("s3://bucket/folder/file", endpoint_url=address_of(silent))
    with pytest.raises(StorageUnreachable, match="no answer from the server") as caught:
        operation(path)
    assert connections_to(silent) == files.ATTEMPTS
    assert caught.value.culprit == "s3://bucket/folder/file"


def test_a_silent_web_server_is_given_up(silent):
    """The time-outs hold for https:// sources too."""
    with pytest.raises(StorageUnreachable, match="no answer"):
        files.read_bytes(files.location(f"{address_of(silent)}/table.csv"))


def test_a_closed_port_is_given_up(keys: None):
    """A server that is down is named with its endpoint."""
    with closed_port() as port:
        path = files.location("s3://bucket/x", endpoint_url=f"http://127.0.0.1:{port}")
        refusal = rf"no answer.*127\.0\.0\.1:{port}"
        with pytest.raises(StorageUnreachable, match=refusal):
            files.read_bytes(path)


@pytest.mark.slow
def test_wrong_keys_are_named_and_not_shown(s3_bucket, monkeypatch):
    """A wrong key is an error that names the variables, without printing it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongkey")
    with pytest.raises(StorageUnreachable, match="denied the access") as caught:
        files.list_names(files.location(f"s3://{s3_bucket}/file"))
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.fix
    assert "wrongkey" not in str(caught.value)


def test_no_credentials_are_named(tmp_path, monkeypatch):
    """Without any credentials the error says so, and how a public bucket is read."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    path = files.location("s3://bucket/file", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(StorageUnreachable, match="credentials") as caught:
        files.read_bytes(path)
    assert "anonymous: true" in caught.value.fix


@pytest.mark.slow
@pytest.mark.parametrize("operation", [files.exists, files.remove])
def test_a_missing_bucket_is_named(operation, s3_bucket: str):
    """A bucket that does not exist is not taken for one that is empty."""
    with pytest.raises(StorageUnreachable, match="bucket does not exist"):
        operation(files.location(f"s3://{s3_bucket}-missing/folder/file"))


def test_what_the_disk_refuses_is_named(tmp_path):
    """A path through a file, a folder read as a file, a folder that is read-only."""
    folder = UPath(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnreachable, match=r"File exists|Not a directory"):
        files.write_bytes(folder / "file" / "below", b"x")
    with pytest.raises(StorageUnreachable, match="Is a directory"):
        files.read_bytes(folder)
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # root may write anywhere: be nobody for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(StorageUnreachable, match="Permission denied"):
            files.write_bytes(folder / "file", b"x")
    finally:
        os.seteuid(user)
