"""The whole table through its preparation: columns, calendar, and the count of what changed."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from experiment_pipeline.columns.steps import PreparedColumn, prepare_column
from experiment_pipeline.columns.user_function import apply_function
from experiment_pipeline.errors import UnusableTable, did_you_mean
from experiment_pipeline.spec import CalendarPart, Preparation

RULES = {
    "number": "is no number",
    "integer": "is no whole number",
    "boolean": "is neither true nor false",
    "datetime": "is no date of the declared formats",
}


@dataclass(frozen=True)
class Prepared:
    """A prepared table, and what the preparation did.

    Attributes:
        frame: the rows of the raw table, in their order, with their index.
        changes: columns `column`, `step`, `cells_changed`; a row per declared step.
        unparsable: columns `row_number`, `column`, `value`, `rule`; a row per cell that held
            something else than its declared type, with the value as delivered.
    """

    frame: pd.DataFrame
    changes: pd.DataFrame
    unparsable: pd.DataFrame


def prepare(
    raw: pd.DataFrame, preparation: Preparation, may_be_absent: Collection[str] = ()
) -> Prepared:
    """Apply the declared preparation to every row.

    Args:
        raw: a table with the index `row_number`.
        preparation: what is declared.
        may_be_absent: columns that rows to predict on need not have, such as the target.

    Raises:
        UnusableTable: a declared column is absent or of the wrong type, a calendar column's
            name is taken, or the user's function changed the rows.
        InvalidExperiment: the user's function cannot be imported.
    """
    _check_columns_exist(raw, preparation, may_be_absent)
    columns = {str(name): prepare_column(column, preparation) for name, column in raw.items()}
    values = {name: column.cells for name, column in columns.items()}
    changes = [
        (name, step, count)
        for name, column in columns.items()
        for step, count in column.cells_changed.items()
    ]
    for name, parts in preparation.calendar.items():
        for new, numbers in _calendar(values, name, parts).items():
            values[new] = numbers
            changes.append((new, "calendar", int(numbers.notna().sum())))
    frame = pd.DataFrame(values, index=raw.index, copy=False)
    if preparation.function is not None:
        before, frame = frame, apply_function(preparation.function, frame)
        changes += _changes_of_function(before, frame)
    return Prepared(
        frame,
        pd.DataFrame(changes, columns=["column", "step", "cells_changed"]),
        _unparsable(raw, columns, preparation),
    )


def _check_columns_exist(
    raw: pd.DataFrame, preparation: Preparation, may_be_absent: Collection[str]
) -> None:
    for setting in ("missing_values", "categories", "types", "calendar"):
        for column in getattr(preparation, setting):
            excused = column in may_be_absent and setting != "calendar"
            if column not in raw.columns and not excused:
                raise UnusableTable(
                    f"preparation.{setting}.{column}",
                    f"the table has no column {column!r}; {did_you_mean(column, raw.columns)}",
                    "Correct the name in the YAML, or drop the entry.",
                )


def _calendar(
    values: dict[str, pd.Series], name: str, parts: tuple[CalendarPart, ...]
) -> dict[str, pd.Series]:
    """Return the declared parts as float64 columns; there is no year.

    A year is a name for a stretch of time: under a split by time every set but the first
    holds years that training has not seen.
    """
    instants = values[name]
    if not pd.api.types.is_datetime64_any_dtype(instants.dtype):
        raise UnusableTable(
            f"preparation.calendar.{name}",
            f"the column holds {instants.dtype}, not datetimes",
            f"Write types: {{{name}: datetime}}, or take it out of calendar.",
        )
    numbers = {}
    for part in parts:
        new = f"{name}_{part}"
        if new in values:
            raise UnusableTable(
                f"preparation.calendar.{name}",
                f"the table already has a column {new!r}",
                "Rename that column in the source, or leave this part out of calendar.",
            )
        accessor = "day" if part == "day_of_month" else part
        numbers[new] = getattr(instants.dt, accessor).astype("float64")
    return numbers


def _changes_of_function(before: pd.DataFrame, after: pd.DataFrame) -> list[tuple[str, str, int]]:
    changes = []
    for name, column in after.items():
        if name not in before.columns:
            changed = int(column.notna().sum())
        else:
            old = before[name]
            same = old.astype(object).eq(column.astype(object)) | (old.isna() & column.isna())
            changed = int((~same).sum())
        changes.append((str(name), "function", changed))
    return changes


def _unparsable(
    raw: pd.DataFrame, columns: dict[str, PreparedColumn], preparation: Preparation
) -> pd.DataFrame:
    found = [
        pd.DataFrame(
            {
                "row_number": raw.index[column.unparsable],
                "column": name,
                "value": raw[name][column.unparsable].astype(object).to_numpy(),
                "rule": RULES[preparation.types[name]],
            }
        )
        for name, column in columns.items()
        if column.unparsable.any()
    ]
    if not found:
        return pd.DataFrame(columns=["row_number", "column", "value", "rule"])
    return pd.concat(found, ignore_index=True)
