"""The user's own table, read from `data.url`, and whether it has changed.

A path, `s3://`, `https://` or any other fsspec URL; a file, a folder of parts, or a
pattern (`sales/*.parquet`). No message holds a password or a token.
"""

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import glob_translate
from upath import UPath

from experiment_pipeline import errors
from experiment_pipeline.intake import csv_text
from experiment_pipeline.intake.contents import (
    CHUNK_BYTES,
    PARQUET_MAGIC,
    Content,
    open_contents,
)
from experiment_pipeline.spec import Data
from experiment_pipeline.storage import files
from experiment_pipeline.storage.tables import WHOLE_BYTES
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.table import mapped_file

COMPRESSED = r"(\.(gz|bz2|xz|zip|zst))?$"
TABLES = {
    "Parquet": re.compile(r"\.(parquet|parq|pq)" + COMPRESSED, re.IGNORECASE),
    "CSV": re.compile(r"\.(csv|tsv)" + COMPRESSED, re.IGNORECASE),
}
PATTERN = re.compile(r"[*?\[]")
# What changes when a file changes, under the names that file systems use.
STATE_KEYS = [
    *(
        "size",
        "mtime",
        "ETag",
        "etag",
        "LastModified",
        "Last-Modified",
        "updated",
        "md5Hash",
    )
]
# Bytes in memory per byte of a Parquet file, and of compressed text.
_FROM_PARQUET, _FROM_PACKED = 3, 4
# As much of a file as its columns are read from.
HEAD_BYTES = csv_text.SAMPLE_CHARACTERS


class _Part(NamedTuple):
    """One file of the table; `name` is relative to the folder that was asked for."""

    name: str
    path: UPath
    info: Mapping[str, Any]


def delivered_bytes(parts: Sequence[tuple[str, Content]]) -> int:
    """Return about how many bytes the table of these files takes in memory."""
    size, name = sum(len(content) for _, content in parts), parts[0][0].lower()
    if name.endswith((".parquet", ".parq", ".pq")):
        return _FROM_PARQUET * size
    return (1 if name.endswith((".csv", ".tsv")) else _FROM_PACKED) * size


def read_source(data: Data) -> list[tuple[str, Content]]:
    """Fetch every file of the table: (name, content) by name; large ones are mapped
    below TMPDIR.

    UnreadableTable: no such file, or no table; StorageUnreachable: no permission, no
    answer, no room.
    """
    parts = _parts(data)
    # A server may not know the size.
    if sum(int(part.info.get("size") or 0) for part in parts) > WHOLE_BYTES:
        return _read_mapped(parts)
    if len(parts) == 1:
        return [(parts[0].name, files.read_bytes(parts[0].path))]
    contents = files.read_many(part.path for part in parts)
    for part in parts:
        if part.path not in contents:
            raise _unreadable(
                data, f"{part.name} went away while it was read", "Run again."
            )
    return [(part.name, contents[part.path]) for part in parts]


def _read_mapped(parts: Sequence[_Part]) -> list[tuple[str, Content]]:
    """Return (name, content) of each file, all on one map."""
    ends = [0]

    def write(file: BinaryIO) -> None:
        for part in parts:
            source = files.open_file(part.path)
            while True:
                with files.explained(part.path):
                    chunk = source.read(CHUNK_BYTES)
                if not chunk:
                    break
                file.write(chunk)
            ends.append(file.tell())

    content = mapped_file(write)
    spans = [slice(start, end) for start, end in pairwise(ends)]
    return [(part.name, content[span]) for part, span in zip(parts, spans, strict=True)]


def read_again(data: Data, urls: Iterable[str]) -> list[str]:
    """Return those URLs that a table is, or would be, read from now, also through links
    and patterns.
    """
    source = files.location(
        data.url, endpoint_url=data.endpoint_url, anonymous=data.anonymous
    )
    read, found = {files.resolved(part.path) for part in _parts(data)}, []
    pattern, folder = source.path, f"{files.resolved(source).rstrip('/')}/"
    if files.on_disk(source) is not None and (first := PATTERN.search(pattern)):
        base = pattern[: first.start()].rpartition("/")[0]
        whole = glob.escape(files.resolved(files.location(base or "/")))
        pattern = f"{whole}{pattern[len(base) :]}"
    for url in urls:
        place = files.resolved(files.location(url))
        matches = PATTERN.search(source.path) and re.match(
            glob_translate(pattern), place
        )
        if place in read or place.startswith(folder) or matches:
            found.append(url)
    return found


def fingerprint_source(data: Data) -> str:
    """sha256 (hex) of the names, sizes and times (or ETags) of the table's files, else
    of contents.
    """
    lines = []
    for part in _parts(data):
        state = {
            key: str(part.info[key])
            for key in STATE_KEYS
            if part.info.get(key) is not None
        }
        if state.keys() <= {"size"}:
            state["sha256"] = sha256(files.read_bytes(part.path))
        lines.append(f"{part.name!r} {sorted(state.items())}\n")
    return sha256("".join(lines).encode())


def modified_at(data: Data) -> datetime | None:
    """When the newest file of the table changed; None if a file system does
    not know.
    """
    stamps = [
        part.info.get("mtime") or part.info.get("LastModified") for part in _parts(data)
    ]
    times: list[Any] = [
        datetime.fromtimestamp(t, UTC) if isinstance(t, float) else t for t in stamps
    ]
    return max(times) if all(times) else None


def peek_columns(data: Data) -> list[str] | None:
    """Return the columns from the start of one local file; None if the whole table must
    be read.
    """
    if "://" in data.url and not data.url.lower().startswith("file://"):
        return None
    with suppress(
        OSError, errors.UnreadableTable, errors.InvalidExperiment, pa.ArrowException
    ):
        if (
            path := files.on_disk(files.location(data.url))
        ) is None or not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(PARQUET_MAGIC):
            return list(pq.read_schema(path).names)
        found = open_contents(path.name, head[: head.rfind(b"\n") + 1], data.format)
        if found.format == "csv" and found.compression is None:
            text = csv_text.read(found.name, found.content, data)
            if data.encoding is not None or text.encoding in ("utf-8", "utf-8-sig"):
                return text.names
    return None


def _parts(data: Data) -> list[_Part]:
    source = files.location(
        data.url, endpoint_url=data.endpoint_url, anonymous=data.anonymous
    )
    try:
        with files.explained(source):
            source.fs  # noqa: B018 - the first use imports the package behind the protocol
    except ImportError as error:
        rule = f"this protocol needs a package: {error}"
        fix = "Install it, then run again."
        raise errors.StorageUnreachable(data.shown_url, rule, fix) from error
    with files.explained(source):
        info = _info(source)
        if info and info["type"] == "directory":
            return _in_folder(data, source)
        if info and info["type"] != "file":
            raise _unreadable(data, "is a device or a pipe", "Name a file or a folder.")
        if info:
            # Of an HTTP URL without its query, which may be a token.
            path = urlsplit(data.url).path if _is_http(data.url) else data.url
            return [_Part(PurePosixPath(path).name or "table", source, info)]
        if PATTERN.search(data.url) and not _is_http(data.url):
            return _matching(data, source)
        if _is_http(data.url):
            fix = "Open it in a browser and correct it."
            raise _unreadable(data, "does not exist (HTTP 404)", fix)
        siblings = files.list_names(source.parent)
        there = f"its folder holds {errors.listed(siblings)}."
        hint = errors.did_you_mean(source.name, siblings, most=3, otherwise=there)
        relative = "://" not in data.url and not data.url.startswith(("/", "~"))
        looked = f", looked for in {Path.cwd()}" if relative else ""
        raise _unreadable(data, f"no such file{looked}", f"Correct the path: {hint}")


def _info(source: UPath) -> Mapping[str, Any] | None:
    """What the file system knows about the path; None when nothing is there."""
    try:
        return source.fs.info(source.path)
    except FileNotFoundError as error:
        # fsspec's HTTP reports every failure as a missing file; the cause tells what it
        # was.
        cause = error.__cause__
        if cause and _is_http(str(source)) and getattr(cause, "status", None) != 404:
            raise cause from None
        return None
    except NotADirectoryError:
        return None


def _in_folder(data: Data, folder: UPath) -> list[_Part]:
    found = _below(folder, folder.fs.find(folder.path, detail=True))
    kinds = {
        kind: [part for part in found if pattern.search(part.name)]
        for kind, pattern in TABLES.items()
    }
    kinds = {kind: parts for kind, parts in kinds.items() if parts}
    if len(kinds) == 1:
        return next(iter(kinds.values()))
    if not kinds:
        names = errors.listed([part.name for part in found])
        rule = f"is a folder without .parquet or .csv files; it holds {names}"
        raise _unreadable(
            data, rule, "Name a file, or a folder of the parts of one table."
        )
    counts = " and ".join(f"{len(parts)} {kind}" for kind, parts in kinds.items())
    fix = "Choose by a pattern, such as folder/*.parquet."
    raise _unreadable(data, f"is a folder of {counts} files", fix)


def _matching(data: Data, source: UPath) -> list[_Part]:
    steps = data.url.split("/")
    first = next(i for i, step in enumerate(steps) if PATTERN.search(step))
    base = source.parents[len(steps) - first - 1]
    if not (found := _below(base, source.fs.glob(source.path, detail=True))):
        fix = f"Correct the pattern: its folder holds {errors.listed(files.list_names(base))}."
        raise _unreadable(data, "no file matches the pattern", fix)
    return found


def _below(folder: UPath, infos: Mapping[str, Mapping[str, Any]]) -> list[_Part]:
    """The files, by name relative to the folder, without hidden ones and those like
    _SUCCESS.
    """
    start = folder.path.rstrip("/") + "/"
    names = {path.removeprefix(start): info for path, info in infos.items()}
    return [
        _Part(name, folder / name, info)
        for name, info in sorted(names.items())
        if info["type"] == "file"
        if not any(part[0] in "._" for part in name.split("/") if part)
    ]


def _unreadable(data: Data, rule: str, fix: str) -> errors.UnreadableTable:
    return errors.UnreadableTable(data.shown_url, rule, fix)


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))
