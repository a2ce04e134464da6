"""What a delivered file is, by its bytes and never by its name."""

import lzma
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, BinaryIO
from urllib.parse import unquote

import pyarrow as pa

from experiment_pipeline.errors import UnreadableTable, listed
from experiment_pipeline.storage.processes import free_memory
from experiment_pipeline.table.table import HELD_BYTES, mapped_file

PARQUET_MAGIC = b"PAR1"
LOOK = 65_536  # bytes; enough to see what a file is, without copying all of it
FIX_DELIVER = "point data.url at a CSV or Parquet file"
FIX_DOWNLOAD = "download or write the file again"
HTML_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")
# First bytes → what it is, what to do.
OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0": (
        "an old Office document, perhaps Excel",
        "save the sheet as CSV",
    ),
    b"ARROW1": ("an Arrow (Feather) file", "write it as Parquet"),
    b"version https://git-lfs": (
        "a Git LFS pointer, not the file itself",
        "run git lfs pull",
    ),
}
# First bytes → compression.
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# What the libraries raise about damaged streams, and about a password.
_DAMAGES = (
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
# Unpacked bytes per packed byte; more are suspicious.
_MOST_PACKED = 100
CHUNK_BYTES = 16 * 1024 * 1024

# The bytes of a file, in memory or on a map.
Content = bytes | memoryview


@dataclass(frozen=True)
class Contents:
    """One file as delivered, packed or not; `name` is relative to the folder read."""

    name: str
    content: Content
    format: str
    compression: str | None

    def __repr__(self) -> str:
        packed = f", {self.compression}" if self.compression else ""
        size = f"{len(self.content):,} bytes"
        return f"<Contents of {self.name}: {size}, {self.format}{packed}>"

    def unpacked(self) -> Content:
        """Return all of it, on a map if it is large; UnreadableTable: it is damaged."""
        if self.compression is None:
            return self.content
        with self._damage_reported():
            stream = self._stream()
            start = stream.read(HELD_BYTES + 1)
            if len(start) <= HELD_BYTES:
                return start

            def write(file: BinaryIO) -> None:
                chunk = start
                while chunk:
                    file.write(chunk)
                    self._refuse_beyond(file.tell())
                    chunk = stream.read(CHUNK_BYTES)

            return mapped_file(write)

    def start(self, size: int) -> bytes:
        """Return so many bytes of the unpacked file; errors as of `unpacked`."""
        if self.compression is None:
            return bytes(self.content[:size])
        with self._damage_reported():
            return self._stream().read(size)

    def _stream(self) -> Any:
        packed: Any = pa.BufferReader(self.content)
        if self.compression == "xz":
            return lzma.LZMAFile(packed)
        if self.compression != "zip":
            return pa.CompressedInputStream(packed, self.compression)
        archive = zipfile.ZipFile(packed)
        names = archive.namelist()
        if "[Content_Types].xml" in names:
            raise UnreadableTable(
                self.name, rule="it is an Office document", fix="save the sheet as CSV"
            )
        tables = [name for name in names if not _is_hidden(name)]
        if len(tables) != 1:
            raise UnreadableTable(
                self.name,
                rule=f"the archive holds {len(tables)} files: {listed(tables)}",
                fix="zip one table",
            )
        self._refuse_beyond(archive.getinfo(tables[0]).file_size)
        return archive.open(tables[0])

    def _refuse_beyond(self, size: int) -> None:
        """Refuse so many unpacked bytes if they are suspicious and do not fit."""
        if size <= _MOST_PACKED * len(self.content):
            return
        free = free_memory()
        if size > free.size:
            raise UnreadableTable(
                self.name,
                rule=f"its {len(self.content):,} bytes unpack to {size:,} or more: "
                f"over {_MOST_PACKED} times as large, and beyond {free.limited_by} "
                f"({free.size:,} bytes are free)",
                fix="unpack it yourself if you trust it: a file that is not packed is "
                "read in parts",
            )

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGES as error:
            raise UnreadableTable(
                self.name,
                rule=f"its {self.compression} stream is truncated, damaged or "
                f"encrypted: {error}",
                fix=FIX_DOWNLOAD,
            ) from None

    @property
    def folder_keys(self) -> dict[str, str | None]:
        """Column → value of the folders of a partition: `year=2013/0.parquet`."""
        keys = {}
        for folder in self.name.split("/")[:-1]:
            key, equals, value = folder.partition("=")
            if key and equals:
                missing = value == "__HIVE_DEFAULT_PARTITION__"
                keys[key] = None if missing else unquote(value)
        return keys

    def with_folder_keys(self, table: pa.Table) -> pa.Table:
        """Add the folders' values to the table, as further columns of text."""
        for key, value in self.folder_keys.items():
            if key in table.column_names:
                raise UnreadableTable(
                    self.name,
                    rule=f"the folder's name and the file both have a column {key!r}",
                    fix="rename one of the two",
                )
            column = pa.repeat(pa.scalar(value, pa.large_string()), table.num_rows)
            table = table.append_column(key, column)
        return table


def _is_hidden(member: str) -> bool:
    """Whether a member of an archive is a folder, or hidden from who packed it."""
    return (
        member.endswith("/") or member.startswith("__MACOSX/") or "/." in f"/{member}"
    )


def open_contents(name: str, content: Content, declared: str | None) -> Contents:
    """Detect compression and format of a file.

    Raises UnreadableTable: it is not a table, or not as declared.
    """
    compression = None
    for magic, packed_by in MAGIC.items():
        if content[: len(magic)] == magic:
            compression = packed_by
    file = Contents(name, content, "csv", compression)
    start = file.start(LOOK)
    if not start.strip():
        raise UnreadableTable(
            name, rule="it is empty, or begins with nothing but blanks", fix=FIX_DELIVER
        )
    for magic, (kind, advice) in OTHER_KINDS.items():
        if start.startswith(magic):
            raise UnreadableTable(name, f"it is {kind}", advice)
    text = start[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(HTML_STARTS):
        raise UnreadableTable(
            name,
            rule="it is an HTML or XML page, not a table",
            fix="open the URL in a browser: it may be a log-in or preview page; use "
            "the raw file's URL",
        )
    if start.startswith(PARQUET_MAGIC):
        file = replace(file, format="parquet")
    if declared and declared != file.format:
        raise UnreadableTable(
            name,
            rule=f"data.format says {declared}, but the file's first bytes say "
            f"{file.format}",
            fix="correct data.format, or drop it",
        )
    return file


def distinct_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return names of columns as pandas makes them distinct, and what was renamed.

    Of two columns `a` the second becomes `a.1`; what was renamed is a sentence for each
    such name.
    """
    taken = {*names}
    delivered: dict[str, str] = {}  # by the distinct name
    for name in names:
        new = name
        if name in delivered:
            numbered = (f"{name}.{number}" for number in count(1))
            new = next(each for each in numbered if each not in taken)
            taken.add(new)
        delivered[new] = name
    called = defaultdict(list)
    for new, name in delivered.items():
        called[name].append(new)
    renamed = [
        f"{len(new)} columns are named {name}, and now called {listed(new)}"
        for name, new in called.items()
        if len(new) > 1
    ]
    return [*delivered], renamed
