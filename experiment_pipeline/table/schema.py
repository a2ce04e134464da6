"""schema.yaml as text → a pandera schema, and fitting the columns of a table to it.

pandera's keys decide: `required` and `add_missing_columns` about absent columns,
`strict` about new ones, `ordered` about their order. Checks across columns of a row are
registered with pandera.
"""

import copy
import functools
import operator
import re
from collections.abc import Collection, Iterable, Sequence
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
from experiment_pipeline.table.table import with_columns, with_only

DTYPES = (
    "float64",
    "int64",
    "Int64",
    "str",
    "bool",
    "boolean",
    "datetime64[us]",
    "category",
)
# Marks a column with an explicit `nullable: false`, as that is also pandera's default.
NEVER_MISSING = {"never_missing": True}
_UNBUILDABLE = (
    TypeError,
    ValueError,
    AttributeError,
    re.error,
    SchemaInitError,
    InvalidSchema,
)


def load_schema(text: str, path: str = "schema.yaml") -> pa.DataFrameSchema:
    """Read the text of a schema.yaml. Raises InvalidSchema: it is not YAML, or has
    wrong keys, each reported as `file:line` with the file's `path`.
    """
    file = YamlFile(text, path, InvalidSchema)
    declared = read_schema(file)
    found = [_first_problem(name, column) for name, column in declared.columns.items()]
    if problems := [problem for problem in found if problem is not None]:
        raise invalid(problems, file.place, InvalidSchema)
    try:
        schema = _built(declared.for_pandera())
    except _UNBUILDABLE as error:  # each column builds alone
        problem = Problem(("checks",), f"{error}; correct its values")
        raise invalid([problem], file.place, InvalidSchema) from None
    for name, column in declared.columns.items():
        if "nullable" in column.model_fields_set and not column.nullable:
            schema.columns[name].metadata = NEVER_MISSING
    return schema


@functools.lru_cache(maxsize=64)
def shared_schema(text: str, path: str) -> pa.DataFrameSchema:
    """Return `load_schema`, cached; the schema must not be changed."""
    return load_schema(text, path)


def for_prediction(
    schema: pa.DataFrameSchema, features: Collection[str]
) -> pa.DataFrameSchema:
    """Return the schema for rows to predict on: only rules about features, and none of
    uniqueness.
    """
    columns = {}
    for name, column in schema.columns.items():
        if column.regex or name in features:
            columns[name] = column = copy.deepcopy(column)  # noqa: PLW2901 - the original stays
            column.unique, column.required = False, not column.regex
    checks = [
        check for check in schema.checks if set(columns_of(check)) <= set(features)
    ]
    adds, coerce = schema.add_missing_columns, schema.coerce
    return pa.DataFrameSchema(
        columns, checks=checks, coerce=coerce, add_missing_columns=adds
    )


def _first_problem(name: str, column: Column) -> Problem | None:
    """Find the key of a column that pandera rejects, by building the column alone."""
    at: Location = ("columns", name)
    dtype, typed = column.dtype, {"dtype": column.dtype}
    key = "dtype"
    try:
        plain = _built({"columns": {name: typed}}).columns[name]
        key = "default"
        if dtype is not None and column.nullable and not has_room_for_missing(plain):
            wider = dtype.capitalize() if dtype != "bool" else "boolean"
            rule = f"{dtype} cannot hold a missing value; write {wider} or float64"
            return Problem((*at, "nullable"), rule)
        if dtype is not None and column.default is not None:
            _, bad = coerce(pd.Series([column.default], dtype=object), plain)
            if bad.any():
                return Problem(
                    (*at, key), f"is not of dtype {dtype}; correct one of them"
                )
        for key, check in column.all_checks():
            checks = [check.for_pandera(key)]
            _built({"columns": {name: {**typed, "checks": checks}}})
    except _UNBUILDABLE as error:
        rule = f"{dtype!r} is not a type; {did_you_mean(str(dtype), DTYPES)}"
        return Problem(
            (*at, key), rule if key == "dtype" else f"{error}; correct its values"
        )
    return None


def _built(settings: Settings) -> pa.DataFrameSchema:
    return deserialize_schema(settings)  # type: ignore[no-untyped-call]


_OPERATORS = (
    operator.lt,
    operator.le,
    operator.eq,
    operator.ne,
    operator.ge,
    operator.gt,
)
_COMPARE = dict(zip(get_args(Operator), _OPERATORS, strict=True))


def compare_columns(
    frame: pd.DataFrame, *, left: str, operator: str, right: str
) -> pd.Series:
    """Return which rows satisfy `left operator right`, such as `departure <=
    arrival`.
    """
    missing = frame[left].isna() | frame[right].isna()
    holds = _COMPARE[operator](frame[left], frame[right])
    return holds.fillna(True).astype(bool) | missing


def columns_add_up(
    frame: pd.DataFrame,
    *,
    parts: Sequence[str],
    total: str,
    tolerance: float | None = None,
) -> pd.Series:
    """Return in which rows the parts sum to the total, within the tolerance."""
    columns = [*parts, total]
    missing = frame[columns].isna().any(axis="columns")
    gap = frame[list(parts)].sum(axis="columns") - frame[total]
    return (gap.abs() <= (tolerance or 0)).fillna(True).astype(bool) | missing


def columns_of(check: Check) -> list[str]:
    """Return the columns that a cross-column check reads; empty for any other check."""
    facts = check.statistics or {}
    named = [
        facts.get("left"),
        facts.get("right"),
        *(facts.get("parts") or ()),
        facts.get("total"),
    ]
    return [name for name in named if name is not None]


for _function, _statistics in (
    (compare_columns, ["left", "operator", "right"]),
    (columns_add_up, ["parts", "total", "tolerance"]),
):
    extensions.register_check_method(
        _function, statistics=_statistics, supported_types=pd.DataFrame
    )


def fit_columns(
    frame: pd.DataFrame,
    delivered: pd.Index,
    schema: pa.DataFrameSchema,
    not_required: Collection[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the schema's columns in its order, others last; and notes.
    `delivered`: the raw table's columns; `not_required`: columns that may be absent in
    any case. Raises InvalidSchema: a required column is absent, a new one forbidden, or
    the order differs.
    """
    notes: list[str] = []
    absent = [
        name
        for name, column in schema.columns.items()
        if column.required
        and not column.regex
        and name not in {*frame.columns, *not_required}
    ]
    if absent and not schema.add_missing_columns:
        name = absent[0]
        raise InvalidSchema(
            f"columns.{name}",
            f"the table lacks required columns: {listed(absent)}; {did_you_mean(name, frame.columns)}",
            "Correct the name, deliver the column, or write required: false."
            if len(delivered) > 1
            else "Correct data.delimiter: the table was read as one column.",
        )
    if absent:
        added = {}
        for name in absent:
            value = schema.columns[name].default
            dtype = "object" if value is None else None
            added[name] = pd.Series(
                [value] * len(frame), index=frame.index, dtype=dtype
            )
        frame = with_columns(frame, added)
        notes.append(f"columns added, because the table lacks them: {listed(absent)}")
    new = [
        name
        for name in frame.columns
        if name in delivered and _schema_of(name, schema) is None
    ]
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
        wanted = [name for name in schema.columns if name in frame.columns]
        actual = [name for name in frame.columns if name in schema.columns]
        for want, have in zip(wanted, actual, strict=True):
            if want != have:
                rule = f"ordered: true requires {want!r} in its place"
                raise InvalidSchema(
                    f"column {have}", rule, "Reorder the columns, or drop ordered."
                )
    places = {name: place for place, name in enumerate(schema.columns)}
    order = sorted(
        frame.columns, key=lambda name: (places.get(name, len(places)), str(name))
    )
    return with_only(frame, order), notes


def column_schemas(
    names: Iterable[str], schema: pa.DataFrameSchema
) -> dict[str, pa.Column]:
    """Return the schema of each column; an undeclared column may hold anything."""
    schemas = {}
    for name in names:
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
    matching = (
        one for key, one in columns.items() if one.regex and re.match(key, str(name))
    )
    return next(matching, None)
