"""How large a table is, guessed from the beginning of its first file, before it is read.

In: files as delivered. Out: a `Size`, for the estimate of memory in `stages/foreseen.py`.
"""

import lzma
import zlib
from collections.abc import Sequence
from contextlib import suppress

from experiment_pipeline.spec import Data
from experiment_pipeline.stages.memory_estimate import Size
from experiment_pipeline.stages.raw_data.contents import (
    PARQUET_MAGIC,
    STREAMS,
    UNPACKERS,
    Contents,
    Delivered,
)
from experiment_pipeline.stages.raw_data.csv_text import HEAD_BYTES, csv_columns, unpacked
from experiment_pipeline.stages.raw_data.parquet import ParquetFile

# Bytes of text of a byte of a packed file: fewer than of most, so that no need is exaggerated.
_UNPACKED = 3
# The widest column has so many times the cells of a middling one.
_WIDEST = 2
# The place of a text in its column.
_OFFSET = 8


def size_of(parts: Sequence[tuple[str, bytes | Delivered]], data: Data) -> Size:
    """Guess the size of a table in memory.

    Args:
        parts: (name, content) of each file, at least one.
        data: how to read them.

    Raises:
        UnreadableTable: the first file is a Parquet file that is truncated or damaged.
    """
    (name, first), *_ = parts
    size, head = sum(_bytes(content) for _, content in parts), _head(first)
    if head.startswith(PARQUET_MAGIC):
        file = ParquetFile(Contents(name, first, "parquet", None))
        cells = file.cell_bytes
        rows = file.rows * size / _bytes(first)
        return Size(round(rows), sum(cells), max(cells, default=0.0))
    packed = next((kind for magic, kind, _ in UNPACKERS if head.startswith(magic)), None)
    text = head
    with suppress(EOFError, OSError, zlib.error, lzma.LZMAError):
        text = unpacked(head)
    columns = len(csv_columns(name, head, data) or [name])
    line = max(len(text), 1) / max(text.count(b"\n"), 1)
    row = line + _OFFSET * columns
    rows = size * (_UNPACKED if packed else 1) / line
    by_rows = packed is not None and packed not in STREAMS
    return Size(round(rows), row, min(row, _WIDEST * row / columns), by_rows)


def _bytes(content: bytes | Delivered) -> int:
    return len(content) if isinstance(content, bytes) else content.size


def _head(content: bytes | Delivered) -> bytes:
    if isinstance(content, bytes):
        return content[:HEAD_BYTES]
    with content.open() as file:
        return file.read(HEAD_BYTES)
