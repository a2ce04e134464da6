"""schema.yaml as text → a pandera schema, and fitting the columns of a table to it.

pandera's keys decide: `required` and `add_missing_columns` about absent columns,
`strict` about new ones, `ordered` about their order. Checks across columns of a row are
registered with pandera.
"""

import copy
import functools
import operator
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaInitError
from pandera.io.pandas_io import deserialize_schema
from pandera.pandas import Check, extensions

from experiment_pipeline.errors import InvalidSchema, did_you_mean, listed
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid, read_schema
from experiment_pipeline.spec.schema import Column, Settings
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
    """Read the text of a schema.yaml.

    Raises InvalidSchema: it is not YAML, or has wrong keys, each at its `path:line`.
    """
    file = YamlFile(text, path, InvalidSchema)
    declared = read_schema(file)
    problems = [
        problem
        for name, column in declared.columns.items()
        for problem in _problems(name, column)
    ]
    if problems:
        raise invalid(problems, file.place, InvalidSchema)
    if declared.checks:
        _register_checks()
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


def _problems(name: str, column: Column) -> Iterator[Problem]:
    """Yield what pandera rejects in a column, by building each of its parts alone."""
    dtype = column.dtype
    try:
        plain = _built({"columns": {name: {"dtype": dtype}}}).columns[name]
    except _UNBUILDABLE:
        problem = f"{dtype!r} is not a type; {did_you_mean(str(dtype), DTYPES)}"
        yield Problem(("columns", name, "dtype"), problem)
        return
    if column.nullable and not has_room_for_missing(plain):
        wider = "boolean" if dtype == "bool" else str(dtype).capitalize()
        problem = f"{dtype} cannot hold a missing value; write {wider} or float64"
        yield Problem(("columns", name, "nullable"), problem)
    if column.default is not None:
        _, refused = coerce(pd.Series([column.default], dtype=object), plain)
        if refused.any():
            problem = f"is not of dtype {dtype}; correct one of them"
            yield Problem(("columns", name, "default"), problem)
    for key, check in column.all_checks():
        settings = {"dtype": dtype, "checks": [check.for_pandera(key)]}
        try:
            _built({"columns": {name: settings}})
        except _UNBUILDABLE as error:
            yield Problem(("columns", name, key), f"{error}; correct its values")


def _built(settings: Settings) -> pa.DataFrameSchema:
    return deserialize_schema(settings)  # type: ignore[no-untyped-call]


def for_prediction(
    schema: pa.DataFrameSchema, features: Collection[str]
) -> pa.DataFrameSchema:
    """Return the schema of rows to predict on: rules of features, not of uniqueness."""
    columns = {}
    for name, declared in schema.columns.items():
        if declared.regex or name in features:
            column = copy.deepcopy(declared)
            column.unique = False
            column.required = not column.regex
            columns[name] = column
    return pa.DataFrameSchema(
        columns,
        checks=[
            check for check in schema.checks if set(columns_of(check)) <= set(features)
        ],
        coerce=schema.coerce,
        add_missing_columns=schema.add_missing_columns,
    )


_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def compare_columns(
    frame: pd.DataFrame, *, left: str, operator: str, right: str
) -> pd.Series:
    """Return which rows satisfy `left operator right`: `departure <= arrival`."""
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
    missing = frame[[*parts, total]].isna().any(axis="columns")
    gap = frame[list(parts)].sum(axis="columns") - frame[total]
    return (gap.abs() <= (tolerance or 0)).fillna(True).astype(bool) | missing


@functools.cache
def _register_checks() -> None:
    """Register the checks across columns, once a schema has some: for that, pandera
    imports hypothesis where it is installed, which takes as long as pandas.
    """
    extensions.register_check_method(
        compare_columns,
        statistics=["left", "operator", "right"],
        supported_types=pd.DataFrame,
    )
    extensions.register_check_method(
        columns_add_up,
        statistics=["parts", "total", "tolerance"],
        supported_types=pd.DataFrame,
    )


def columns_of(check: Check) -> list[str]:
    """Return the columns that a cross-column check reads; empty for any other check."""
    arguments = check.statistics or {}
    names = [
        arguments.get("left"),
        arguments.get("right"),
        *arguments.get("parts", ()),
        arguments.get("total"),
    ]
    return [name for name in names if name is not None]


def fit_columns(
    frame: pd.DataFrame,
    delivered: pd.Index,
    schema: pa.DataFrameSchema,
    not_required: Collection[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the schema's columns in its order, others last; and notes.

    `delivered` are the raw table's columns; `not_required` may be absent in any case.
    Raises InvalidSchema: a required column is absent, a new one is forbidden, or the
    order differs.
    """
    frame, notes = _with_absent(frame, delivered, schema, not_required)
    new = _new_columns(frame, delivered, schema)
    if new and schema.strict == "filter":
        frame = frame.drop(columns=new)
        notes.append(f"new columns left out, as strict: filter says: {listed(new)}")
    if schema.ordered:
        _check_order(frame.columns, schema)
    declared = [name for name in schema.columns if name in frame.columns]
    undeclared = sorted(frame.columns.difference(declared), key=str)
    return with_only(frame, [*declared, *undeclared]), notes


def _new_columns(
    frame: pd.DataFrame, delivered: pd.Index, schema: pa.DataFrameSchema
) -> list[str]:
    """Return the delivered columns that the schema lacks, unless it forbids them."""
    new = [
        name
        for name in frame.columns
        if name in delivered and _schema_of(name, schema) is None
    ]
    if new and schema.strict is True:
        raise InvalidSchema(
            f"column {new[0]}",
            rule=f"strict: true forbids {len(new)} new columns: {listed(new)}; "
            f"{did_you_mean(str(new[0]), schema.columns)}",
            fix="Add them to the schema, or write strict: filter to leave new columns "
            "out.",
        )
    return new


def _with_absent(
    frame: pd.DataFrame,
    delivered: pd.Index,
    schema: pa.DataFrameSchema,
    not_required: Collection[str],
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the required columns that it lacks, and what was added."""
    absent = [
        name
        for name, column in schema.columns.items()
        if column.required
        and not column.regex
        and name not in {*frame.columns, *not_required}
    ]
    if not absent:
        return frame, []
    if not schema.add_missing_columns:
        raise _lacks(absent, frame.columns, delivered)
    added = {name: _filled(schema.columns[name].default, frame) for name in absent}
    note = f"columns added, because the table lacks them: {listed(absent)}"
    return with_columns(frame, added), [note]


def _lacks(
    absent: Sequence[str], columns: pd.Index, delivered: pd.Index
) -> InvalidSchema:
    advice = "Correct the name, deliver the column, or write required: false."
    if len(delivered) == 1:
        advice = "Correct data.delimiter: the table was read as one column."
    return InvalidSchema(
        f"columns.{absent[0]}",
        f"the table lacks required columns: {listed(absent)}; "
        f"{did_you_mean(absent[0], columns)}",
        advice,
    )


def _filled(default: object, frame: pd.DataFrame) -> pd.Series:
    dtype = "object" if default is None else None
    return pd.Series([default] * len(frame), index=frame.index, dtype=dtype)


def _check_order(columns: pd.Index, schema: pa.DataFrameSchema) -> None:
    declared = [name for name in schema.columns if name in columns]
    actual = [name for name in columns if name in schema.columns]
    for right, wrong in zip(declared, actual, strict=True):
        if right != wrong:
            raise InvalidSchema(
                f"column {wrong}",
                rule=f"ordered: true requires {right!r} in its place",
                fix="Reorder the columns, or drop ordered.",
            )


def column_schemas(
    names: Iterable[str], schema: pa.DataFrameSchema
) -> dict[str, pa.Column]:
    """Return the schema of each column; an undeclared column may hold anything."""
    schemas = {}
    for name in names:
        declared = _schema_of(name, schema)
        column = pa.Column(nullable=True) if declared is None else copy.copy(declared)
        column.coerce = bool(column.coerce or schema.coerce)
        schemas[name] = column
    return schemas


def _schema_of(name: str, schema: pa.DataFrameSchema) -> pa.Column | None:
    columns: dict[str, pa.Column] = schema.columns
    exact = columns.get(name)
    if exact is not None and not exact.regex:
        return exact
    for pattern, column in columns.items():
        if column.regex and re.match(pattern, str(name)):
            return column
    return None
