"""The columns that the schema and the table must agree on, before any row is looked at.

pandera's words decide: `required` and `add_missing_columns` about absent columns, `strict`
about new ones, `ordered` about their order. In: a prepared table and a schema. Out: the table
with the columns to check, and one column schema for each.
"""

import copy
import re

import pandas as pd
import pandera.pandas as pa

from experiment_pipeline.columns.preparation import prepare
from experiment_pipeline.errors import InvalidSchema, did_you_mean, listed
from experiment_pipeline.spec import Preparation


def fit_columns(
    frame: pd.DataFrame, delivered: pd.Index, schema: pa.DataFrameSchema
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the columns that the schema wants, and notes on what was done.

    Args:
        frame: a prepared table.
        delivered: the raw table's columns; those that the preparation added are kept.
        schema: what it must satisfy.

    Raises:
        InvalidSchema: a required column is absent, a new one is forbidden, or their order
            differs.
    """
    notes: list[str] = []
    absent = [
        name
        for name, column in schema.columns.items()
        if column.required and not column.regex and name not in frame.columns
    ]
    if absent and schema.add_missing_columns:
        frame = frame.assign(**{name: _added(schema.columns[name], frame) for name in absent})
        notes.append(f"columns added, because the delivery lacks them: {listed(absent)}")
    elif absent:
        name = absent[0]
        raise InvalidSchema(
            f"columns.{name}",
            f"the table lacks {len(absent)} required columns: {listed(absent)}; "
            f"{did_you_mean(name, frame.columns)}",
            "Correct the name, deliver the column, or write required: false.",
        )
    new = [name for name in frame.columns if name in delivered and not _named(name, schema)]
    if new and schema.strict is True:
        raise InvalidSchema(
            f"column {new[0]}",
            f"strict: true forbids {len(new)} new columns: {listed(new)}; "
            f"{did_you_mean(str(new[0]), schema.columns)}",
            "Add them to the schema, or write strict: filter to leave new columns out.",
        )
    if new and schema.strict == "filter":
        frame = frame.drop(columns=new)
        notes.append(f"new columns left out, as strict: filter says: {listed(new)}")
    if schema.ordered:
        _check_order(frame, schema)
    return frame, notes


def prepared_rows(
    raw: pd.DataFrame, preparation: Preparation, schema: pa.DataFrameSchema
) -> pd.DataFrame:
    """Return every row, prepared, with the columns that validated rows will have.

    What sets are assigned to: hashing a new column that the schema leaves out would reshuffle
    them. Nothing is judged or coerced yet.

    Raises:
        UnusableTable: as `prepare`.
        InvalidSchema: as `fit_columns`.
    """
    return fit_columns(prepare(raw, preparation).frame, raw.columns, schema)[0]


def column_schemas(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> dict[str, pa.Column]:
    """Return the schema of each column of the table; one that is not named may hold anything."""
    schemas = {}
    for name in map(str, frame.columns):
        found = _schema_of(name, schema)
        column = pa.Column(nullable=True) if found is None else copy.copy(found)
        column.coerce = bool(column.coerce or schema.coerce)
        schemas[name] = column
    return schemas


def _schema_of(name: str, schema: pa.DataFrameSchema) -> pa.Column | None:
    columns: dict[str, pa.Column] = schema.columns
    exact = columns.get(name)
    if exact is not None and not exact.regex:
        return exact
    for pattern, column in columns.items():
        if column.regex and re.match(pattern, name):
            return column
    return None


def _named(name: str, schema: pa.DataFrameSchema) -> bool:
    return _schema_of(str(name), schema) is not None


def _added(column: pa.Column, frame: pd.DataFrame) -> pd.Series:
    value = None if column.default is None else column.default
    return pd.Series([value] * len(frame), index=frame.index, dtype=None if value else "object")


def _check_order(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> None:
    wanted = [name for name in schema.columns if name in frame.columns]
    actual = [name for name in frame.columns if name in schema.columns]
    for want, have in zip(wanted, actual, strict=True):
        if want != have:
            raise InvalidSchema(
                f"column {have}",
                f"ordered: true wants {want!r} in its place",
                "Reorder the columns, or drop ordered.",
            )
