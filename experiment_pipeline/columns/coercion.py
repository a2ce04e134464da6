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

from experiment_pipeline.columns import kinds
from experiment_pipeline.columns.texts import (
    as_text,
    read_booleans,
    read_datetimes,
    read_integers,
    read_numbers,
)


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
    kind = schema_kind(schema)
    if kind == "datetime":
        return _as_datetimes(column, schema)
    readable = _readable(column, kind, schema)
    bad = (column.notna() & readable.isna()).to_numpy()
    left_out = bad if has_room_for_missing(schema) else bad | column.isna().to_numpy()
    fitting = readable[~left_out] if left_out.any() else readable
    try:
        return Coerced(schema.dtype.coerce(fitting), bad)
    except (TypeError, ValueError, OverflowError, ParserError):
        return _cell_by_cell(schema, readable, left_out, bad)


def schema_kind(schema: pa.Column) -> kinds.Kind:
    """Return the kind of the schema's type; "other" where it names none."""
    return "other" if schema.dtype is None else kinds.kind_of_type(schema.dtype.type)


def has_room_for_missing(schema: pa.Column) -> bool:
    """Tell whether the schema's type has a place for a missing value, or is none."""
    return schema.dtype is None or kinds.holds_missing(schema.dtype.type)


def with_room_for_missing(schema: pa.Column) -> pa.Column:
    """Return the column's schema with a type that holds missing values and the same other ones."""
    if has_room_for_missing(schema):
        return schema
    wider = copy.copy(schema)
    name = str(schema.dtype)
    wider.dtype = "boolean" if name == "bool" else name.replace("int", "Int").replace("uI", "UI")
    return wider


def _readable(column: pd.Series, wanted: kinds.Kind, schema: pa.Column) -> pd.Series:
    """Make missing what astype would distort or refuse."""
    kind = kinds.kind_of(column)
    if wanted == "boolean":
        return column if kind == "boolean" else read_booleans(as_text(column))
    if wanted == "text":
        return column if kinds.holds_objects(schema.dtype.type) else as_text(column)
    if wanted not in kinds.QUANTITIES:
        return column
    if kind == "datetime":
        return pd.Series(np.nan, index=column.index, name=column.name)
    whole = wanted == "integer"
    if kind == "boolean":
        column = column.astype("Int64")
    elif kind not in kinds.QUANTITIES:
        column = (read_integers if whole else read_numbers)(as_text(column), None)
    elif whole and kind == "float":
        column = column.where(np.isfinite(column) & (column == np.floor(column)))
    return column.where(_within_range(column, schema) | column.isna())


def _within_range(column: pd.Series, schema: pa.Column) -> pd.Series:
    dtype = np.dtype(getattr(schema.dtype.type, "numpy_dtype", schema.dtype.type))
    limits = np.iinfo(dtype) if schema_kind(schema) == "integer" else np.finfo(dtype)
    infinite = np.isinf(kinds.numbers_of(column))
    inside: pd.Series = column.between(limits.min, limits.max) | infinite
    return inside


def _as_datetimes(column: pd.Series, schema: pa.Column) -> Coerced:
    """Keep microseconds: pandera would read 'datetime64[us]' as nanoseconds."""
    zone = getattr(schema.dtype.type, "tz", None)
    kind = kinds.kind_of(column)
    if kind == "datetime":
        instants = kinds.naive_utc(column)
    elif kind in kinds.NUMERIC:
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
