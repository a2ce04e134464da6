"""Parse a column of texts, and convert a column to the type of its schema.

Each function works cell by cell, so that a row prepared alone gets the same values as
within a table. pandera coerces with `astype`, which turns the text "no" into True, 1.5
into 1 and the number 20130101 into an instant of 1970. Here, a cell that the type
cannot hold *unchanged* is left out and reported.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import ParserError

from experiment_pipeline.errors import InvalidSchema, UnusableTable
from experiment_pipeline.spec import Categories, Numbers
from experiment_pipeline.table import kinds
from experiment_pipeline.table.kinds import holds_objects, kind_of, naive_utc

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


def on_distinct(
    column: pd.Series, function: Callable[[pd.Series], pd.Series]
) -> pd.Series:
    """Apply a cell-wise function once per distinct value; a missing value stays
    missing.
    """
    codes, distinct = pd.factorize(column)
    results = function(pd.Series(distinct)).array
    return pd.Series(
        results.take(codes, allow_fill=True), index=column.index, name=column.name
    )


def as_text(column: pd.Series) -> pd.Series:
    """Write every value as text; a whole number loses its '.0', so that 5 and 5.0
    agree.
    """
    if holds_objects(column):  # lists and dicts cannot be factorised
        return column.map(value_as_text, na_action="ignore").astype("str")
    kind = kind_of(column)
    if kind == "text":
        return column.astype("str")
    if kind == "category":
        return on_distinct(
            column, lambda them: as_text(them.astype(them.cat.categories.dtype))
        )
    return on_distinct(column, lambda values: values.map(value_as_text).astype("str"))


def value_as_text(value: object) -> str:
    """Write one value as `as_text` writes it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_IN_FLOAT:
        return str(int(value))
    return str(value)


def unify(texts: pd.Series, categories: Categories) -> pd.Series:
    """Unify spellings of categories: trim, then change the case, then replace
    variants.
    """

    def spelt(text: str) -> str:
        if categories.trim:
            text = re.sub(f"{SPACES}+", " ", text).strip()
        if categories.case is None:
            return text
        return text.lower() if categories.case == "lower" else text.upper()

    kept = {spelt(name): name for name in categories.variants}
    kept |= {
        spelt(one): name
        for name, several in categories.variants.items()
        for one in several
    }

    def one(text: str) -> str:
        return kept.get(spelt(text), spelt(text))

    return on_distinct(texts, lambda values: values.map(one).astype("str"))


def read_numbers(texts: pd.Series, written: Numbers | None) -> pd.Series:
    """Parse numbers as float64; texts that are not finite numbers become missing.

    A thousands separator is valid only between groups of three digits: '1,23' and
    '0,123' are missing.
    """
    if written is None:
        values = pd.to_numeric(texts, errors="coerce").astype("float64")
    else:
        pattern = _number_pattern(written)
        numbers = partial(_number, pattern=pattern, written=written)
        values = on_distinct(texts, lambda cells: cells.map(numbers)).astype("float64")
    return values.where(np.isfinite(values))


def read_integers(texts: pd.Series, written: Numbers | None) -> pd.Series:
    """Parse whole numbers as Int64; fractions, and numbers beyond 64 bits, become
    missing.
    """
    values = read_numbers(texts, written)
    whole = (values == np.floor(values)) & (values.abs() < 2.0**63)
    integers = values.where(whole).astype("Int64")
    long = values.abs() >= EXACT_IN_FLOAT
    if long.any():
        digits = [re.fullmatch(r"\s*[+-]?\d+\s*", text) for text in texts[long]]
        exact = [None if match is None else int(match[0]) for match in digits]
        fits = [
            one if one is not None and -(2**63) <= one < 2**63 else None
            for one in exact
        ]
        integers[long] = pd.array(fits, dtype="Int64")
    return integers


def read_booleans(texts: pd.Series) -> pd.Series:
    """Parse yes/no, true/false, t/f, y/n, on/off and 1/0, in any case, as nullable
    booleans.
    """
    known = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
    return on_distinct(
        texts, lambda cells: cells.str.strip().str.lower().map(known).astype("boolean")
    )


def read_datetimes(texts: pd.Series, formats: Sequence[str]) -> pd.Series:
    """Parse instants as datetime64[us], converted to UTC if they have an offset; the
    first matching format wins.

    Without formats only ISO 8601 is parsed: anything else would require guessing day or
    month.
    """
    instants = pd.Series(
        pd.NaT, index=texts.index, name=texts.name, dtype="datetime64[us]"
    )
    for wanted in formats or ("ISO8601",):
        unread = instants.isna() & texts.notna()
        if not unread.any():
            break
        read = pd.to_datetime(
            texts[unread].str.strip(), format=wanted, errors="coerce", utc=True
        )
        instants[unread] = naive_utc(read)
    return instants


def offsets_of(times: pd.Series, formats: Sequence[str]) -> dict[str, int]:
    """Count the offsets from UTC of instants or texts, "" for none; UnusableTable: only
    some have one.
    """
    if times.empty:
        return {}
    if kind_of(times) == "datetime":
        return {"" if times.dt.tz is None else str(times.dt.tz): len(times)}
    if formats and not any("%z" in one for one in formats):
        return {"": len(times)}
    ends = (
        as_text(times)
        .str.strip()
        .str.slice(0 if formats else ISO_DATE)
        .str.slice(LONGEST_OFFSET)
    )
    found = on_distinct(ends, lambda some: some.str.extract(_OFFSET)[0].fillna(""))
    none = found == ""
    if none.any() and not none.all():
        few = times[none if 2 * none.sum() <= len(none) else ~none]
        raise UnusableTable(
            f"column {times.name}",
            f"{none.sum():,} of {len(none):,} times have no offset from UTC, the others have one: see "
            f"{few.iloc[0]!r}, rows {', '.join(map(str, few.index[:5]))}",
            "Write one in every row or in none: else the same hour would mean different instants.",
        )
    return {str(offset): int(rows) for offset, rows in found.value_counts().items()}


def _number_pattern(written: Numbers) -> re.Pattern[str]:
    units = "|".join(
        re.escape(unit.strip()) for unit in sorted(written.units, key=len)[::-1]
    )
    groups = ""
    if written.thousands is not None:
        groups = rf"[1-9]\d{{0,2}}(?:{_thousands(written)}\d{{3}})+|"
    mark = re.escape(written.decimal)
    digits = rf"(?:{groups}\d+)(?:{mark}\d*)?|{mark}\d+"
    return re.compile(
        rf"{SPACES}*(?P<sign>{SIGNS}?){SPACES}*(?P<before>{units})?{SPACES}*"
        rf"(?P<sign_after>{SIGNS}?){SPACES}*(?P<digits>(?:{digits})(?:[eE][+-]?\d+)?)"
        rf"{SPACES}*(?P<after>{units})?{SPACES}*"
    )


def _number(text: str, pattern: re.Pattern[str], written: Numbers) -> float:
    match = pattern.fullmatch(text)
    if match is None or (match["before"] and match["after"]):
        return np.nan
    signs, digits = match["sign"] + match["sign_after"], match["digits"]
    if len(signs) > 1:
        return np.nan
    if written.thousands is not None:
        digits = re.sub(_thousands(written), "", digits)
    factors = {unit.strip(): factor for unit, factor in written.units.items()}
    factor = factors.get(match["before"] or match["after"] or "", 1.0)
    return (
        float(digits.replace(written.decimal, "."))
        * factor
        * (1 if signs in ("", "+") else -1)
    )


def _thousands(written: Numbers) -> str:
    return SPACES if written.thousands == " " else re.escape(str(written.thousands))


def coerce(column: pd.Series, schema: pa.Column) -> tuple[pd.Series, np.ndarray]:
    """Return the cells that convert without loss, including missing ones, and a mask of
    the others (n,).
    """
    if schema.dtype is None or column.dtype == schema.dtype.type:
        return column, np.zeros(len(column), dtype=bool)
    readable = _readable(column, schema)
    bad = (column.notna() & readable.isna()).to_numpy()
    if (
        schema_kind(schema) == "datetime"
    ):  # pandera would read 'datetime64[us]' as nanoseconds
        zone = getattr(schema.dtype.type, "tz", None)
        fitting = readable[~bad]
        return fitting if zone is None else fitting.dt.tz_localize("UTC").dt.tz_convert(
            zone
        ), bad
    left_out = bad if has_room_for_missing(schema) else bad | column.isna().to_numpy()
    try:
        return schema.dtype.coerce(
            readable[~left_out] if left_out.any() else readable
        ), bad
    except (TypeError, ValueError, OverflowError, ParserError) as error:
        rule = f"{column.dtype} cannot become {schema.dtype}: {error}"
        fix = "Correct the dtype."
        raise InvalidSchema(f"columns.{column.name}.dtype", rule, fix) from None


def schema_kind(schema: pa.Column) -> kinds.Kind:
    """Return the kind of the schema's type; "other" if it has none."""
    return "other" if schema.dtype is None else kinds.kind_of_type(schema.dtype.type)


def has_room_for_missing(schema: pa.Column) -> bool:
    """Return whether the schema's type can hold a missing value; True without
    a type.
    """
    return schema.dtype is None or kinds.holds_missing(schema.dtype.type)


def _readable(column: pd.Series, schema: pa.Column) -> pd.Series:
    """Replace cells that `astype` would distort or refuse by missing values."""
    kind, wanted, dtype = kind_of(column), schema_kind(schema), schema.dtype.type
    if wanted == "boolean":
        return column if kind == "boolean" else read_booleans(as_text(column))
    if wanted == "text":
        return column if holds_objects(dtype) else as_text(column)
    if wanted == "datetime":
        if kind in kinds.NUMERIC:  # ambiguous: days, seconds or yyyymmdd
            return pd.Series(pd.NaT, index=column.index, dtype="datetime64[us]")
        if kind == "datetime":
            return naive_utc(column)
        read = read_datetimes(as_text(column), ())
        offsets_of(column[read.notna()], ())
        return read
    return _quantities(column, kind, dtype) if wanted in kinds.QUANTITIES else column


def _quantities(column: pd.Series, kind: kinds.Kind, dtype: kinds.Type) -> pd.Series:
    if kind == "datetime":
        return pd.Series(np.nan, index=column.index, name=column.name)
    whole = kinds.kind_of_type(dtype) == "integer"
    if kind == "boolean":
        column = column.astype("Int64")
    elif kind not in kinds.QUANTITIES:
        column = (read_integers if whole else read_numbers)(as_text(column), None)
    elif whole and kind == "float":
        column = column.where(np.isfinite(column) & (column == np.floor(column)))
    numbers: Any = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # type: ignore[arg-type]
    limits = np.iinfo(numbers) if whole else np.finfo(numbers)
    infinite = np.isinf(kinds.numbers_of(column))
    return column.where(
        column.between(limits.min, limits.max) | infinite | column.isna()
    )
