"""Arrow columns → numbers, booleans, text and datetimes, with a note for every decision.

Dates inside a CSV stay text: the user states their format (`preparation.types`). No value changes:
'00501' stays text, and so does a whole number that a float cannot hold exactly.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from experiment_pipeline.errors import listed
from experiment_pipeline.reporting import numbers

SAMPLE_VALUES = 1_000
LARGEST_EXACT = 2**53
TEXT = pa.large_string()
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:inf|infinity|nan)\s*$"
LEADING_ZERO = r"^\s*[+-]?0[0-9xX]"
WHOLE = r"^\s*[+-]?\d+\s*$"
DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+\s*$"
BOOLEANS = pa.array(["True", "False", "true", "false", "TRUE", "FALSE"], TEXT)

EMPTY = "no value at all in"
LEADING_ZEROS = "numbers with leading zeros, kept as text so that the zeros stay"
TOO_LARGE = "whole numbers that a float cannot hold exactly, kept as text"
SOME_BOOLEANS = "true, false and missing values, kept as text"
COMMAS = "text that looks like numbers with a decimal comma (preparation.numbers reads them)"
INFINITE = "infinite values in"
DATES = "dates, read as datetimes at midnight"
DECIMALS = "decimals, read as floats"
BYTES = "bytes, read as UTF-8 text"
NO_TEXT = "bytes that are no text, read as missing"
TIMES = "times of day, read as text"
DURATIONS = "durations, read as seconds"


@dataclass
class Decisions:
    """What was decided for the columns so far: column names per decision."""

    columns: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    missing_texts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each decision."""
        texts = [
            f"{text!r} was read as missing: {numbers.counted(sum(cells), 'cell')} "
            f"in {numbers.counted(len(cells), 'column')}"
            for text, cells in self.missing_texts.items()
        ]
        decided = [f"{what}: {listed(names)}" for what, names in self.columns.items()]
        return (*texts, *decided)


def with_missing(
    column: pa.ChunkedArray, missing: Sequence[str], decisions: Decisions
) -> pa.ChunkedArray:
    """Make the texts in `missing` missing values; nothing else changes."""
    is_missing = pc.is_in(column, pa.array(missing, TEXT))
    if not pc.any(is_missing).as_py():
        return column
    for found in pc.value_counts(column.filter(is_missing)).to_pylist():
        if found["values"]:  # an empty field needs no word
            decisions.missing_texts[found["values"]].append(found["counts"])
    return pc.if_else(is_missing, pa.scalar(None, TEXT), column)


def nested(fields: Iterable[pa.Field]) -> list[str]:
    """Return the names of columns of lists, structs or maps."""
    return [field.name for field in fields if pa.types.is_nested(_storage(field.type))]


def typed_text(name: str, column: pa.ChunkedArray, decisions: Decisions) -> pa.ChunkedArray:
    """Type a whole column of texts."""
    present = column.drop_null()
    if len(present) == 0:
        decisions.columns[EMPTY].append(name)
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])
    # A sample that is not a number or boolean proves that the column is not.
    sample = present.slice(0, SAMPLE_VALUES)
    if _all_match(sample, NUMBER):
        return _number(name, column, decisions)
    if _all_booleans(sample) and _all_booleans(present):
        return _boolean(name, column, decisions)
    if _all_match(sample, DECIMAL_COMMA):
        decisions.columns[COMMAS].append(name)
    return column


def _number(name: str, column: pa.ChunkedArray, decisions: Decisions) -> pa.ChunkedArray:
    """The column as int64 or float64; as text where it is none or would not stay the same."""
    number = _cast_to_number(column)
    if number is None:  # Arrow takes no blanks around a number, and copying is the slower way
        number = _cast_to_number(pc.utf8_trim_whitespace(column))
    if number is None:
        return column
    if pc.any(pc.match_substring_regex(column, LEADING_ZERO)).as_py():
        decisions.columns[LEADING_ZEROS].append(name)
        return column
    large = _beyond_exact(number)
    if large is not None and pc.any(pc.match_substring_regex(column.filter(large), WHOLE)).as_py():
        decisions.columns[TOO_LARGE].append(name)
        return column
    return _infinite_noted(name, number, decisions)


def _cast_to_number(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    for kind in (pa.int64(), pa.float64()):
        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid:
            continue
    return None


def _beyond_exact(number: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Where whole numbers would lose digits as floats; None where nothing can be lost."""
    if pa.types.is_integer(number.type) and number.null_count == 0:
        return None
    if not pa.types.is_integer(number.type) and not pa.types.is_floating(number.type):
        return None
    ends = pc.min_max(number).as_py()
    if ends["min"] is None or (ends["min"] >= -LARGEST_EXACT and ends["max"] <= LARGEST_EXACT):
        return None
    large = pc.greater(number, pa.scalar(LARGEST_EXACT, number.type))
    if pa.types.is_unsigned_integer(number.type):
        return large
    return pc.or_(pc.less(number, -LARGEST_EXACT), large)


def _boolean(name: str, column: pa.ChunkedArray, decisions: Decisions) -> pa.ChunkedArray:
    """Booleans; with missing values text, because pandas has no plain type for the three."""
    if column.null_count == 0:
        return pc.cast(column, pa.bool_())
    decisions.columns[SOME_BOOLEANS].append(name)
    return pc.cast(column, TEXT)


def _infinite_noted(name: str, column: pa.ChunkedArray, decisions: Decisions) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
        decisions.columns[INFINITE].append(name)
    return column


def plain(name: str, column: pa.ChunkedArray, decisions: Decisions) -> pa.ChunkedArray:
    """Reduce the type of a whole column of Parquet to one that pandas holds without objects."""
    column = pc.cast(column, _storage(column.type))
    kind = column.type
    if column.null_count == len(column):
        decisions.columns[EMPTY].append(name)
        return pc.cast(column, pa.float64()) if pa.types.is_null(kind) else column
    if pa.types.is_boolean(kind):
        return _boolean(name, column, decisions)
    if pa.types.is_integer(kind) and _beyond_exact(column) is not None:
        decisions.columns[TOO_LARGE].append(name)
        return pc.cast(column, TEXT)
    for belongs, note, target in REDUCED:
        if belongs(kind):
            return _converted(name, column, note, target, decisions)
    return _infinite_noted(name, column, decisions)


def _converted(
    name: str, column: pa.ChunkedArray, note: str, target: pa.DataType, decisions: Decisions
) -> pa.ChunkedArray:
    if pa.types.is_duration(column.type):
        column = pc.cast(pc.cast(column, pa.duration("us")), pa.int64())
        column = pc.divide(pc.cast(column, pa.float64()), 1e6)
    try:
        column = pc.cast(column, target)
    except pa.ArrowInvalid:
        note, column = NO_TEXT, pa.chunked_array([pa.nulls(len(column), target)])
    decisions.columns[note].append(name)
    return column


def _storage(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves: without dictionary, run lengths or extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return _storage(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _storage(kind.value_type)
    return kind


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _all_booleans(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_in(column, BOOLEANS)).as_py())


# (types of a Parquet column, note, what they become)
REDUCED: tuple[tuple[Callable[[pa.DataType], bool], str, pa.DataType], ...] = (
    (pa.types.is_date, DATES, pa.timestamp("us")),
    (pa.types.is_decimal, DECIMALS, pa.float64()),
    (pa.types.is_time, TIMES, TEXT),
    (pa.types.is_duration, DURATIONS, pa.float64()),
    (pa.types.is_binary, BYTES, TEXT),
    (pa.types.is_large_binary, BYTES, TEXT),
    (pa.types.is_fixed_size_binary, BYTES, TEXT),
)
