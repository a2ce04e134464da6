"""What schema.yaml may say: pandera's own words, closed, so that a typo is an error.

pandera ignores a key it does not know, and looks checks up as attributes of a class. In: the
mapping as YAML gives it. Out: the same mapping with every check well-formed, or InvalidSchema
that names the column and the key. Building the schema from it belongs to `schema.py`.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from experiment_pipeline.core.errors import InvalidSchema
from experiment_pipeline.core.names import did_you_mean, listed
from experiment_pipeline.core.validated_data.cross_column import OPERATORS

Settings = dict[str, Any]
# Check → its arguments; the first is the one that a bare value stands for.
COLUMN_CHECKS: dict[str, tuple[str, ...]] = {
    "equal_to": ("value",),
    "not_equal_to": ("value",),
    "greater_than": ("min_value",),
    "greater_than_or_equal_to": ("min_value",),
    "less_than": ("max_value",),
    "less_than_or_equal_to": ("max_value",),
    "in_range": ("min_value", "max_value", "include_min", "include_max"),
    "isin": ("allowed_values",),
    "notin": ("forbidden_values",),
    "str_matches": ("pattern",),
    "str_contains": ("pattern",),
    "str_startswith": ("string",),
    "str_endswith": ("string",),
    "str_length": ("min_value", "max_value", "exact_value"),
}
TABLE_CHECKS: dict[str, tuple[str, ...]] = {
    "compare_columns": ("left", "operator", "right"),
    "columns_add_up": ("parts", "total", "tolerance"),
}
OPTIONS = ("raise_warning", "ignore_na", "error")
LISTS = ("isin", "notin")
FLAGS = frozenset(
    {"nullable", "unique", "coerce", "required", "regex", "ordered", "add_missing_columns"}
    | {"unique_column_names", "raise_warning", "ignore_na", "drop_invalid_rows"}
)
PROSE = ("title", "description", "name")
COLUMN_KEYS = ("dtype", "nullable", "unique", "coerce", "required", "regex", "default")
TABLE_KEYS = ("columns", "checks", "unique", "coerce", "strict", "ordered", "add_missing_columns")
REPORTS = ("exclude_first", "exclude_last", "all")
REFUSED = {
    "drop_invalid_rows": "a row that breaks the schema is kept among the rejected rows",
    "index": "the index is always the row number in the source",
    "multiindex": "the index is always the row number in the source",
    "dtype": "a type for the whole table leaves no column its own",
    "parsers": "preparation in the experiment's YAML is where values change",
    "n_failure_cases": "every broken rule of every row is kept",
    "groupby": "a check sees one row at a time",
    "groups": "a check sees one row at a time",
}


def checked(mapping: object) -> Settings:
    """Return the mapping with checks written out, or say what is wrong with it.

    Raises:
        InvalidSchema: a key, a check, an argument or a value is none of those allowed.
    """
    if not isinstance(mapping, Mapping):
        raise InvalidSchema("schema.yaml", "it is no mapping of keys", "Begin with columns:")
    allowed = (*TABLE_KEYS, "schema_type", "api", "version", "metadata", *PROSE)
    table = _closed("schema.yaml", mapping, (*allowed, "report_duplicates", "unique_column_names"))
    columns = table.get("columns")
    if not isinstance(columns, Mapping) or not columns:
        raise InvalidSchema("columns", "the schema names no columns", "List them by name.")
    table["columns"] = {name: _column(name, body) for name, body in columns.items()}
    if table.get("strict", False) not in (True, False, "filter"):
        raise _not_allowed("strict", table["strict"], "true, false or filter")
    unique = table.get("unique")
    if unique is not None:
        table["unique"] = _names("unique", [unique] if isinstance(unique, str) else unique, columns)
    table["checks"] = list(_table_checks(table.get("checks"), columns))
    return table


def _closed(place: str, body: Mapping[Any, Any], allowed: Iterable[str]) -> Settings:
    """Check names and the values whose type the name decides."""
    for key, value in body.items():
        where = key if place == "schema.yaml" else f"{place}.{key}"
        if key in REFUSED and key not in allowed and value not in (None, False):
            raise InvalidSchema(str(where), f"{REFUSED[key]}", "Drop the key.")
        if key not in allowed and key not in REFUSED:
            raise InvalidSchema(
                str(where), f"unknown key; {did_you_mean(str(key), allowed)}", "Correct or drop it."
            )
        table_unique = key == "unique" and place == "schema.yaml"
        if key in FLAGS and not table_unique and not isinstance(value, bool):
            raise _not_allowed(where, value, "true or false")
        if key == "report_duplicates" and value not in REPORTS:
            raise _not_allowed(where, value, " or ".join(REPORTS))
    return {key: value for key, value in body.items() if key not in REFUSED or key in allowed}


def _column(name: object, body: object) -> Settings:
    if not isinstance(name, str):
        raise InvalidSchema(
            f"columns.{name}", f"YAML reads this name as {type(name).__name__}", "Put it in quotes."
        )
    body = {} if body is None else body
    if not isinstance(body, Mapping):
        raise InvalidSchema(f"columns.{name}", "it is no mapping of keys", "Write dtype: below it.")
    place = f"columns.{name}"
    listed_checks = {"checks", "report_duplicates", *PROSE}
    column = _closed(place, body, (*COLUMN_KEYS, *COLUMN_CHECKS, *listed_checks))
    checks = list(_checks(f"{place}.checks", column.pop("checks", None), COLUMN_CHECKS))
    flat = {key: column.pop(key) for key in list(column) if key in COLUMN_CHECKS}
    checks += [_check(f"{place}.{key}", key, value, COLUMN_CHECKS) for key, value in flat.items()]
    return {**column, "checks": checks} if checks else column


def _table_checks(checks: object, columns: Mapping[Any, Any]) -> Iterable[Settings]:
    for check in _checks("checks", checks, TABLE_CHECKS):
        place = f"checks.{check['options']['check_name']}"
        named = [check.get("left"), check.get("right"), check.get("total")]
        _names(place, [*(name for name in named if name), *(check.get("parts") or [])], columns)
        if "operator" in check and check["operator"] not in OPERATORS:
            raise _not_allowed(f"{place}.operator", check["operator"], " ".join(OPERATORS))
        yield check


def _checks(
    place: str, checks: object, allowed: Mapping[str, tuple[str, ...]]
) -> Iterable[Settings]:
    """Read both of pandera's notations: name → arguments, and a list with options."""
    if isinstance(checks, Mapping):
        for name, value in checks.items():
            yield _check(f"{place}.{name}", name, value, allowed)
    elif isinstance(checks, list):
        for entry in checks:
            options = dict(entry.get("options") or {}) if isinstance(entry, Mapping) else {}
            name = options.pop("check_name", None)
            if name is None:
                raise InvalidSchema(place, f"{entry!r} has no name", "Write it as name: arguments.")
            arguments = {key: value for key, value in entry.items() if key != "options"}
            if set(arguments) == {"value"}:
                arguments = {allowed.get(name, ("value",))[0]: arguments["value"]}
            yield _check(f"{place}.{name}", name, {**arguments, **options}, allowed)
    elif checks is not None:
        raise InvalidSchema(place, f"{checks!r} is no list of checks", "Write name: arguments.")


def _check(
    place: str, name: str, value: object, allowed: Mapping[str, tuple[str, ...]]
) -> Settings:
    if name not in allowed:
        raise InvalidSchema(
            place, f"unknown check; {did_you_mean(str(name), allowed)}", "Correct or drop it."
        )
    given = value if isinstance(value, Mapping) else {allowed[name][0]: value}
    given = _closed(place, given, (*allowed[name], *OPTIONS))
    arguments = {key: _plain(v) for key, v in given.items() if key not in OPTIONS}
    if not arguments or arguments.get(allowed[name][0], 0) is None:
        raise InvalidSchema(place, "it lacks its value", f"Give {', '.join(allowed[name])}.")
    if name in LISTS and not isinstance(arguments[allowed[name][0]], list):
        raise _not_allowed(place, value, "a list")
    options = {key: v for key, v in given.items() if key in OPTIONS}
    return {**arguments, "options": {"check_name": name, **options}}


def _names(place: str, names: object, columns: Mapping[Any, Any]) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _not_allowed(place, names, "a list of column names")
    for name in names:
        if name not in columns:
            raise InvalidSchema(
                place, f"names no column: {name!r}; {did_you_mean(name, columns)}", "Correct it."
            )
    return list(names)


def _plain(value: object) -> object:
    """Write YAML's dates as pandera writes them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dt.date):
        return (
            value.isoformat(" ", "seconds")
            if isinstance(value, dt.datetime)
            else f"{value} 00:00:00"
        )
    return value


def _not_allowed(place: str, value: object, allowed: str) -> InvalidSchema:
    return InvalidSchema(place, f"{listed([value])} is not allowed", f"Write {allowed}.")
