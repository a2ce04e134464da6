"""CSV bytes → Arrow batches whose columns are all text: encoding, delimiter, header,
shape.

A byte order mark decides the encoding, else valid UTF-8 is UTF-8, else
charset-normalizer guesses. Where most of a file is UTF-8, the first line that is not is
an error: no code page is right for both. Where Arrow gives up, Python's csv module
finds the line that is wrong.
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

import charset_normalizer
import pyarrow as pa
from pyarrow import csv as arrow_csv

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.intake.contents import (
    FIX_DELIVER,
    Content,
    refuse_duplicates,
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
USUAL = "cp1252"  # preferred where the bytes alone do not tell
LATIN = [USUAL, "cp1250", "cp1254", "cp1257"]
LONE = 0.8  # share of runs beyond ASCII that are one byte long; in other scripts runs are longer
CHUNK_BYTES = 4 * 1024 * 1024
GUESS_BYTES = 65_536
FIX_ENCODING = "name it in data.encoding, such as cp1252, or save the file as UTF-8"
# In text of another encoding, at most 0.44 of the bytes beyond ASCII are valid UTF-8 by
# chance (Chinese, in a file of more than a few words); in Western code pages hardly
# any.
MOSTLY = 0.5
# Commas come last: if two delimiters fit equally well, the comma is a decimal comma.
DELIMITERS = ("\t", ";", "|", ",")
SAMPLE_CHARACTERS = 262_144
SAMPLE_ROWS = 200
OPEN_QUOTE_SIGNS = ("unexpected end of data", "field larger than field limit")
BLOCK_BYTES = 16 * 1024 * 1024  # a row must fit into one block


@dataclass(frozen=True)
class CsvText:
    """One CSV file; `content` is all of it in UTF-8, `encoding` what it was delivered
    in.
    """

    name: str
    content: Content
    names: list[str]
    delimiter: str
    encoding: str
    notes: tuple[str, ...]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield rows of text (large_string); UnreadableTable: ragged, or a quotation
        mark is never closed.
        """
        self._refuse_open_quote()
        # Numbers as names: the header is read as a row and cut off, so that no name can
        # confuse Arrow.
        numbers = [str(position) for position in range(len(self.names))]
        skipped = 1
        try:
            for batch in arrow_csv.open_csv(
                pa.BufferReader(self.content),
                arrow_csv.ReadOptions(column_names=numbers, block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True
                ),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(numbers, pa.large_string()),
                    strings_can_be_null=False,
                ),
            ):
                yield pa.RecordBatch.from_arrays(
                    batch.slice(skipped).columns, names=self.names
                )
                skipped = max(0, skipped - batch.num_rows)
        except pa.ArrowInvalid as error:
            rule, fix = (
                self._ragged() or f"cannot be read as CSV: {error}",
                "correct the file",
            )
            fix = f"{fix}, quote values that hold the delimiter, or give data.delimiter"
            raise UnreadableTable(self.name, rule, fix) from None

    def _ragged(self) -> str | None:
        """The first line with more or fewer fields than the header, in words."""
        width = len(self.names)
        with suppress(
            csv.Error
        ):  # the csv module gives up, too: Arrow's own message must do
            for line, fields in _records(self.content, self.delimiter):
                if len(fields) != width:
                    held = numbers.counted(len(fields), "field")
                    where = f"the header has {width} (delimiter {self.delimiter!r})"
                    return f"line {line:,} has {held}, {where}"
        return None

    def _refuse_open_quote(self) -> None:
        # Arrow reads an open quote to the end of the file as one value and reports
        # nothing. An even number of quotes cannot end in an open one, unless values
        # hold single quotes (5" pipe).
        if sum(chunk.count(b'"') for _, chunk in _chunks(self.content)) % 2 == 0:
            return
        last_complete = 0
        try:
            for line, _ in _records(self.content, self.delimiter, strict=True):
                last_complete = line
        except csv.Error as error:
            if any(sign in str(error) for sign in OPEN_QUOTE_SIGNS):
                rule = f"a quotation mark after line {last_complete:,} is never closed"
                fix = 'close it, or write a quotation mark inside a value twice: ""'
                raise UnreadableTable(self.name, rule, fix) from None


def read(name: str, content: Content, data: spec.Data) -> CsvText:
    """Read one unpacked CSV file; UnreadableTable: binary, not in the encoding, a name
    twice.
    """
    text, encoding, notes = _to_utf8(name, content, data.encoding)
    delimiter = data.delimiter or _find_delimiter(text)
    if not delimiter.isascii() or delimiter in '"\r\n\0':
        rule, fix = f"{delimiter!r} cannot separate fields", f"use one of {DELIMITERS}"
        raise InvalidExperiment("data.delimiter", rule, fix)
    if not data.delimiter and delimiter != ",":
        notes.append(f"delimiter {delimiter!r} was found")
    try:
        header = next(_records(text, delimiter))[1]
    except StopIteration:
        raise UnreadableTable(name, "it only holds blank lines", FIX_DELIVER) from None
    except csv.Error as error:
        rule, fix = (
            f"the header cannot be read as CSV: {error}",
            "correct the first line",
        )
        raise UnreadableTable(name, rule, fix) from None
    # As pandas names a column without a name.
    names = [field or f"Unnamed: {position}" for position, field in enumerate(header)]
    refuse_duplicates(name, names)
    if unnamed := [new for new, field in zip(names, header, strict=True) if not field]:
        notes.append(
            f"{numbers.counted(len(unnamed), 'column')} without a name in the header, "
            f"now called {listed(unnamed)}"
        )
    if all(
        re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", field) for field in header
    ):
        notes.append(
            "all column names are numbers: does the first line hold names at all?"
        )
    return CsvText(name, text, names, delimiter, encoding, tuple(notes))


def _find_delimiter(content: Content) -> str:
    """The delimiter by which most lines have as many fields as the header, then the
    most fields.
    """
    sample = str(content[:SAMPLE_CHARACTERS], "utf-8", errors="ignore")

    def fit(delimiter: str) -> tuple[float, int]:
        reader = _reader(io.StringIO(sample, newline=""), delimiter)
        rows = [row for row in itertools.islice(reader, SAMPLE_ROWS) if row]
        if len(content) > SAMPLE_CHARACTERS and len(rows) > 1:
            del rows[-1]
        width = len(rows[0]) if rows else 0
        if width < 2:
            return (0, 0) if delimiter != "," else (0, 1)
        return sum(len(row) == width for row in rows) / len(rows), width

    return max(DELIMITERS, key=fit)


def _records(
    content: Content, delimiter: str, *, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(line number of its start, fields) of each record that is not blank; lines count
    from 1.
    """
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
    """A reader of cells as large as Arrow reads them; csv's default limit is
    128 KiB.
    """
    # The limit holds for the whole process, so it is never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), BLOCK_BYTES))
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _chunks(content: Content) -> Iterator[tuple[int, bytes]]:
    """Yield a large content in parts, (position, bytes), of which one is copied at a
    time.
    """
    for start in range(0, len(content), CHUNK_BYTES):
        yield start, bytes(content[start : start + CHUNK_BYTES])


def _to_utf8(
    name: str, content: Content, declared: str | None
) -> tuple[Content, str, list[str]]:
    """Return an unpacked file as UTF-8 without a mark, its encoding, and notes."""
    for mark, encoding in () if declared else MARKS:
        if bytes(content[: len(mark)]) == mark:
            declared = encoding
            break
    if declared:
        return _transcoded(name, content, declared), declared, []
    for start, chunk in _chunks(content):
        if b"\0" in chunk:
            rule = f"it is binary: a zero byte at {start + chunk.index(0):,}"
            fix = "point data.url at a CSV or Parquet file; UTF-16 needs data.encoding: utf-16-le"
            raise UnreadableTable(name, rule, fix)
    bad = _first_bad_byte(content)
    if bad is None:
        return content, "utf-8", []
    beyond_ascii = valid = 0
    for _, chunk in _chunks(content):
        ascii_bytes = len(chunk.decode("ascii", errors="ignore"))
        beyond_ascii += len(chunk) - ascii_bytes
        valid += len(chunk.decode(errors="ignore").encode()) - ascii_bytes
    if valid > MOSTLY * beyond_ascii:
        line = len(re.findall(rb"\r\n|\r|\n", content[:bad])) + 1
        raise UnreadableTable(
            name,
            f"most of it is UTF-8, but line {line:,} is not: byte 0x{content[bad]:02x} at the start "
            f"of {bytes(content[bad : bad + 10])!r}",
            "correct the line; where the whole file is of one code page, name it in data.encoding, "
            "such as cp1252, or convert the file: iconv -f cp1252 -t utf-8",
        )
    guess = _guess(name, content)
    text = _transcoded(name, content, guess)
    return text, guess, [f"encoding {guess} was guessed; data.encoding would settle it"]


def _transcoded(name: str, content: Content, encoding: str) -> bytes:
    try:
        return str(content, encoding).encode().removeprefix(codecs.BOM_UTF8)
    except LookupError:
        rule = f"data.encoding {encoding!r} is not an encoding that Python knows"
        raise UnreadableTable(name, rule, FIX_ENCODING) from None
    except UnicodeError as error:
        raise UnreadableTable(
            name, f"it is not {encoding}: {error}", FIX_ENCODING
        ) from None


def _first_bad_byte(content: Content) -> int | None:
    """Return the position of the first byte that is not UTF-8; None: all of it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start, chunk in _chunks(content):
        held = len(
            decoder.getstate()[0]
        )  # bytes of a letter that began in the chunk before
        try:
            decoder.decode(chunk, final=start + CHUNK_BYTES >= len(content))
        except UnicodeDecodeError as error:
            return start - held + error.start
    return None


def _guess(name: str, content: Content) -> str:
    telling = (line for line in bytes(content).splitlines() if not line.isascii())
    sample = b"\n".join(telling)[:GUESS_BYTES]
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", sample)]
    # "gr\xfcn" is grün, and in Big5 a Chinese letter between two Latin ones.
    among = LATIN if runs.count(1) >= LONE * len(runs) else None
    matches = charset_normalizer.from_bytes(sample, cp_isolation=among)
    matches = matches or charset_normalizer.from_bytes(sample)
    best = matches.best()
    if best is None:
        rule = "it is neither UTF-8 nor text in an encoding that can be guessed"
        raise UnreadableTable(name, rule, FIX_ENCODING)
    as_good = [
        encoding
        for match in matches
        if match.chaos <= best.chaos and match.coherence >= best.coherence
        for encoding in match.could_be_from_charset
    ]
    return USUAL if USUAL in as_good else best.encoding
