"""One column of texts to one spelling per category, and to the type its schema names.

Every function is a pure function of the single cell, so that a row prepared alone gives what it
gives within a table, and none changes what a cell says.

pandera coerces with `astype`, which turns the text "no" into True, 1.5 into 1 and the number
20130101 into an instant of 1970. Here a cell that the type cannot hold *as it is* stays out
and is named. In: a column and its schema. Out: the cells that fit, and a mask of the others.
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import ParserError

from experiment_pipeline.spec import Categories, Numbers
from experiment_pipeline.table import kinds
from experiment_pipeline.table.kinds import holds_objects, kind_of, naive_utc

TRUE_TEXTS = ("true", "t", "yes", "y", "on", "1")
FALSE_TEXTS = ("false", "f", "no", "n", "off", "0")
# Beyond it, float64 skips whole numbers: long ids are read digit by digit.
EXACT_IN_FLOAT = 2.0**53
SIGNS = r"[+\-\u2212]"  # the last one is the typographic minus
SPACES = r"[\s\u00a0\u202f]"


def on_distinct(column: pd.Series, function: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Apply a cell-wise function once per distinct value; a missing value stays missing."""
    codes, distinct = pd.factorize(column)
    results = function(pd.Series(distinct)).array
    return pd.Series(results.take(codes, allow_fill=True), index=column.index, name=column.name)


def as_text(column: pd.Series) -> pd.Series:
    """Write every value as text; a whole number loses its '.0', so that 5 and 5.0 agree."""
    if holds_objects(column):
        # Lists and dicts cannot be factorised; str() is all there is to say about them.
        texts = column.map(value_as_text, na_action="ignore")
        return texts.astype("str")
    kind = kind_of(column)
    if kind == "text":
        return column.astype("str")
    if kind == "category":
        return as_text(column.astype(column.cat.categories.dtype))
    return on_distinct(column, lambda values: values.map(value_as_text).astype("str"))


def value_as_text(value: object) -> str:
    """Write one value as `as_text` writes it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_IN_FLOAT:
        return str(int(value))
    return str(value)


def unify(texts: pd.Series, categories: Categories) -> pd.Series:
    """Give each category one spelling: trim, then fold the case, then replace variants."""
    spelt = {
        _spelt(variant, categories): kept
        for kept, variants in categories.variants.items()
        for variant in variants
    }

    def one(values: pd.Series) -> pd.Series:
        values = values.map(lambda text: _spelt(text, categories))
        return values.map(lambda text: spelt.get(text, text)).astype("str")

    return on_distinct(texts, one)


def read_numbers(texts: pd.Series, written: Numbers | None) -> pd.Series:
    """Read numbers as float64; what is no finite number becomes missing.

    A group separator is only taken for one between groups of three digits, the first of them no
    zero: with thousands ',', '1,234' is 1234, and neither '1,23' nor '0,123' can be read.
    """
    if written is None:
        values = pd.to_numeric(texts, errors="coerce").astype("float64")
    else:
        pattern = _number_pattern(written)
        values = on_distinct(
            texts, lambda cells: cells.map(lambda text: _number(text, pattern, written))
        ).astype("float64")
    return values.where(np.isfinite(values))


def read_integers(texts: pd.Series, written: Numbers | None) -> pd.Series:
    """Read whole numbers as Int64; a fraction, and what does not fit 64 bits, is missing."""
    values = read_numbers(texts, written)
    whole = (values == np.floor(values)) & (values.abs() < 2.0**63)
    integers = values.where(whole).astype("Int64")
    long = values.abs() >= EXACT_IN_FLOAT
    if long.any():
        exact = [_exact_integer(text) for text in texts[long]]
        integers[long] = pd.array(exact, dtype="Int64")
    return integers


def read_booleans(texts: pd.Series) -> pd.Series:
    """Read yes/no, true/false, t/f, y/n, on/off and 1/0, in any case, as nullable booleans."""
    known = dict.fromkeys(TRUE_TEXTS, True) | dict.fromkeys(FALSE_TEXTS, False)
    return on_distinct(
        texts, lambda cells: cells.str.strip().str.lower().map(known).astype("boolean")
    )


def read_datetimes(texts: pd.Series, formats: Sequence[str]) -> pd.Series:
    """Read instants as datetime64[us]; the first format that fits a cell decides.

    A text with an offset becomes UTC; one without stays as it is written. Without formats
    only ISO 8601 is read: anything else would be a guess between day and month.
    """
    instants = pd.Series(pd.NaT, index=texts.index, name=texts.name, dtype="datetime64[us]")
    for wanted in formats or ("ISO8601",):
        unread = instants.isna() & texts.notna()
        if not unread.any():
            break
        read = pd.to_datetime(texts[unread].str.strip(), format=wanted, errors="coerce", utc=True)
        instants[unread] = naive_utc(read)
    return instants


def _spelt(text: str, categories: Categories) -> str:
    if categories.trim:
        text = re.sub(f"{SPACES}+", " ", text).strip()
    if categories.case is None:
        return text
    return text.lower() if categories.case == "lower" else text.upper()


def _number_pattern(written: Numbers) -> re.Pattern[str]:
    units = "|".join(re.escape(unit.strip()) for unit in sorted(written.units, key=len)[::-1])
    groups = ""
    if written.thousands is not None:
        mark = SPACES if written.thousands == " " else re.escape(written.thousands)
        groups = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|"
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
    signs = match["sign"] + match["sign_after"]
    if len(signs) > 1:
        return np.nan
    digits = match["digits"]
    if written.thousands is not None:
        mark = SPACES if written.thousands == " " else re.escape(written.thousands)
        digits = re.sub(mark, "", digits)
    value = float(digits.replace(written.decimal, "."))
    factors = {unit.strip(): factor for unit, factor in written.units.items()}
    factor = factors.get(match["before"] or match["after"] or "", 1.0)
    return value * factor * (1 if signs in ("", "+") else -1)


def _exact_integer(text: str) -> int | None:
    if not re.fullmatch(r"\s*[+-]?\d+\s*", text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


@dataclass(frozen=True)
class Coerced:
    """A column after coercion.

    Attributes:
        fitting: the cells that fit, in the schema's type, with their index; missing cells
            are among them where the type can hold one.
        bad: bool (n,): cells that hold something the type cannot hold.
    """

    fitting: pd.Series
    bad: np.ndarray


def coerce(column: pd.Series, schema: pa.Column) -> Coerced:
    """Coerce what can be coerced without loss.

    Args:
        column: (n,) prepared values.
        schema: the column's; without a dtype every cell fits as it is.

    Returns:
        The fitting cells, and a mask over all n.
    """
    none = np.zeros(len(column), dtype=bool)
    if schema.dtype is None or column.dtype == schema.dtype.type:
        return Coerced(column, none)
    kind = schema_kind(schema)
    if kind == "datetime":
        return _as_datetimes(column, schema)
    readable = _readable(column, kind, schema)
    bad = (column.notna() & readable.isna()).to_numpy()
    left_out = bad if has_room_for_missing(schema) else bad | column.isna().to_numpy()
    fitting = readable[~left_out] if left_out.any() else readable
    try:
        return Coerced(schema.dtype.coerce(fitting), bad)
    except (TypeError, ValueError, OverflowError, ParserError):
        return _cell_by_cell(schema, readable, left_out, bad)


def schema_kind(schema: pa.Column) -> kinds.Kind:
    """Return the kind of the schema's type; "other" where it names none."""
    return "other" if schema.dtype is None else kinds.kind_of_type(schema.dtype.type)


def has_room_for_missing(schema: pa.Column) -> bool:
    """Tell whether the schema's type has a place for a missing value, or is none."""
    return schema.dtype is None or kinds.holds_missing(schema.dtype.type)


def with_room_for_missing(schema: pa.Column) -> pa.Column:
    """Return the column's schema with a type that holds missing values and the same other ones."""
    if has_room_for_missing(schema):
        return schema
    wider = copy.copy(schema)
    name = str(schema.dtype)
    wider.dtype = "boolean" if name == "bool" else name.replace("int", "Int").replace("uI", "UI")
    return wider


def _readable(column: pd.Series, wanted: kinds.Kind, schema: pa.Column) -> pd.Series:
    """Make missing what astype would distort or refuse."""
    kind = kinds.kind_of(column)
    if wanted == "boolean":
        return column if kind == "boolean" else read_booleans(as_text(column))
    if wanted == "text":
        return column if kinds.holds_objects(schema.dtype.type) else as_text(column)
    if wanted not in kinds.QUANTITIES:
        return column
    if kind == "datetime":
        return pd.Series(np.nan, index=column.index, name=column.name)
    whole = wanted == "integer"
    if kind == "boolean":
        column = column.astype("Int64")
    elif kind not in kinds.QUANTITIES:
        column = (read_integers if whole else read_numbers)(as_text(column), None)
    elif whole and kind == "float":
        column = column.where(np.isfinite(column) & (column == np.floor(column)))
    return column.where(_within_range(column, schema) | column.isna())


def _within_range(column: pd.Series, schema: pa.Column) -> pd.Series:
    dtype = np.dtype(getattr(schema.dtype.type, "numpy_dtype", schema.dtype.type))
    limits = np.iinfo(dtype) if schema_kind(schema) == "integer" else np.finfo(dtype)
    infinite = np.isinf(kinds.numbers_of(column))
    inside: pd.Series = column.between(limits.min, limits.max) | infinite
    return inside


def _as_datetimes(column: pd.Series, schema: pa.Column) -> Coerced:
    """Keep microseconds: pandera would read 'datetime64[us]' as nanoseconds."""
    zone = getattr(schema.dtype.type, "tz", None)
    kind = kinds.kind_of(column)
    if kind == "datetime":
        instants = kinds.naive_utc(column)
    elif kind in kinds.NUMERIC:
        # A bare number is no date: whoever wrote it meant days, seconds or yyyymmdd.
        instants = pd.Series(pd.NaT, index=column.index, dtype="datetime64[us]")
    else:
        instants = read_datetimes(as_text(column), ())
    bad = (column.notna() & instants.isna()).to_numpy()
    fitting = instants[~bad]
    return Coerced(
        fitting if zone is None else fitting.dt.tz_localize("UTC").dt.tz_convert(zone), bad
    )


def _cell_by_cell(
    schema: pa.Column,
    readable: pd.Series,
    left_out: np.ndarray,
    bad: np.ndarray,
) -> Coerced:
    """Find the cells at fault one by one: only types that are rare in a table come here."""
    candidates = readable[~left_out]
    fits = np.fromiter((_fits(candidates.iloc[[i]], schema) for i in range(len(candidates))), bool)
    bad = bad.copy()
    bad[np.flatnonzero(~left_out)[~fits]] = True
    return Coerced(schema.dtype.coerce(candidates[fits]), bad)


def _fits(cell: pd.Series, schema: pa.Column) -> bool:
    try:
        schema.dtype.coerce(cell)
    except (TypeError, ValueError, OverflowError, ParserError):
        return False
    return True
