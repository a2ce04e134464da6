"""What a failure of the storage means to a user: culprit, rule, fix.

In: an exception of the operating system, of S3 or of HTTP. Out: `StorageUnreachable`, without
secrets. Reading and writing live in `files.py`.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.documents import without_credentials

_CREDENTIALS = (
    "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and that they may list, "
    "read and write there."
)
_NETWORK = (
    "Check the network, and the endpoint (AWS_ENDPOINT_URL, or endpoint_url in the YAML), "
    "then run again."
)
# Codes of S3 first, because s3fs gives several of them one Python exception.
_BY_CODE = {
    "NoSuchBucket": (
        "the bucket does not exist",
        "Create the bucket, or correct its name in the URL or in EXPERIMENT_PIPELINE_STORAGE.",
    ),
    "InvalidAccessKeyId": ("the server does not know the access key", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the server refused the secret key", _CREDENTIALS),
    "ExpiredToken": ("the session token has expired", "Log in again, then run again."),
    "AccessDenied": ("the server denied the access", _CREDENTIALS),
    "403": ("the server denied the access", _CREDENTIALS),
    "RequestTimeTooSkewed": ("the clocks of server and client differ", "Set this machine's clock."),
}
_BY_ERRNO = {
    errno.ENOENT: ("does not exist", "Correct the path, or run first what writes it."),
    errno.EACCES: ("this user may not read or write it", "Change its owner or its permissions."),
    errno.EPERM: ("this user may not read or write it", "Change its owner or its permissions."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Correct the path."),
    errno.EEXIST: ("a part of the path is a file, not a folder", "Correct the path."),
    errno.EISDIR: ("is a folder, not a file", "Name a file."),
    errno.ENOSPC: ("the disk is full", "Free some space, then run again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then run again."),
    errno.EROFS: ("the file system is read-only", "Name a folder that can be written to."),
    errno.ENAMETOOLONG: ("the path is too long", "Use a shorter path."),
}


@contextmanager
def explained(path: UPath) -> Iterator[None]:
    """Turn a failure to reach a path into the error that a user can act on.

    Raises:
        StorageUnreachable: with the path as culprit, credentials removed. Its cause is the
            original exception. What is no failure of the storage passes through unchanged.
    """
    try:
        yield
    except OSError as error:
        raise _unreachable(path, error) from error
    except _remote_errors() as error:
        raise _unreachable(path, error) from error


def s3_code(error: BaseException) -> str | None:
    """The error code that an S3 server answered, for the Python exception s3fs made of it."""
    for source in (error, error.__cause__):
        response = getattr(source, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
    return None


def _unreachable(path: UPath, error: Exception) -> StorageUnreachable:
    # Some of botocore's and aiohttp's errors are OSErrors too.
    if isinstance(error, OSError) and not isinstance(error, _remote_errors()):
        rule, fix = _about_os_error(error)
    else:
        rule, fix = _about_remote_error(error)
    return StorageUnreachable(without_credentials(str(path)), without_credentials(rule), fix)


def _remote_errors() -> tuple[type[Exception], ...]:
    """Evaluated only when something was raised: the imports cost 0.3 s."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, HttpError


def _about_os_error(error: OSError) -> tuple[str, str]:
    code = s3_code(error)
    if code is not None and not isinstance(error, FileNotFoundError):
        return _BY_CODE.get(code, (f"the server answered {code}: {error}", _NETWORK))
    if code in _BY_CODE:
        return _BY_CODE[code]
    if isinstance(error, TimeoutError):
        return "no answer from the server in time", _NETWORK
    number = errno.ENOENT if isinstance(error, FileNotFoundError) else error.errno
    if number is None or number not in _BY_ERRNO:
        return error.strerror or str(error) or type(error).__name__, _NETWORK
    return _BY_ERRNO[number]


def _about_remote_error(error: Exception) -> tuple[str, str]:
    kind = type(error).__name__
    if "Credential" in kind or "Token" in kind:
        return (
            f"no usable credentials: {error}",
            f"{_CREDENTIALS} A public bucket needs none: anonymous: true.",
        )
    if kind == "ParamValidationError":
        return "the name is not allowed", "Correct the name of the bucket or the path."
    if kind == "ProfileNotFound":
        return str(error), "Correct AWS_PROFILE."
    if status := getattr(error, "status", None):
        return f"the server answered HTTP {status}", "Open the URL in a browser and correct it."
    code = s3_code(error)
    return _BY_CODE.get(code or "", (f"no answer from the server: {error or kind}", _NETWORK))
