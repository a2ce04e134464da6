"""The names of a table's columns, from the beginning of its file alone.

For looks that must cost nothing: where the beginning does not tell, nothing is said, and
reading the whole file will. In: the first bytes of a file. Out: names, or None.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable
from experiment_pipeline.stages.raw_data import csv_text
from experiment_pipeline.stages.raw_data.contents import open_contents
from experiment_pipeline.stages.raw_data.encodings import MARKS

# As much of the unpacked file as the delimiter is found by.
HEAD_BYTES = csv_text.SAMPLE_CHARACTERS

# First bytes → a decompressor that can be stopped early.
_UNPACKERS: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
)


def csv_columns(name: str, head: bytes, data: spec.Data) -> list[str] | None:
    """Return the names in the header of a CSV file.

    Args:
        name: of the file.
        head: its first HEAD_BYTES bytes, packed or not; all of it where it is shorter.
        data: how to read it.

    Returns:
        The names; None where the beginning does not tell: another format or compression, bytes
        in an encoding that would have to be guessed, a beginning that is no table.
    """
    try:
        text = _whole_lines(_unpacked(head))
        if data.encoding is None and not _tells_its_encoding(text):
            return None
        if open_contents(name, text, data.format).format != "csv":
            return None
        return list(csv_text.read(name, text, data).table.column_names)
    except (UnreadableTable, InvalidExperiment, EOFError, OSError, zlib.error, lzma.LZMAError):
        return None


def _unpacked(head: bytes) -> bytes:
    for magic, unpacker in _UNPACKERS:
        if head.startswith(magic):
            unpacked: bytes = unpacker().decompress(head, HEAD_BYTES)
            return unpacked
    return head


def _whole_lines(text: bytes) -> bytes:
    return text if len(text) < HEAD_BYTES else text[: text.rfind(b"\n") + 1]


def _tells_its_encoding(text: bytes) -> bool:
    """Whether it need not be guessed; a guess goes by the whole file."""
    if any(text.startswith(mark) for mark, _ in MARKS):
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
