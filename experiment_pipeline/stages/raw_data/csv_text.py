"""CSV bytes → Arrow batches whose columns are all text: encoding, delimiter, shape.

Which texts are numbers, or missing, is decided in `columns.py`, when all parts are together.
Arrow parses, fast and exact about the number of fields; where it gives up, Python's csv module finds
the line that is wrong. Also here: the header's names from the beginning of a file alone.
"""

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv as arrow_csv

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.raw_data.contents import (
    FIX_DELIVER,
    MARKS,
    Content,
    chunks,
    first_bad_byte,
    open_contents,
    refuse_duplicates,
    to_utf8,
)

if TYPE_CHECKING:
    import _csv

# Commas come last: where two delimiters fit equally well, the comma is the decimal one.
DELIMITERS = ("\t", ";", "|", ",")
SAMPLE_CHARACTERS = 262_144
SAMPLE_ROWS = 200
OPEN_QUOTE_SIGNS = ("unexpected end of data", "field larger than field limit")
BLOCK_BYTES = 16 * 1024 * 1024  # a row must fit into one block


@dataclass(frozen=True)
class CsvText:
    """One CSV file.

    Attributes:
        name: of the file.
        content: all of it, in UTF-8.
        names: of its columns.
        delimiter: between its fields.
        encoding: in which it was delivered.
        notes: what was found out.
    """

    name: str
    content: Content
    names: list[str]
    delimiter: str
    encoding: str
    notes: tuple[str, ...]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give the rows: columns of text (large_string), with nothing missing yet.

        Raises:
            UnreadableTable: ragged, or a quotation mark is never closed.
        """
        _refuse_open_quote(self.name, self.content, self.delimiter)
        # Numbers for names: the header is read as a row and cut off, so that no name can mislead.
        numbers = [str(position) for position in range(len(self.names))]
        skipped = 1
        try:
            for batch in arrow_csv.open_csv(
                pa.BufferReader(self.content),
                arrow_csv.ReadOptions(column_names=numbers, block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(numbers, pa.large_string()),
                    strings_can_be_null=False,
                ),
            ):
                columns = batch.slice(skipped).columns
                yield pa.RecordBatch.from_arrays(columns, names=self.names)
                skipped = max(0, skipped - batch.num_rows)
        except pa.ArrowInvalid as error:
            _refuse_ragged(self.name, self.content, self.delimiter)
            raise UnreadableTable(
                self.name,
                f"cannot be read as CSV: {error}",
                "correct the file, or write it as Parquet",
            ) from None


def read(name: str, content: Content, data: spec.Data) -> CsvText:
    """Read one unpacked CSV file; what `data` does not say of it is found out.

    Raises:
        UnreadableTable: binary, not in the encoding, a name twice.
    """
    text = to_utf8(name, content, data.encoding)
    delimiter = data.delimiter or _find_delimiter(text.content)
    _refuse_odd(delimiter)
    header = _header(name, text.content, delimiter)
    names, unnamed = _named(header)
    refuse_duplicates(name, names)
    notes = [*text.notes]
    if not data.delimiter and delimiter != ",":
        notes.append(f"delimiter {delimiter!r} was found")
    if unnamed:
        notes.append(
            f"{numbers.counted(len(unnamed), 'column')} without a name in the header, "
            f"now called {listed(unnamed)}"
        )
    if all(_is_number(field) for field in header):
        notes.append("all column names are numbers: does the first line hold names at all?")
    return CsvText(name, text.content, names, delimiter, text.encoding, tuple(notes))


def _find_delimiter(content: Content) -> str:
    """The delimiter by which most lines have as many fields as the header, then the most fields."""
    sample = str(content[:SAMPLE_CHARACTERS], "utf-8", errors="ignore")
    complete = len(content) <= SAMPLE_CHARACTERS
    return max(DELIMITERS, key=lambda delimiter: _fit(sample, delimiter, complete))


def _fit(sample: str, delimiter: str, complete: bool) -> tuple[float, int]:
    reader = _reader(io.StringIO(sample, newline=""), delimiter)
    rows = [row for row in itertools.islice(reader, SAMPLE_ROWS) if row]
    if not complete and len(rows) > 1:
        del rows[-1]
    width = len(rows[0]) if rows else 0
    if width < 2:
        return (0, 0) if delimiter != "," else (0, 1)
    return sum(len(row) == width for row in rows) / len(rows), width


def _refuse_odd(delimiter: str) -> None:
    if not delimiter.isascii() or delimiter in '"\r\n\0':
        raise InvalidExperiment(
            "data.delimiter", f"{delimiter!r} cannot separate fields", f"use one of {DELIMITERS}"
        )


def _header(name: str, content: Content, delimiter: str) -> list[str]:
    try:
        return next(_records(content, delimiter))[1]
    except StopIteration:
        raise UnreadableTable(name, "it holds blank lines only", FIX_DELIVER) from None
    except csv.Error as error:
        raise UnreadableTable(
            name, f"the header cannot be read as CSV: {error}", "correct the first line"
        ) from None


def _named(header: list[str]) -> tuple[list[str], list[str]]:
    """The names of all columns, and those that were made up (as pandas makes them up)."""
    made_up = {
        position: _made_up(position, header) for position, name in enumerate(header) if not name
    }
    names = [made_up.get(position, name) for position, name in enumerate(header)]
    return names, list(made_up.values())


def _made_up(position: int, header: list[str]) -> str:
    name = f"Unnamed: {position}"
    while name in header:
        name += ".1"
    return name


def _refuse_ragged(name: str, content: Content, delimiter: str) -> None:
    """Raise UnreadableTable about the first line that has not as many fields as the header."""
    records = _records(content, delimiter)
    try:
        _, header = next(records)
        line, fields = next((n, fields) for n, fields in records if len(fields) != len(header))
    except (StopIteration, csv.Error):
        return  # the csv module sees nothing, or gives up too: Arrow's own message must do
    raise UnreadableTable(
        name,
        f"line {line:,} has {numbers.counted(len(fields), 'field')}, the header has {len(header)} "
        f"(delimiter {delimiter!r})",
        "correct the line, quote values that hold the delimiter, or give data.delimiter",
    )


def _refuse_open_quote(name: str, content: Content, delimiter: str) -> None:
    # Arrow reads an open quote to the end of the file as one value and says nothing. An even
    # number of quotes cannot end in an open one, unless values hold single quotes (5" pipe).
    if sum(chunk.count(b'"') for _, chunk in chunks(content)) % 2 == 0:
        return
    last_complete = 0
    try:
        for line, _ in _records(content, delimiter, strict=True):
            last_complete = line
    except csv.Error as error:
        if not any(sign in str(error) for sign in OPEN_QUOTE_SIGNS):
            return
        raise UnreadableTable(
            name,
            f"a quotation mark after line {last_complete:,} is never closed",
            'close it, or write a quotation mark inside a value twice: ""',
        ) from None


def _records(
    content: Content, delimiter: str, *, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(line number of its start, fields) of each record that is not blank; lines count from 1."""
    lines = io.TextIOWrapper(pa.BufferReader(content), encoding="utf-8", newline="")
    reader = _reader(lines, delimiter, strict=strict)
    start = 1
    for fields in reader:
        if fields:
            yield start, fields
        start = reader.line_num + 1


def _reader(lines: io.TextIOBase, delimiter: str, *, strict: bool = False) -> "_csv.Reader":
    """A reader of cells as large as Arrow reads them; by itself, csv gives up at 128 KiB."""
    # The limit is the whole process's: it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), BLOCK_BYTES))
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# As much of the unpacked file as the delimiter is found by.
HEAD_BYTES = SAMPLE_CHARACTERS


def csv_columns(name: str, head: bytes, data: spec.Data) -> list[str] | None:
    """Return the names in the header of a CSV file.

    Args:
        name: of the file.
        head: its first HEAD_BYTES bytes, packed or not; all of it where it is shorter.
        data: how to read it.

    Returns:
        The names; None where the beginning does not suffice: another format, bytes in an encoding
        that would have to be guessed, a beginning that is not a table.
    """
    try:
        file = open_contents(name, head, data.format)
        text = _whole_lines(file.start(HEAD_BYTES))
        if file.format != "csv" or (data.encoding is None and not _tells_its_encoding(text)):
            return None
        found = read(name, text, data)
        rows = list(found.batches())
    except (UnreadableTable, InvalidExperiment):
        return None
    return list(rows[0].schema.names) if rows else None


def _whole_lines(text: bytes) -> bytes:
    return text if len(text) < HEAD_BYTES else text[: text.rfind(b"\n") + 1]


def _tells_its_encoding(text: bytes) -> bool:
    """Whether it need not be guessed; a guess goes by the whole file."""
    return any(text.startswith(mark) for mark, _ in MARKS) or first_bad_byte(text) is None
