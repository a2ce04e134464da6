"""What schema.yaml may say: pandera's own words, closed, so that a typo is an error.

pandera ignores a key it does not know, and looks checks up as attributes of a class. In: the
mapping as YAML gives it. Out: the same mapping with every check well-formed, or the problems,
each at the path of its key. Building the schema from it belongs to `columns/schema.py`, telling people
to `schema_problems.py`.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from experiment_pipeline.errors import did_you_mean, listed
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.schema_problems import SchemaProblem, all_of

Settings = dict[str, Any]
OPERATORS = ("<", "<=", "==", "!=", ">=", ">")
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
OPTIONAL = ("tolerance",)
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
    """Return the mapping with checks written out.

    Raises:
        SchemaProblems: each key, check, argument or value that is none of those allowed.
    """
    if not isinstance(mapping, Mapping):
        raise SchemaProblem((), "it is no mapping of keys", "Begin with columns:")
    allowed = (*TABLE_KEYS, "schema_type", "api", "version", "metadata", *PROSE)
    table = _closed((), mapping, (*allowed, "report_duplicates", "unique_column_names"))
    columns = table.get("columns")
    if not isinstance(columns, Mapping) or not columns:
        raise SchemaProblem(("columns",), "the schema names no columns", "List them by name.")
    table["columns"] = all_of(columns, lambda name: _column(name, columns[name]))
    if table.get("strict", False) not in (True, False, "filter"):
        raise _not_allowed(("strict",), table["strict"], "true, false or filter")
    unique = table.get("unique")
    if unique is not None:
        names = [unique] if isinstance(unique, str) else unique
        table["unique"] = _names(("unique",), names, columns)
    table["checks"] = list(_table_checks(table.get("checks"), columns))
    return table


def _closed(at: Location, body: Mapping[Any, Any], allowed: Iterable[str]) -> Settings:
    """Check names and the values whose type the name decides."""
    for key, value in body.items():
        where = (*at, key)
        if key in REFUSED and key not in allowed and value not in (None, False):
            raise SchemaProblem(where, REFUSED[key], "Drop the key.")
        if key not in allowed and key not in REFUSED:
            known = did_you_mean(str(key), allowed)
            raise SchemaProblem(where, f"unknown key; {known}", "Correct or drop it.")
        table_unique = where == ("unique",)
        if key in FLAGS and not table_unique and not isinstance(value, bool):
            raise _not_allowed(where, value, "true or false")
        if key == "report_duplicates" and value not in REPORTS:
            raise _not_allowed(where, value, " or ".join(REPORTS))
    return {key: value for key, value in body.items() if key not in REFUSED or key in allowed}


def _column(name: object, body: object) -> Settings:
    at: Location = ("columns", str(name))
    if not isinstance(name, str):
        raise SchemaProblem(
            at, f"YAML reads this name as {type(name).__name__}", "Put it in quotes."
        )
    body = {} if body is None else body
    if not isinstance(body, Mapping):
        raise SchemaProblem(at, "it is no mapping of keys", "Write dtype: below it.")
    listed_checks = {"checks", "report_duplicates", *PROSE}
    column = _closed(at, body, (*COLUMN_KEYS, *COLUMN_CHECKS, *listed_checks))
    checks = list(_checks((*at, "checks"), column.pop("checks", None), COLUMN_CHECKS))
    flat = {key: column.pop(key) for key in list(column) if key in COLUMN_CHECKS}
    checks += [_check((*at, key), key, value, COLUMN_CHECKS) for key, value in flat.items()]
    return {**column, "checks": checks} if checks else column


def _table_checks(checks: object, columns: Mapping[Any, Any]) -> Iterable[Settings]:
    for check in _checks(("checks",), checks, TABLE_CHECKS):
        name = check["options"]["check_name"]
        at: Location = ("checks", name)
        for key in TABLE_CHECKS[name]:
            if key not in check and key not in OPTIONAL:
                raise SchemaProblem(at, f"it lacks {key}", f"Give {', '.join(TABLE_CHECKS[name])}.")
        for key in ("left", "right", "total"):
            _names((*at, key), [check[key]] if key in check else [], columns)
        _names((*at, "parts"), check.get("parts", []), columns)
        if "operator" in check and check["operator"] not in OPERATORS:
            raise _not_allowed((*at, "operator"), check["operator"], " ".join(OPERATORS))
        if not isinstance(check.get("tolerance", 0), int | float):
            raise _not_allowed((*at, "tolerance"), check["tolerance"], "a number")
        yield check


def _checks(
    at: Location, checks: object, allowed: Mapping[str, tuple[str, ...]]
) -> Iterable[Settings]:
    """Read both of pandera's notations: name → arguments, and a list with options."""
    if isinstance(checks, Mapping):
        for name, value in checks.items():
            yield _check((*at, name), name, value, allowed)
    elif isinstance(checks, list):
        for number, entry in enumerate(checks):
            options = dict(entry.get("options") or {}) if isinstance(entry, Mapping) else {}
            name = options.pop("check_name", None)
            if name is None:
                rule = f"{entry!r} has no name"
                raise SchemaProblem((*at, number), rule, "Write it as name: arguments.")
            arguments = {key: value for key, value in entry.items() if key != "options"}
            if set(arguments) == {"value"}:
                arguments = {allowed.get(name, ("value",))[0]: arguments["value"]}
            yield _check((*at, number), name, {**arguments, **options}, allowed)
    elif checks is not None:
        raise SchemaProblem(at, f"{checks!r} is no list of checks", "Write name: arguments.")


def _check(
    at: Location, name: str, value: object, allowed: Mapping[str, tuple[str, ...]]
) -> Settings:
    if name not in allowed:
        known = did_you_mean(str(name), allowed)
        raise SchemaProblem(at, f"unknown check {name!r}; {known}", "Correct or drop it.")
    given = value if isinstance(value, Mapping) else {allowed[name][0]: value}
    given = _closed(at, given, (*allowed[name], *OPTIONS))
    arguments = {key: _plain(v) for key, v in given.items() if key not in OPTIONS}
    if not arguments or arguments.get(allowed[name][0], 0) is None:
        raise SchemaProblem(at, "it lacks its value", f"Give {', '.join(allowed[name])}.")
    if name in LISTS and not isinstance(arguments[allowed[name][0]], list):
        raise _not_allowed(at, value, "a list")
    options = {key: v for key, v in given.items() if key in OPTIONS}
    return {**arguments, "options": {"check_name": name, **options}}


def _names(at: Location, names: object, columns: Mapping[Any, Any]) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _not_allowed(at, names, "a list of column names")
    for name in names:
        if name not in columns:
            known = did_you_mean(name, columns)
            raise SchemaProblem(at, f"names no column: {name!r}; {known}", "Correct it.")
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


def _not_allowed(at: Location, value: object, allowed: str) -> SchemaProblem:
    return SchemaProblem(at, f"{listed([value])} is not allowed", f"Write {allowed}.")
