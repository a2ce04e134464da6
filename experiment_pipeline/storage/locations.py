"""From a path or URL to a `UPath` with time-outs and without caches.

In: what a user writes, and the environment. Out: a path whose file system answers, or fails,
within a minute. Reading and writing live in `files.py`.
"""

import os
from pathlib import Path
from typing import Any

from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.documents import without_credentials

STORAGE_VARIABLE = "EXPERIMENT_PIPELINE_STORAGE"
# A server that accepts and never answers costs ATTEMPTS * READ_SECONDS and two pauses of up to
# 1 and 2 s: 48 s.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5.0, 15.0, 3
REQUESTS_AT_ONCE = 32
_S3 = ("s3", "s3a")
_DISK = ("", "file", "local")


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

    Each call makes its own S3 client, from the environment as it is now (AWS_ENDPOINT_URL,
    AWS_PROFILE, …); the paths made from this one share it. A client takes 0.1 s.

    Args:
        url: `artifacts`, `~/x`, `file:///x`, `s3://bucket/prefix`, `https://…`
        endpoint_url: an S3 server that is not AWS; None: what the environment says.
        anonymous: read a public bucket without credentials.
        read_seconds: how long a server may stay silent, of each attempt.

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
    """Whether a path is in a bucket that is spoken to with s3fs."""
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

    aiohttp waits for that answer without any time-out, so that a PUT to a server that stays
    silent would hang for ever (marin-community/marin#6719).
    """
    from aiobotocore.session import AioSession  # type: ignore[import-untyped]
    from botocore.handlers import add_expect_header

    session = AioSession()
    session.unregister("before-call.s3", add_expect_header)
    return session
