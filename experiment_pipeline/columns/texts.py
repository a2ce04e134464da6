"""One column of texts, cell by cell: one spelling per category, and texts read as types.

Every function here is a pure function of the single cell, so that a row prepared alone gives
what it gives within a table. In: a column and how it is declared. Out: a column of the same
length and index; what cannot be read is missing in it. Counting and rejecting belong to
`preparation.py` and the validation.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import holds_objects, kind_of, naive_utc
from experiment_pipeline.spec import Categories, Numbers

TRUE_TEXTS = ("true", "t", "yes", "y", "on", "1")
FALSE_TEXTS = ("false", "f", "no", "n", "off", "0")
# Beyond it, float64 skips whole numbers: long ids are read digit by digit.
EXACT_IN_FLOAT = 2.0**53
SIGNS = r"[+\-\u2212]"  # the last one is the typographic minus
SPACES = r"[\s\u00a0\u202f]"
Columnwise = Callable[[pd.Series], pd.Series]


def on_distinct(column: pd.Series, function: Columnwise) -> pd.Series:
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

    A group separator is only taken for one between groups of three digits: with thousands
    ',', '1,234' is 1234 and '1,23' cannot be read.
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
        groups = rf"\d{{1,3}}(?:{mark}\d{{3}})+|"
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
