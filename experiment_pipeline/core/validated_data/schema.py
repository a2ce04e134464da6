"""schema.yaml as text → a pandera schema, and the part of it that rows to predict on meet.

In: YAML text, read safely. Out: `pandera.DataFrameSchema`. What the YAML may say belongs to
`schema_grammar.py`; applying the schema to rows belongs to `rows.py`.
"""

import copy
import re
from collections.abc import Collection, Hashable
from typing import Any

import pandas as pd
import pandera.pandas as pa
import yaml
from pandera.errors import SchemaInitError
from pandera.io.pandas_io import deserialize_schema

from experiment_pipeline.core.errors import InvalidSchema
from experiment_pipeline.core.names import did_you_mean
from experiment_pipeline.core.validated_data.coercion import coerce, holds_missing
from experiment_pipeline.core.validated_data.columns import NEVER_MISSING
from experiment_pipeline.core.validated_data.cross_column import columns_of
from experiment_pipeline.core.validated_data.schema_grammar import Settings, checked

DTYPES = ("float64", "int64", "Int64", "str", "bool", "boolean", "datetime64[us]", "category")
# The C parser reads a schema of 5,000 columns ten times faster, where it was built in.
SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
UNBUILDABLE = (TypeError, ValueError, AttributeError, re.error, SchemaInitError)


class _Loader(SafeLoader):  # type: ignore[valid-type,misc]
    """Builds plain values only, and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise InvalidSchema(
                    str(key),
                    f"it stands twice, again in line {key_node.start_mark.line + 1}",
                    "Keep one of the two.",
                )
            seen.add(key if isinstance(key, Hashable) else None)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def load_schema(text: str) -> pa.DataFrameSchema:
    """Read schema.yaml.

    Raises:
        InvalidSchema: it is no YAML, or says something that pandera or this project does not
            know; the message names the column and the key.
    """
    try:
        mapping = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"schema.yaml line {mark.line + 1}" if mark else "schema.yaml"
        problem = getattr(error, "problem", None) or str(error)
        raise InvalidSchema(place, f"it is no YAML: {problem}", "Correct the line.") from None
    settings = checked(mapping)
    for name, column in settings["columns"].items():
        _check_builds(name, column)
    schema = _built(settings)
    for name, column in settings["columns"].items():
        if column.get("nullable") is False:
            schema.columns[name].metadata = NEVER_MISSING
    return schema


def for_prediction(schema: pa.DataFrameSchema, features: Collection[str]) -> pa.DataFrameSchema:
    """Return what rows to predict on must satisfy: the rules about the features alone.

    Target, ids and excluded columns need not be there; nothing need be unique, and a new
    column is no matter, because the model never sees it.

    Args:
        schema: the experiment's.
        features: the columns that the model takes.
    """
    columns = {}
    for name, column in schema.columns.items():
        if column.regex or name in features:
            column = copy.deepcopy(column)  # noqa: PLW2901 - the caller's schema stays as it is
            column.unique, column.required = False, not column.regex
            columns[name] = column
    checks = [check for check in schema.checks if set(columns_of(check)) <= set(features)]
    return pa.DataFrameSchema(columns, checks=checks, coerce=schema.coerce)


def _check_builds(name: str, column: Settings) -> None:
    """Find the key that pandera cannot build, by building the column without the others."""
    place = f"columns.{name}"
    dtype = column.get("dtype")
    if dtype is not None:
        try:
            _built({"columns": {name: {"dtype": dtype}}})
        except UNBUILDABLE:
            raise InvalidSchema(
                f"{place}.dtype",
                f"{dtype!r} is no type; {did_you_mean(str(dtype), DTYPES)}",
                "Correct it.",
            ) from None
        if column.get("nullable") and not holds_missing(
            _built({"columns": {name: column}}).columns[name]
        ):
            raise InvalidSchema(
                f"{place}.nullable",
                f"{dtype} cannot hold a missing value",
                f"Write {dtype.capitalize() if dtype != 'bool' else 'boolean'} or float64.",
            )
    if column.get("regex"):
        _check_pattern(place, name)
    if column.get("default") is not None and dtype is not None:
        default = pd.Series([column["default"]], dtype=object)
        if coerce(default, _built({"columns": {name: {"dtype": dtype}}}).columns[name]).bad.any():
            raise InvalidSchema(f"{place}.default", f"it is no {dtype}", "Correct one of the two.")
    for check in column.get("checks", []):
        key = check["options"]["check_name"]
        if key in ("str_matches", "str_contains"):
            _check_pattern(f"{place}.{key}", check["pattern"])
        try:
            _built({"columns": {name: {"dtype": dtype, "checks": [check]}}})
        except UNBUILDABLE as error:
            raise InvalidSchema(f"{place}.{key}", str(error), "Correct its values.") from None


def _check_pattern(place: str, pattern: object) -> None:
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise InvalidSchema(
            place, f"{pattern!r} is no regular expression: {error}", "Correct the pattern."
        ) from None


def _built(settings: Settings) -> pa.DataFrameSchema:
    # pandera empties the options of the mapping it is given.
    columns = {
        name: {**column, "checks": [_copy(check) for check in column.get("checks", [])] or None}
        for name, column in settings["columns"].items()
    }
    checks = [_copy(check) for check in settings.get("checks", [])] or None
    schema: pa.DataFrameSchema = deserialize_schema(  # type: ignore[no-untyped-call]
        {**settings, "columns": columns, "checks": checks}
    )
    return schema


def _copy(check: Settings) -> Settings:
    return {**check, "options": dict(check["options"])}
