"""The first schema.yaml of a table, for people to edit.

Types, nullability and the values of low-cardinality texts. No smallest and largest values: those of
a sample would reject the next delivery.
"""

from typing import Any

import pandas as pd
import yaml

from experiment_pipeline.table.kinds import Kind, holds_objects, is_unsigned, kind_of

# Where it was built in, the C writer.
SafeDumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
LISTED_CATEGORIES = 20
HEADER = """\
# The schema of this table, in pandera's words, inferred once: edit it freely.
#
# A row that breaks a rule is rejected, with every reason. What a line can hold:
#   dtype: float64     int64, str, bool, datetime64[us], category ...; with coerce: true a cell
#                      is converted where that changes nothing, else its row is rejected
#   nullable: true     a missing value is allowed; false: it rejects its row; not given: it is
#                      kept and counted in a feature, and rejects its row elsewhere
#   isin: [a, b]       another value rejects its row; with raise_warning: true, as in the lists
#                      below, it is kept and counted: new categories are common
# For all features at once, in defs.yaml:
#   validation: {unseen_categories: reject, unseen_missing_values: reject}
#
# More rules:
#   in_range: {min_value: 0, max_value: 120}      greater_than: 0      str_matches: "^[A-Z]{2}$"
#   unique: true       no value twice; over several columns at the end: unique: [a, b]
#   required: false    the column may be absent
# Over several columns of a row, at the end:
#   checks:
#     compare_columns: {left: departure, operator: "<=", right: arrival}
#     columns_add_up: {parts: [net, tax], total: gross, tolerance: 0.01}
# strict: filter leaves columns out that are not named here; true stops at them, false keeps them.
"""


def infer_schema(prepared: pd.DataFrame, target: str) -> str:
    """Write a schema that the table satisfies, apart from rows without a target.

    Args:
        prepared: any table with text column names.
        target: the column that is never nullable.

    Returns:
        YAML for `load_schema`, with a comment on how to edit it.
    """
    columns = {
        str(name): _column(column, is_target=str(name) == target)
        for name, column in prepared.items()
    }
    settings: dict[str, Any] = {"columns": columns, "coerce": True, "strict": "filter"}
    return HEADER + yaml.dump(
        settings,
        Dumper=SafeDumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )


def _column(column: pd.Series, *, is_target: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    dtype = _dtype(column)
    if dtype is not None:
        facts["dtype"] = dtype
    if not is_target and bool(column.isna().any()):
        facts["nullable"] = True
    categories = _categories(column) if dtype == "str" else None
    if categories:
        counts = {"allowed_values": categories, "raise_warning": True}
        facts["isin"] = categories if is_target else counts
    return facts


def _dtype(column: pd.Series) -> str | None:
    """Return a plain type where there is one: what is nullable only by type becomes a float."""
    if column.isna().all():
        return None
    missing = bool(column.isna().any())
    kind = kind_of(column)
    if kind == "integer" and not missing:
        return "uint64" if is_unsigned(column, bits=64) else "int64"
    if kind == "datetime":
        return "datetime64[us]" if column.dt.tz is None else "datetime64[us, UTC]"
    plain: dict[Kind, str | None] = {
        "boolean": "boolean" if missing else "bool",
        "integer": "float64",
        "float": "float64",
        "category": "category",
        "text": None if holds_objects(column) else "str",
    }
    return plain.get(kind)


def _categories(column: pd.Series) -> list[str] | None:
    """Return the values of a text column that repeats few of them; free text has none."""
    distinct = column.dropna().unique()
    if len(distinct) > LISTED_CATEGORIES or 2 * len(distinct) > column.count():
        return None
    return sorted(str(value) for value in distinct)
