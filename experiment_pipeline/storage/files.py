"""Read, write atomically, create exclusively and list files by path or URL, on a disk
or in a bucket.

A reader never sees half a file, and a power cut loses none: on a disk, a file is
written to a temporary name, synced and renamed; in a bucket it is one PUT or upload.
Nothing is cached. An operation succeeds or fails within a minute, with a
`StorageUnreachable` that shows no secret.
"""

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar, cast

import pyarrow as pa
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.processes import Process, this_host

# A path on a disk or in a bucket; other packages use this name of the class.
Location = UPath
STORAGE_VARIABLE = "EXPERIMENT_PIPELINE_STORAGE"
# A silent server costs ATTEMPTS * READ_SECONDS and two pauses of up to 1 and 2 s: 48 s.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5.0, 15.0, 3
REQUESTS_AT_ONCE = 32
PATIENCE_SECONDS = 60.0
_S3, _DISK = ("s3", "s3a"), ("", "file", "local")
# By default, s3fs keeps 500 MiB of a file in flight, and copies of it. An upload may
# have 10,000 parts.
_PARTS = {"chunksize": 8 * 1024 * 1024, "max_concurrency": 4}
_MISSING = "Correct the path, or first run what writes it."
_NETWORK = (
    "Check the network, and the endpoint (AWS_ENDPOINT_URL, or endpoint_url in the YAML), "
    "then run again."
)
_CREDENTIALS = (
    "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and that they may list, read and "
    "write there. A public bucket needs none: anonymous: true."
)
_DENIED = (
    *(
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "AccessDenied",
        "403",
    ),
    "RequestTimeTooSkewed",
)
# User and password, which may contain an @; in an ssh URL, a user without password is
# no secret.
_USER = re.compile(r"((?<!ssh)://[^/\s]+|://[^/\s:]+:[^/\s]*)@", re.IGNORECASE)
_SECRET_SETTING = re.compile(
    r"([?&][^=&\s]*(?:sig|token|key|secret|password|credential)[^=&\s]*)=[^&\s#]*",
    re.IGNORECASE,
)
_Result = TypeVar("_Result")
# Bucket → whether its server honours If-None-Match, once known.
_KEEPS_CONDITIONS: dict[str, bool] = {}
# Cached, because each session would read AWS's service descriptions again: megabytes of
# JSON, .2 s.
_loader = cache(
    lambda search_path: import_module("botocore.loaders").create_loader(search_path)
)


def storage_root() -> UPath:
    """Where everything is stored: EXPERIMENT_PIPELINE_STORAGE, else `artifacts` in the
    working directory.
    """
    return location(os.environ.get(STORAGE_VARIABLE) or "artifacts")


def location(
    url: str, *, endpoint_url: str | None = None, anonymous: bool = False
) -> UPath:
    """Return a path or any fsspec URL as a path object with time-outs and without
    caches.

    StorageUnreachable: an unknown protocol, or one whose package is missing.
    """
    if "\0" in url:
        raise StorageUnreachable(
            repr(without_credentials(url)), "contains a NUL", "Remove it."
        )
    protocol, separator, rest = url.partition("://")
    protocol = protocol.lower()
    options: dict[str, Any] = {}
    if not separator or protocol in _DISK:
        return UPath(Path(rest or url).expanduser().absolute())
    if protocol in _S3:
        if rest.partition("/")[0] == "":
            raise StorageUnreachable(
                url, "names no bucket", "Write s3://<bucket>/<prefix>."
            )
        options = _s3_options(endpoint_url, anonymous)
    elif protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
        )
        options = {"client_kwargs": {"timeout": timeout}, "skip_instance_cache": True}
    try:
        path: UPath = UPath(url, **options)
        if protocol in _S3:
            path.fs.retries = (
                1  # s3fs's retries would multiply those of botocore, which are better
            )
    except (ValueError, ImportError) as error:
        rule, fix = str(error), "Correct the URL, or install what is missing."
        raise StorageUnreachable(without_credentials(url), rule, fix) from error
    return path


def _s3_options(endpoint_url: str | None, anonymous: bool) -> dict[str, Any]:
    from aiobotocore.session import AioSession  # type: ignore[import-untyped]
    from botocore.handlers import add_expect_header

    session = AioSession()
    session.lazy_register_component(
        "data_loader", lambda: _loader(session.get_config_variable("data_path"))
    )
    # aiohttp waits for the answer to `Expect: 100-continue` without a time-out: a PUT
    # to a silent server would hang forever (marin-community/marin#6719).
    session.unregister("before-call.s3", add_expect_header)
    return {
        "session": session,
        "anon": anonymous,
        **({"endpoint_url": endpoint_url} if endpoint_url else {}),
        "use_listings_cache": False,
        "skip_instance_cache": True,
        "config_kwargs": {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "max_pool_connections": REQUESTS_AT_ONCE,
        },
    }


def resolved(path: UPath) -> str:
    """The path as text, without links and `..`, for comparison with others."""
    place = on_disk(path)
    return str(path) if place is None else str(place.resolve())


def on_disk(path: UPath) -> Path | None:
    """The path as a local `Path`; None if it is in a bucket or on the web."""
    return Path(str(path)) if path.protocol in _DISK else None


@contextmanager
def explained(path: UPath) -> Iterator[None]:
    """Turn a failure to reach a path into StorageUnreachable, with its cause; bugs are
    raised unchanged.
    """
    try:
        yield
    except Exception as error:
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, ClientError

        remote = isinstance(error, BotoCoreError | ClientError | HttpError)
        if not remote and not isinstance(error, OSError):
            raise
        code, kind, reason = (
            _s3_code(error),
            type(error).__name__,
            getattr(error, "strerror", None),
        )
        if code == "NoSuchBucket":
            rule, fix = (
                "the bucket does not exist",
                "Create it, or correct its name in the URL.",
            )
        elif code in _DENIED:
            rule, fix = f"the server denied the access ({code})", _CREDENTIALS
        elif "Credential" in kind or "Token" in kind or kind == "ProfileNotFound":
            rule, fix = f"no usable credentials: {error}", _CREDENTIALS
        elif isinstance(error, FileNotFoundError):
            rule, fix = "does not exist", _MISSING
        elif status := getattr(error, "status", None):
            rule, fix = (
                f"the server answered HTTP {status}",
                "Open the URL in a browser.",
            )
        elif code is not None and not remote:
            rule, fix = f"the server answered {code}: {error}", _NETWORK
        elif remote or reason is None or isinstance(error, TimeoutError):
            rule, fix = f"no answer from the server: {str(error) or kind}", _NETWORK
        else:
            rule = f"cannot be used: {reason}"
            fix = "Correct the path or its permissions, or free some space."
        rule = without_credentials(rule)
        raise StorageUnreachable(without_credentials(str(path)), rule, fix) from error


def without_credentials(text: str) -> str:
    """Replace the secrets of a URL by `***`: user and password, tokens and signatures.

    >>> without_credentials("https://me:p@ss@host/repo.git?token=abc&x=1")
    'https://***@host/repo.git?token=***&x=1'
    """
    return _SECRET_SETTING.sub(r"\1=***", _USER.sub("://***@", text))


def redacted(value: Any) -> Any:
    """Apply `without_credentials` to every text inside a nested plain value."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def read_bytes(path: UPath) -> bytes:
    """Return the content of a file; StorageUnreachable if it does not exist."""
    with explained(path):
        return _read(path)


def read_many(paths: Iterable[UPath]) -> dict[UPath, bytes]:
    """Return path → content for the files that exist; from a bucket many are read at
    once.
    """

    def read(path: UPath) -> bytes | None:
        return _unless_missing(path, _read, None)

    wanted = list(paths)
    if all(map(on_disk, wanted)):
        contents = list(map(read, wanted))
    else:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            contents = list(pool.map(read, wanted))
    return {
        p: data for p, data in zip(wanted, contents, strict=True) if data is not None
    }


def patiently(
    read: Callable[[], _Result], seconds: float = PATIENCE_SECONDS
) -> _Result:
    """Return what `read` returns; retry for up to `seconds` while the storage does not
    answer.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return read()
        except StorageUnreachable as error:
            if error.fix != _NETWORK or time.monotonic() > end:
                raise
        time.sleep(0.5)


def exists(path: UPath) -> bool:
    """Whether a file exists; False for a folder."""
    return _unless_missing(
        path, lambda one: stat.S_ISREG(one.stat().st_mode), otherwise=False
    )


def list_names(folder: UPath) -> list[str]:
    """Return the sorted names in a folder, without hidden ones; [] if there is no
    folder.
    """

    def names(folder: UPath) -> list[str]:
        if (place := on_disk(folder)) is not None:
            return [child.name for child in place.iterdir()]
        children = folder.fs.ls(folder.path, detail=False)
        split = (child.rstrip("/").rpartition("/") for child in children)
        # The listing of a file, and on some servers that of a folder, contains the path
        # itself.
        return [name for parent, _, name in split if parent == folder.path.rstrip("/")]

    found: list[str] = _unless_missing(folder, names, otherwise=[])
    return sorted(name for name in found if not name.startswith("."))


@dataclass(frozen=True)
class StoredFile:
    """The size of a file, and when it was last written, in seconds since the epoch."""

    size_bytes: int
    modified: float


def files_below(folder: UPath) -> dict[str, StoredFile]:
    """Return relative path → file for all files below a folder, including hidden ones,
    without links.
    """

    def found(folder: UPath) -> dict[str, StoredFile]:
        if (place := on_disk(folder)) is not None:
            paths = [
                path
                for path in place.rglob("*")
                if path.is_file() and not path.is_symlink()
            ]
            stats = {path.relative_to(place).as_posix(): path.stat() for path in paths}
            return {
                path: StoredFile(one.st_size, one.st_mtime)
                for path, one in stats.items()
            }
        start, files = (
            len(folder.path.rstrip("/")) + 1,
            folder.fs.find(folder.path, detail=True),
        )
        ages = {path: one.get("LastModified") for path, one in files.items()}
        return {  # without a modification time, a file counts as new
            path[start:]: StoredFile(
                files[path]["size"], at.timestamp() if at else time.time()
            )
            for path, at in ages.items()
        }

    return _unless_missing(folder, found, otherwise={})


def write_bytes(path: UPath, data: bytes) -> None:
    """Create or replace a file atomically: readers see the old or the new content,
    never a mixture.
    """
    with explained(path):
        if (place := on_disk(path)) is None:
            path.fs.pipe_file(path.path, data)
            return
        with _written_beside(place, data) as temporary:
            temporary.replace(place)
        _sync(place.parent)


def fetched(path: UPath, folder: Path) -> Path:
    """Return a local path: of the file itself, or of its copy in `folder`."""
    if (place := on_disk(path)) is not None:
        return place
    copy = folder / path.name
    with explained(path):
        path.fs.get_file(path.path, str(copy), **_parts(path))
    return copy


@contextmanager
def unfinished(folder: UPath) -> Iterator[Path]:
    """Make an empty folder (for a bucket: in TMPDIR) for files to `put_file`; it is
    removed at the end.
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
    """Move a file of an `unfinished` folder to its path, atomically."""
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
    """A local file to write in parts, moved to its path at the end; leftovers of killed
    writers are removed.
    """
    mark = f".{re.sub(r'[^0-9A-Za-z]', '_', this_host())}-"
    for left in (
        [] if (parent := on_disk(path.parent)) is None else parent.glob(f"{mark}*.tmp")
    ):
        pid = left.name.split("-")[1]
        if pid.isdigit() and Process(this_host(), int(pid)).is_gone:
            shutil.rmtree(left, ignore_errors=True)
    name = f"{mark}{os.getpid()}-{secrets.token_hex(4)}.tmp"
    with unfinished(path.parent / name) as folder:
        yield folder / path.name
        put_file(folder / path.name, path)


def open_file(path: UPath) -> BinaryIO:
    """Open a file to read parts of it; in a bucket, each part is one request."""
    with explained(path):
        if (place := on_disk(path)) is not None:
            return cast("BinaryIO", pa.OSFile(str(place)))
        return cast("BinaryIO", path.fs.open(path.path, "rb", cache_type="none"))


def remove(path: UPath) -> None:
    """Remove a file, or a folder with its content, if it exists."""

    def act(path: UPath) -> None:
        if (place := on_disk(path)) is None:
            path.fs.rm(path.path, recursive=True)
        elif place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()

    _unless_missing(path, act, otherwise=None)


def create_exclusive(path: UPath, data: bytes) -> bool:
    """Create a file unless it exists; return True in exactly one of all concurrent
    calls: its creator.

    False also if the answer to a PUT was lost. StorageUnreachable: also without
    conditional writes.
    """
    with explained(path):
        if (place := on_disk(path)) is not None:
            # A hard link appears atomically and never replaces a file.
            made = False
            with _written_beside(place, data) as temporary, suppress(FileExistsError):
                place.hardlink_to(temporary)
                made = True
            _sync(place.parent)
            return made
        server = path.fs.s3.meta.endpoint_url if path.protocol in _S3 else path.protocol
        bucket = f"{server}/{path.drive}"
        if bucket not in _KEEPS_CONDITIONS:
            # Tested with a hidden file in the same folder, as other places may be
            # forbidden.
            probe = path.parent / f".{secrets.token_hex(8)}.probe"
            path.fs.pipe_file(probe.path, b"")
            try:
                _KEEPS_CONDITIONS[bucket] = not _create_in_bucket(probe, b"")
            except OSError as error:
                if error.errno != errno.ENOSYS:  # "not implemented" means no
                    raise
                _KEEPS_CONDITIONS[bucket] = False
            path.fs.rm_file(probe.path)
        if _KEEPS_CONDITIONS[bucket]:
            return _create_in_bucket(path, data)
    raise StorageUnreachable(
        str(path),
        "the server of this bucket has no conditional writes (If-None-Match), so two concurrent "
        "runs could overwrite each other's files",
        "Use a server that has them, such as AWS S3, MinIO or SeaweedFS, or a folder on a disk.",
    )


def _create_in_bucket(path: UPath, data: bytes) -> bool:
    for attempt in range(8):
        try:
            path.fs.pipe_file(path.path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if _s3_code(error) == "PreconditionFailed":
                return False
            # AWS answers this when two conditional writes coincide, and asks to retry.
            if _s3_code(error) != "ConditionalRequestConflict" or attempt == 7:
                raise
            time.sleep(0.2 * (attempt + 1))
        else:
            return True
    return False


@contextmanager
def _written_beside(place: Path, data: bytes) -> Iterator[Path]:
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
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _unless_missing(
    path: UPath, act: Callable[[UPath], _Result], otherwise: _Result
) -> _Result:
    """Call `act` with a path; return `otherwise` if the file is missing. A missing
    bucket is an error.
    """
    with explained(path):
        try:
            return act(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if _s3_code(error) == "NoSuchBucket":
                raise
            return otherwise


def _read(path: UPath) -> bytes:
    if (place := on_disk(path)) is not None:
        return place.read_bytes()
    # A single GET: by default, s3fs would ask for the size first.
    one_request = {"max_concurrency": 1} if path.protocol in _S3 else {}
    return bytes(path.fs.cat_file(path.path, **one_request))


def _parts(path: UPath) -> dict[str, int]:
    return _PARTS if path.protocol in _S3 else {}


def _s3_code(error: BaseException) -> str | None:
    for source in (error, error.__cause__):
        response = getattr(source, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
    return None
