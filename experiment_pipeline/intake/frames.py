"""Tables of any library → pandas at the door of a call, and back at its end.

What offers the Arrow PyCapsule interface (polars, Arrow, DuckDB, ibis, …) is read
through it, so none of these libraries is needed here.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from experiment_pipeline.errors import UnusableTable, listed
from experiment_pipeline.table.kinds import kind_of_type, plain_column

LOG = logging.getLogger("experiment_pipeline")
_ARROW = ("__arrow_c_stream__", "__arrow_c_array__")


def as_pandas(data: Any) -> pd.DataFrame:
    """Return a table in memory as a DataFrame; each column as a file would hold it.

    Raises UnusableTable: it is no table, or its columns have no names.
    """
    frame = _frame_of(data)
    plain_frame = frame.copy(deep=False)
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        plain = plain_column(column)
        if plain is not column:
            plain_frame.isetitem(place, plain.array)
    return plain_frame


def table_or_place(data: Any) -> pd.DataFrame | str | Path:
    """Return a table in memory as `as_pandas` does; a path, URL or name as it is."""
    if isinstance(data, str | Path):
        return data
    frame = _frame_of(data)
    plain = as_pandas(frame)
    types = zip(frame.columns, frame.dtypes, plain.dtypes, strict=True)
    texts = [
        name
        for name, given, read in types
        if kind_of_type(read) == "text" != kind_of_type(given)
    ]
    if texts:
        LOG.warning(
            "ranges and periods are read as texts, unordered: %s", listed(texts)
        )
    return plain


def as_given(table: pd.DataFrame, given: Any) -> Any:
    """Return a table as the library of `given` holds it; else as an Arrow table.

    A mapping gives a dict of arrays. All but pandas lose the index.
    """
    if isinstance(given, pd.DataFrame):
        return table
    if isinstance(given, Mapping):
        return {name: column.to_numpy() for name, column in table.items()}
    if isinstance(given, np.ndarray):
        return table.to_records(index=False)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    library = sys.modules[type(given).__module__.partition(".")[0]]
    from_arrow = getattr(library, "from_arrow", None)  # polars, DuckDB, daft
    return arrow if from_arrow is None else from_arrow(arrow)


def _frame_of(data: Any) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, Mapping):
        return pd.DataFrame(dict(data))
    if isinstance(data, np.ndarray) and data.dtype.names is not None:
        return pd.DataFrame.from_records(data)
    if hasattr(data, "collect") and not hasattr(data, _ARROW[0]):  # polars, lazy
        data = data.collect()
    if any(hasattr(data, interface) for interface in _ARROW) and not isinstance(
        data, pd.Series
    ):
        return pa.table(data).to_pandas()
    library = type(data).__module__.partition(".")[0]
    name = f"{library}.{type(data).__name__}".removeprefix("builtins.")
    raise UnusableTable(
        "the table",
        rule=f"it is of type {name}, without columns that have names",
        fix="Give a DataFrame: pd.DataFrame(rows, columns=[…]) for an array or a list "
        "of rows, rows.iloc[[0]] for one row, model.read(url) for a file.",
    )
