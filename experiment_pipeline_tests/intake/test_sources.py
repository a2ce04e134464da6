"""Fetching the user's table: files, folders, patterns, servers, and every way that
leads nowhere.
"""

import functools
import gzip
import http.server
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from experiment_pipeline import errors
from experiment_pipeline.intake import sources
from experiment_pipeline.intake.raw_table import parse
from experiment_pipeline.spec import Data
from experiment_pipeline.storage.files import location, write_bytes
from experiment_pipeline_tests.ports import closed_port
from experiment_pipeline_tests.s3_server import S3Server

TABLE = b"a,b\n1,x\n"


def refused(url: object, **settings: object) -> errors.ExperimentPipelineError:
    """The error that a URL ends in, the same for reading and for looking."""
    data = Data(url=str(url), **settings)
    with pytest.raises(errors.ExperimentPipelineError) as caught:
        sources.read_source(data)
    with pytest.raises(type(caught.value)):
        sources.fingerprint_source(data)
    return caught.value


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder that the command runs in, with a table and its parts."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "flights.csv",
        "parts/y=1/p.parquet",
        "parts/y=2/p.parquet",
        "parts/_SUCCESS",
    ):
        write_bytes(location(str(tmp_path / name)), TABLE)
    return tmp_path


def test_a_file_is_read_from_any_way_to_write_its_path(folder: Path):
    """Relative, absolute and file:// paths lead to the same bytes, under the file's
    name.
    """
    for url in ("flights.csv", folder / "flights.csv", f"file://{folder}/flights.csv"):
        assert sources.read_source(Data(url=str(url))) == [("flights.csv", TABLE)]


LONG = b"id;text\n" + b"1;a long text\n" * 30_000


@pytest.mark.parametrize(
    "content",
    [
        LONG,
        b"\xef\xbb\xbf" + TABLE,
        b"a,a\n1,2\n",
        b'"two\nlines",b\n1,2\n',
    ],
)
def test_a_look_at_a_file_shows_the_columns_of_the_whole(folder: Path, content: bytes):
    """By what it holds, delimiter and mark included; a file that has changed is looked
    at again.
    """
    assert sources.peek_columns(Data(url="flights.csv")) == ["a", "b"]
    (folder / "flights.csv").write_bytes(content + b"1" * 9)
    columns = list(parse([("flights.csv", content)], Data(url="flights.csv")).frame)
    assert sources.peek_columns(Data(url=f"file://{folder}/flights.csv")) == columns
    pd.DataFrame({"c": [1]}).to_parquet(folder / "table.pq")
    assert sources.peek_columns(Data(url="table.pq")) == ["c"]


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><body>login</body></html>\n",
        b"PAR1" + bytes(50),
        gzip.compress(TABLE, mtime=0),
        b"x" * len(LONG),
    ],
)
def test_where_the_beginning_does_not_suffice_no_columns_are_given(
    folder: Path, content
):
    """Guesses, errors, and what is away, elsewhere or in parts, are left to the run."""
    (folder / "odd").write_bytes(content)
    for url in ("odd", "absent.csv", "parts", "*.csv", "s3://bucket/t.csv"):
        assert sources.peek_columns(Data(url=url)) is None


def test_a_folder_is_its_tables(folder: Path):
    """Every part below the folder is read, in order, by its relative name; markers are
    not.
    """
    expected = [("y=1/p.parquet", TABLE), ("y=2/p.parquet", TABLE)]
    assert sources.read_source(Data(url="parts")) == expected
    (folder / "parts" / ".hidden.parquet").write_bytes(b"")
    (folder / "parts" / "notes.txt").write_text("")
    assert sources.read_source(Data(url="parts")) == expected


def test_a_pattern_names_its_files(folder: Path):
    """What it matches is named from where it begins; a file that is called like one is
    read itself.
    """
    names = [name for name, _ in sources.read_source(Data(url="parts/*/p.*"))]
    assert names == ["y=1/p.parquet", "y=2/p.parquet"]
    assert [name for name, _ in sources.read_source(Data(url=f"{folder}/fl*.csv"))] == [
        "flights.csv"
    ]
    (folder / "data[1].csv").write_bytes(TABLE)
    assert sources.read_source(Data(url="data[1].csv")) == [("data[1].csv", TABLE)]


def test_a_wrong_name_is_told_the_right_ones(folder: Path):
    """A path that leads nowhere is named, with names like it."""
    error = refused("flight.csv")
    assert isinstance(error, errors.UnreadableTable)
    assert error.culprit == "flight.csv"
    assert str(folder) in error.rule
    assert "did you mean 'flights.csv'" in error.fix
    assert "'flights.csv'" in refused("zzz").fix
    assert "'flights.csv', 'parts'" in refused("*.zip").fix


def test_what_holds_no_table_is_refused(folder: Path):
    """Folders without one kind of tables, endless devices, protocols unknown or without
    a package.
    """
    (folder / "empty").mkdir()
    assert "holds none" in refused("empty").rule
    (folder / "empty" / "notes.txt").write_text("")
    assert "holds 'notes.txt'" in refused("empty").rule
    assert "2 Parquet and 1 CSV files" in refused(folder).rule
    assert "device" in refused("/dev/zero").rule
    assert "nope" in refused("nope://bucket/x.csv").rule
    assert "gcsfs" in refused("gs://bucket/x.csv").rule
    assert isinstance(refused("s3://"), errors.StorageUnreachable)


def test_a_fingerprint_follows_the_content(folder: Path):
    """It stays while nothing changes, and changes with a file, a new part or a lost
    one.
    """
    data = Data(url="parts")
    seen = [sources.fingerprint_source(data), sources.fingerprint_source(data)]
    (folder / "parts/y=1/p.parquet").write_bytes(b"longer than before")
    seen.append(sources.fingerprint_source(data))
    (folder / "parts/y=3").mkdir()
    (folder / "parts/y=3/p.parquet").write_bytes(TABLE)
    seen.append(sources.fingerprint_source(data))
    (folder / "parts/y=2/p.parquet").unlink()
    seen.append(sources.fingerprint_source(data))
    assert seen[0] == seen[1]
    assert len(set(seen)) == 4


def test_a_table_is_as_old_as_its_newest_file(folder: Path):
    """The age of the data on the overview is counted from it; a file system may not say
    it.
    """
    for year, second in (("y=1", 900_000_000), ("y=2", 800_000_000)):
        os.utime(folder / "parts" / year / "p.parquet", (second, second))
    assert sources.modified_at(Data(url="parts")) == datetime.fromtimestamp(
        900_000_000, UTC
    )
    write_bytes(location("memory://old/t.csv"), TABLE)
    assert sources.modified_at(Data(url="memory://old/t.csv")) is None


def test_a_fingerprint_reads_what_says_nothing_about_itself():
    """Where a file system has no times, the content counts: same size, other bytes."""
    data = Data(url="memory://source/x.csv")
    fingerprints = []
    for content in (TABLE, TABLE[::-1]):
        write_bytes(location(data.url), content)
        fingerprints.append(sources.fingerprint_source(data))
    assert fingerprints[0] != fingerprints[1]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files; /denied is denied."""

    def do_GET(self) -> None:
        """Deny or serve."""
        if self.path.startswith("/denied"):
            self.send_error(403)
        else:
            super().do_GET()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """The URL of a web server over the folder."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_table_on_the_web_is_read_and_its_token_kept_secret(web: str):
    """User, password and query reach the server, but no name and no message."""
    data = Data(url=f"http://me:hidden@{web}/flights.csv?token=hidden")
    assert sources.read_source(data) == [("flights.csv", TABLE)]
    assert sources.fingerprint_source(data) == sources.fingerprint_source(data)
    for path, code in (("flight.csv", "404"), ("denied.csv", "403")):
        error = refused(f"http://me:hidden@{web}/{path}?token=hidden")
        assert "hidden" not in str(error)
        assert path in error.culprit
        assert code in error.rule


def test_a_web_server_that_is_not_there_is_an_error():
    """It is told apart from a page that it lacks."""
    with closed_port() as port:
        error = refused(f"http://127.0.0.1:{port}/x.csv")
    assert isinstance(error, errors.StorageUnreachable)
    assert "Connect" in error.rule


@pytest.mark.slow
def test_a_bucket_is_read_like_a_disk(s3_bucket: str):
    """Files, folders and patterns mean the same in a bucket."""
    root = location(f"s3://{s3_bucket}/some")
    part = pd.DataFrame({"a": [1]}).to_parquet()
    for name in ("flights.csv", "parts/y=1/p.parquet", "parts/_SUCCESS"):
        write_bytes(root / name, part)
    for url in ("parts", "parts/", "parts/*/*.parquet"):
        assert sources.read_source(Data(url=f"{root}/{url}")) == [
            ("y=1/p.parquet", part)
        ]
    assert sources.read_source(Data(url=f"{root}/flights.csv")) == [
        ("flights.csv", part)
    ]
    first = sources.fingerprint_source(Data(url=f"{root}/parts"))
    write_bytes(root / "parts/y=1/p.parquet", part + b"x")
    assert sources.fingerprint_source(Data(url=f"{root}/parts")) != first
    changed = sources.modified_at(Data(url=f"{root}/parts"))
    assert changed is not None
    assert datetime.now(UTC) - changed < timedelta(hours=1)
    assert "did you mean 'flights.csv'" in refused(f"{root}/flight.csv").fix


@pytest.mark.slow
def test_what_a_bucket_refuses_is_told(s3: S3Server, s3_bucket: str):
    """No bucket, and nobody's access to one that is private, are two
    different things.
    """
    write_bytes(location(f"s3://{s3_bucket}/x.csv"), TABLE)
    endpoint = s3.environment["AWS_ENDPOINT_URL"]
    assert "bucket does not exist" in refused("s3://nobody-made-this/x.csv").rule
    anonymous = refused(
        f"s3://{s3_bucket}/x.csv", anonymous=True, endpoint_url=endpoint
    )
    assert (type(anonymous), "denied" in anonymous.rule) == (
        errors.StorageUnreachable,
        True,
    )
