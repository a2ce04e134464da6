"""Files by path, on a disk or in a bucket alike: read, written whole, created once, listed.

A reader never sees half a file, and a power cut loses none: a file on a disk is written beside
its place, synced and put there in one step; in a bucket it is one PUT, or a multipart upload,
which shows when complete. Nothing is cached, so what another process wrote is seen. In: a path
from `locations`, bytes. Out: bytes, names, or `StorageUnreachable` within a minute: every
function ends with its first request that fails. What the files mean is decided by who calls.
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
# What was found out about each bucket, for the life of the process.
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
    """Return what was read; where the storage does not answer, try again for some time.

    For who can wait, as a worker of a cluster can, and would lose more than the wait: a server that
    starts again takes some ten seconds. What the storage refuses is raised at once.

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
    """Whether a file is there; a folder is none."""
    return _unless_missing(path, _is_file, otherwise=False)


def list_names(folder: UPath) -> list[str]:
    """Return the names in a folder, sorted, without hidden ones; [] when there is no folder.

    SeaweedFS shows the names of removed folders for some minutes longer; their files are gone.
    """
    return _unless_missing(folder, _visible_names, otherwise=[])


def write_bytes(path: UPath, data: bytes) -> None:
    """Make a file, or replace it; readers see the old or the new one, never a mixture."""
    write_many({path: data})


def write_many(contents: Mapping[UPath, bytes]) -> None:
    """Do what `write_bytes` does for several; a folder on a disk is synced once, after its last."""
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
    """Return a file as one of the operating system: itself, or from a bucket a copy in a folder."""
    if (place := on_disk(path)) is not None:
        return place
    copy = folder / path.name
    with explained(path):
        path.fs.get_file(path.path, str(copy), **_parts(path))
    return copy


@contextmanager
def unfinished(folder: UPath) -> Iterator[Path]:
    """Make an empty folder for files on their way to this storage (`put_file`); gone afterwards.

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
    """Put a file of an `unfinished` folder in its place; whoever reads there sees all of it or none.

    A bucket is given it in parts that show when complete.
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
    """A file on this disk to be written in parts; when the block ends well, it is put in its place.

    For what is too large to be bytes. Readers see the old or the new file, as of `write_bytes`; what
    is on its way to a bucket lies below TMPDIR, and goes there in parts that show when complete.
    """
    with unfinished(path.parent / f".{secrets.token_hex(8)}.tmp") as folder:
        yield folder / path.name
        put_file(folder / path.name, path)


def open_file(path: UPath) -> BinaryIO:
    """Open a file to read parts of it, wherever they lie; of a bucket each part is one request."""
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
    """Remove a file, or a folder with all that is in it; what is gone already is no error."""
    _unless_missing(path, _remove, otherwise=None)


def create_exclusive(path: UPath, data: bytes) -> bool:
    """Make a file that does not exist yet; of all who try, in any process, one succeeds.

    A bucket needs If-None-Match, which is tried out once per bucket: a server that ignores it
    would overwrite silently. There, claims decide (`create_by_claim`).

    Returns:
        Whether this call made the file; False: it exists. (Over S3, a PUT whose answer was
        lost is repeated and may find its own file: False as well.)
    """
    with explained(path):
        if (place := on_disk(path)) is not None:
            # The file system must know hard links: a link is the one thing that both appears
            # whole and refuses to replace.
            made = False
            with _written_beside(place, data) as temporary, suppress(FileExistsError):
                place.hardlink_to(temporary)
                made = True
            _sync(place.parent)
            return made
        if _conditions_are_kept(path):
            return _create_in_bucket(path, data)
    return create_by_claim(path, data)


def create_by_claim(path: UPath, data: bytes) -> bool:
    """Do what `create_exclusive` does, on a server without conditional writes.

    Everyone writes a claim, then lists the claims. Who sees only their own makes the file and
    withdraws the claim; who sees another withdraws, waits, and begins again. Of two, the later
    claim sees the earlier, so at most one makes the file, on every server whose listing shows
    what was written before it, as S3 promises.

    Raises:
        StorageUnreachable: someone died between their claim and the file.
    """
    claims = path.parent / f".{path.name}.claims"
    mine = claims / secrets.token_hex(8)
    for attempt in range(_PAUSES):
        if exists(path):
            return False
        write_bytes(mine, b"")
        try:
            # The file may have come, and its claim gone, between the look and our claim.
            if list_names(claims) == [mine.name] and not exists(path):
                write_bytes(path, data)
                return True
        finally:
            remove(mine)
        _pause(attempt)
    if exists(path):
        return False
    raise StorageUnreachable(
        str(path),
        "another process has claimed it and not written it",
        f"If no other run is at work, remove {claims}, then run again.",
    )


@contextmanager
def _written_beside(place: Path, data: bytes) -> Iterator[Path]:
    """A hidden file in the same folder, which is made; safe on the disk, and gone afterwards."""
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
    """Make a file, or names in a folder, safe: else a power cut could keep a later file and lose this."""
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _unless_missing(path: UPath, act: Callable[[UPath], _Result], otherwise: _Result) -> _Result:
    """Act on a path; a missing file is no error, a missing bucket is."""
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


def _conditions_are_kept(path: UPath) -> bool:
    """Whether the server of a bucket refuses to overwrite when told so."""
    server = path.fs.s3.meta.endpoint_url if is_s3(path) else path.protocol
    bucket = f"{server}/{path.drive}"
    if bucket not in _KEEPS_CONDITIONS:
        _KEEPS_CONDITIONS[bucket] = _refuses_to_overwrite(path.parent)
    return _KEEPS_CONDITIONS[bucket]


def _refuses_to_overwrite(folder: UPath) -> bool:
    """Try it out with a hidden file; the folder itself, because other places may be forbidden."""
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
