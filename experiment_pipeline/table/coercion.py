"""Parse a column of texts, and convert a column to the type of its schema.

Each function works cell by cell, so that a row prepared alone gets the same values as
within a table. pandera coerces with `astype`, which turns the text "no" into True, 1.5
into 1 and the number 20130101 into an instant of 1970. Here, a cell that the type
cannot hold *unchanged* is left out and reported.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidSchema, UnusableTable
from experiment_pipeline.spec import Categories, Numbers
from experiment_pipeline.table import kinds
from experiment_pipeline.table.kinds import holds_objects, kind_of, naive_utc

if TYPE_CHECKING:
    import pandera.pandas as pa

_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")
# Beyond it, float64 cannot represent every integer: long ids are parsed as integers.
EXACT_IN_FLOAT = 2.0**53
# Length of an ISO 8601 date, after which a UTC offset may follow; the start of the
# longest offset.
ISO_DATE, LONGEST_OFFSET = 10, -6
_OFFSET = r"(Z|UTC|[+-]\d{2}(?::?\d{2})?)$"
SIGNS = r"[+\-\u2212]"  # the last one is the typographic minus
SPACES = r"[\s\u00a0\u202f]"
# Beside a number, these words multiply it: 1.7M is 1,700,000. Words are compared
# without case, single letters are not: m may be metres.
_MAGNITUDES: dict[float, tuple[str, ...]] = {
    1e-3: ("‰",),
    1e-2: ("%", "percent", "prozent"),
    1e3: ("k", "K", "thousand", "tsd"),
    1e5: ("lakh", "lakhs", "lac"),
    1e6: ("M", "mio", "mn", "mln", "million", "millions", "mill"),
    1e7: ("cr", "crore", "crores"),
    1e9: ("B", "bn", "bln", "billion", "billions", "mrd", "mia"),
    1e12: ("trn", "trillion", "trillions"),
}
_FACTORS = {word: factor for factor, words in _MAGNITUDES.items() for word in words}


def magnitude(unit: str) -> float | None:
    """Return the factor that a magnitude such as k, Mio or % stands for.

    None: it is a unit, such as kg, whose factor depends on the other units.
    """
    word = unit if len(unit) == 1 else unit.casefold()
    return _FACTORS.get(word)


def on_distinct(
    column: pd.Series, function: Callable[[pd.Series], pd.Series]
) -> pd.Series:
    """Apply a cell-wise function once per distinct value; missing ones stay missing."""
    codes, distinct = pd.factorize(column)
    results = function(pd.Series(distinct)).array
    return pd.Series(
        results.take(codes, allow_fill=True), index=column.index, name=column.name
    )


def as_text(column: pd.Series) -> pd.Series:
    """Write every value as text; a whole number loses its '.0': 5 and 5.0 agree."""
    if holds_objects(column):  # lists and dicts cannot be factorised
        return column.map(value_as_text, na_action="ignore").astype("str")
    kind = kind_of(column)
    if kind == "text":
        return column.astype("str")
    if kind == "category":
        dtype = column.cat.categories.dtype
        return on_distinct(column, lambda labels: as_text(labels.astype(dtype)))
    return on_distinct(column, lambda values: values.map(value_as_text).astype("str"))


def value_as_text(value: object) -> str:
    """Write one value as `as_text` writes it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_IN_FLOAT:
        return str(int(value))
    return str(value)


def unify(texts: pd.Series, categories: Categories) -> pd.Series:
    """Unify spellings of categories: trim, change the case, then replace variants."""

    def spelt(text: str) -> str:
        if categories.trim:
            text = re.sub(f"{SPACES}+", " ", text).strip()
        if categories.case is None:
            return text
        return text.lower() if categories.case == "lower" else text.upper()

    names = {spelt(name): name for name in categories.variants}
    for name, variants in categories.variants.items():
        for variant in variants:
            names[spelt(variant)] = name

    def unified(text: str) -> str:
        return names.get(spelt(text), spelt(text))

    return on_distinct(texts, lambda values: values.map(unified).astype("str"))


def read_numbers(texts: pd.Series, notation: Numbers | None) -> pd.Series:
    """Parse numbers as float64; texts that are not finite numbers become missing.

    A thousands separator is valid only between groups of three digits: '1,23' and
    '0,123' are missing.
    """
    if notation is None:
        values = pd.to_numeric(texts, errors="coerce").astype("float64")
    else:
        parsed = partial(_number, pattern=_number_pattern(notation), notation=notation)
        values = on_distinct(texts, lambda cells: cells.map(parsed)).astype("float64")
    return values.where(np.isfinite(values))


def read_integers(texts: pd.Series, notation: Numbers | None) -> pd.Series:
    """Parse whole numbers as Int64.

    Fractions, and numbers beyond 64 bits, become missing.
    """
    values = read_numbers(texts, notation)
    integers = whole(values)
    long = values.abs() >= EXACT_IN_FLOAT
    if long.any():
        exact = [_long_integer(text) for text in texts[long]]
        integers[long] = pd.array(exact, dtype="Int64")
    return integers


def whole(values: pd.Series) -> pd.Series:
    """Return floats as Int64; fractions, and numbers beyond 64 bits, become missing."""
    are_whole = (values == np.floor(values)) & (values.abs() < 2.0**63)
    return values.where(are_whole).astype("Int64")


def _long_integer(text: str) -> int | None:
    """Return a number of up to 64 bits with all its digits; None: it is no such."""
    if not re.fullmatch(r"\s*[+-]?\d+\s*", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def read_booleans(texts: pd.Series) -> pd.Series:
    """Parse yes/no, true/false, t/f, y/n, on/off and 1/0, in any case, as booleans.

    The result is nullable; other texts become missing.
    """
    words = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)

    def read(cells: pd.Series) -> pd.Series:
        return cells.str.strip().str.lower().map(words).astype("boolean")

    return on_distinct(texts, read)


def as_booleans(column: pd.Series) -> pd.Series:
    """Return booleans, or read them from texts and numbers; nullable."""
    if kind_of(column) == "boolean":
        return column.astype("boolean")
    return read_booleans(as_text(column))


def as_instants(column: pd.Series, formats: Sequence[str] = ()) -> pd.Series:
    """Return datetime64[us] in UTC, or read it from texts and numbers."""
    if kind_of(column) == "datetime":
        return naive_utc(column)
    return read_datetimes(as_text(column), formats)


def read_datetimes(texts: pd.Series, formats: Sequence[str]) -> pd.Series:
    """Parse instants as datetime64[us], converted to UTC if they have an offset.

    The first matching format wins. Without formats only ISO 8601 is parsed: anything
    else would require guessing day or month.
    """
    instants = pd.Series(
        pd.NaT, index=texts.index, name=texts.name, dtype="datetime64[us]"
    )
    for format_ in formats or ("ISO8601",):
        unread = instants.isna() & texts.notna()
        if not unread.any():
            break
        stripped = texts[unread].str.strip()
        read = pd.to_datetime(stripped, format=format_, errors="coerce", utc=True)
        instants[unread] = naive_utc(read)
    return instants


def offsets_of(times: pd.Series, formats: Sequence[str]) -> dict[str, int]:
    """Count the offsets from UTC of instants or texts, "" for none.

    Raises UnusableTable: only some have one.
    """
    if times.empty:
        return {}
    if kind_of(times) == "datetime":
        return {"" if times.dt.tz is None else str(times.dt.tz): len(times)}
    if formats and not any("%z" in format_ for format_ in formats):
        return {"": len(times)}
    texts = as_text(times).str.strip()
    if not formats:
        texts = texts.str.slice(ISO_DATE)
    offsets = on_distinct(
        texts.str.slice(LONGEST_OFFSET),
        lambda ends: ends.str.extract(_OFFSET)[0].fillna(""),
    )
    _refuse_some_without(offsets == "", times)
    counts = offsets.value_counts()
    return {str(offset): int(rows) for offset, rows in counts.items()}


def _refuse_some_without(without: pd.Series, times: pd.Series) -> None:
    """Refuse times of which some, but not all, have no offset."""
    if without.any() and not without.all():
        few = times[without if 2 * without.sum() <= len(without) else ~without]
        raise UnusableTable(
            f"column {times.name}",
            rule=f"{without.sum():,} of {len(without):,} times have no offset from "
            f"UTC, the others have one: see {few.iloc[0]!r}, rows "
            f"{', '.join(map(str, few.index[:5]))}",
            fix="Write one in every row or in none: else the same hour would mean "
            "different instants.",
        )


def _number_pattern(notation: Numbers) -> re.Pattern[str]:
    longest_first = sorted(notation.units, key=len)[::-1]
    units = "|".join(re.escape(unit.strip()) for unit in longest_first)
    groups = ""
    if notation.thousands is not None:
        groups = rf"[1-9]\d{{0,2}}(?:{_thousands(notation)}\d{{3}})+|"
    mark = re.escape(notation.decimal)
    digits = rf"(?:{groups}\d+)(?:{mark}\d*)?|{mark}\d+"
    return re.compile(
        rf"{SPACES}*(?P<sign>{SIGNS}?){SPACES}*(?P<before>{units})?{SPACES}*"
        rf"(?P<sign_after>{SIGNS}?){SPACES}*(?P<digits>(?:{digits})(?:[eE][+-]?\d+)?)"
        rf"{SPACES}*(?P<after>{units})?{SPACES}*"
    )


def _number(text: str, pattern: re.Pattern[str], notation: Numbers) -> float:
    match = pattern.fullmatch(text)
    if match is None:
        return np.nan
    units = [*filter(None, match.group("before", "after"))]
    signs = match["sign"] + match["sign_after"]
    # "€1.7M" has one unit and a magnitude, "$7 kg" has two units.
    has_two_units = len(units) > 1 and magnitude(units[1]) is None
    if has_two_units or len(signs) > 1:
        return np.nan
    digits = match["digits"]
    if notation.thousands is not None:
        digits = re.sub(_thousands(notation), "", digits)
    number = float(digits.replace(notation.decimal, "."))
    factors = {unit.strip(): factor for unit, factor in notation.units.items()}
    for unit in units:
        number *= factors[unit]
    return number if signs in ("", "+") else -number


def _thousands(notation: Numbers) -> str:
    return SPACES if notation.thousands == " " else re.escape(str(notation.thousands))


def coerce(column: pd.Series, schema: "pa.Column") -> tuple[pd.Series, np.ndarray]:
    """Return the cells that convert without loss, and a mask of the others (n,).

    Missing cells are among the first, where the schema's type can hold them.
    """
    from pandera.errors import ParserError  # not loaded where past runs are asked for

    if schema.dtype is None or column.dtype == schema.dtype.type:
        return column, np.zeros(len(column), dtype=bool)
    readable = _readable(column, schema)
    bad = (column.notna() & readable.isna()).to_numpy()
    # pandera would read 'datetime64[us]' as nanoseconds.
    if schema_kind(schema) == "datetime":
        fitting = readable[~bad]
        zone = getattr(schema.dtype.type, "tz", None)
        if zone is not None:
            fitting = fitting.dt.tz_localize("UTC").dt.tz_convert(zone)
        return fitting, bad
    left_out = bad
    if not has_room_for_missing(schema):
        left_out = bad | column.isna().to_numpy()
    try:
        fitting = readable[~left_out] if left_out.any() else readable
        return schema.dtype.coerce(fitting), bad
    except (TypeError, ValueError, OverflowError, ParserError) as error:
        raise InvalidSchema(
            f"columns.{column.name}.dtype",
            rule=f"{column.dtype} cannot become {schema.dtype}: {error}",
            fix="Correct the dtype.",
        ) from None


def schema_kind(schema: "pa.Column") -> kinds.Kind:
    """Return the kind of the schema's type; "other" if it has none."""
    return "other" if schema.dtype is None else kinds.kind_of_type(schema.dtype.type)


def has_room_for_missing(schema: "pa.Column") -> bool:
    """Return whether the schema's type, if it has one, can hold a missing value."""
    return schema.dtype is None or kinds.holds_missing(schema.dtype.type)


def _readable(column: pd.Series, schema: "pa.Column") -> pd.Series:
    """Replace cells that `astype` would distort or refuse by missing values."""
    dtype = schema.dtype.type
    match schema_kind(schema):
        case "boolean":
            return as_booleans(column)
        case "text":
            return column if holds_objects(dtype) else as_text(column)
        case "datetime":
            return _instants(column)
        case "integer" | "float":
            return _quantities(column, dtype)
        case _:
            return column


def _instants(column: pd.Series) -> pd.Series:
    if kind_of(column) in kinds.NUMERIC:  # ambiguous: days, seconds or yyyymmdd
        return pd.Series(pd.NaT, index=column.index, dtype="datetime64[us]")
    instants = as_instants(column)
    offsets_of(column[instants.notna()], ())
    return instants


def _quantities(column: pd.Series, dtype: kinds.Type) -> pd.Series:
    kind = kind_of(column)
    if kind == "datetime":
        return pd.Series(np.nan, index=column.index, name=column.name)
    to_whole = kinds.kind_of_type(dtype) == "integer"
    if kind == "boolean":
        column = column.astype("Int64")
    elif kind not in kinds.QUANTITIES:
        read = read_integers if to_whole else read_numbers
        column = read(as_text(column), None)
    elif to_whole and kind == "float":
        column = column.where(np.isfinite(column) & (column == np.floor(column)))
    numbers: Any = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # type: ignore[arg-type]
    limits = np.iinfo(numbers) if to_whole else np.finfo(numbers)
    infinite = np.isinf(kinds.numbers_of(column))
    fits = column.between(limits.min, limits.max) | infinite | column.isna()
    return column.where(fits)
