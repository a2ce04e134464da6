"""The user's own table: where `data.url` leads, read whole, and whether it has changed.

A path, `s3://`, `https://` or any other fsspec URL; a file, a folder of parts, or a pattern
(`sales/*.parquet`). Here: finding and fetching. Not here: what the bytes mean
(`stages/raw_data/table`), time-outs, clients and failures in words (`storage/locations.py`).
In: `spec.Data`. Out: names and bytes. No message holds a password or a token.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable, UnreadableTable, did_you_mean, listed
from experiment_pipeline.spec import Data
from experiment_pipeline.stages.raw_data.contents import PARQUET_MAGIC, Content
from experiment_pipeline.stages.raw_data.csv_text import HEAD_BYTES, csv_columns
from experiment_pipeline.storage.files import list_names, read_bytes, read_many
from experiment_pipeline.storage.locations import explained, location, on_disk
from experiment_pipeline.storage.mapped import read_mapped
from experiment_pipeline.storage.tables import WHOLE_BYTES
from experiment_pipeline.table.digests import sha256

COMPRESSED = r"(\.(gz|bz2|xz|zip|zst))?$"
TABLES = {
    "Parquet": re.compile(r"\.(parquet|parq|pq)" + COMPRESSED, re.IGNORECASE),
    "CSV": re.compile(r"\.(csv|tsv)" + COMPRESSED, re.IGNORECASE),
}
PATTERN = re.compile(r"[*?\[]")
# What tells one state of a file from the next, by the words of the file systems.
STATE_KEYS = (
    "size",
    "mtime",
    "ETag",
    "etag",
    "LastModified",
    "Last-Modified",
    "updated",
    "md5Hash",
)

# Bytes in memory per byte of a Parquet file, and of packed text.
_FROM_PARQUET, _FROM_PACKED = 3, 4


@dataclass(frozen=True)
class _Part:
    """One file of the table; `name` is relative to the folder that was asked for."""

    name: str
    path: UPath
    info: Mapping[str, Any]

    @property
    def size(self) -> int:
        """In bytes; 0 where a server does not tell."""
        return int(self.info.get("size") or 0)


def delivered_bytes(parts: Sequence[tuple[str, Content]]) -> int:
    """Return about how many bytes the table of these files takes in memory.

    Args:
        parts: as `read_source` returns them.
    """
    size, name = sum(len(content) for _, content in parts), parts[0][0].lower()
    if name.endswith((".parquet", ".parq", ".pq")):
        return _FROM_PARQUET * size
    return (1 if name.endswith((".csv", ".tsv")) else _FROM_PACKED) * size


def read_source(data: Data) -> list[tuple[str, Content]]:
    """Fetch every file of the table: (name, content), in the order of their names.

    Large files, together, are copied below TMPDIR and mapped.

    Raises:
        UnreadableTable: no such file (with similar names), or a folder without tables.
        StorageUnreachable: no permission, no credentials, no bucket, no answer, no room.
    """
    parts = _parts(data)
    if sum(part.size for part in parts) > WHOLE_BYTES:
        mapped = read_mapped([part.path for part in parts])
        return [(part.name, content) for part, content in zip(parts, mapped, strict=True)]
    if len(parts) == 1:
        return [(parts[0].name, read_bytes(parts[0].path))]
    contents = read_many(part.path for part in parts)
    for part in parts:
        if part.path not in contents:
            raise _unreadable(data, f"{part.name} went away while it was read", "Run again.")
    return [(part.name, contents[part.path]) for part in parts]


def fingerprint_source(data: Data) -> str:
    """sha256 (hex) of the names, sizes and times (or ETags) of the table's files.

    Reads a file only where its server tells nothing that would change with its content.

    Raises:
        UnreadableTable, StorageUnreachable: as `read_source`.
    """
    lines = []
    for part in _parts(data):
        state = {key: str(part.info[key]) for key in STATE_KEYS if part.info.get(key) is not None}
        if state.keys() <= {"size"}:
            state["sha256"] = sha256(read_bytes(part.path))
        lines.append(f"{part.name!r} {sorted(state.items())}\n")
    return sha256("".join(lines).encode())


def peek_columns(data: Data) -> list[str] | None:
    """Names of the table's columns where a look at one file of this machine's disk tells them.

    Costs a few milliseconds, once per state of the file; None where the table must be read.
    """
    path = on_disk(location(data.url)) if _is_local(data.url) else None
    try:
        state = path.stat() if path is not None and path.is_file() else None
        if path is None or state is None:
            return None
        return _peeked(path, state.st_mtime_ns, state.st_size, data)
    except OSError:
        return None


@functools.lru_cache(maxsize=256)
def _peeked(path: Path, _time: int, _size: int, data: Data) -> list[str] | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.startswith(PARQUET_MAGIC):
        return csv_columns(path.name, head, data)
    try:
        return list(pq.read_schema(path).names)
    except pa.ArrowException:
        return None


def _parts(data: Data) -> list[_Part]:
    source = location(data.url, endpoint_url=data.endpoint_url, anonymous=data.anonymous)
    _refuse_without_package(data, source)
    with explained(source):
        info = _info(source)
        if info and info["type"] == "directory":
            return _in_folder(data, source)
        if info and info["type"] != "file":
            raise _unreadable(data, "is a device or a pipe", "Name a file or a folder.")
        if info:
            return [_Part(_file_name(data.url), source, info)]
        if PATTERN.search(data.url) and not _is_http(data.url):
            return _matching(data, source)
        raise _not_found(data, source)


def _info(source: UPath) -> Mapping[str, Any] | None:
    """What the file system knows about the path; None when nothing is there."""
    try:
        info: Mapping[str, Any] = source.fs.info(source.path)
    except FileNotFoundError as error:
        # HTTP's info calls every failure a missing file; its cause says what it was.
        cause = error.__cause__
        if cause and _is_http(str(source)) and getattr(cause, "status", None) != 404:
            raise cause from None
        return None
    except NotADirectoryError:
        return None
    return info


def _in_folder(data: Data, folder: UPath) -> list[_Part]:
    found = dict(_below(folder, folder.fs.find(folder.path, detail=True)))
    kinds = {
        kind: sorted(name for name in found if pattern.search(name))
        for kind, pattern in TABLES.items()
    }
    kinds = {kind: names for kind, names in kinds.items() if names}
    if not kinds:
        raise _unreadable(
            data,
            f"is a folder without .parquet or .csv files; it holds {listed(sorted(found))}",
            "Name a file, or a folder that holds the parts of one table.",
        )
    if len(kinds) > 1:
        counts = " and ".join(f"{len(names)} {kind}" for kind, names in kinds.items())
        raise _unreadable(
            data, f"is a folder of {counts} files", "Choose by a pattern, such as folder/*.parquet."
        )
    [names] = kinds.values()
    return [_Part(name, folder / name, found[name]) for name in names]


def _matching(data: Data, source: UPath) -> list[_Part]:
    steps = data.url.split("/")
    first = next(i for i, step in enumerate(steps) if PATTERN.search(step))
    base = source.parents[len(steps) - first - 1]
    found = dict(_below(base, source.fs.glob(source.path, detail=True)))
    if not found:
        raise _unreadable(
            data,
            "no file matches the pattern",
            f"Correct the pattern: its folder holds {listed(list_names(base))}.",
        )
    return [_Part(name, base / name, found[name]) for name in sorted(found)]


def _below(folder: UPath, infos: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """(name relative to the folder, info) of files; not of hidden ones and those like _SUCCESS."""
    start = folder.path.rstrip("/") + "/"
    for path, info in infos.items():
        name = path.removeprefix(start)
        if info["type"] == "file" and not any(part[0] in "._" for part in name.split("/") if part):
            yield name, info


def _refuse_without_package(data: Data, source: UPath) -> None:
    try:
        with explained(source):
            source.fs  # noqa: B018 - the first use imports the package behind the protocol
    except ImportError as error:
        raise StorageUnreachable(
            data.shown_url, f"this protocol needs a package: {error}", "Install it, then run again."
        ) from error


def _not_found(data: Data, source: UPath) -> UnreadableTable:
    """The error about the first step of the path that is not there, with names like it."""
    if _is_http(data.url):
        return _unreadable(
            data, "does not exist (HTTP 404)", "Open it in a browser and correct it."
        )
    missing, siblings = source, list_names(source.parent)
    for folder in source.parents:
        if siblings or not folder.name:
            break
        missing, siblings = folder, list_names(folder.parent)
    what = "no such file" if missing == source else f"no such folder as {missing.name}"
    if missing.name in siblings:
        what = f"{missing.name} is a file, not a folder"
    looked = f", looked for in {Path.cwd()}" if _is_relative(data.url) else ""
    there = f"its folder holds {listed(siblings)}."
    hint = did_you_mean(missing.name, siblings, most=3, otherwise=there)
    return _unreadable(data, what + looked, f"Correct data.url: {hint}")


def _unreadable(data: Data, rule: str, fix: str) -> UnreadableTable:
    return UnreadableTable(data.shown_url, rule, fix)


def _file_name(url: str) -> str:
    # Of an HTTP URL without its query, which may be a token.
    return PurePosixPath(urlsplit(url).path if _is_http(url) else url).name or "table"


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _is_local(url: str) -> bool:
    return "://" not in url or url.lower().startswith("file://")


def _is_relative(url: str) -> bool:
    return "://" not in url and not url.startswith(("/", "~"))
