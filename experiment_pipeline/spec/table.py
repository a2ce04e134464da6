"""`data`, `preparation`, `features`, `analysis`, `validation`, `split`: what happens to
the table.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from experiment_pipeline.spec.models import (
    Closed,
    Duration,
    Scalar,
    alone,
    impossible,
    not_zero,
)

# A user's own object: module:name.
IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
MISSING_VALUES = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None")


class Data(Closed):
    """Where the table is and how its file is read."""

    url: str = Field(min_length=1, description="Any fsspec URL: path, s3://, https://")
    format: Literal["csv", "parquet"] | None = Field(
        None, description="Unset: by the content"
    )
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Of a CSV"
    )
    encoding: str | None = None
    missing_values: tuple[str, ...] = Field(
        MISSING_VALUES, description="Texts in a CSV file that mean a missing value"
    )
    anonymous: bool = Field(
        False, description="Read a public bucket without credentials"
    )
    endpoint_url: str | None = Field(None, description="An S3 server that is not AWS")

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        protocol = self.url.partition("://")[0].lower() if "://" in self.url else "file"
        without_effect: dict[str, str] = {}
        if self.format == "parquet":
            keys = ("delimiter", "encoding", "missing_values")
            without_effect |= dict.fromkeys(keys, "parquet")
        if protocol not in ("s3", "s3a"):
            without_effect["endpoint_url"] = f"a {protocol} URL"
        if protocol in ("file", "http", "https"):
            without_effect["anonymous"] = f"a {protocol} URL"
        for key, where in without_effect.items():
            if key in self.model_fields_set and getattr(self, key):
                raise impossible(f"{key} has no effect on {where}; drop it", key)
        return self

    @property
    def shown_url(self) -> str:
        """The URL without user, password and query, which may be logged."""
        hidden = r"(?<=://)[^/]*@|[?#].*"
        links = self.url.split("::")  # zip://a.csv::https://… is a chain
        shown = [
            re.sub(hidden, "", link) if re.search("://[^/]", link) else link
            for link in links
        ]
        return "::".join(shown)


class Numbers(Closed):
    """How the numbers of a text column are written."""

    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        None,
        description="Between groups of three digits; ' ' also means no-break spaces",
    )
    units: dict[str, float] = Field(
        {},
        description="Text before or after the number → its factor: {kg: 1, g: 0.001, "
        "'€': 1}",
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(
                f"decimal and thousands are both {self.decimal!r}; they must differ"
            )
        for unit in self.units:
            if not unit.strip() or re.search(r"[\d+-]", unit):
                raise ValueError(
                    f"unit {unit!r} is blank or holds digits or a sign; write its text"
                )
        return self


class Categories(Closed):
    """How spellings of one category become one; applied in this order."""

    trim: bool = Field(
        False, description="Remove outer spaces; inner runs of spaces become one"
    )
    case: Literal["lower", "upper"] | None = None
    variants: dict[str, tuple[str, ...]] = Field(
        {}, description="The spelling to keep → the spellings it replaces"
    )

    @model_validator(mode="after")
    def _each_has_one_meaning(self) -> Self:
        spellings = [text for texts in self.variants.values() for text in texts]
        for text in spellings:
            if spellings.count(text) > 1 or text in self.variants:
                raise ValueError(f"variants lists {text!r} twice; keep it in one place")
        return self


CalendarPart = Literal[
    "month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "days",
    "cycle_of_year",
    "cycle_of_week",
    "cycle_of_day",
]
CALENDAR_PARTS: tuple[CalendarPart, ...] = ("month", "day_of_week", "hour", "minute")


class Preparation(Closed):
    """What happens to each row before validation; travels with the exported model."""

    missing_values: dict[str, tuple[Scalar, ...]] = Field(
        {}, description="Per column: values that mean missing"
    )
    missing_values_everywhere: tuple[Scalar, ...] = Field(
        (), description="Values that mean missing in every column"
    )
    categories: dict[str, Categories] = Field(
        {}, description="Per text column: unify spellings"
    )
    types: dict[str, Literal["number", "integer", "text", "boolean", "datetime"]] = (
        Field({}, description="Per column: the type as which its texts are read")
    )
    numbers: dict[str, Numbers] = Field(
        {}, description="Per number or integer column: how its texts are written"
    )
    datetime_formats: dict[str, tuple[str, ...]] = Field(
        {},
        description="Per datetime column: strptime formats, the first match counts; "
        "unset: ISO 8601",
    )
    calendar: dict[str, tuple[CalendarPart, ...]] = Field(
        {},
        description="Datetime column → its parts; days: since 1970; cycle_of_…: sine "
        "and cosine",
    )
    function: str | None = Field(
        None,
        pattern=IMPORT_PATH,
        description="module:function, run last: table in, same rows out",
    )

    @field_validator(
        "datetime_formats",
        mode="before",
        json_schema_input_type=dict[str, str | tuple[str, ...]],
    )
    @classmethod
    def _one_format_alone(cls, value: Any) -> Any:
        import pandas as pd

        if not isinstance(value, dict):
            return value
        formats_of = {
            k: v if isinstance(v, list | tuple) else (v,) for k, v in value.items()
        }
        for name, formats in formats_of.items():
            if not any("%" in str(strptime) for strptime in formats):
                raise ValueError(f"{name}: write strptime formats, such as '%d.%m.%Y'")
            for strptime in formats:
                pd.to_datetime(
                    pd.Series(dtype="str"), format=str(strptime)
                )  # ValueError: invalid
        return formats_of

    @field_validator(
        "calendar",
        mode="before",
        json_schema_input_type=dict[str, tuple[CalendarPart, ...]] | tuple[str, ...],
    )
    @classmethod
    def _usual_parts(cls, value: Any) -> Any:
        names = isinstance(value, list | tuple) and all(
            isinstance(name, str) for name in value
        )
        return dict.fromkeys(value, CALENDAR_PARTS) if names else value

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        for setting, types in _TYPES_WITH.items():
            for column in getattr(self, setting):
                if self.types.get(column) not in types:
                    needed = types[0]
                    raise ValueError(
                        f"{setting} names {column!r}, which `types` does not declare "
                        f"as {needed}; "
                        f"write types: {{{column}: {needed}}}"
                    )
        return self


# Setting → the declared types that it applies to; None: no declared type.
_TYPES_WITH: dict[str, tuple[str | None, ...]] = {
    "categories": ("text", "boolean", None),
    "numbers": ("number", "integer"),
    "datetime_formats": ("datetime",),
    "calendar": ("datetime", None),
}


class OwnFeatures(Closed):
    """A transformer of your own, which makes the columns that models are fitted on."""

    transformer: str = Field(pattern=IMPORT_PATH, examples=["shop.features:Ratios"])
    arguments: dict[str, JsonValue] = Field(
        {}, description="Its arguments: name → value"
    )


class Analysis(Closed):
    """Settings of the data analysis, whose rules define the codes and thresholds."""

    findings: tuple[Annotated[str, Field(pattern=IMPORT_PATH)], ...] = Field(
        (), description="Rules of your own, each as module:instance"
    )
    accept: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        {}, description="Finding code → the reason it is accepted"
    )
    thresholds: dict[str, float] = Field(
        {}, description="Finding code, or code_blocks → the limit"
    )
    report_rows: int = Field(
        100_000, ge=100, description="Most rows in the table report"
    )


Unseen = Literal["allow", "reject"]
RareClasses = Literal["set_aside", "stop"]


class Drift(Closed):
    """How much a column may drift from the data of the accepted version (population
    stability index).
    """

    warn: float = Field(
        0.1, gt=0, description="Effect size from which a column is named"
    )
    block: float | None = Field(
        None, gt=0, description="Effect size from which the run ends"
    )

    @model_validator(mode="after")
    def _blocks_only_what_it_warns_about(self) -> Self:
        if self.block is not None and self.block < self.warn:
            raise impossible(
                f"{self.block} is below warn, {self.warn}; raise it", "block"
            )
        return self


class Validation(Closed):
    """How rows are checked against the schema, beyond what schema.yaml itself decides.

    New values in a feature are common: a list (`isin`) rejects, and one with
    `raise_warning: true`, as a drafted schema has it, counts; a missing value is kept
    and counted unless the column says
    `nullable: false`. The two keys decide it for all features; target, ids and excluded
    columns are held to the schema as it is.
    """

    max_rejected_fraction: float = Field(
        0.05, ge=0, le=1, description="More end the run"
    )
    max_rejected_increase: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Largest rise of that fraction since the previous run",
    )
    duplicate_rows: Literal["keep", "reject"] = Field(
        "keep", description="reject: a row that repeats an earlier one in every column"
    )
    unseen_categories: Unseen | None = Field(
        None,
        description="Values not in isin of a feature; unset: as its raise_warning says",
    )
    unseen_missing_values: Unseen = Field(
        "allow", description="In features for which schema.yaml does not set `nullable`"
    )
    rare_classes: RareClasses = Field(
        "set_aside",
        description="Classes too rare for three sets: reject their rows, or stop",
    )
    drift: Drift = Drift()


Column = Annotated[str, Field(min_length=1, examples=["customer_id"])]


class Label(Closed):
    """A target that is known only some time after the row: churn within 90 days.

    Rows that were not watched for so long have no label yet, whatever their target
    says: they are set aside. A target that is a date says when something happened; the
    label is whether it did `within` the time.
    """

    within: Annotated[
        Duration, not_zero("no time; write one such as '90 days', or drop label")
    ] = Field(
        description="Time from the row to its label, such as '90 days'",
        examples=["90 days"],
    )
    since: Column | None = Field(
        None,
        description="Column of the time that a row is of; unset: that of a split by "
        "time",
        examples=["signed_up"],
    )
    seen_until: str | None = Field(
        None,
        description="Until when the table was filled in; unset: the latest `since`",
        examples=["2026-06-01"],
    )

    @field_validator("seen_until", mode="before", json_schema_input_type=str | None)
    @classmethod
    def _is_a_time(cls, value: Any) -> Any:
        import pandas as pd

        try:
            return None if value is None else pd.Timestamp(value).isoformat()
        except (TypeError, ValueError):
            message = f"{value!r} is not a time; write one such as 2026-06-01"
            raise ValueError(message) from None


Fraction = Annotated[float, Field(gt=0, lt=1)]


class Fractions(Closed):
    """The share of the rows in each set; the shares add up to 1."""

    train: Fraction = 0.6
    test: Fraction = 0.2
    validation: Fraction = 0.2

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.train + self.test + self.validation
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"train ({self.train}) + test ({self.test}) + validation "
                f"({self.validation}) "
                f"is {total:g}; make them add up to 1"
            )
        return self


IdColumns = Annotated[
    tuple[Column, ...],
    Field(
        description="Columns that identify a row: they decide its set, and are not "
        "features"
    ),
]


class RandomSplit(Closed):
    """Rows by a salted hash of their id (or of their features), stratified by class."""

    by: Literal["random"] = "random"
    id_columns: IdColumns = ()
    columns: tuple[Column, ...] = Field(
        (),
        description="Delivered columns whose values decide a row's set, if it has no "
        "ids; empty: all features. So other features do not move rows",
        examples=[["age", "income"]],
    )
    fractions: Fractions = Fractions()
    seed: int = 0


class GroupSplit(Closed):
    """Whole groups by a salted hash of the group's value."""

    by: Literal["group"]
    column: Column = Field(
        description="The column whose values stay together in one set"
    )
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class TimeSplit(Closed):
    """Train on the past, evaluate on the future; cut between distinct timestamps.

    With a `group` (customers), later sets hold the rows of those that the model will
    meet.
    """

    by: Literal["time"]
    column: Column = Field(
        description="The column that orders the rows in time", examples=["order_date"]
    )
    group: Column | None = Field(
        None,
        description="Column of the customers, devices or places that have rows at "
        "several times",
        examples=["customer_id"],
    )
    predicts: Literal["new", "known", "both"] = Field(
        "both",
        description="Groups whose rows later sets hold: `new` ones, which no earlier "
        "set has, `known` ones, or both, scored apart in the report",
    )
    gap: Duration = Field(
        "0s", description="Time left out between the sets, such as '1 day'"
    )
    unit: Annotated[
        Duration, not_zero("the unit is zero; write one such as '1 day'")
    ] = Field("1 day", description="The period whose rows intervals resample together")
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()

    @model_validator(mode="after")
    def _groups_have_a_column(self) -> Self:
        if self.group is None and "predicts" in self.model_fields_set:
            message = "no effect without group; name the column of groups, or drop it"
            raise impossible(message, "predicts")
        return self

    @property
    def entities(self) -> tuple[str, ...]:
        """The columns whose values have rows at several times."""
        ids = [name for name in self.id_columns if name != self.column]
        return tuple(dict.fromkeys([*ids, *filter(None, [self.group])]))


class ColumnSplit(Closed):
    """The sets as a column names them."""

    by: Literal["column"]
    column: Column = Field(
        description="The column that names each row's set", examples=["set"]
    )
    train: tuple[Scalar, ...] = Field(("train",), min_length=1, description="Values")
    test: tuple[Scalar, ...] = Field(("test",), min_length=1, description="Values")
    validation: tuple[Scalar, ...] = Field(
        ("validation",), min_length=1, description="Values"
    )
    id_columns: IdColumns = ()

    @model_validator(mode="after")
    def _values_are_disjoint(self) -> Self:
        values = [*self.train, *self.test, *self.validation]
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"the value {value} stands in two sets; name it once")
        return self


DataSetting = Annotated[Data | None, alone("url", Data)]
FeaturesSetting = Annotated[OwnFeatures | None, alone("transformer", OwnFeatures)]
Split = Annotated[
    RandomSplit | GroupSplit | TimeSplit | ColumnSplit, Field(discriminator="by")
]


def kept_apart(split: Split) -> str | None:
    """Return the column no value of which is in two sets, if there is one."""
    if split.by == "group":
        return split.column
    if split.by == "time" and split.predicts == "new":
        return split.group
    return None
