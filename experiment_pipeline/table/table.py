"""Operations on large tables, whose columns are on memory maps (`storage/mapped.py`).

A copy of all columns might not fit into memory. So code that makes rows or columns
works one column at a time, and passes each to a `Keep`, which may move it to a map.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from pandas.api import types

from experiment_pipeline.table.kinds import Type, holds_missing, kind_of_type

Cells = TypeVar("Cells", pd.Series, pd.DataFrame)

# Rows processed at a time: intermediate results may be ten times as large as the cells.
SLICE_ROWS = 262_144


class Keep(Protocol):
    """Takes a new column, or a batch of rows, and returns equal cells, perhaps on a
    map.
    """

    def __call__(self, cells: Cells, /) -> Cells:
        """Return equal cells."""


def in_memory(cells: Cells) -> Cells:
    """Return the cells unchanged."""
    return cells


def slices(rows: int, size: int = SLICE_ROWS) -> Iterator[slice]:
    """Cut this many rows into slices of `size`; zero rows give one empty slice."""
    return (slice(start, start + size) for start in range(0, max(rows, 1), size))


def of_columns(columns: Mapping[str, pd.Series], index: pd.Index) -> pd.DataFrame:
    """Return a table of columns (n,) with this index instead of their own; nothing is
    copied.
    """
    cells = {name: column.set_axis(index) for name, column in columns.items()}
    return pd.DataFrame(cells, index=index, copy=False)


def with_only(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the table with these columns alone; `table[names]` would copy
    the numbers.
    """
    return of_columns({name: table[name] for name in names}, table.index)


def with_columns(table: pd.DataFrame, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return the table with some columns replaced, or added behind the others."""
    # `assign` warns about fragmented tables, whose columns were added one at a time.
    return of_columns(
        {**{str(name): one for name, one in table.items()}, **columns}, table.index
    )


def rows_at(
    table: pd.DataFrame, positions: np.ndarray, keep: Keep = in_memory
) -> pd.DataFrame:
    """Return the rows at these positions (k,), in their order."""
    if keep is in_memory:
        return table.iloc[positions]
    columns = {
        str(name): keep(table[name].iloc[positions]).reset_index(drop=True)
        for name in table.columns
    }
    return of_columns(columns, kept_index(table.index[positions], keep))


def kept_index(index: pd.Index, keep: Keep) -> pd.Index:
    """Pass row numbers to `keep`, like the cells of a column."""
    if type(index) is not pd.Index:
        return index
    return pd.Index(keep(pd.Series(index, copy=False)), name=index.name, copy=False)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings for JSON and SQL: missing values
    are None.
    """
    cells: list[Any] = (
        frame.astype(object).where(frame.notna(), None).to_dict("records")
    )
    return cells


def one_below_another(parts: Sequence[pd.Series]) -> pd.Series:
    """Concatenate the parts of a column (n,), with the type that the whole column would
    have.

    A part without values does not affect the type if that type can hold missing values.
    """
    deciding = [part for part in parts if part.notna().any()] or parts
    dtype = _type_of_all(deciding)
    if len(deciding) < len(parts) and not holds_missing(dtype):
        dtype = _type_of_all(parts)
    return pd.concat([part.astype(dtype) for part in parts], ignore_index=True)


def _type_of_all(parts: Sequence[pd.Series]) -> Type:
    types_of_parts = {part.dtype for part in parts}
    if len(types_of_parts) > 1 and {*map(kind_of_type, types_of_parts)} == {"category"}:
        each = [pd.Categorical(part) for part in parts]
        return types.union_categoricals(each, sort_categories=True).dtype
    return pd.concat([part.iloc[:0] for part in parts]).dtype
