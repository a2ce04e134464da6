"""ExperimentSpec: everything the YAML of an experiment can say, closed and frozen.

The one place where settings are declared, with their defaults, limits and meaning.
What an invalid YAML is told lives in `spec_errors.py`; what the settings do lives in the
stage that uses them. In: a mapping as YAML gives it. Out: one immutable object.
"""

import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from experiment_pipeline.core import metrics

Task = Literal["binary", "multiclass", "regression"]
Scalar = bool | int | float | str | None
Fraction = Annotated[float, Field(gt=0, lt=1)]
BUILT_IN_ALGORITHMS = ("lightgbm", "random_forest", "linear", "dummy")
MISSING_VALUES = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None")


class Closed(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Closed):
    """Where the table is and how its file is read."""

    url: str = Field(min_length=1, description="Any fsspec URL: path, s3://, https://")
    format: Literal["csv", "parquet"] | None = Field(
        None, description="Unset: by what the file holds"
    )
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None
    missing_values: tuple[str, ...] = Field(
        MISSING_VALUES, description="Texts in a CSV file that mean a missing value"
    )
    anonymous: bool = Field(False, description="Read a public bucket without credentials")
    endpoint_url: str | None = Field(None, description="An S3 server that is not AWS")

    @property
    def shown_url(self) -> str:
        """The URL without user, password and query: what may be logged."""
        parts = urlsplit(self.url)
        if not parts.scheme or not parts.netloc:
            return self.url
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Numbers(Closed):
    """How the numbers of a text column are written."""

    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        None, description="Between groups of three digits; ' ' also means no-break spaces"
    )
    units: dict[str, float] = Field(
        {}, description="Text before or after the number → its factor: {kg: 1, g: 0.001, '€': 1}"
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self == Numbers():
            raise ValueError("names neither decimal, thousands nor units; name one or drop it")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; they must differ")
        for unit, factor in self.units.items():
            if not unit.strip() or re.search(r"[\d+-]", unit):
                raise ValueError(f"unit {unit!r} is blank or holds digits or a sign; write its text")
            if factor == 0:
                raise ValueError(f"unit {unit!r} has factor 0, which erases the number; correct it")
        return self


class Categories(Closed):
    """How spellings of one category become one; applied in this order."""

    trim: bool = Field(False, description="Outer spaces go, inner runs of spaces become one")
    case: Literal["lower", "upper"] | None = None
    variants: dict[str, tuple[str, ...]] = Field(
        {}, description="The spelling to keep → the spellings it replaces"
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self == Categories():
            raise ValueError("names neither trim, case nor variants; name one or drop it")
        spellings = [text for texts in self.variants.values() for text in texts]
        twice = sorted({text for text in spellings if spellings.count(text) > 1})
        if twice:
            raise ValueError(f"variants lists {twice[0]!r} twice; keep it in one place")
        for kept, texts in self.variants.items():
            if not texts or kept in texts:
                raise ValueError(f"variants.{kept} replaces nothing, or itself; list other spellings")
        return self


CalendarPart = Literal["month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute"]
CALENDAR_PARTS: tuple[CalendarPart, ...] = ("month", "day_of_week", "hour", "minute")


class Preparation(Closed):
    """What happens to each row before validation; travels with the exported model."""

    missing_values: dict[str, tuple[Scalar, ...]] = Field(
        {}, description="Per column: values that mean missing"
    )
    missing_values_everywhere: tuple[Scalar, ...] = Field(
        (), description="Values that mean missing in every column"
    )
    categories: dict[str, Categories] = Field({}, description="Per text column: one spelling each")
    types: dict[str, Literal["number", "integer", "text", "boolean", "datetime"]] = Field(
        {}, description="Per column: what its texts are read as"
    )
    numbers: dict[str, Numbers] = Field(
        {}, description="Per number or integer column: how its texts are written"
    )
    datetime_formats: dict[str, tuple[str, ...]] = Field(
        {}, description="Per datetime column: strptime formats, the first that fits; unset: ISO 8601"
    )
    calendar: dict[str, tuple[CalendarPart, ...]] = Field(
        {}, description="Datetime columns that become month, day_of_week, hour and so on"
    )
    function: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function, table in, table with the same rows out, applied last",
    )

    @field_validator("datetime_formats", mode="before")
    @classmethod
    def _one_format_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: (text,) if isinstance(text, str) else text for k, text in value.items()}

    @field_validator("calendar", mode="before")
    @classmethod
    def _usual_parts(cls, value: Any) -> Any:
        return dict.fromkeys(value, CALENDAR_PARTS) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        for setting in ("missing_values", "datetime_formats", "calendar"):
            for column, values in getattr(self, setting).items():
                if not values:
                    raise ValueError(f"{setting}.{column} is empty; list something or drop it")
        for declared in (self.missing_values_everywhere, *self.missing_values.values()):
            if None in declared:
                raise ValueError("null stands among the missing values, and is missing already")
        for setting, types in _TYPES_WITH.items():
            for column in getattr(self, setting):
                if self.types.get(column) not in types:
                    wanted = types[0] or "text"
                    raise ValueError(
                        f"{setting} names {column!r}, which types does not make a {wanted}; "
                        f"write types: {{{column}: {wanted}}}"
                    )
        return self


# Setting → the declared types it goes with; None: no type is declared.
_TYPES_WITH: dict[str, tuple[str | None, ...]] = {
    "categories": ("text", "boolean", None),
    "numbers": ("number", "integer"),
    "datetime_formats": ("datetime",),
    "calendar": ("datetime", None),
}


class Analysis(Closed):
    """What the data analysis may be told."""

    accept: dict[str, str] = Field({}, description="Finding code → the reason it is accepted")
    report_rows: int = Field(
        100_000, ge=100, description="Rows the table report samples at the most"
    )


class Validation(Closed):
    """How rows are checked against the schema.

    What the schema itself decides stands in schema.yaml, in pandera's words: new columns
    (`strict`), missing columns (`required`, `add_missing_columns`), a check that only warns
    (`raise_warning`).
    """

    max_rejected_fraction: float = Field(0.05, ge=0, le=1)
    max_rejected_increase: float | None = Field(
        None, ge=0, lt=1, description="Largest rise of that fraction against the previous run"
    )
    duplicate_rows: Literal["keep", "reject"] = Field(
        "keep", description="reject: a row that repeats an earlier one in every column"
    )
    unseen_categories: Literal["reject", "allow"] = Field(
        "reject", description="allow: a value outside a list of the schema (isin) is only counted"
    )


class Fractions(Closed):
    """The share of the rows in each set; they add up to 1."""

    train: Fraction = 0.6
    test: Fraction = 0.2
    validation: Fraction = 0.2

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.train + self.test + self.validation
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"train ({self.train}) + test ({self.test}) + validation ({self.validation}) "
                f"is {total:g}; make them add up to 1"
            )
        return self


class RandomSplit(Closed):
    """Rows by a salted hash of their id (or of their features), stratified by class."""

    by: Literal["random"] = "random"
    id_columns: tuple[str, ...] = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class GroupSplit(Closed):
    """Whole groups by a salted hash of the group's value."""

    by: Literal["group"]
    column: str
    id_columns: tuple[str, ...] = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class TimeSplit(Closed):
    """The past trains, the future judges; cut between distinct timestamps."""

    by: Literal["time"]
    column: str
    gap: str = Field("0s", description="Time left out between the sets, such as '1 day'")
    unit: str = Field("1 day", description="What intervals resample: rows of one such period")
    id_columns: tuple[str, ...] = ()
    fractions: Fractions = Fractions()

    @field_validator("gap", "unit")
    @classmethod
    def _is_a_duration(cls, value: str) -> str:
        import pandas as pd

        try:
            duration = pd.Timedelta(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is no duration; write one such as '1 day' or '6 hours'"
            ) from None
        if pd.isna(duration) or duration < pd.Timedelta(0):
            raise ValueError(f"{value!r} is no positive duration; write one such as '1 day'")
        return value

    @field_validator("unit")
    @classmethod
    def _unit_is_not_zero(cls, value: str) -> str:
        import pandas as pd

        if pd.Timedelta(value) == pd.Timedelta(0):
            raise ValueError("the unit is zero; write one such as '1 day'")
        return value


class ColumnSplit(Closed):
    """The sets that a column already names."""

    by: Literal["column"]
    column: str
    train: tuple[Scalar, ...] = ("train",)
    test: tuple[Scalar, ...] = ("test",)
    validation: tuple[Scalar, ...] = ("validation",)
    id_columns: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _values_are_disjoint(self) -> Self:
        values = [*self.train, *self.test, *self.validation]
        twice = sorted({str(value) for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"the values {', '.join(twice)} stand in two sets; name each once")
        return self


Split = Annotated[RandomSplit | GroupSplit | TimeSplit | ColumnSplit, Field(discriminator="by")]


class Range(Closed):
    """An interval to draw from; both ends whole numbers = whole numbers are drawn."""

    low: int | float
    high: int | float
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) is not below high ({self.high}); exchange them")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low ({self.low}) has no logarithm; use a positive low")
        return self

    @property
    def integer(self) -> bool:
        """Whether whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Hyperparameter = Scalar | Range | tuple[Scalar, ...]


class Search(Closed):
    """The configurations of one algorithm: a grid, random draws, or an explicit list."""

    algorithm: str = Field(description="lightgbm, random_forest, linear, dummy or an import path")
    method: Literal["grid", "random"] = "grid"
    draws: int | None = Field(None, ge=1, le=100_000)
    seed: int = 0
    hyperparameters: dict[str, Hyperparameter] = {}
    configurations: tuple[dict[str, Scalar], ...] = ()
    features: Literal["ordinal", "onehot"] | None = Field(
        None, description="How categories reach the model; unset: what suits the algorithm"
    )

    @field_validator("algorithm")
    @classmethod
    def _is_known_or_a_path(cls, value: str) -> str:
        if value in BUILT_IN_ALGORITHMS or re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
            return value
        raise ValueError(
            f"{value!r} is no algorithm; allowed: {', '.join(BUILT_IN_ALGORITHMS)} "
            "or an import path such as sklearn.neighbors.KNeighborsClassifier"
        )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        searched = {k for k, v in self.hyperparameters.items() if isinstance(v, Range | tuple)}
        ranges = {k for k, v in self.hyperparameters.items() if isinstance(v, Range)}
        empty = [k for k, v in self.hyperparameters.items() if v == ()]
        if empty:
            raise ValueError(f"hyperparameters.{empty[0]} is an empty list; name values or drop it")
        if self.configurations and searched:
            raise ValueError(
                f"configurations are explicit, so {sorted(searched)[0]} cannot be searched too; "
                "keep one of the two, or write two entries"
            )
        if self.configurations and self.method == "random":
            raise ValueError("method random has no effect on explicit configurations; drop it")
        for number, configuration in enumerate(self.configurations):
            if shared := configuration.keys() & self.hyperparameters.keys():
                raise ValueError(
                    f"configurations.{number}.{sorted(shared)[0]} also stands in hyperparameters; "
                    "keep it in one place"
                )
        if self.method == "random" and self.draws is None:
            raise ValueError("method random needs draws: the number of configurations")
        if self.method == "random" and not searched:
            raise ValueError("method random has nothing to draw; give a list or a low and high")
        if self.method == "grid" and self.draws is not None:
            raise ValueError("draws has no effect on a grid; write method: random, or drop it")
        if self.method == "grid" and "seed" in self.model_fields_set:
            raise ValueError("seed has no effect on a grid; write method: random, or drop it")
        if self.method == "grid" and ranges:
            raise ValueError(
                f"hyperparameters.{sorted(ranges)[0]} is a range, which a grid cannot hold; "
                "write a list, or method: random"
            )
        return self


class Criterion(Closed):
    """One gate: a metric on the validation set and its limit."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    judged_by: Literal["bound", "estimate"] = Field(
        "bound", description="bound: the worse end of the 95 % interval must hold"
    )

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        if self.metric in metrics.METRICS:
            wanted = "at_least" if metrics.METRICS[self.metric].greater_is_better else "at_most"
            if getattr(self, wanted) is None:
                raise ValueError(f"{self.metric} is a metric that needs {wanted}")
        return self


class Export(Closed):
    """Where an accepted model goes."""

    url: str | None = Field(None, description="Registry root; unset: the storage root")
    refit: Literal["train_and_test", "none"] = "train_and_test"
    repository: str | None = Field(
        None, description="A git repository that receives code commit, metrics and card"
    )


class ExperimentSpec(Closed):
    """One table, one target, one search."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=80)
    data: Data
    target: str = Field(min_length=1)
    task: Task
    positive_class: Scalar = Field(None, description="Binary: the class that is predicted")
    exclude: dict[str, str] = Field({}, description="Column → the reason it is no feature")
    preparation: Preparation = Preparation()
    analysis: Analysis = Analysis()
    validation: Validation = Validation()
    split: Split = RandomSplit()
    search: tuple[Search, ...] = Field(min_length=1)
    metric: str
    choice: Literal["best_score", "smallest_in_tie_group"] = "best_score"
    acceptance: tuple[Criterion, ...] = Field(
        (), description="Empty: the lower bound must beat the baseline"
    )
    export: Export = Export()
    schedule: str = Field("0 6 * * *", description="Cron expression; the schedule starts stopped")
    workers: int | None = Field(None, ge=1, le=256, description="Unset: one per core")
    seed: int = Field(0, ge=0, lt=2**31)

    @field_validator("data", mode="before")
    @classmethod
    def _url_alone(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("exclude", mode="before")
    @classmethod
    def _reasons_are_given(cls, value: Any) -> Any:
        if isinstance(value, list):
            raise ValueError("write each excluded column with its reason: {column: reason}")
        return value

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError(f"{value!r} is no cron expression; write five fields: '0 6 * * *'")
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.target in self.exclude:
            raise ValueError(f"exclude names the target {self.target!r}; drop it there")
        if self.positive_class is not None and self.task != "binary":
            raise ValueError(f"positive_class has no effect on task {self.task}; drop it")
        for place, name in [
            ("metric", self.metric),
            *((f"acceptance.{i}.metric", c.metric) for i, c in enumerate(self.acceptance)),
        ]:
            metrics.check_name(name, self.task, place)
        return self

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The ranking metric first, then those of the acceptance criteria."""
        return tuple(dict.fromkeys([self.metric, *(c.metric for c in self.acceptance)]))

    @cached_property
    def not_features(self) -> frozenset[str]:
        """Columns that never reach a model: target, excluded, ids, and the split's column."""
        split_columns = set() if self.split.by == "random" else {self.split.column}
        return frozenset({self.target, *self.exclude, *self.split.id_columns, *split_columns})
