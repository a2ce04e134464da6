"""The user's own table, read from `data.url`, and whether it has changed.

A path, `s3://`, `https://` or any other fsspec URL; a file, a folder of parts, or a
pattern (`sales/*.parquet`). No message holds a password or a token.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from experiment_pipeline.errors import (
    InvalidExperiment,
    StorageUnreachable,
    UnreadableTable,
    did_you_mean,
    listed,
)
from experiment_pipeline.intake import csv_text
from experiment_pipeline.intake.contents import (
    CHUNK_BYTES,
    PARQUET_MAGIC,
    Content,
    distinct_names,
    open_contents,
)
from experiment_pipeline.spec import Data
from experiment_pipeline.storage import files
from experiment_pipeline.storage.tables import WHOLE_BYTES
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.table import mapped_file

_COMPRESSED = r"(\.(gz|bz2|xz|zip|zst))?$"
TABLES = {
    "Parquet": re.compile(r"\.(parquet|parq|pq)" + _COMPRESSED, re.IGNORECASE),
    "CSV": re.compile(r"\.(csv|tsv)" + _COMPRESSED, re.IGNORECASE),
}
PATTERN = re.compile(r"[*?\[]")
# What changes when a file changes, under the names that file systems use.
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
# Bytes in memory per byte of a Parquet file, and of compressed text.
_FROM_PARQUET, _FROM_PACKED = 3, 4
# As much of a file as its columns are read from.
HEAD_BYTES = csv_text.SAMPLE_CHARACTERS


class _Part(NamedTuple):
    """One file of the table; `name` is relative to the folder of the table."""

    name: str
    path: UPath
    info: Mapping[str, Any]


def delivered_bytes(parts: Sequence[tuple[str, Content]]) -> int:
    """Return about how many bytes the table of these files takes in memory."""
    size = sum(len(content) for _, content in parts)
    name = parts[0][0].lower()
    if name.endswith((".parquet", ".parq", ".pq")):
        return _FROM_PARQUET * size
    return size if name.endswith((".csv", ".tsv")) else _FROM_PACKED * size


def read_source(data: Data) -> list[tuple[str, Content]]:
    """Fetch the files of the table, (name, content) by name; large ones are on a map.

    Raises UnreadableTable: no such file, or no table; StorageUnreachable: no
    permission, no answer, no room.
    """
    parts = _parts(data)
    size = sum(int(part.info.get("size") or 0) for part in parts)
    if size > WHOLE_BYTES:
        return _read_mapped(parts)
    if len(parts) == 1:
        return [(parts[0].name, files.read_bytes(parts[0].path))]
    contents = files.read_many(part.path for part in parts)
    for part in parts:
        if part.path not in contents:
            raise UnreadableTable(
                data.shown_url,
                rule=f"{part.name} went away while it was read",
                fix="Run again.",
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
    """Return the URLs that the table is read from, or would be if they existed.

    Links are followed, and a pattern is compared with each URL.
    """
    source = files.resolved(_located(data))
    read = {files.resolved(part.path) for part in _parts(data)}
    folder = f"{source.rstrip('/')}/"
    places = {url: files.resolved(files.location(url)) for url in urls}
    return [
        url
        for url, place in places.items()
        if place in read or place.startswith(folder) or fnmatchcase(place, source)
    ]


def fingerprint_source(data: Data) -> str:
    """Return the sha256 (hex) of the names, sizes and times (or ETags) of the files.

    Where a file system knows neither times nor ETags, the contents count.
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
    """Return when the newest file changed; None: a file system does not know."""
    times: list[datetime] = []
    for part in _parts(data):
        changed = part.info.get("mtime") or part.info.get("LastModified")
        if not changed:
            return None
        if isinstance(changed, float):
            changed = datetime.fromtimestamp(changed, UTC)
        times.append(changed)
    return max(times)


def peek_columns(data: Data) -> list[str] | None:
    """Return the columns from the start of one local file.

    None: it is no such file, or its start does not suffice.
    """
    if "://" in data.url and not data.url.lower().startswith("file://"):
        return None
    with suppress(OSError, UnreadableTable, InvalidExperiment, pa.ArrowException):
        path = files.on_disk(files.location(data.url))
        if path is None or not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(PARQUET_MAGIC):
            return distinct_names(pq.read_schema(path).names)[0]
        whole_lines = head[: head.rfind(b"\n") + 1]
        contents = open_contents(path.name, whole_lines, data.format)
        if contents.format == "csv" and contents.compression is None:
            text = csv_text.read(contents.name, contents.content, data)
            if data.encoding is not None or text.encoding in ("utf-8", "utf-8-sig"):
                return text.names
    return None


def _located(data: Data) -> UPath:
    return files.location(
        data.url, endpoint_url=data.endpoint_url, anonymous=data.anonymous
    )


def _parts(data: Data) -> list[_Part]:
    source = _located(data)
    try:
        with files.explained(source):
            source.fs  # noqa: B018 - the first use imports the package of the protocol
    except ImportError as error:
        raise StorageUnreachable(
            data.shown_url,
            rule=f"this protocol needs a package: {error}",
            fix="Install it, then run again.",
        ) from error
    with files.explained(source):
        info = _info(source)
        if info is None:
            if PATTERN.search(data.url) and not _is_http(data.url):
                return _matching(data, source)
            raise _no_such_file(data, source)
        if info["type"] == "directory":
            return _in_folder(data, source)
        if info["type"] != "file":
            raise UnreadableTable(
                data.shown_url,
                rule="is a device or a pipe",
                fix="Name a file or a folder.",
            )
        # Of an HTTP URL without its query, which may be a token.
        path = urlsplit(data.url).path if _is_http(data.url) else data.url
        return [_Part(PurePosixPath(path).name or "table", source, info)]


def _no_such_file(data: Data, source: UPath) -> UnreadableTable:
    if _is_http(data.url):
        return UnreadableTable(
            data.shown_url,
            rule="does not exist (HTTP 404)",
            fix="Open it in a browser and correct it.",
        )
    siblings = files.list_names(source.parent)
    content = f"its folder holds {listed(siblings)}."
    hint = did_you_mean(source.name, siblings, most=3, otherwise=content)
    is_relative = "://" not in data.url and not data.url.startswith(("/", "~"))
    looked_in = f", looked for in {Path.cwd()}" if is_relative else ""
    return UnreadableTable(
        data.shown_url, rule=f"no such file{looked_in}", fix=f"Correct the path: {hint}"
    )


def _info(source: UPath) -> Mapping[str, Any] | None:
    """Return what the file system says of the path; None when nothing is there."""
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
    delivered = _below(folder, folder.fs.find(folder.path, detail=True))
    tables: dict[str, list[_Part]] = {}
    for kind, pattern in TABLES.items():
        if parts := [part for part in delivered if pattern.search(part.name)]:
            tables[kind] = parts
    if len(tables) == 1:
        [parts] = tables.values()
        return parts
    if not tables:
        names = listed(part.name for part in delivered)
        raise UnreadableTable(
            data.shown_url,
            rule=f"is a folder without .parquet or .csv files; it holds {names}",
            fix="Name a file, or a folder of the parts of one table.",
        )
    counts = " and ".join(f"{len(parts)} {kind}" for kind, parts in tables.items())
    raise UnreadableTable(
        data.shown_url,
        rule=f"is a folder of {counts} files",
        fix="Choose by a pattern, such as folder/*.parquet.",
    )


def _matching(data: Data, source: UPath) -> list[_Part]:
    steps = data.url.split("/")
    wildcards = [place for place, step in enumerate(steps) if PATTERN.search(step)]
    base = source.parents[len(steps) - wildcards[0] - 1]
    parts = _below(base, source.fs.glob(source.path, detail=True))
    if not parts:
        names = listed(files.list_names(base))
        raise UnreadableTable(
            data.shown_url,
            rule="no file matches the pattern",
            fix=f"Correct the pattern: its folder holds {names}.",
        )
    return parts


def _below(folder: UPath, infos: Mapping[str, Mapping[str, Any]]) -> list[_Part]:
    """Return the files by relative name, without hidden ones and _SUCCESS."""
    start = folder.path.rstrip("/") + "/"
    parts = []
    for path, info in infos.items():
        name = path.removeprefix(start)
        is_marker = any(step.startswith((".", "_")) for step in name.split("/"))
        if info["type"] == "file" and not is_marker:
            parts.append(_Part(name, folder / name, info))
    return sorted(parts, key=lambda part: part.name)


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))
