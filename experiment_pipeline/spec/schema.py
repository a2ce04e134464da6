"""The keys of schema.yaml: those of pandera, and the dictionary of columns; a typo is
an error.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    create_model,
    model_validator,
)

from experiment_pipeline.errors import did_you_mean
from experiment_pipeline.spec.models import Closed, Location, duration, impossible

Settings = dict[str, Any]
# pandera's keys that are documentation, and keys that would change how rows are
# checked: pandera writes these as null or false, which is accepted.
PROSE = {"title", "description", "name", "schema_type", "api", "version", "metadata"}
REFUSED = {
    "drop_invalid_rows",
    "index",
    "multiindex",
    "dtype",
    "parsers",
    "n_failure_cases",
}
REFUSED |= {"groupby", "groups"}


def _as_pandera_writes_it(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "seconds")
    return f"{value} 00:00:00" if isinstance(value, dt.date) else value


def _compiled(pattern: Any) -> Any:
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise ValueError(
            f"{pattern!r} is not a regular expression: {error}; correct it"
        ) from None
    return pattern


def _empty_is_no_key(raw: Any) -> Any:
    return {} if raw is None else raw


Value = Annotated[Any, AfterValidator(_as_pandera_writes_it)]
Names = tuple[str, ...]
Operator = Literal["<", "<=", "==", "!=", ">=", ">"]


class Words(Closed):
    """A model of pandera's keys: drops the documentation, and refuses keys without
    effect here.
    """

    @model_validator(mode="before")
    @classmethod
    def _no_place_here(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        for key in REFUSED - cls.model_fields.keys():
            if raw.get(key) not in (None, False):
                why = (
                    "rows are checked one by one, and rejected ones are kept by row "
                    "number"
                )
                raise impossible(f"has no effect: {why}; drop the key", key)
        dropped = (REFUSED | PROSE) - cls.model_fields.keys()
        return {key: raw[key] for key in raw if key not in dropped}

    def stated(self, keys: Iterable[str]) -> Settings:
        """The values of some keys."""
        return {key: getattr(self, key) for key in keys}


class CheckRule(Words):
    """One check and its options; a bare value stands for its first argument."""

    raise_warning: bool = False
    ignore_na: bool = True
    error: str | None = None
    options: ClassVar[tuple[str, ...]] = ("raise_warning", "ignore_na", "error")

    @classmethod
    def arguments(cls) -> list[str]:
        """The names of the check's arguments, without its options."""
        return [name for name in cls.model_fields if name not in cls.options]

    @model_validator(mode="before")
    @classmethod
    def _bare_value(cls, raw: Any) -> Any:
        first = cls.arguments()[0]
        if not isinstance(raw, Mapping):
            return {first: raw}
        # In its list notation, pandera calls a single argument `value`.
        bare = raw.keys() - {*cls.options} == {"value"}
        return {first if bare and key == "value" else key: raw[key] for key in raw}

    def for_pandera(self, name: str) -> Settings:
        """The check in pandera's list notation."""
        stated = self.stated(self.model_fields_set)
        lists = {k: [*v] if isinstance(v, tuple) else v for k, v in stated.items()}
        options = {key: lists.pop(key) for key in self.options if key in lists}
        return {**lists, "options": {"check_name": name, **options}}


def _check(**arguments: Any) -> Any:
    """The pydantic field of one check, given argument → type, or (type, default) if it
    is optional.
    """
    fields: Any = {
        k: v if isinstance(v, tuple) else (v, ...) for k, v in arguments.items()
    }
    model = create_model("Check", __base__=CheckRule, **fields)
    return Annotated[model | None, BeforeValidator(_empty_is_no_key)], None


_LENGTH = (int | None, None)
_COLUMN_CHECKS: dict[str, Any] = {
    **dict.fromkeys(("equal_to", "not_equal_to"), _check(value=Value)),
    **dict.fromkeys(
        ("greater_than", "greater_than_or_equal_to"), _check(min_value=Value)
    ),
    **dict.fromkeys(("less_than", "less_than_or_equal_to"), _check(max_value=Value)),
    "in_range": _check(
        min_value=Value,
        max_value=Value,
        include_min=(bool, True),
        include_max=(bool, True),
    ),
    "isin": _check(allowed_values=tuple[Value, ...]),
    "notin": _check(forbidden_values=tuple[Value, ...]),
    **dict.fromkeys(
        ("str_matches", "str_contains"),
        _check(pattern=Annotated[Any, AfterValidator(_compiled)]),
    ),
    **dict.fromkeys(("str_startswith", "str_endswith"), _check(string=str)),
    "str_length": _check(min_value=_LENGTH, max_value=_LENGTH, exact_value=_LENGTH),
}
_TABLE_CHECKS: dict[str, Any] = {
    "compare_columns": _check(left=str, operator=Operator, right=str),
    "columns_add_up": _check(parts=Names, total=str, tolerance=(float | None, None)),
}


class Checks(Words):
    """Checks by name."""

    def stated_checks(self) -> list[tuple[str, CheckRule]]:
        """(name, check) of each check that the file has."""
        return [(name, check) for name, check in self if isinstance(check, CheckRule)]


# Checks of one column, which may be beside its other keys; and checks across columns of
# a row.
ColumnChecks = create_model("ColumnChecks", __base__=Checks, **_COLUMN_CHECKS)
TableChecks = create_model("TableChecks", __base__=Checks, **_TABLE_CHECKS)


def _both_notations(raw: Any) -> Any:
    """Turn checks into a list of {name: arguments}: from such a mapping, or from
    pandera's list notation.
    """
    if not isinstance(raw, list):
        return [] if raw is None else [raw]
    checks = []
    for entry in raw:
        options = dict(entry.get("options") or {}) if isinstance(entry, Mapping) else {}
        name = options.pop("check_name", None)
        if name is None:
            raise ValueError(f"{entry!r} has no name; write it as name: arguments")
        arguments = {key: entry[key] for key in entry if key != "options"}
        checks.append({name: {**arguments, **options}})
    return checks


ReportedDuplicates = Literal["exclude_first", "exclude_last", "all"]


SENSITIVE = ("personal", "protected")
AT_PREDICTION, NEVER = "at prediction", "never"


def _moment(when: Any) -> Any:
    if when in (AT_PREDICTION, NEVER):
        return when
    try:
        after = duration(str(when))
    except ValueError:
        raise ValueError(
            f"{when!r} is not when a value is known; write {AT_PREDICTION}, {NEVER}, "
            "or how long after the prediction, such as '30 days'"
        ) from None
    return str(when) if after.value else AT_PREDICTION


class Meaning(Words):
    """What people know about a column; it decides nothing about which rows are
    valid.
    """

    title: str | None = Field(None, description="A name for readers")
    description: str | None = Field(None, description="What a value means")
    unit: str | None = Field(None, description="Of its numbers: EUR, kg, minutes")
    owner: str | None = Field(None, description="Who answers questions about it")
    personal: bool = Field(False, description="Personal data, such as an address")
    protected: bool = Field(
        False,
        description="No one may be treated worse by it, such as sex or origin",
    )
    known: Annotated[str, BeforeValidator(_moment)] = Field(
        AT_PREDICTION,
        description="When a value is known: at prediction, a duration after it such "
        "as '30 days', or never",
    )

    @property
    def said(self) -> Settings:
        """What somebody wrote about it: key → value."""
        return {
            key: getattr(self, key)
            for key in Meaning.model_fields
            if key in self.model_fields_set
        }

    @property
    def in_words(self) -> str:
        """`Weight of the animal, in g`; empty: nothing is said."""
        text = (self.description or self.title or "").strip().rstrip(".")
        if self.unit:
            text = f"{text}, in {self.unit}" if text else f"in {self.unit}"
        return text

    @property
    def sensitive(self) -> str:
        """`personal`, `protected`, or both; empty: it is neither."""
        return " and ".join(key for key in SENSITIVE if getattr(self, key))

    @property
    def when_late(self) -> str:
        """When it is known, if that is later than the prediction; else empty."""
        if self.known == AT_PREDICTION:
            return ""
        if self.known == NEVER:
            return "never known"
        return f"known {self.known.lstrip('+ ')} after the prediction"


class Column(ColumnChecks, Meaning):
    """The rules of one column and what it means; checks may be beside the other keys,
    or under `checks`.
    """

    dtype: str | None = None
    nullable: bool = False
    unique: bool = False
    coerce: bool = False
    required: bool = True
    regex: bool = False
    default: Any = None
    report_duplicates: ReportedDuplicates = "all"
    checks: Annotated[tuple[ColumnChecks, ...], BeforeValidator(_both_notations)] = ()

    def all_checks(self) -> list[tuple[str, CheckRule]]:
        """All checks with their names, those under `checks` first."""
        below = [pair for checks in self.checks for pair in checks.stated_checks()]
        return below + self.stated_checks()

    def for_pandera(self) -> Settings:
        """The column with its checks in pandera's list notation."""
        not_rules = _COLUMN_CHECKS.keys() | Meaning.model_fields.keys()
        rules = self.stated(self.model_fields_set - not_rules)
        checks = [check.for_pandera(name) for name, check in self.all_checks()]
        return {**rules, "checks": checks or None}


class SchemaFile(Words):
    """A whole schema.yaml."""

    columns: dict[str, Annotated[Column, BeforeValidator(_empty_is_no_key)]] = Field(
        min_length=1, description="Column → its rules"
    )
    checks: Annotated[tuple[TableChecks, ...], BeforeValidator(_both_notations)] = ()
    unique: str | Names | None = None
    coerce: bool = False
    strict: Literal[True, False, "filter"] = False
    ordered: bool = False
    add_missing_columns: bool = False
    report_duplicates: ReportedDuplicates = "all"
    unique_column_names: bool = False

    @model_validator(mode="after")
    def _names_are_columns(self) -> Self:
        for place, names in self._named_columns():
            for name in [names] if isinstance(names, str) else names:
                if name not in self.columns:
                    meant = did_you_mean(name, self.columns)
                    raise impossible(f"names no column: {name!r}; {meant}", *place)
        for name, column in self.columns.items():
            if column.regex:
                try:
                    _compiled(name)
                except ValueError as error:
                    raise impossible(str(error), "columns", name) from None
        return self

    def _named_columns(self) -> Iterator[tuple[Location, str | Names]]:
        """Yield (place, names) where the file names columns."""
        yield ("unique",), self.unique or ()
        for number, checks in enumerate(self.checks):
            for name, check in checks.stated_checks():
                for key, value in check:
                    if key in ("left", "right", "total", "parts"):
                        yield ("checks", number, name, key), value

    def for_pandera(self) -> Settings:
        """The schema as the mapping that pandera's reader takes."""
        checks = [
            check.for_pandera(name)
            for checks in self.checks
            for name, check in checks.stated_checks()
        ]
        unique = [self.unique] if isinstance(self.unique, str) else self.unique
        columns = {name: column.for_pandera() for name, column in self.columns.items()}
        return {
            **self.stated(self.model_fields_set),
            "unique": unique,
            "columns": columns,
            "checks": checks or None,
        }
