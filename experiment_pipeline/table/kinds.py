"""The kind of a column, and its values as numbers. Only this module inspects dtypes."""

import itertools
from collections.abc import Collection, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types
from pandas.api.extensions import ExtensionDtype

Kind = Literal[
    "boolean",
    "integer",
    "float",
    "complex",
    "datetime",
    "duration",
    "category",
    "text",
    "nested",
    "other",
]
Type = np.dtype[Any] | ExtensionDtype
DAY = 24 * 3600 * 1_000_000  # in microseconds
QUANTITIES: frozenset[Kind] = frozenset({"integer", "float"})
# Kinds that models use as numbers.
NUMERIC: frozenset[Kind] = frozenset({"integer", "float", "boolean"})
# Kinds that are read as texts.
TEXTS: frozenset[Kind] = frozenset({"category", "text"})
# Parts of a column: the most values of a category, and ranges of a number.
_MOST_VALUES, _RANGES = 20, 4
# A text that stands for every category that a model has not seen.
UNSEEN_CATEGORY = "a category never seen"


def kind_of(column: pd.Series) -> Kind:
    """Return the kind of a column; objects are text, nested if one is a container."""
    if holds_objects(column):
        for cell_type in column.map(type).unique():
            if cell_type.__hash__ is None or issubclass(cell_type, tuple):
                return "nested"
    return kind_of_type(column.dtype)


def kind_of_type(dtype: Type) -> Kind:
    """Return the kind of a type, such as a schema's; objects are text."""
    tests: tuple[tuple[bool, Kind], ...] = (
        (isinstance(dtype, pd.CategoricalDtype), "category"),
        (types.is_string_dtype(dtype), "text"),  # True for objects, too
        (types.is_bool_dtype(dtype), "boolean"),
        (types.is_integer_dtype(dtype), "integer"),
        (types.is_float_dtype(dtype), "float"),
        (types.is_datetime64_any_dtype(dtype), "datetime"),
        (types.is_timedelta64_dtype(dtype), "duration"),
        (types.is_complex_dtype(dtype), "complex"),
    )
    return next((kind for it_is, kind in tests if it_is), "other")


def plain_column(column: pd.Series) -> pd.Series:
    """Return a column whose type a file can hold: Arrow's types and NumPy's values as
    Python's or pandas' own, ranges and periods as texts, sparse values in full.
    """
    dtype = column.dtype
    values = dtype.categories if isinstance(dtype, pd.CategoricalDtype) else column
    if isinstance(dtype, pd.ArrowDtype):
        return pd.Series(pa.array(column).to_pandas().array, column.index)
    if isinstance(values.dtype, pd.IntervalDtype | pd.PeriodDtype):
        return column.astype("str").where(column.notna())
    if isinstance(dtype, pd.SparseDtype):
        return pd.Series(column.to_numpy(), column.index, name=column.name)
    if holds_objects(dtype) and any(
        issubclass(cell, np.generic) for cell in {*map(type, column)}
    ):
        return column.map(_without_numpy)
    return column


def _without_numpy(cell: Any) -> Any:
    """Return a cell as Python's own value; nanoseconds would become an integer."""
    is_plain = isinstance(cell, np.generic) and cell.dtype.kind in "biufcU"
    return cell.item() if is_plain else cell


def holds_objects(column: pd.Series | Type) -> bool:
    """Return whether the cells of a column, or of a type, are Python objects."""
    return bool(types.is_object_dtype(column))


def is_unsigned(column: pd.Series, bits: int | None = None) -> bool:
    """Return whether a column has unsigned integers, and of so many `bits`."""
    name = str(column.dtype).lower()
    return name.startswith("uint") and (bits is None or name == f"uint{bits}")


def holds_missing(dtype: Type) -> bool:
    """Return whether a type can hold a missing value."""
    whole = kind_of_type(dtype) in ("boolean", "integer")
    return not whole or not isinstance(dtype, np.dtype)


def numbers_of(column: pd.Series) -> np.ndarray:
    """Return numbers, or microseconds since 1970, as float64 (n,), missing as nan."""
    if kind_of_type(column.dtype) == "datetime":
        return np.where(column.isna(), np.nan, microseconds(column))
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def naive_utc(column: pd.Series) -> pd.Series:
    """Return datetime64[us] without a time zone: converted to UTC if there was one."""
    naive = column if column.dt.tz is None else column.dt.tz_convert(None)
    return naive.dt.as_unit("us")


def microseconds(column: pd.Series) -> np.ndarray:
    """Return microseconds since 1970: int64 (n,); a missing instant is the smallest
    int64.

    pandas keeps the unit of the file: a plain view as integers might be seconds or
    nanoseconds.
    """
    return naive_utc(column).to_numpy().view(np.int64)


def parts_of(frame: pd.DataFrame, fewest: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (column, value or range as text, mask (n,)) of parts with `fewest` rows."""
    for name, column in frame.items():
        for value, mask in _parts_of(column):
            if fewest <= int(mask.sum()) < len(frame):
                yield str(name), value, mask


def groups_of(column: pd.Series) -> tuple[list[str], np.ndarray]:
    """Return the names of a column's groups, and each row's group: int64 (n,).

    Groups are values or, of many numbers, ranges.
    """
    names: list[str] = []
    codes = np.full(len(column), -1)
    for value, mask in _parts_of(column):
        not_yet_named = mask & (codes < 0)
        if not_yet_named.any():
            codes[not_yet_named] = len(names)
            names.append(_unused(value[:60], names))
    remaining = codes < 0
    if remaining.any():
        codes[remaining] = len(names)
        names.append(_unused("other values", names))
    return names, codes


def _unused(name: str, names: Collection[str]) -> str:
    """Number a name that is taken: short ones and ranges of large numbers may agree."""
    unused = name
    for count in itertools.count(2):
        if unused not in names:
            break
        unused = f"{name} ({count})"
    return unused


def _parts_of(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    missing = column.isna().to_numpy()
    if missing.any():
        yield "missing", missing
    kind = kind_of(column)
    numeric = kind in QUANTITIES
    if numeric and column.nunique() > _RANGES:
        values = numbers_of(column)
        ends = np.unique(
            np.quantile(values[np.isfinite(values)], np.linspace(0, 1, _RANGES + 1))
        )
        for low, high in itertools.pairwise(ends):
            last = high == ends[-1]
            mask = (values >= low) & ((values <= high) if last else (values < high))
            yield f"{low:,.6g} to {'' if last else 'below '}{high:,.6g}", mask
    elif numeric or kind in TEXTS | {"boolean"}:
        for value in column.value_counts().index[:_MOST_VALUES]:
            mask = (column == value).fillna(value=False).to_numpy(dtype=bool)
            yield " ".join(str(value).split()), mask
