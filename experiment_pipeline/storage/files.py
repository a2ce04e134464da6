"""Files by path, on a disk or in a bucket alike: read, written whole, created once, listed.

A reader never sees half a file, and a power cut loses none: a file on a disk is written beside its
place, synced and renamed; in a bucket it is one PUT, or a multipart upload, which shows when complete.
Nothing is cached. Every function raises `StorageUnreachable` within a minute.
"""

import errno
import os
import random
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, TypeVar

import pyarrow as pa
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.locations import (
    REQUESTS_AT_ONCE,
    explained,
    is_s3,
    may_pass,
    on_disk,
    s3_code,
)

# By itself, s3fs has 500 MiB of a file on its way at once, and copies. A bucket takes 10,000 parts.
_PARTS = {"chunksize": 8 * 1024 * 1024, "max_concurrency": 4}
_SHORTEST_PAUSE, _PAUSES = 0.05, 8  # seconds, doubling: 13 s in all
PATIENCE_SECONDS = 60.0
_Result = TypeVar("_Result")
# Bucket → whether its server keeps If-None-Match, once known.
_KEEPS_CONDITIONS: dict[str, bool] = {}


def read_bytes(path: UPath) -> bytes:
    """Return the content of a file; StorageUnreachable when it does not exist."""
    with explained(path):
        return _read(path)


def read_many(paths: Iterable[UPath]) -> dict[UPath, bytes]:
    """Return the content of those files that exist, from a bucket many at once."""

    def read(path: UPath) -> bytes | None:
        return _unless_missing(path, _read, None)

    wanted = list(paths)
    if all(on_disk(path) for path in wanted):
        contents = [read(path) for path in wanted]
    else:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            contents = list(pool.map(read, wanted))
    return {p: data for p, data in zip(wanted, contents, strict=True) if data is not None}


def patiently(read: Callable[[], _Result], seconds: float = PATIENCE_SECONDS) -> _Result:
    """Return what was read; while the storage does not answer, try again.

    A server that restarts takes some ten seconds. What the storage refuses is raised at once.

    Raises:
        StorageUnreachable: it did not answer in all that time.
    """
    end, attempt = time.monotonic() + seconds, 0
    while True:
        try:
            return read()
        except StorageUnreachable as error:
            if not may_pass(error) or time.monotonic() > end:
                raise
        _pause(min(attempt, _PAUSES - 2))
        attempt += 1


def exists(path: UPath) -> bool:
    """Whether a file is there; False for a folder."""
    return _unless_missing(path, _is_file, otherwise=False)


def list_names(folder: UPath) -> list[str]:
    """Return the names in a folder, sorted, without hidden ones; [] when there is no folder."""
    return _unless_missing(folder, _visible_names, otherwise=[])


def write_bytes(path: UPath, data: bytes) -> None:
    """Make a file, or replace it; readers see the old or the new one, never a mixture."""
    write_many({path: data})


def write_many(contents: Mapping[UPath, bytes]) -> None:
    """Do what `write_bytes` does for several; a folder on a disk is synced once."""
    folders: dict[Path, UPath] = {}
    for path, data in contents.items():
        with explained(path):
            if (place := on_disk(path)) is None:
                path.fs.pipe_file(path.path, data)
                continue
            with _written_beside(place, data) as temporary:
                temporary.replace(place)
            folders[place.parent] = path
    for folder, path in folders.items():
        with explained(path):
            _sync(folder)


def fetched(path: UPath, folder: Path) -> Path:
    """Return a path on this disk: of the file itself, or of its copy in a folder."""
    if (place := on_disk(path)) is not None:
        return place
    copy = folder / path.name
    with explained(path):
        path.fs.get_file(path.path, str(copy), **_parts(path))
    return copy


@contextmanager
def unfinished(folder: UPath) -> Iterator[Path]:
    """Make an empty folder for files to be stored with `put_file`; it is removed afterwards.

    It is this one where the storage is a disk, else one below TMPDIR.
    """
    with explained(folder):
        if (place := on_disk(folder)) is None:
            with TemporaryDirectory(prefix="experiment_pipeline-") as temporary:
                yield Path(temporary)
            return
        place.mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place)


def put_file(file: Path, path: UPath) -> None:
    """Put a file of an `unfinished` folder in its place, at once; in a bucket, in parts that show
    when complete.
    """
    with explained(path):
        if (place := on_disk(path)) is None:
            path.fs.put_file(str(file), path.path, **_parts(path))
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        _sync(file)
        file.replace(place)
        _sync(place.parent)


@contextmanager
def streamed(path: UPath) -> Iterator[Path]:
    """A file on this disk to be written in parts, put in its place when the block ends well.

    For files that are too large to be bytes; promises as of `write_bytes`.
    """
    with unfinished(path.parent / f".{secrets.token_hex(8)}.tmp") as folder:
        yield folder / path.name
        put_file(folder / path.name, path)


def open_file(path: UPath) -> BinaryIO:
    """Open a file to read parts of it; in a bucket each part is one request."""
    with explained(path):
        if (place := on_disk(path)) is not None:
            found: BinaryIO = pa.OSFile(str(place))
            return found
        file: BinaryIO = path.fs.open(path.path, "rb", cache_type="none")
        return file


def size_of(path: UPath) -> int:
    """How many bytes a file has."""
    with explained(path):
        if (place := on_disk(path)) is not None:
            return place.stat().st_size
        return int(path.fs.info(path.path)["size"])


def remove(path: UPath) -> None:
    """Remove a file, or a folder with all that is in it, where it exists."""
    _unless_missing(path, _remove, otherwise=None)


def create_exclusive(path: UPath, data: bytes) -> bool:
    """Make a file that does not exist yet; of all who try, in any process, one succeeds.

    Returns:
        Whether this call made the file; False: it exists. (Over S3, a PUT whose answer was
        lost is repeated and may find its own file: False as well.)

    Raises:
        StorageUnreachable: also where the bucket's server ignores If-None-Match, as some do.
    """
    with explained(path):
        if (place := on_disk(path)) is not None:
            # Only a hard link both appears whole and refuses to replace.
            made = False
            with _written_beside(place, data) as temporary, suppress(FileExistsError):
                place.hardlink_to(temporary)
                made = True
            _sync(place.parent)
            return made
        server = path.fs.s3.meta.endpoint_url if is_s3(path) else path.protocol
        bucket = f"{server}/{path.drive}"
        if bucket not in _KEEPS_CONDITIONS:
            _KEEPS_CONDITIONS[bucket] = _refuses_to_overwrite(path.parent)
        if _KEEPS_CONDITIONS[bucket]:
            return _create_in_bucket(path, data)
    raise StorageUnreachable(
        str(path),
        "the server of this bucket has no conditional writes (If-None-Match), so that two runs at "
        "once could overwrite each other's files",
        "Use a server that has them, such as AWS S3, MinIO or SeaweedFS, or a folder on a disk.",
    )


@contextmanager
def _written_beside(place: Path, data: bytes) -> Iterator[Path]:
    """A synced hidden file in the same folder, which is removed afterwards."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync(place: Path) -> None:
    """Sync a file, or the names in a folder."""
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _unless_missing(path: UPath, act: Callable[[UPath], _Result], otherwise: _Result) -> _Result:
    """Act on a path; only a missing bucket is an error, a missing file is not."""
    with explained(path):
        try:
            return act(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if s3_code(error) == "NoSuchBucket":
                raise
            return otherwise


def _read(path: UPath) -> bytes:
    if (place := on_disk(path)) is not None:
        return place.read_bytes()
    # One GET: by itself, s3fs would ask for the size first.
    return bytes(path.fs.cat_file(path.path, **({"max_concurrency": 1} if is_s3(path) else {})))


def _parts(path: UPath) -> dict[str, int]:
    return _PARTS if is_s3(path) else {}


def _is_file(path: UPath) -> bool:
    if (place := on_disk(path)) is not None:
        return stat.S_ISREG(place.stat().st_mode)
    return bool(path.fs.info(path.path)["type"] == "file")


def _visible_names(folder: UPath) -> list[str]:
    if (place := on_disk(folder)) is not None:
        names = [child.name for child in place.iterdir()]
    else:
        children = folder.fs.ls(folder.path, detail=False)
        split = (child.rstrip("/").rpartition("/") for child in children)
        # A listing of a file, and of some servers' folders, names the place itself.
        names = [name for parent, _, name in split if parent == folder.path.rstrip("/")]
    return sorted(name for name in names if not name.startswith("."))


def _remove(path: UPath) -> None:
    if (place := on_disk(path)) is None:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(path.fs.rm_file, path.fs.find(path.path)))
    elif place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def _create_in_bucket(path: UPath, data: bytes) -> bool:
    for attempt in range(_PAUSES):
        try:
            path.fs.pipe_file(path.path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if s3_code(error) == "PreconditionFailed":
                return False
            # AWS answers so when two conditional writes meet, and asks to try again.
            if s3_code(error) != "ConditionalRequestConflict" or attempt == _PAUSES - 1:
                raise
            _pause(attempt)
        else:
            return True
    return False


def _refuses_to_overwrite(folder: UPath) -> bool:
    """Try it out with a hidden file in the same folder: other places may be forbidden."""
    probe = folder / f".{secrets.token_hex(8)}.probe"
    folder.fs.pipe_file(probe.path, b"")
    try:
        refuses = not _create_in_bucket(probe, b"")
    except OSError as error:
        if error.errno != errno.ENOSYS:  # "not implemented" is an answer too
            raise
        refuses = False
    folder.fs.rm_file(probe.path)
    return refuses


def _pause(attempt: int) -> None:
    time.sleep(_SHORTEST_PAUSE * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - no secret
