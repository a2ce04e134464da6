"""schema.yaml as text → a pandera schema, and the columns that it and the table must agree on.

Here too: checks over several columns of a row, registered with pandera by name (a row with a missing
value among the columns passes, as in pandera), and the part of a schema that rows to predict on
meet. pandera's words decide: `required` and `add_missing_columns` about absent columns, `strict`
about new ones, `ordered` about their order. What the YAML may say belongs to
`spec/schema.py`; applying the schema to rows belongs to `stages/validated_data/rows.py`.
"""

import copy
import functools
import operator
import re
from collections.abc import Callable, Collection, Sequence
from typing import get_args

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaInitError
from pandera.io.pandas_io import deserialize_schema
from pandera.pandas import Check, extensions

from experiment_pipeline.errors import InvalidSchema, did_you_mean, listed
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid, read_schema
from experiment_pipeline.spec.schema import Column, Operator, Settings
from experiment_pipeline.table.coercion import coerce, has_room_for_missing
from experiment_pipeline.table.table import with_columns

DTYPES = ("float64", "int64", "Int64", "str", "bool", "boolean", "datetime64[us]", "category")
# Metadata of a column whose schema says `nullable: false`, which is pandera's default, too.
NEVER_MISSING = {"never_missing": True}
UNBUILDABLE = (TypeError, ValueError, AttributeError, re.error, SchemaInitError)


def load_schema(text: str, path: str = "schema.yaml") -> pa.DataFrameSchema:
    """Read schema.yaml.

    Args:
        text: of the file.
        path: of the file, as messages show it.

    Raises:
        InvalidSchema: it is no YAML, or says something that pandera or this project does not
            know; the message begins with `file:line` and names every key that is wrong.
    """
    file = YamlFile(text, path, InvalidSchema)
    declared = read_schema(file)
    found = [_first_problem(name, column) for name, column in declared.columns.items()]
    if problems := [problem for problem in found if problem is not None]:
        raise invalid(problems, file.place, InvalidSchema)
    try:
        schema = _built(declared.for_pandera())
    except UNBUILDABLE as error:  # each column builds alone
        problem = Problem(("checks",), f"{error}; correct its values")
        raise invalid([problem], file.place, InvalidSchema) from None
    for name, column in declared.columns.items():
        if "nullable" in column.model_fields_set and not column.nullable:
            schema.columns[name].metadata = NEVER_MISSING
    return schema


@functools.lru_cache(maxsize=64)
def shared_schema(text: str, path: str) -> pa.DataFrameSchema:
    """Return `load_schema`, read once; the schema must not be changed."""
    return load_schema(text, path)


def for_prediction(schema: pa.DataFrameSchema, features: Collection[str]) -> pa.DataFrameSchema:
    """Return what rows to predict on must satisfy: the rules about the features alone.

    Target, ids and excluded columns need not be there; nothing need be unique, and a new
    column is ignored, because the model never sees it.
    """
    columns = {}
    for name, column in schema.columns.items():
        if column.regex or name in features:
            column = copy.deepcopy(column)  # noqa: PLW2901 - the caller's schema stays as it is
            column.unique, column.required = False, not column.regex
            columns[name] = column
    checks = [check for check in schema.checks if set(columns_of(check)) <= set(features)]
    return pa.DataFrameSchema(columns, checks=checks, coerce=schema.coerce)


def _first_problem(name: str, column: Column) -> Problem | None:
    """Find the key that pandera cannot build, by building the column without the others."""
    at: Location = ("columns", name)
    typed = {"dtype": column.dtype}
    if column.dtype is not None:
        try:
            plain = _built_column(name, typed)
        except UNBUILDABLE:
            known = did_you_mean(column.dtype, DTYPES)
            return Problem((*at, "dtype"), f"{column.dtype!r} is not a type; {known}")
        if column.nullable and not has_room_for_missing(plain):
            dtype = column.dtype
            instead = dtype.capitalize() if dtype != "bool" else "boolean"
            message = f"{dtype} cannot hold a missing value; write {instead} or float64"
            return Problem((*at, "nullable"), message)
        default = pd.Series([column.default], dtype=object)
        if column.default is not None and coerce(default, plain).bad.any():
            return Problem((*at, "default"), f"is not of dtype {column.dtype}; correct one of them")
    for key, check in column.all_checks():
        try:
            _built_column(name, {**typed, "checks": [check.for_pandera(key)]})
        except UNBUILDABLE as error:
            return Problem((*at, key), f"{error}; correct its values")
    return None


def _built_column(name: str, settings: Settings) -> pa.Column:
    column: pa.Column = _built({"columns": {name: settings}}).columns[name]
    return column


def _built(settings: Settings) -> pa.DataFrameSchema:
    schema: pa.DataFrameSchema = deserialize_schema(settings)  # type: ignore[no-untyped-call]
    return schema


_COMPARE: dict[str, Callable[[pd.Series, pd.Series], pd.Series]] = dict(
    zip(
        get_args(Operator),
        (operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt),
        strict=True,
    )
)


def compare_columns(frame: pd.DataFrame, *, left: str, operator: str, right: str) -> pd.Series:
    """Tell which rows satisfy `left operator right`, such as `departure <= arrival`."""
    missing = frame[left].isna() | frame[right].isna()
    holds = _COMPARE[operator](frame[left], frame[right])
    return holds.fillna(True).astype(bool) | missing


def columns_add_up(
    frame: pd.DataFrame, *, parts: Sequence[str], total: str, tolerance: float | None = None
) -> pd.Series:
    """Tell in which rows the parts sum to the total, give or take the tolerance."""
    columns = [*parts, total]
    missing = frame[columns].isna().any(axis="columns")
    gap = frame[list(parts)].sum(axis="columns") - frame[total]
    return (gap.abs() <= (tolerance or 0)).fillna(True).astype(bool) | missing


def columns_of(check: Check) -> list[str]:
    """Return the columns that a cross-column check reads; empty: all of the table."""
    facts = check.statistics or {}
    named = [facts.get("left"), facts.get("right"), *(facts.get("parts") or ()), facts.get("total")]
    return [name for name in named if name is not None]


for _function, _statistics in (
    (compare_columns, ["left", "operator", "right"]),
    (columns_add_up, ["parts", "total", "tolerance"]),
):
    extensions.register_check_method(
        _function, statistics=_statistics, supported_types=pd.DataFrame
    )


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
        added = {name: _added(schema.columns[name], frame) for name in absent}
        frame = with_columns(frame, added)
        notes.append(f"columns added, because the delivery lacks them: {listed(absent)}")
    elif absent:
        name = absent[0]
        raise InvalidSchema(
            f"columns.{name}",
            f"the table lacks required columns: {listed(absent)}; {did_you_mean(name, frame.columns)}",
            "Correct the name, deliver the column, or write required: false."
            if len(delivered) > 1
            else "Correct data.delimiter: the table was read as one column.",
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
