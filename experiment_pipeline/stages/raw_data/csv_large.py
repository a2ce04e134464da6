"""A CSV file that is too large to be fetched whole: looked through once, then parsed in blocks.

For a plain case only: UTF-8, quotes in pairs, as many fields in each line as in the header. What is
otherwise is read whole (`csv_text.py`), which guesses encodings and says what is wrong in which
line. In: a file. Out: batches of text columns.
"""

import codecs
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from experiment_pipeline import spec
from experiment_pipeline.stages.raw_data import csv_text
from experiment_pipeline.stages.raw_data.contents import (
    CHUNK_BYTES,
    DAMAGES,
    MARKS,
    Contents,
    Utf8Text,
)

QUOTE = b'"'


@dataclass(frozen=True)
class LargeCsv:
    """What was found out about a file, and where it is."""

    file: Contents
    looks: csv_text.Looks

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Parse it: its columns as text, those that its folders name behind them.

        Raises:
            ArrowInvalid: it is no table; reading it whole says why.
        """
        with self.file.stream() as stream:
            for batch in csv_text.parsed(stream, self.looks):
                table = self.file.with_folder_keys(pa.Table.from_batches([batch]))
                yield from table.to_batches()


def look_through(file: Contents, data: spec.Data) -> LargeCsv | None:
    """Find out what a file says of itself; None: it has to be read whole.

    Raises:
        UnreadableTable: its beginning is no table.
    """
    if isinstance(file.content, bytes) or data.encoding not in (None, "utf-8"):
        return None
    decoder, quotes, head = codecs.getincrementaldecoder("utf-8")(), 0, b""
    with suppress(*DAMAGES), file.stream() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            head = head or _whole_lines(chunk)
            quotes += chunk.count(QUOTE)
            decoder.decode(chunk)
            if b"\0" in chunk:
                return None
        decoder.decode(b"", final=True)
        return _looks(file, head, quotes, data)
    return None


def _looks(file: Contents, head: bytes, quotes: int, data: spec.Data) -> LargeCsv | None:
    if quotes % 2 or not head or any(head.startswith(mark) for mark, _ in MARKS):
        return None
    return LargeCsv(file, csv_text.looks_of(file.name, Utf8Text(head, "utf-8"), data))


def _whole_lines(chunk: bytes) -> bytes:
    return chunk if len(chunk) < CHUNK_BYTES else chunk[: chunk.rfind(b"\n") + 1]
