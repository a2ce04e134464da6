"""What a column is: number, text, datetime, or something else; and its values as numbers."""

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
