"""A raw table through its declared preparation, and the count of what changed.

First every column alone (missing values, categories, type), then the calendar, then the user's own
function by import path, which is held to working row by row. It runs in this process with this
process's rights. In: a raw table and the declaration. Out: `PreparedTable`. Counting is done here,
rejecting belongs to the validation.
"""

import importlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidExperiment, UnusableTable, did_you_mean, listed
from experiment_pipeline.spec import Preparation, Scalar
from experiment_pipeline.table import coercion
from experiment_pipeline.table.calendar_parts import calendar_parts
from experiment_pipeline.table.kinds import (
    NUMERIC,
    QUANTITIES,
    is_unsigned,
    kind_of,
    naive_utc,
    numbers_of,
)
from experiment_pipeline.table.table import (
    SLICE_ROWS,
    Keep,
    in_memory,
    of_columns,
    one_below_another,
    slices,
)

RULES = {
    "number": "is no number",
    "integer": "is no whole number",
    "boolean": "is neither true nor false",
    "datetime": "is no date of the declared formats",
}


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


@dataclass(frozen=True)
class Unparsable:
    """Cells (k,) of a column as delivered, with their rows' index, and the rule that they break."""

    cells: pd.Series
    rule: str


@dataclass(frozen=True)
class PreparedTable:
    """A prepared table, and what the preparation did.

    Attributes:
        frame: the rows of the raw table, in their order, with their index.
        changes: columns `column`, `step`, `cells_changed`; a row per declared step.
        unparsable: column → its cells that held something else than the declared type, if any.
        notes: how the columns were fitted to the schema.
        sets: the set of each row, as of `assign_sets`; None: they were not assigned.
    """

    frame: pd.DataFrame
    changes: pd.DataFrame
    unparsable: Mapping[str, Unparsable]
    notes: tuple[str, ...] = ()
    sets: pd.Series | None = None

    def assigned(self) -> pd.Series:
        """Return the set of each row; ValueError where none were assigned."""
        if self.sets is None:
            raise ValueError("these rows have no sets")
        return self.sets


def prepare(
    raw: pd.DataFrame,
    preparation: Preparation,
    may_be_absent: Collection[str] = (),
    keep: Keep = in_memory,
    batch_rows: int = SLICE_ROWS,
) -> PreparedTable:
    """Apply the declared preparation to every row.

    Args:
        raw: a table with the index `row_number`.
        preparation: what is declared.
        may_be_absent: columns that rows to predict on need not have, such as the target.
        keep: of the columns that are changed.
        batch_rows: the user's function is given so many rows at a time.

    Raises:
        UnusableTable: a declared column is absent or of the wrong type, a calendar column's
            name is taken, or the user's function changed the rows.
        InvalidExperiment: the user's function cannot be imported.
    """
    _check_columns_exist(raw, preparation, may_be_absent)
    values = {str(name): raw[name] for name in raw.columns}
    changes: list[tuple[str, str, int]] = []
    unparsable = dict[str, Unparsable]()
    for name in raw.columns:
        given = raw[name]
        column = prepare_column(given, preparation)
        if column.cells is not given:
            values[str(name)] = keep(column.cells)
        changes += [(str(name), step, count) for step, count in column.cells_changed.items()]
        if column.unparsable.any():
            rule = RULES[preparation.types[str(name)]]
            unparsable[str(name)] = Unparsable(given[column.unparsable], rule)
    for name, parts in preparation.calendar.items():
        for new, numbers in calendar_parts(values, name, parts).items():
            values[new] = keep(numbers)
            changes.append((new, "calendar", int(numbers.notna().sum())))
    frame = of_columns(values, raw.index)
    if preparation.function is not None:
        frame, changed = _through_function(preparation.function, frame, keep, batch_rows)
        changes += [(name, "function", count) for name, count in changed.items()]
    counted = pd.DataFrame(changes, columns=["column", "step", "cells_changed"])
    return PreparedTable(frame, counted, unparsable)


def _check_columns_exist(
    raw: pd.DataFrame, preparation: Preparation, may_be_absent: Collection[str]
) -> None:
    for setting, column in declared_columns(preparation):
        excused = column in may_be_absent and setting != "calendar"
        if column not in raw.columns and not excused:
            raise UnusableTable(
                f"preparation.{setting}.{column}",
                f"the table has no column {column!r}; {did_you_mean(column, raw.columns)}",
                "Correct the name in the YAML, or drop the entry.",
            )


def declared_columns(preparation: Preparation) -> Iterator[tuple[str, str]]:
    """(setting, column) of every column that the preparation names."""
    for setting in ("missing_values", "categories", "types", "calendar"):
        yield from ((setting, column) for column in getattr(preparation, setting))


def _changes_of_function(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[tuple[str, int]]:
    for name, column in after.items():
        old = before[name] if name in before else pd.Series(None, before.index, dtype=object)
        same = old.astype(object).eq(column.astype(object)) | (old.isna() & column.isna())
        yield str(name), int((~same).sum())


def prepare_column(raw: pd.Series, preparation: Preparation) -> PreparedColumn:
    """Apply what is declared for this column, in the order of the spec's settings."""
    name = str(raw.name)
    missing = preparation.missing_values_everywhere + preparation.missing_values.get(name, ())
    values, changed = raw, {}
    if missing:
        values = without(values, missing)
        changed["missing_values"] = _newly_missing(raw, values)
    if name in preparation.categories:
        spelt = coercion.as_text(values)
        values = coercion.unify(spelt, preparation.categories[name])
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
    kind = kind_of(column)
    if kind == "boolean":
        flags = [value for value in missing if isinstance(value, bool)]
        return column.astype("boolean").mask(column.isin(flags)) if flags else column
    if kind in QUANTITIES:
        numbers = [number for value in missing if (number := _as_number(value)) is not None]
        if not numbers:
            return column
        # Whole numbers stay whole beside a missing one.
        if kind == "integer":
            column = column.astype("UInt64" if is_unsigned(column) else "Int64")
        return column.mask(column.isin(numbers))
    if kind == "datetime":
        declared = pd.Series([str(value) for value in missing], dtype="str")
        instants = coercion.read_datetimes(declared, ()).dropna()
        return column.mask(naive_utc(column).isin(instants))
    declared_texts = [coercion.value_as_text(value).strip() for value in missing]
    return column.mask(coercion.as_text(column).str.strip().isin(declared_texts))


def _read(values: pd.Series, name: str, preparation: Preparation) -> pd.Series:
    kind = kind_of(values)
    match preparation.types[name]:
        case "text":
            return coercion.as_text(values)
        case "datetime" if kind == "datetime":
            return naive_utc(values)
        case "datetime":
            formats = preparation.datetime_formats.get(name, ())
            return coercion.read_datetimes(coercion.as_text(values), formats)
        case "boolean" if kind == "boolean":
            return values.astype("boolean")
        case "boolean":
            return coercion.read_booleans(coercion.as_text(values))
        case wanted:
            return _read_number(values, name, preparation, whole=wanted == "integer")


def _read_number(
    values: pd.Series, name: str, preparation: Preparation, *, whole: bool
) -> pd.Series:
    kind = kind_of(values)
    if kind == "boolean":
        values = values.astype("Int64")
    if kind == "datetime":
        return pd.Series(np.nan, index=values.index, name=name).astype(
            "Int64" if whole else "float64"
        )
    if kind in NUMERIC:
        if not whole:
            return values.astype("float64")
        if kind != "float":
            return values.where(values <= np.iinfo(np.int64).max).astype("Int64")
        return values.where((values == np.floor(values)) & (values.abs() < 2.0**63)).astype("Int64")
    written = preparation.numbers.get(name)
    read = coercion.read_integers if whole else coercion.read_numbers
    return read(coercion.as_text(values), written)


def _newly_missing(before: pd.Series, after: pd.Series) -> int:
    return int(after.isna().sum() - before.isna().sum())


def _as_number(value: Scalar) -> float | int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return value
    number = pd.to_numeric(pd.Series([value], dtype="str"), errors="coerce")[0]
    return None if pd.isna(number) else number.item()


CULPRIT = "preparation.function"
# Enough to expose a mean or a rank over the table; few enough to cost nothing.
ROWS_TRIED_ALONE = 50


def _through_function(
    path: str, frame: pd.DataFrame, keep: Keep, batch_rows: int
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Return the table that the function makes, and how many cells of each column it changed."""
    changed, parts = dict[str, int](), list[pd.DataFrame]()
    for before, after in apply_function(path, frame, batch_rows):
        for name, count in _changes_of_function(before, after):
            changed[name] = changed.get(name, 0) + count
        parts.append(after if len(after) == len(frame) else keep(after))
    columns = {
        str(name): keep(one_below_another([part[name] for part in parts]))
        for name in parts[0].columns
    }
    return of_columns(columns, frame.index), changed


def apply_function(
    path: str, frame: pd.DataFrame, batch_rows: int
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Apply the function to a batch of rows after the other, and check that it works row by row.

    The function is also given a few of the rows alone: whatever looks at other rows, such as
    filling with the mean, would predict from other values than it was trained on.

    Returns:
        The rows of each batch as they were given, and as they were returned.

    Raises:
        InvalidExperiment: the path leads to no function.
        UnusableTable: it returned no table, other rows, or values that depend on other rows.
    """
    function = imported(path, CULPRIT, "function")
    if not callable(function):
        raise _leads_nowhere(path, CULPRIT, "function")
    step = max(1, len(frame) // ROWS_TRIED_ALONE)
    few = frame.iloc[np.arange(len(frame))[::step][:ROWS_TRIED_ALONE]]
    alone = None
    if len(few) < len(frame) or batch_rows < len(frame):
        alone = _same_rows(path, few, function(few.copy()))
    for rows in slices(len(frame), max(batch_rows, 1)):
        given = frame.iloc[rows]
        returned = _same_rows(path, given, function(given.copy()))
        if alone is not None:
            tried = given.index.intersection(few.index)
            _check_row_by_row(path, returned.loc[tried], alone.loc[tried])
        yield given, returned


def imported(path: str, culprit: str, what: str) -> Any:
    """Return what `module:name` leads to.

    Raises:
        InvalidExperiment: the path leads nowhere; `culprit` is the key of the YAML that names it.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidExperiment(
            culprit,
            f"{module_name} cannot be imported: {error}",
            "Correct the path, or install it.",
        ) from error
    if not hasattr(module, name):
        raise _leads_nowhere(path, culprit, what)
    return getattr(module, name)


def _leads_nowhere(path: str, culprit: str, what: str) -> InvalidExperiment:
    module_name, _, name = path.partition(":")
    known = [other for other in dir(sys.modules[module_name]) if not other.startswith("_")]
    return InvalidExperiment(
        culprit,
        f"{module_name} has no {what} {name!r}; {did_you_mean(name, known)}",
        "Correct the name after the colon.",
    )


def _same_rows(path: str, given: pd.DataFrame, returned: object) -> pd.DataFrame:
    if not isinstance(returned, pd.DataFrame):
        raise UnusableTable(
            f"{CULPRIT} {path}", f"returned {type(returned).__name__}, no table", "Return a table."
        )
    if not returned.index.equals(given.index):
        raise UnusableTable(
            f"{CULPRIT} {path}",
            f"was given {len(given)} rows and returned {len(returned)}, or others, or reordered",
            "Return the same rows with the same index; reject rows by the schema instead.",
        )
    if not returned.columns.is_unique:
        twice = returned.columns[returned.columns.duplicated()]
        raise UnusableTable(
            f"{CULPRIT} {path}", f"returned columns twice: {listed(twice)}", "Name each one once."
        )
    return returned.set_axis(given.index)


def _check_row_by_row(path: str, within: pd.DataFrame, alone: pd.DataFrame) -> None:
    different = [
        str(name)
        for name in within.columns
        if name not in alone.columns or not _equal(within[name], alone[name])
    ]
    if different or len(alone.columns) != len(within.columns):
        raise UnusableTable(
            f"{CULPRIT} {path}",
            f"{len(alone)} rows alone get other values than within the table"
            f" (columns: {listed(different)})",
            "Use nothing of other rows; what is learnt from the table belongs into the model.",
        )


def _equal(one: pd.Series, other: pd.Series) -> bool:
    if kind_of(one) in NUMERIC and kind_of(other) in NUMERIC:
        left, right = numbers_of(one), numbers_of(other)
        # Vectorised arithmetic may differ in the last digit between table sizes.
        return bool(np.allclose(left, right, rtol=1e-9, atol=0, equal_nan=True))
    same = one.astype(object).eq(other.astype(object)) | (one.isna() & other.isna())
    return bool(same.all())
