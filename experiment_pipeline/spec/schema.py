"""The keys of schema.yaml: pandera's own, closed, so that a typo is an error.

pandera ignores a key it does not know, and finds checks as attributes of a class. `for_pandera`
writes a judged file out again; what only pandera can judge (types, values that fit them) is left
to `table.schema`.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    create_model,
    model_validator,
)

from experiment_pipeline.errors import did_you_mean
from experiment_pipeline.spec.models import Closed, Location, impossible

Settings = dict[str, Any]
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


def _as_pandera_writes_it(value: Any) -> Any:
    """YAML's dates as texts."""
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "seconds")
    return f"{value} 00:00:00" if isinstance(value, dt.date) else value


def _a_list(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not allowed; write a list of column names")  # noqa: TRY004
    return value


def _compiled(pattern: Any) -> Any:
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}; correct it") from None
    return pattern


Flag = Annotated[bool, Strict()]
Value = Annotated[Any, AfterValidator(_as_pandera_writes_it)]
Names = Annotated[tuple[str, ...], BeforeValidator(_a_list)]
Operator = Literal["<", "<=", "==", "!=", ">=", ">"]


class Words(Closed):
    """Keys of pandera's; those that have no place here are refused, with the reason."""

    @model_validator(mode="before")
    @classmethod
    def _no_place_here(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        for key in REFUSED.keys() - cls.model_fields.keys():
            if raw.get(key) not in (None, False):
                raise impossible(f"{REFUSED[key]}; drop the key", key)
        return {key: raw[key] for key in raw if key not in REFUSED or key in cls.model_fields}


class CheckRule(Words):
    """One rule and its options; a bare value stands for its first argument."""

    raise_warning: Flag = False
    ignore_na: Flag = True
    error: str | None = None
    needed: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def arguments(cls) -> list[str]:
        """The names of what is compared."""
        return [name for name in cls.model_fields if name not in CheckRule.model_fields]

    @model_validator(mode="before")
    @classmethod
    def _bare_value(cls, raw: Any) -> Any:
        first = cls.arguments()[0]
        if not isinstance(raw, Mapping):
            return {first: raw}
        # In its list notation pandera calls the one argument `value`.
        bare = raw.keys() - CheckRule.model_fields.keys() == {"value"}
        return {first if bare and key == "value" else key: raw[key] for key in raw}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        names = self.arguments()
        lacking = [name for name in self.needed if getattr(self, name) is None]
        if all(getattr(self, name) is None for name in names if name in self.model_fields_set):
            lacking = ["its value"]
        if lacking:
            raise impossible(f"it lacks {lacking[0]}; give {', '.join(names)}")
        return self

    def for_pandera(self, name: str) -> Settings:
        """The check in pandera's list notation."""
        stated = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in self
            if key in self.model_fields_set
        }
        options = {key: stated.pop(key) for key in CheckRule.model_fields if key in stated}
        return {**stated, "options": {"check_name": name, **options}}


def _check(*needed: str, **arguments: Any) -> Any:
    """The field of one check: argument → its type, or its type and default.

    `needed` must be given. A check without any value is an error, unlike one that is not there.
    """
    fields: Any = {
        name: kind if isinstance(kind, tuple) else (kind | None, None)
        for name, kind in arguments.items()
    }
    model = create_model("Check", __base__=CheckRule, **fields)
    model.needed = needed
    return Annotated[model | None, BeforeValidator(lambda raw: {} if raw is None else raw)], None


_LIMITS = {"min_value": Value, "max_value": Value}
_COLUMN_CHECKS: dict[str, Any] = {
    **dict.fromkeys(("equal_to", "not_equal_to"), _check(value=Value)),
    **dict.fromkeys(("greater_than", "greater_than_or_equal_to"), _check(min_value=Value)),
    **dict.fromkeys(("less_than", "less_than_or_equal_to"), _check(max_value=Value)),
    "in_range": _check(*_LIMITS, **_LIMITS, include_min=(Flag, True), include_max=(Flag, True)),
    "isin": _check(allowed_values=tuple[Value, ...]),
    "notin": _check(forbidden_values=tuple[Value, ...]),
    **dict.fromkeys(
        ("str_matches", "str_contains"),
        _check(pattern=Annotated[Any, AfterValidator(_compiled)]),
    ),
    **dict.fromkeys(("str_startswith", "str_endswith"), _check(string=str)),
    "str_length": _check(min_value=int, max_value=int, exact_value=int),
}
_TABLE_CHECKS: dict[str, Any] = {
    "compare_columns": _check(
        *("left", "operator", "right"), left=str, operator=Operator, right=str
    ),
    "columns_add_up": _check(*("parts", "total"), parts=Names, total=str, tolerance=float),
}


class Checks(Words):
    """Checks by name."""

    _order: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _in_the_order_of_the_file(cls, raw: Any, made: ModelWrapValidatorHandler[Self]) -> Self:
        checks = made(raw)
        checks._order = tuple(raw)  # noqa: SLF001 - its own class's
        return checks

    def given(self) -> Iterator[tuple[str, CheckRule]]:
        """Each check that is there and its name, in the order of the file."""
        for name in self._order:
            if isinstance(check := getattr(self, name, None), CheckRule):
                yield name, check


# Checks of one column; they may stand beside its other keys.
ColumnChecks = create_model("ColumnChecks", __base__=Checks, **_COLUMN_CHECKS)


class OnlyChecks(Checks):
    """A mapping that holds checks and nothing else."""

    @model_validator(mode="before")
    @classmethod
    def _are_known(cls, raw: Any) -> Any:
        for name in raw if isinstance(raw, Mapping) else ():
            if name not in cls.model_fields:
                known = did_you_mean(str(name), cls.model_fields)
                raise impossible(f"unknown check {name!r}; {known}", name)
        return raw


class ListedChecks(ColumnChecks, OnlyChecks):
    """The checks under `checks` of a column."""


# Checks over several columns of a row.
TableChecks = create_model("TableChecks", __base__=OnlyChecks, **_TABLE_CHECKS)


def _both_notations(raw: Any) -> Any:
    """Name → arguments, or a list of arguments with options."""
    if raw is None or isinstance(raw, Mapping):
        return [] if raw is None else [raw]
    if not isinstance(raw, list):
        raise ValueError(f"{raw!r} is not a list of checks; write name: arguments")  # noqa: TRY004
    return [_by_name(entry) for entry in raw]


def _by_name(entry: Any) -> Settings:
    options = dict(entry.get("options") or {}) if isinstance(entry, Mapping) else {}
    name = options.pop("check_name", None)
    if name is None:
        raise ValueError(f"{entry!r} has no name; write it as name: arguments")
    return {name: {**{key: entry[key] for key in entry if key != "options"}, **options}}


ReportedDuplicates = Literal["exclude_first", "exclude_last", "all"]


class Described(Words):
    """Keys for people, of a column or of a table."""

    title: Any = None
    description: Any = None
    name: Any = None


class ColumnFacts(Described):
    """What one column is, apart from checks of its values."""

    dtype: str | None = None
    nullable: Flag = False
    unique: Flag = False
    coerce: Flag = False
    required: Flag = True
    regex: Flag = False
    default: Any = None
    report_duplicates: ReportedDuplicates = "all"


class Column(ColumnChecks, ColumnFacts):
    """What one column must be; a check may stand beside the other keys, or under `checks`."""

    checks: Annotated[tuple[ListedChecks, ...], BeforeValidator(_both_notations)] = ()

    def all_checks(self) -> list[tuple[str, CheckRule]]:
        """Those under `checks` first."""
        return [*(one for checks in self.checks for one in checks.given()), *self.given()]

    def for_pandera(self) -> Settings:
        """The column with its checks in pandera's list notation."""
        other = self.model_fields_set - ColumnChecks.model_fields.keys() - {"checks"}
        checks = [check.for_pandera(name) for name, check in self.all_checks()]
        return {**{key: getattr(self, key) for key in other}, "checks": checks or None}


def _columns(raw: Any) -> Any:
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError("the schema names no columns; list them by name")
    return {name: {} if body is None else body for name, body in raw.items()}


class SchemaFile(Described):
    """A whole schema.yaml."""

    columns: Annotated[dict[str, Column], BeforeValidator(_columns)] = Field(
        {}, validate_default=True
    )
    checks: Annotated[tuple[TableChecks, ...], BeforeValidator(_both_notations)] = ()
    unique: str | Names | None = None
    coerce: Flag = False
    strict: Literal[True, False, "filter"] = False
    ordered: Flag = False
    add_missing_columns: Flag = False
    report_duplicates: ReportedDuplicates = "all"
    unique_column_names: Flag = False
    schema_type: Any = None
    api: Any = None
    version: Any = None
    metadata: Any = None

    @model_validator(mode="after")
    def _names_are_columns(self) -> Self:
        for at, names in self._named():
            for name in names:
                if name not in self.columns:
                    known = did_you_mean(name, self.columns)
                    raise impossible(f"names no column: {name!r}; {known}", *at)
        for name, column in self.columns.items():
            if column.regex:
                try:
                    _compiled(name)
                except ValueError as error:
                    raise impossible(str(error), "columns", name) from None
        return self

    def _named(self) -> Iterator[tuple[Location, Sequence[str]]]:
        if self.unique is not None:
            yield ("unique",), [self.unique] if isinstance(self.unique, str) else self.unique
        for number, checks in enumerate(self.checks):
            for name, check in checks.given():
                for key, value in check:
                    if key in ("left", "right", "total", "parts"):
                        names = [value] if isinstance(value, str) else value
                        yield ("checks", number, name, key), names

    def for_pandera(self) -> Settings:
        """The schema as pandera's own reader takes it."""
        checks = [check.for_pandera(name) for one in self.checks for name, check in one.given()]
        stated = {key: getattr(self, key) for key in self.model_fields_set}
        unique = [self.unique] if isinstance(self.unique, str) else self.unique
        columns = {name: column.for_pandera() for name, column in self.columns.items()}
        return {**stated, "unique": unique, "columns": columns, "checks": checks or None}
