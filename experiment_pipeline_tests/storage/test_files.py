"""Files on a disk and in a bucket of a real S3 server: the same promises for both."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import s3fs
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage import files, locations
from experiment_pipeline.storage.files import (
    create_by_claim,
    create_exclusive,
    exists,
    fetched,
    list_names,
    put_file,
    read_bytes,
    read_many,
    remove,
    write_bytes,
)
from experiment_pipeline.storage.locations import explained, location, storage_root
from experiment_pipeline_tests.s3_server import S3Server

RACERS = 12


def test_a_file_is_read_as_it_was_written_and_replaced_whole(place: UPath) -> None:
    """What is written is read back, empty or not, and a second write replaces it."""
    path = place / "a folder" / "fil€ with [brackets] 100%.bin"
    write_bytes(path, b"")
    assert read_bytes(path) == b""
    write_bytes(path, b"second")
    assert read_bytes(path) == b"second"
    assert list_names(place / "a folder") == [path.name]


def test_only_files_exist(place: UPath) -> None:
    """A folder is no file, and neither is a path below a file."""
    write_bytes(place / "folder" / "file", b"x")
    assert exists(place / "folder" / "file")
    assert not exists(place / "folder")
    assert not exists(place / "folder" / "file" / "below")
    assert not exists(place / "nothing")


def test_names_are_sorted_and_hidden_ones_left_out(place: UPath) -> None:
    """A folder lists its files and folders, not what half-done writes left behind."""
    for name in ("b", "a/inside", ".hidden"):
        write_bytes(place / "folder" / name, b"x")
    assert list_names(place / "folder") == ["a", "b"]
    assert list_names(place / "nothing") == []
    assert list_names(place / "folder" / "b") == []


def test_more_names_than_a_page_of_s3_holds(place: UPath) -> None:
    """A folder with 1,100 files lists them all."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_bytes(place / f"{n:04d}", b""), range(1_100)))
    assert len(list_names(place)) == 1_100


def test_many_are_read_at_once_and_missing_ones_left_out(place: UPath) -> None:
    """Reading many files returns those that exist, each under its path."""
    paths = [place / f"{number}" for number in range(40)]
    for path in paths[::2]:
        write_bytes(path, path.name.encode())
    assert read_many(paths) == {path: path.name.encode() for path in paths[::2]}
    assert read_many([]) == {}


def test_reading_what_is_missing_says_so(place: UPath) -> None:
    """A missing file is an error with the path, the rule and what to do."""
    with pytest.raises(StorageUnreachable) as caught:
        read_bytes(place / "nothing")
    assert caught.value.culprit == str(place / "nothing")
    assert caught.value.rule == "does not exist"


def test_removed_folders_are_gone_and_missing_ones_no_error(place: UPath) -> None:
    """Removing takes a folder with all below it, and nothing beside it."""
    for name in ("folder/a", "folder/b/c", "folder2/a"):
        write_bytes(place / name, b"x")
    for _ in range(2):
        remove(place / "folder")
        remove(place / "folder2" / "nothing")
    assert not exists(place / "folder" / "b" / "c")
    assert exists(place / "folder2" / "a")


def test_what_another_process_wrote_is_seen(place: UPath) -> None:
    """A listing that was read once is not kept: the next one shows another process's file."""
    write_bytes(place / "a", b"x")
    assert list_names(place) == ["a"]
    in_another_process("write_bytes(storage_root() / 'b', b'theirs')")
    assert list_names(place) == ["a", "b"]
    assert exists(place / "b")
    in_another_process("write_bytes(storage_root() / 'a', b'changed')")
    assert read_bytes(place / "a") == b"changed"


def test_readers_never_see_half_a_file(place: UPath) -> None:
    """While a file is overwritten again and again, every read returns one of the versions."""
    versions = [bytes([n]) * 200_000 for n in range(5)]
    write_bytes(place / "file", versions[0])
    seen, done = Counter(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen[read_bytes(place / "file")] += 1

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions * 4:
        write_bytes(place / "file", version)
    done.set()
    reader.join()
    assert set(seen) <= set(versions)
    assert seen


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(storage: Path) -> None:
    """Kill -9 during writes leaves a whole file, and nothing that a listing shows."""
    write_bytes(UPath(storage) / "file", b"\0" * 3_000_000)
    writer = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + "n = 0\nwhile True:\n  n += 1\n"
         "  write_bytes(storage_root() / 'file', bytes([n % 256]) * 3_000_000)"],
    )  # fmt: skip
    while read_bytes(UPath(storage) / "file")[:1] < b"\2":
        assert writer.poll() is None
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    content = read_bytes(UPath(storage) / "file")
    assert content == content[:1] * 3_000_000
    assert list_names(UPath(storage)) == ["file"]


@pytest.mark.parametrize("create", [create_exclusive, create_by_claim])
def test_of_many_racers_one_creates(place: UPath, create: Callable[[UPath, bytes], bool]) -> None:
    """Of 12 who create one file at once, one succeeds, and the file is theirs."""
    for race in range(2):
        winners = race_for(place / f"race{race}", create)
        assert len(winners) == 1
        assert read_bytes(place / f"race{race}") == winners[0]
    assert list_names(place) == ["race0", "race1"]


def test_of_many_processes_one_creates(place: UPath) -> None:
    """Three processes that create the same four files at once share them out, one each."""
    code = (
        "print(sum(create_exclusive(storage_root() / f'{n}', str(os.getpid()).encode())"
        " for n in range(4)))"
    )
    racers = [start_process(code) for _ in range(3)]
    assert sum(int(racer.communicate()[0]) for racer in racers) == 4
    assert len(list_names(place)) == 4


@pytest.mark.slow
def test_a_server_that_ignores_conditions_is_found_out(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a server silently overwrites, of 12 racers still only one creates."""
    obedient = s3fs.S3FileSystem._pipe_file

    async def careless(self, path, data, mode="overwrite", **options):
        return await obedient(self, path, data, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", careless)
    path = location(f"s3://{s3_bucket}/file")
    assert not files._refuses_to_overwrite(path.parent)
    winners = race_for(path, create_exclusive)
    assert len(winners) == 1
    assert read_bytes(path) == winners[0]


def test_a_claim_that_nobody_withdraws_is_named(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file claimed by a process that died is an error that names the folder to remove."""
    monkeypatch.setattr(files, "_PAUSES", 2)
    path = UPath(storage) / "file"
    write_bytes(path.parent / ".file.claims" / "of the dead", b"")
    with pytest.raises(StorageUnreachable, match=r"remove .*\.file\.claims"):
        create_by_claim(path, b"x")
    remove(path.parent / ".file.claims")
    assert create_by_claim(path, b"x")


@pytest.mark.slow
def test_acknowledged_files_survive_a_kill_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 of the S3 server and a restart, every file that was written is there."""
    server = S3Server(tmp_path).start()
    try:
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        root = location("s3://durable/x")
        for number in range(20):
            write_bytes(root / f"{number}", bytes([number]) * 1_000)
        server.kill()
        server.start()
        found = read_many(root / f"{number}" for number in range(20))
    finally:
        server.stop()
    assert [data[0] for data in found.values()] == list(range(20))


@pytest.mark.slow
def test_a_large_file_goes_to_a_bucket_and_back_in_few_parts_at_once(
    s3_bucket: str, tmp_path: Path
) -> None:
    """Memory holds some of its parts, and not all."""
    size = 128 * 2**20
    zeros, place = tmp_path / "from", location(f"s3://{s3_bucket}/zeros")
    with zeros.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    put_file(zeros, place)
    back = fetched(place, tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert back.stat().st_size == size
    assert most < 0.8 * size


# --- where things are ---


def test_the_root_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root is what the variable names; unset or empty, `artifacts` in the working folder."""
    monkeypatch.chdir(tmp_path)
    for value in ("", None):
        if value is None:
            monkeypatch.delenv(locations.STORAGE_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(locations.STORAGE_VARIABLE, value)
        assert str(storage_root()) == str(tmp_path / "artifacts")
    monkeypatch.setenv(locations.STORAGE_VARIABLE, "file:///some/where")
    assert str(storage_root()) == "/some/where"


@pytest.mark.slow
def test_an_endpoint_can_be_given(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with an endpoint of its own ignores that of the environment."""
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    path = location("s3://somewhere/file", endpoint_url=s3.endpoint)
    write_bytes(path, b"x")
    assert read_bytes(path) == b"x"


@pytest.mark.slow
def test_an_endpoint_of_the_configuration_file_is_used(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile of ~/.aws/config with an endpoint_url and keys is enough."""
    for variable in s3.environment:
        monkeypatch.delenv(variable, raising=False)
    config = tmp_path / "config"
    config.write_text(
        f"[profile mine]\nendpoint_url = {s3.endpoint}\nregion = us-east-1\n"
        f"aws_access_key_id = {s3.key}\naws_secret_access_key = {s3.secret}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    path = location("s3://configured/file")
    write_bytes(path, b"x")
    assert read_bytes(path) == b"x"


@pytest.mark.parametrize("url", ["s4://bucket/x", "s3:///x", "s3://"])
def test_an_impossible_url_is_refused(url: str) -> None:
    """A URL that leads nowhere is an error that names it."""
    with pytest.raises(StorageUnreachable) as caught:
        location(url)
    assert caught.value.culprit == url


# --- what cannot be reached ---


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


def write(path: UPath) -> None:
    """One of the operations on what cannot be reached."""
    write_bytes(path, b"x")


def create(path: UPath) -> None:
    """Another one."""
    create_exclusive(path, b"x")


def read_one_of_many(path: UPath) -> None:
    """Another one."""
    read_many([path])


def test_a_silent_server_ends_in_an_error_within_a_minute() -> None:
    """With all attempts and the pauses between them, the time-outs stay below a minute."""
    pauses = sum(2**attempt for attempt in range(locations.ATTEMPTS - 1))
    assert locations.ATTEMPTS * locations.READ_SECONDS + pauses < 60


@pytest.mark.slow
@pytest.mark.parametrize("operation", [read_bytes, list_names, write, create])
def test_a_server_that_never_answers_is_given_up(
    operation: Callable[[UPath], object], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operation on a server that is silent ends, after the attempts, with who is silent."""
    keys_for(f"http://127.0.0.1:{silent_port}", monkeypatch)
    path = location("s3://bucket/folder/file", read_seconds=0.2)
    start = time.monotonic()
    with pytest.raises(StorageUnreachable, match="no answer from the server") as caught:
        operation(path)
    assert time.monotonic() - start < locations.ATTEMPTS * 0.2 + 6
    assert caught.value.culprit == "s3://bucket/folder/file"


def test_a_closed_port_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is down is named with its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    keys_for(f"http://127.0.0.1:{port}", monkeypatch)
    with pytest.raises(StorageUnreachable, match=rf"no answer.*127\.0\.0\.1:{port}"):
        read_bytes(location("s3://bucket/file"))


def test_a_silent_web_server_is_given_up(silent_port: int) -> None:
    """The time-outs hold for https:// sources too."""
    with pytest.raises(StorageUnreachable, match="no answer"):
        read_bytes(location(f"http://127.0.0.1:{silent_port}/table.csv", read_seconds=0.2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "rule"),
    [
        ("AWS_SECRET_ACCESS_KEY", "refused the secret key"),
        ("AWS_ACCESS_KEY_ID", "does not know the access key"),
    ],
)
@pytest.mark.parametrize("operation", [read_bytes, list_names, write, create])
def test_wrong_keys_are_named_and_not_shown(
    operation: Callable[[UPath], object],
    variable: str,
    rule: str,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong key is an error that says which, without printing it."""
    monkeypatch.setenv(variable, "wrongkey")
    with pytest.raises(StorageUnreachable) as caught:
        operation(location(f"s3://{s3_bucket}/file"))
    assert rule in caught.value.rule or "denied the access" in caught.value.rule
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.fix
    assert "wrongkey" not in str(caught.value)


def test_no_credentials_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credentials the error says so, and how a public bucket is read."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    with pytest.raises(StorageUnreachable, match="credentials") as caught:
        read_bytes(location("s3://bucket/file", endpoint_url="http://127.0.0.1:9"))
    assert "anonymous: true" in caught.value.fix


@pytest.mark.slow
@pytest.mark.parametrize("operation", [read_bytes, exists, list_names, remove, read_one_of_many])
def test_a_missing_bucket_is_named(operation: Callable[[UPath], object], s3_bucket: str) -> None:
    """A bucket that does not exist is not taken for one that is empty."""
    with pytest.raises(StorageUnreachable, match="bucket does not exist"):
        operation(location(f"s3://{s3_bucket}-missing/folder/file"))


def test_no_permission_is_named(tmp_path: Path) -> None:
    """A folder that may not be written is an error that says so."""
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # root may write anywhere: be nobody for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(StorageUnreachable, match="may not read or write"):
            write_bytes(UPath(tmp_path) / "file", b"x")
    finally:
        os.seteuid(user)


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    """A path through a file cannot be written, and a folder cannot be read."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnreachable, match="is a file, not a folder"):
        write_bytes(UPath(tmp_path) / "file" / "below", b"x")
    with pytest.raises(StorageUnreachable, match="is a folder"):
        read_bytes(UPath(tmp_path))


def test_secrets_of_a_url_are_not_shown() -> None:
    """User, password and signature of a URL are left out of the message."""
    with (
        pytest.raises(StorageUnreachable) as caught,
        explained(location("https://me:pass@host/table.csv?X-Amz-Signature=abc")),
    ):
        raise TimeoutError
    assert "pass" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert "host/table.csv" in caught.value.culprit


def test_bugs_are_not_explained_away(storage: Path) -> None:
    """What is no failure of the storage passes through unchanged."""
    with pytest.raises(KeyError), explained(UPath(storage)):
        raise KeyError("bug")


# --- helpers ---

PREAMBLE = (
    "import os\n"
    "from experiment_pipeline.storage.files import *\n"
    "from experiment_pipeline.storage.locations import storage_root\n"
)


def start_process(code: str) -> subprocess.Popen[str]:
    """Start Python with the functions of `files` at hand."""
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code], stdout=subprocess.PIPE, text=True
    )


def in_another_process(code: str) -> None:
    """Run code to its end, without an error."""
    process = start_process(code)
    process.communicate()
    assert process.returncode == 0


def race_for(path: UPath, create: Callable[[UPath, bytes], bool]) -> list[bytes]:
    """Let 12 threads create one file at the same moment; what the winners wrote."""
    start = threading.Barrier(RACERS)
    contents = [f"racer {number}".encode() for number in range(RACERS)]

    def race(content: bytes) -> bool:
        start.wait()
        return create(path, content)

    with ThreadPoolExecutor(RACERS) as pool:
        outcomes = list(pool.map(race, contents))
    return [content for content, won in zip(contents, outcomes, strict=True) if won]


def keys_for(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an environment that leads to a server, with some keys."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somekey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "somesecret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
