"""Datetime columns as one kind of thing: without a zone, in microseconds.

pandas keeps whatever unit a file had, so a plain view as integers means seconds here and
nanoseconds there. In: a datetime column. Out: the same instants, comparable.
"""

import numpy as np
import pandas as pd


def naive_utc(column: pd.Series) -> pd.Series:
    """Return datetime64[us] without a zone: in UTC if there was one, else as written."""
    naive = column if column.dt.tz is None else column.dt.tz_convert(None)
    instants: pd.Series = naive.dt.as_unit("us")
    return instants


def microseconds(column: pd.Series) -> np.ndarray:
    """Return microseconds since 1970: int64 (n,); a missing instant is the smallest number."""
    return naive_utc(column).to_numpy().view(np.int64)
