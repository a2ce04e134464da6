"""What a column is: number, text, datetime, or something else; and its values as numbers.

pandas keeps datetimes in whatever unit a file had, so that a plain view as integers means seconds
here and nanoseconds there: here they are without a zone, in microseconds.
"""

from typing import Literal

import numpy as np
import pandas as pd
from pandas.api import types

Kind = Literal["number", "text", "datetime", "other"]


def kind_of(column: pd.Series) -> Kind:
    """What a column is to the analysis; booleans are numbers, categories are texts."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or types.is_string_dtype(dtype):
        return "text"
    if types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if types.is_object_dtype(dtype):
        return "other" if _holds_containers(column) else "text"
    if types.is_complex_dtype(dtype):
        return "other"
    return "number" if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype) else "other"


def numbers_of(column: pd.Series) -> np.ndarray:
    """A number or boolean column as float64 (n,), missing as nan."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _holds_containers(column: pd.Series) -> bool:
    known = column.dropna()
    return bool(len(known)) and isinstance(known.iloc[0], list | dict | set | tuple | np.ndarray)


def naive_utc(column: pd.Series) -> pd.Series:
    """Return datetime64[us] without a zone: in UTC if there was one, else as written."""
    naive = column if column.dt.tz is None else column.dt.tz_convert(None)
    instants: pd.Series = naive.dt.as_unit("us")
    return instants


def microseconds(column: pd.Series) -> np.ndarray:
    """Return microseconds since 1970: int64 (n,); a missing instant is the smallest number."""
    return naive_utc(column).to_numpy().view(np.int64)
