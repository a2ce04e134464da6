"""CSV bytes → Arrow batches whose columns are all text: encoding, delimiter, header,
shape.

A byte order mark decides the encoding, else valid UTF-8 is UTF-8, else a Latin script
is cp1252; the first line that is neither is an error. Where Arrow gives up, Python's
csv module finds the line that is wrong.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv as arrow_csv

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.intake.contents import (
    FIX_DELIVER,
    Content,
    distinct_names,
)
from experiment_pipeline.reporting import numbers

if TYPE_CHECKING:
    import _csv

# UTF-32 before UTF-16: its mark begins with the same two bytes.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
USUAL = "cp1252"  # of a file that is not UTF-8, in a Latin script
# Share of runs beyond ASCII that are one byte long in such a file.
LONE = 0.8
CHUNK_BYTES = 4 * 1024 * 1024
GUESS_BYTES = 65_536
FIX_ENCODING = "name it in data.encoding, such as cp1252, or save the file as UTF-8"
# Commas come last: if two delimiters fit equally well, the comma is a decimal comma.
DELIMITERS = ("\t", ";", "|", ",")
SAMPLE_CHARACTERS = 262_144
SAMPLE_ROWS = 200
OPEN_QUOTE_SIGNS = ("unexpected end of data", "field larger than field limit")
BLOCK_BYTES = 16 * 1024 * 1024  # a row must fit into one block
NUMBER = r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*"


@dataclass(frozen=True)
class CsvText:
    """One CSV file; `content` is all of it in UTF-8, `encoding` as it was delivered."""

    name: str
    content: Content
    names: list[str]
    delimiter: str
    encoding: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        width = f"{len(self.names)} columns separated by {self.delimiter!r}"
        return f"<CsvText of {self.name}: {width}, {self.encoding}>"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield rows of text (large_string).

        Raises UnreadableTable: ragged, or a quotation mark is never closed.
        """
        self._refuse_open_quote()
        # Numbers as names: the header is read as a row and cut off, so that no name can
        # confuse Arrow.
        places = [str(place) for place in range(len(self.names))]
        header_rows = 1
        try:
            for batch in arrow_csv.open_csv(
                pa.BufferReader(self.content),
                arrow_csv.ReadOptions(column_names=places, block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True
                ),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.large_string()),
                    strings_can_be_null=False,
                ),
            ):
                columns = batch.slice(header_rows).columns
                yield pa.RecordBatch.from_arrays(columns, names=self.names)
                header_rows = max(0, header_rows - batch.num_rows)
        except pa.ArrowInvalid as error:
            raise UnreadableTable(
                self.name,
                rule=self._ragged() or f"cannot be read as CSV: {error}",
                fix="correct the file, quote values that hold the delimiter, or give "
                "data.delimiter",
            ) from None

    def _ragged(self) -> str | None:
        """The first line with more or fewer fields than the header, in words."""
        width = len(self.names)
        with suppress(csv.Error):  # it gives up, too: Arrow's own message must do
            for line, fields in _records(self.content, self.delimiter):
                if len(fields) != width:
                    count = numbers.counted(len(fields), "field")
                    return (
                        f"line {line:,} has {count}, the header has {width} "
                        f"(delimiter {self.delimiter!r})"
                    )
        return None

    def _refuse_open_quote(self) -> None:
        # Arrow reads an open quote to the end of the file as one value and reports
        # nothing. An even number of quotes cannot end in an open one, unless values
        # hold single quotes (5" pipe).
        quotes = sum(chunk.count(b'"') for _, chunk in _chunks(self.content))
        if quotes % 2 == 0:
            return
        last_complete = 0
        try:
            for line, _ in _records(self.content, self.delimiter, strict=True):
                last_complete = line
        except csv.Error as error:
            if any(sign in str(error) for sign in OPEN_QUOTE_SIGNS):
                raise UnreadableTable(
                    self.name,
                    f"a quotation mark after line {last_complete:,} is never closed",
                    'close it, or write a quotation mark inside a value twice: ""',
                ) from None


def read(name: str, content: Content, data: spec.Data) -> CsvText:
    """Read one unpacked CSV file.

    Raises UnreadableTable: binary, or not in the encoding.
    """
    text, encoding, notes = _to_utf8(name, content, data.encoding)
    delimiter = data.delimiter or _most_likely_delimiter(text)
    if not delimiter.isascii() or delimiter in '"\r\n\0':
        raise InvalidExperiment(
            "data.delimiter",
            rule=f"{delimiter!r} cannot separate fields",
            fix=f"use one of {DELIMITERS}",
        )
    if not data.delimiter and delimiter != ",":
        notes.append(f"delimiter {delimiter!r} was found")
    header = _header(name, text, delimiter)
    # As pandas names a column without a name.
    delivered = [field or f"Unnamed: {place}" for place, field in enumerate(header)]
    names, renamed = distinct_names(delivered)
    notes += [*renamed, *_notes_of_header(header, delivered)]
    return CsvText(name, text, names, delimiter, encoding, tuple(notes))


def _notes_of_header(header: list[str], delivered: list[str]) -> Iterator[str]:
    unnamed = [column for column in delivered if column not in header]
    if unnamed:
        yield (
            f"{numbers.counted(len(unnamed), 'column')} without a name in the header, "
            f"now called {listed(unnamed)}"
        )
    if all(re.fullmatch(NUMBER, field) for field in header):
        yield "all column names are numbers: does the first line hold names at all?"


def _header(name: str, text: Content, delimiter: str) -> list[str]:
    try:
        for _, fields in _records(text, delimiter):
            return fields
    except csv.Error as error:
        raise UnreadableTable(
            name,
            rule=f"the header cannot be read as CSV: {error}",
            fix="correct the first line",
        ) from None
    raise UnreadableTable(name, "it only holds blank lines", FIX_DELIVER)


def _most_likely_delimiter(content: Content) -> str:
    """The delimiter by which most lines have as many fields as the header.

    Of several, the one that makes the most fields.
    """
    sample = str(content[:SAMPLE_CHARACTERS], "utf-8", errors="ignore")
    is_cut = len(content) > SAMPLE_CHARACTERS

    def fit(delimiter: str) -> tuple[float, int]:
        reader = _reader(io.StringIO(sample, newline=""), delimiter)
        rows = [row for row in itertools.islice(reader, SAMPLE_ROWS) if row]
        if is_cut and len(rows) > 1:
            del rows[-1]
        width = len(rows[0]) if rows else 0
        if width < 2:
            return 0, int(delimiter == ",")
        as_wide = sum(len(row) == width for row in rows)
        return as_wide / len(rows), width

    return max(DELIMITERS, key=fit)


def _records(
    content: Content, delimiter: str, *, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line of its start, from 1, fields) of each record that is not blank."""
    lines = io.TextIOWrapper(pa.BufferReader(content), encoding="utf-8", newline="")
    reader = _reader(lines, delimiter, strict=strict)
    start = 1
    for fields in reader:
        if fields:
            yield start, fields
        start = reader.line_num + 1


def _reader(
    lines: io.TextIOBase, delimiter: str, *, strict: bool = False
) -> "_csv.Reader":
    """Return a reader of cells as large as Arrow's; csv's own limit is 128 KiB."""
    # The limit holds for the whole process, so it is never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), BLOCK_BYTES))
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _chunks(content: Content) -> Iterator[tuple[int, bytes]]:
    """Yield (position, bytes) of parts of the content, of which one is copied."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield start, bytes(content[start : start + CHUNK_BYTES])


def _to_utf8(
    name: str, content: Content, declared: str | None
) -> tuple[Content, str, list[str]]:
    """Return an unpacked file as UTF-8 without a mark, its encoding, and notes."""
    encoding = declared or _marked(content)
    if encoding:
        return _transcoded(name, content, encoding), encoding, []
    _refuse_binary(name, content)
    bad = _first_bad_byte(content)
    if bad is None:
        return content, "utf-8", []
    # "gr\xfcn" is grün; in other scripts, and in UTF-8, runs are longer.
    runs = re.findall(rb"[\x80-\xff]+", content[: bad + GUESS_BYTES])
    if sum(len(run) == 1 for run in runs) < LONE * len(runs):
        line = len(re.findall(rb"\r\n|\r|\n", content[:bad])) + 1
        raise UnreadableTable(
            name,
            rule=f"line {line:,} is not UTF-8: byte 0x{content[bad]:02x} at the start "
            f"of {bytes(content[bad : bad + 10])!r}",
            fix="correct the line; where the whole file is of one code page, name it "
            "in data.encoding, such as cp1251, or convert the file: "
            "iconv -f cp1251 -t utf-8",
        )
    note = f"encoding {USUAL} was guessed; data.encoding would settle it"
    return _transcoded(name, content, USUAL), USUAL, [note]


def _marked(content: Content) -> str | None:
    """Return the encoding that a byte order mark names."""
    for mark, encoding in MARKS:
        if content[: len(mark)] == mark:
            return encoding
    return None


def _refuse_binary(name: str, content: Content) -> None:
    for start, chunk in _chunks(content):
        if b"\0" in chunk:
            raise UnreadableTable(
                name,
                rule=f"it is binary: a zero byte at {start + chunk.index(0):,}",
                fix="point data.url at a CSV or Parquet file; UTF-16 needs "
                "data.encoding: utf-16-le",
            )


def _transcoded(name: str, content: Content, encoding: str) -> bytes:
    try:
        return str(content, encoding).encode().removeprefix(codecs.BOM_UTF8)
    except LookupError:
        problem = f"data.encoding {encoding!r} is not an encoding that Python knows"
    except UnicodeError as error:
        problem = f"it is not {encoding}: {error}"
    raise UnreadableTable(name, problem, FIX_ENCODING)


def _first_bad_byte(content: Content) -> int | None:
    """Return the position of the first byte that is not UTF-8; None: all of it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start, chunk in _chunks(content):
        # A letter may have begun in the chunk before.
        begun = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=start + CHUNK_BYTES >= len(content))
        except UnicodeDecodeError as error:
            return start - begun + error.start
    return None
