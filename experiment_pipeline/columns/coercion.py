"""One column to the type its schema names, without ever changing what a cell says.

pandera coerces with `astype`, which turns the text "no" into True, 1.5 into 1 and the number
20130101 into an instant of 1970. Here a cell that the type cannot hold *as it is* stays out
and is named. In: a column and its schema. Out: the cells that fit, and a mask of the others.
"""

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import ParserError

from experiment_pipeline.columns.kinds import naive_utc
from experiment_pipeline.columns.texts import (
    as_text,
    read_booleans,
    read_datetimes,
    read_integers,
    read_numbers,
)

TYPE_NAMES = {"i": "whole number", "u": "whole number", "f": "number", "b": "boolean", "M": "date"}


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
    kind = kind_of(schema)
    if kind == "M":
        return _as_datetimes(column, schema)
    readable = _readable(column, kind, schema)
    bad = (column.notna() & readable.isna()).to_numpy()
    left_out = bad if holds_missing(schema) else bad | column.isna().to_numpy()
    fitting = readable[~left_out] if left_out.any() else readable
    try:
        return Coerced(schema.dtype.coerce(fitting), bad)
    except (TypeError, ValueError, OverflowError, ParserError):
        return _cell_by_cell(schema, readable, left_out, bad)


def kind_of(schema: pa.Column) -> str:
    """Return numpy's letter for the schema's type: i, u, f, b, M, or O for all else."""
    dtype = schema.dtype.type if schema.dtype is not None else None
    kind = getattr(dtype, "kind", "O")
    return kind if kind in TYPE_NAMES else "O"


def holds_missing(schema: pa.Column) -> bool:
    """Tell whether the schema's type has a place for a missing value."""
    return kind_of(schema) not in "iub" or not isinstance(schema.dtype.type, np.dtype)


def with_room_for_missing(schema: pa.Column) -> pa.Column:
    """Return the column's schema with a type that holds missing values and the same other ones."""
    if schema.dtype is None or holds_missing(schema):
        return schema
    wider = copy.copy(schema)
    name = str(schema.dtype)
    wider.dtype = "boolean" if name == "bool" else name.replace("int", "Int").replace("uI", "UI")
    return wider


def _readable(column: pd.Series, kind: str, schema: pa.Column) -> pd.Series:
    """Make missing what astype would distort or refuse."""
    boolean = pd.api.types.is_bool_dtype(column.dtype)
    if kind == "b":
        return column if boolean else read_booleans(as_text(column))
    if isinstance(schema.dtype.type, pd.StringDtype):
        return as_text(column)
    if kind == "O":
        return column
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.Series(np.nan, index=column.index, name=column.name)
    whole = kind in "iu"
    if boolean:
        column = column.astype("Int64")
    elif not pd.api.types.is_numeric_dtype(column.dtype):
        column = (read_integers if whole else read_numbers)(as_text(column), None)
    elif whole and not pd.api.types.is_integer_dtype(column.dtype):
        column = column.where(np.isfinite(column) & (column == np.floor(column)))
    return column.where(_within_range(column, schema) | column.isna())


def _within_range(column: pd.Series, schema: pa.Column) -> pd.Series:
    dtype = np.dtype(getattr(schema.dtype.type, "numpy_dtype", schema.dtype.type))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    infinite = np.isinf(column.to_numpy("float64", na_value=np.nan))
    inside: pd.Series = column.between(limits.min, limits.max) | infinite
    return inside


def _as_datetimes(column: pd.Series, schema: pa.Column) -> Coerced:
    """Keep microseconds: pandera would read 'datetime64[us]' as nanoseconds."""
    zone = getattr(schema.dtype.type, "tz", None)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        instants = naive_utc(column)
    elif pd.api.types.is_numeric_dtype(column.dtype):
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
