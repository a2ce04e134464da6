"""From a path or URL to a `UPath` with time-outs and without caches, and its failures in words.

A file system answers, or fails, within a minute; a failure is a `StorageUnreachable` without secrets.
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

from experiment_pipeline.errors import StorageUnreachable

# A path on a disk or in a bucket: the name under which the other packages know the class.
Location = UPath
STORAGE_VARIABLE = "EXPERIMENT_PIPELINE_STORAGE"
# A server that accepts and never answers costs ATTEMPTS * READ_SECONDS and two pauses of up to
# 1 and 2 s: 48 s.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5.0, 15.0, 3
REQUESTS_AT_ONCE = 32
_S3 = ("s3", "s3a")
_DISK = ("", "file", "local")
_CREDENTIALS = (
    "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and that they may list, "
    "read and write there."
)
_NETWORK = (
    "Check the network, and the endpoint (AWS_ENDPOINT_URL, or endpoint_url in the YAML), "
    "then run again."
)
_FORBIDDEN = ("this user may not read or write it", "Change its owner or its permissions.")
_NO_FOLDER = ("a part of the path is a file, not a folder", "Correct the path.")
# Codes of S3 first, because s3fs gives several of them one Python exception.
_BY_CODE = {
    "NoSuchBucket": (
        "the bucket does not exist",
        "Create the bucket, or correct its name in the URL or in EXPERIMENT_PIPELINE_STORAGE.",
    ),
    "InvalidAccessKeyId": ("the server does not know the access key", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the server refused the secret key", _CREDENTIALS),
    "ExpiredToken": ("the session token has expired", "Log in again, then run again."),
    **dict.fromkeys(("AccessDenied", "403"), ("the server denied the access", _CREDENTIALS)),
    "RequestTimeTooSkewed": ("the clocks of server and client differ", "Set this machine's clock."),
}
_BY_ERRNO = {
    errno.ENOENT: ("does not exist", "Correct the path, or run first what writes it."),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _FORBIDDEN),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _NO_FOLDER),
    errno.EISDIR: ("is a folder, not a file", "Name a file."),
    errno.ENOSPC: ("the disk is full", "Free some space, then run again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then run again."),
    errno.EROFS: ("the file system is read-only", "Name a folder that can be written to."),
    errno.ENAMETOOLONG: ("the path is too long", "Use a shorter path."),
}
_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^/@\s]+)@", re.IGNORECASE)
_SECRET_SETTING = re.compile(
    r"(?P<key>[?&][^=&\s]*(?:sig|token|key|secret|password|credential)[^=&\s]*)=[^&\s#]*",
    re.IGNORECASE,
)


def storage_root() -> UPath:
    """Where everything is stored: EXPERIMENT_PIPELINE_STORAGE, else `artifacts` in this folder."""
    return location(os.environ.get(STORAGE_VARIABLE) or "artifacts")


def location(
    url: str,
    *,
    endpoint_url: str | None = None,
    anonymous: bool = False,
    read_seconds: float = READ_SECONDS,
) -> UPath:
    """Return a path, or any fsspec URL, as a path with time-outs and without caches.

    Each call makes its own S3 client (0.1 s) from the environment (AWS_ENDPOINT_URL, AWS_PROFILE, …);
    the paths made from this one share it.

    Args:
        url: `artifacts`, `~/x`, `file:///x`, `s3://bucket/prefix`, `https://…`
        endpoint_url: of an S3 server that is not AWS; None: the environment's.
        anonymous: read a public bucket without credentials.
        read_seconds: how long a server may stay silent in each attempt.

    Raises:
        StorageUnreachable: a protocol that is not known, or whose package is missing.
    """
    protocol, separator, rest = url.partition("://")
    protocol = protocol.lower()
    if not separator or protocol in _DISK:
        return UPath(Path(rest or url).expanduser().absolute())
    if protocol in _S3 and rest.partition("/")[0] == "":
        raise StorageUnreachable(url, "names no bucket", "Write s3://<bucket>/<prefix>.")
    try:
        path: UPath = UPath(url, **_options(protocol, endpoint_url, anonymous, read_seconds))
        if protocol in _S3:
            path.fs.retries = 1  # s3fs's tries would multiply with botocore's, which know S3 better
    except (ValueError, ImportError) as error:
        raise StorageUnreachable(
            without_credentials(url), str(error), "Correct the URL, or install what is missing."
        ) from error
    return path


def on_disk(path: UPath) -> Path | None:
    """The path as one of the operating system; None when it is in a bucket or on the web."""
    return Path(str(path)) if path.protocol in _DISK else None


def is_s3(path: UPath) -> bool:
    """Whether a path is in a bucket that s3fs reads."""
    return path.protocol in _S3


def _options(
    protocol: str, endpoint_url: str | None, anonymous: bool, read_seconds: float
) -> dict[str, Any]:
    """Options of a protocol's fsspec file system."""
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=read_seconds)
        return {"client_kwargs": {"timeout": timeout}, "skip_instance_cache": True}
    if protocol not in _S3:
        return {"token": "anon"} if anonymous and protocol in ("gs", "gcs") else {}
    return {
        "session": _session(),
        "anon": anonymous,
        **({"endpoint_url": endpoint_url} if endpoint_url else {}),
        "use_listings_cache": False,
        "skip_instance_cache": True,
        "config_kwargs": {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": read_seconds,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "max_pool_connections": REQUESTS_AT_ONCE,
        },
    }


def _session() -> Any:
    """An S3 session whose uploads do not ask `Expect: 100-continue`.

    aiohttp waits for that answer without any time-out: a PUT to a silent server would hang for
    ever (marin-community/marin#6719).
    """
    from aiobotocore.session import AioSession  # type: ignore[import-untyped]
    from botocore.handlers import add_expect_header

    session = AioSession()
    session.unregister("before-call.s3", add_expect_header)
    return session


@contextmanager
def explained(path: UPath) -> Iterator[None]:
    """Turn a failure to reach a path into the error that a user can act on.

    Raises:
        StorageUnreachable: its cause is the original exception. Bugs pass through unchanged.
    """
    try:
        yield
    except OSError as error:
        raise _unreachable(path, error) from error
    except _remote_errors() as error:
        raise _unreachable(path, error) from error


def may_pass(error: StorageUnreachable) -> bool:
    """Whether the server gave no answer, or an internal error: it may be back a minute later."""
    return error.fix == _NETWORK


def s3_code(error: BaseException) -> str | None:
    """The error code that an S3 server answered, for the Python exception s3fs made of it."""
    for source in (error, error.__cause__):
        response = getattr(source, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
    return None


def _unreachable(path: UPath, error: Exception) -> StorageUnreachable:
    code = s3_code(error)
    # Some of botocore's and aiohttp's errors are OSErrors too, and s3fs makes some of S3's codes.
    if not isinstance(error, OSError) or isinstance(error, _remote_errors()):
        rule, fix = _about_remote_error(error, code)
    elif code in _BY_CODE:
        rule, fix = _BY_CODE[code]
    elif code is not None and not isinstance(error, FileNotFoundError):
        rule, fix = f"the server answered {code}: {error}", _NETWORK
    elif isinstance(error, TimeoutError):
        rule, fix = "no answer from the server in time", _NETWORK
    else:
        number = errno.ENOENT if isinstance(error, FileNotFoundError) else error.errno
        unknown = (error.strerror or str(error) or type(error).__name__, _NETWORK)
        rule, fix = _BY_ERRNO.get(number or 0, unknown)
    return StorageUnreachable(without_credentials(str(path)), without_credentials(rule), fix)


def _remote_errors() -> tuple[type[Exception], ...]:
    """Evaluated only when something was raised: the imports cost 0.3 s."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, HttpError


def _about_remote_error(error: Exception, code: str | None) -> tuple[str, str]:
    kind = type(error).__name__
    if "Credential" in kind or "Token" in kind:
        fix = f"{_CREDENTIALS} A public bucket needs none: anonymous: true."
        return f"no usable credentials: {error}", fix
    if kind == "ParamValidationError":
        return "the name is not allowed", "Correct the name of the bucket or the path."
    if kind == "ProfileNotFound":
        return str(error), "Correct AWS_PROFILE."
    if status := getattr(error, "status", None):
        return f"the server answered HTTP {status}", "Open the URL in a browser and correct it."
    return _BY_CODE.get(code or "", (f"no answer from the server: {error or kind}", _NETWORK))


def without_credentials(text: str) -> str:
    """Replace the secrets of a URL by `***`: user and password, tokens and signatures.

    >>> without_credentials("https://me:pass@host/repo.git?token=abc&x=1")
    'https://***@host/repo.git?token=***&x=1'

    The user of an ssh URL stays (`ssh://git@host`): it is an address, not a secret.
    """
    return _SECRET_SETTING.sub(r"\g<key>=***", _USER_INFO.sub(_hide_user, text))


def redacted(value: Any) -> Any:
    """Apply `without_credentials` to every text inside a nested plain value."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def _hide_user(match: re.Match[str]) -> str:
    scheme, user = match["scheme"], match["user"]
    if scheme.lower().endswith("ssh") and ":" not in user:
        return match[0]
    return f"{scheme}://***@"
