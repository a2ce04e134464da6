"""Columns of Python objects, which have no type in a Parquet file before all of them are seen.

In: a table in batches. Out: the type of each such column, its cells in that type, or an error that
names it. What is written where: `tables.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.table.kinds import holds_objects

# What Arrow raises about cells that it cannot keep.
UNFIT = (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError)


def types_of_objects(batches: Iterator[pd.DataFrame]) -> dict[str, pa.DataType]:
    """Return the types that columns of objects have together; UnusableTable where they have none."""
    types: dict[str, pa.DataType] = {}
    for batch in batches:
        objects = [str(name) for name, dtype in batch.dtypes.items() if holds_objects(dtype)]
        if not objects:
            break
        for name in objects:
            try:
                own = pa.array(batch[name], from_pandas=True).type
                both = [pa.schema([(name, kind)]) for kind in (types.get(name, own), own)]
                merged = pa.unify_schemas(both, promote_options="permissive")
            except UNFIT as error:
                raise refused(name, f"{what_it_holds(batch[name])}: {error}") from error
            types[name] = merged.field(name).type
    return types


def with_types(table: pa.Table, batch: pd.DataFrame, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Give columns of objects the type that they have together; UnusableTable where they change."""
    for name, kind in types.items():
        cells = pa.array(batch[name], type=kind, from_pandas=True)
        if not same_objects(batch[name], cells.to_pylist()):
            raise refused(name, f"its objects would change, as all of them are stored as {kind}")
        table = table.set_column(table.column_names.index(name), name, cells)
    return table


def same_objects(column: pd.Series, back: list[Any]) -> bool:
    """Whether objects look as before, digits included; None, NaN and NA are all missing."""
    return all(
        b is None if missing else (type(a), repr(a)) == (type(b), repr(b))
        for a, b, missing in zip(column, back, column.isna(), strict=True)
    )


def what_it_holds(column: pd.Series) -> str:
    """Say why a column cannot be kept."""
    if not holds_objects(column):
        return f"its type {column.dtype} has no way into a Parquet file and back"
    kinds = sorted({type(value).__name__ for value in column.dropna()})
    return f"it holds objects ({', '.join(kinds)}) that a column of a Parquet file cannot keep"


def refused(name: object, rule: str) -> UnusableTable:
    """Return the error about a column that cannot be written."""
    return UnusableTable(
        f"column {name!r}", rule, "Give its values one type, such as text, number or date."
    )
