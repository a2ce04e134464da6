"""One column through its declared steps: missing values, categories, type.

In: a raw column and the declaration. Out: the prepared column, how many cells each step
changed, and which cells could not be read. The table, the calendar and the user's function
belong to `preparation.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.columns import texts
from experiment_pipeline.columns.instants import naive_utc
from experiment_pipeline.spec import Preparation, Scalar


@dataclass(frozen=True)
class PreparedColumn:
    """A column after its steps.

    Attributes:
        cells: (n,) with the raw column's index.
        cells_changed: step → number of cells it changed, for the declared steps, in order.
        unparsable: bool (n,): cells that hold something, but nothing of the declared type.
    """

    cells: pd.Series
    cells_changed: dict[str, int]
    unparsable: np.ndarray


def prepare_column(raw: pd.Series, preparation: Preparation) -> PreparedColumn:
    """Apply what is declared for this column, in the order of the spec's settings."""
    name = str(raw.name)
    missing = preparation.missing_values_everywhere + preparation.missing_values.get(name, ())
    values, changed = raw, {}
    if missing:
        values = without(values, missing)
        changed["missing_values"] = _newly_missing(raw, values)
    if name in preparation.categories:
        spelt = texts.as_text(values)
        values = texts.unify(spelt, preparation.categories[name])
        changed["categories"] = int((values != spelt)[spelt.notna()].sum())
    unparsable = np.zeros(len(raw), dtype=bool)
    if name in preparation.types:
        read = _read(values, name, preparation)
        unparsable = (values.notna() & read.isna()).to_numpy()
        changed["types"] = 0 if read.dtype == values.dtype else int(read.notna().sum())
        # A placeholder such as -999 may show only once the text is a number.
        values = without(read, missing)
        changed["missing_values"] = changed.get("missing_values", 0) + _newly_missing(read, values)
    if not missing:
        changed.pop("missing_values", None)
    return PreparedColumn(values, changed, unparsable)


def without(column: pd.Series, missing: Sequence[Scalar]) -> pd.Series:
    """Make the declared values missing; the result's type never depends on the cells."""
    if not missing:
        return column
    if pd.api.types.is_bool_dtype(column.dtype):
        flags = [value for value in missing if isinstance(value, bool)]
        return column.astype("boolean").mask(column.isin(flags)) if flags else column
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = [number for value in missing if (number := _as_number(value)) is not None]
        if not numbers:
            return column
        # Whole numbers stay whole beside a missing one.
        if pd.api.types.is_integer_dtype(column.dtype):
            unsigned = pd.api.types.is_unsigned_integer_dtype(column.dtype)
            column = column.astype("UInt64" if unsigned else "Int64")
        return column.mask(column.isin(numbers))
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        declared = pd.Series([str(value) for value in missing], dtype="str")
        instants = texts.read_datetimes(declared, ()).dropna()
        return column.mask(naive_utc(column).isin(instants))
    declared_texts = [texts.value_as_text(value).strip() for value in missing]
    return column.mask(texts.as_text(column).str.strip().isin(declared_texts))


def _read(values: pd.Series, name: str, preparation: Preparation) -> pd.Series:
    match preparation.types[name]:
        case "text":
            return texts.as_text(values)
        case "datetime" if pd.api.types.is_datetime64_any_dtype(values.dtype):
            return naive_utc(values)
        case "datetime":
            formats = preparation.datetime_formats.get(name, ())
            return texts.read_datetimes(texts.as_text(values), formats)
        case "boolean" if pd.api.types.is_bool_dtype(values.dtype):
            return values.astype("boolean")
        case "boolean":
            return texts.read_booleans(texts.as_text(values))
        case wanted:
            return _read_number(values, name, preparation, whole=wanted == "integer")


def _read_number(
    values: pd.Series, name: str, preparation: Preparation, *, whole: bool
) -> pd.Series:
    if pd.api.types.is_bool_dtype(values.dtype):
        values = values.astype("Int64")
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.Series(np.nan, index=values.index, name=name).astype(
            "Int64" if whole else "float64"
        )
    if pd.api.types.is_numeric_dtype(values.dtype):
        if not whole:
            return values.astype("float64")
        if pd.api.types.is_integer_dtype(values.dtype):
            return values.where(values <= np.iinfo(np.int64).max).astype("Int64")
        return values.where((values == np.floor(values)) & (values.abs() < 2.0**63)).astype("Int64")
    written = preparation.numbers.get(name)
    read = texts.read_integers if whole else texts.read_numbers
    return read(texts.as_text(values), written)


def _newly_missing(before: pd.Series, after: pd.Series) -> int:
    return int(after.isna().sum() - before.isna().sum())


def _as_number(value: Scalar) -> float | int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return value
    number = pd.to_numeric(pd.Series([value], dtype="str"), errors="coerce")[0]
    return None if pd.isna(number) else number.item()
