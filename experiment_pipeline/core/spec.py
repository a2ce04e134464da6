"""ExperimentSpec: everything the YAML of an experiment can say, closed and frozen.

The one place where settings are declared, with their defaults, limits and meaning.
What an invalid YAML is told lives in `spec_errors.py`; what the settings do lives in the
stage that uses them. In: a mapping as YAML gives it. Out: one immutable object.
"""

import difflib
import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from experiment_pipeline.core import metrics
from experiment_pipeline.core.cron import check_cron
from experiment_pipeline.core.data_analysis.catalogue import check_codes, check_thresholds

Task = Literal["binary", "multiclass", "regression"]
Scalar = bool | int | float | str | None
Fraction = Annotated[float, Field(gt=0, lt=1)]
# Of an experiment; it becomes part of asset keys, op names and a job name.
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"
BUILT_IN_ALGORITHMS = ("lightgbm", "random_forest", "linear", "dummy")
MISSING_VALUES = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None")


def impossible(message: str, *location: str | int) -> PydanticCustomError:
    """An error that a whole model finds, and that belongs to one of its keys."""
    return PydanticCustomError("impossible", "{message}", {"message": message, "at": location})


class Closed(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, raw: Any) -> Any:
        """YAML reads `yes` as true, and Python takes true for 1."""
        for key, field in cls.model_fields.items():
            if isinstance(raw, dict) and isinstance(raw.get(key), bool):
                wanted = {*get_args(field.annotation)} or {field.annotation}
                if wanted & {int, float} and bool not in wanted:
                    raise impossible(f"{str(raw[key]).lower()} is no number; write a number", key)
        return raw


class Data(Closed):
    """Where the table is and how its file is read."""

    url: str = Field(
        min_length=1,
        description="Any fsspec URL: path, s3://, https://",
        examples=["data/customers.csv"],
    )
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

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        if self.format == "parquet":
            for key in sorted({"delimiter", "encoding", "missing_values"} & self.model_fields_set):
                raise impossible(f"{key} has no effect on parquet; drop it", key)
        protocol = self.url.partition("://")[0].lower() if "://" in self.url else "file"
        if self.endpoint_url is not None and protocol not in ("s3", "s3a"):
            raise impossible("endpoint_url is for s3:// URLs; drop it", "endpoint_url")
        if self.anonymous and protocol in ("file", "http", "https"):
            raise impossible(f"anonymous has no effect on a {protocol} URL; drop it", "anonymous")
        return self

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
        if self.decimal == "." and self.thousands is None and not self.units:
            raise ValueError("names neither decimal, thousands nor units; name one or drop it")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; they must differ")
        for unit, factor in self.units.items():
            if not unit.strip() or re.search(r"[\d+-]", unit):
                raise ValueError(
                    f"unit {unit!r} is blank or holds digits or a sign; write its text"
                )
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
        if not self.trim and self.case is None and not self.variants:
            raise ValueError("names neither trim, case nor variants; name one or drop it")
        spellings = [text for texts in self.variants.values() for text in texts]
        twice = sorted({text for text in spellings if spellings.count(text) > 1})
        if twice:
            raise ValueError(f"variants lists {twice[0]!r} twice; keep it in one place")
        for kept, texts in self.variants.items():
            if not texts or kept in texts:
                raise ValueError(
                    f"variants.{kept} replaces nothing, or itself; list other spellings"
                )
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
        {},
        description="Per datetime column: strptime formats, the first that fits; unset: ISO 8601",
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
    thresholds: dict[str, float] = Field(
        {}, description="Finding code, or code_blocks → the number it is compared with"
    )
    report_rows: int = Field(
        100_000, ge=100, description="Rows the table report samples at the most"
    )

    @field_validator("accept")
    @classmethod
    def _codes_are_known(cls, value: dict[str, str]) -> dict[str, str]:
        check_codes(value)
        for code, reason in value.items():
            if not reason.strip():
                raise ValueError(f"accept.{code} gives no reason; write why it is accepted")
        return value

    @field_validator("thresholds")
    @classmethod
    def _thresholds_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        check_thresholds(value)
        return value


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


Column = Annotated[str, Field(min_length=1, examples=["customer_id"])]
IdColumns = Annotated[
    tuple[Column, ...],
    Field(description="Columns that identify a row: they decide its set, and are no features"),
]


class RandomSplit(Closed):
    """Rows by a salted hash of their id (or of their features), stratified by class."""

    by: Literal["random"] = "random"
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class GroupSplit(Closed):
    """Whole groups by a salted hash of the group's value."""

    by: Literal["group"]
    column: Column = Field(description="The column whose values stay together in one set")
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class TimeSplit(Closed):
    """The past trains, the future judges; cut between distinct timestamps."""

    by: Literal["time"]
    column: Column = Field(
        description="The column that orders the rows in time", examples=["order_date"]
    )
    gap: str = Field("0s", description="Time left out between the sets, such as '1 day'")
    unit: str = Field("1 day", description="What intervals resample: rows of one such period")
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()

    @field_validator("gap", "unit")
    @classmethod
    def _is_a_duration(cls, value: str, info: ValidationInfo) -> str:
        import pandas as pd

        wrong = ValueError(f"{value!r} is no duration; write one such as '1 day' or '6 hours'")
        # pandas takes a bare number for nanoseconds, which nobody means.
        if re.fullmatch(r"\s*[\d.]*\s*", value):
            raise wrong
        try:
            duration = pd.Timedelta(value)
        except ValueError:
            raise wrong from None
        if not duration >= pd.Timedelta(0):
            raise wrong
        if info.field_name == "unit" and duration == pd.Timedelta(0):
            raise ValueError("the unit is zero; write one such as '1 day'")
        return value


class ColumnSplit(Closed):
    """The sets that a column already names."""

    by: Literal["column"]
    column: Column = Field(description="The column that names each row's set", examples=["set"])
    train: tuple[Scalar, ...] = Field(("train",), min_length=1)
    test: tuple[Scalar, ...] = Field(("test",), min_length=1)
    validation: tuple[Scalar, ...] = Field(("validation",), min_length=1)
    id_columns: IdColumns = ()

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

    low: int | float = Field(description="The smallest value", examples=[0.01])
    high: int | float = Field(description="The largest value", examples=[0.3])
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) is not below high ({self.high}); exchange them")
        if self.scale == "log" and self.low <= 0:
            raise impossible(f"low ({self.low}) has no logarithm; use a positive low", "low")
        return self

    @property
    def integer(self) -> bool:
        """Whether whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def _read_exponent(value: Any) -> Any:
    """YAML takes 1e-3 for a text (it wants 1.0e-3); nobody who writes it means a text."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)
    return value


Setting = Annotated[Scalar, BeforeValidator(_read_exponent)]
Hyperparameter = Annotated[Scalar | Range | tuple[Setting, ...], BeforeValidator(_read_exponent)]


class Search(Closed):
    """The configurations of one algorithm: a grid, random draws, or an explicit list."""

    algorithm: str = Field(
        description="lightgbm, random_forest, linear, dummy or an import path",
        examples=["lightgbm"],
    )
    method: Literal["grid", "random"] = "grid"
    draws: int | None = Field(None, ge=1, le=100_000)
    seed: int = Field(0, ge=0, lt=2**31)
    hyperparameters: dict[str, Hyperparameter] = {}
    configurations: tuple[dict[str, Setting], ...] = ()
    features: Literal["ordinal", "onehot"] | None = Field(
        None, description="How categories reach the model; unset: what suits the algorithm"
    )

    @field_validator("algorithm")
    @classmethod
    def _is_known_or_a_path(cls, value: str) -> str:
        if value in BUILT_IN_ALGORITHMS or re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
            return value
        close = difflib.get_close_matches(value, BUILT_IN_ALGORITHMS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"{value!r} is no algorithm; {hint}allowed: {', '.join(BUILT_IN_ALGORITHMS)} "
            "or an import path such as sklearn.neighbors.KNeighborsClassifier"
        )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        for key, value in self.hyperparameters.items():
            if value == ():
                raise impossible("the list is empty; name values", "hyperparameters", key)
        if self.configurations:
            self._check_explicit()
        if self.method == "random":
            self._check_random()
        else:
            self._check_grid()
        return self

    @property
    def searched(self) -> dict[str, Range | tuple[Scalar, ...]]:
        """The hyperparameters with more than one value, in the order of the YAML."""
        return {k: v for k, v in self.hyperparameters.items() if isinstance(v, Range | tuple)}

    def _check_explicit(self) -> None:
        for key in self.searched:
            raise impossible(
                "cannot be searched beside explicit configurations; write two entries",
                *("hyperparameters", key),
            )
        if self.method == "random":
            raise impossible(
                "method random has no effect on explicit configurations; drop it", "method"
            )
        for number, configuration in enumerate(self.configurations):
            place = ("configurations", number)
            for key in sorted(configuration.keys() & self.hyperparameters.keys()):
                raise impossible(
                    f"{key} also stands in hyperparameters; keep it in one place", *place, key
                )
            if configuration in self.configurations[:number]:
                raise impossible("repeats an earlier configuration; drop it", *place)

    def _check_random(self) -> None:
        if self.draws is None:
            raise ValueError("method random needs draws: the number of configurations")
        if not self.searched:
            raise impossible(
                "method random has nothing to draw; give a hyperparameter a list or low and high",
                "method",
            )

    def _check_grid(self) -> None:
        for key in ("draws", "seed"):
            if key in self.model_fields_set and getattr(self, key) is not None:
                raise impossible(
                    f"{key} has no effect on a grid; write method: random, or drop it", key
                )
        for key, value in self.searched.items():
            if isinstance(value, Range):
                raise impossible(
                    "a grid cannot hold a range; write a list, or method: random with draws",
                    *("hyperparameters", key),
                )


class Criterion(Closed):
    """One gate: a metric on the validation set and its limit."""

    metric: str = Field(description="The metric that is judged", examples=["roc_auc"])
    at_least: float | None = None
    at_most: float | None = None
    judged_by: Literal["bound", "estimate"] = Field(
        "bound", description="bound: the worse end of the 95 % interval must hold"
    )

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        if self.metric not in metrics.METRICS:
            return self
        judged = metrics.METRICS[self.metric]
        wanted = "at_least" if judged.greater_is_better else "at_most"
        limit = getattr(self, wanted)
        if limit is None:
            raise ValueError(f"{self.metric} is a metric that needs {wanted}")
        if not judged.lowest <= limit <= judged.highest:
            raise impossible(
                f"{limit:g} is out of reach: {self.metric} lies between {judged.lowest:g} "
                f"and {judged.highest:g}",
                wanted,
            )
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

    name: str = Field(
        pattern=NAME,
        description="A folder name of letters, digits and _, beginning with a letter",
    )
    data: Data = Field(description="The table", examples=["data/customers.csv"])
    target: str = Field(min_length=1, description="The column to predict", examples=["price"])
    task: Task = Field(description="What is predicted", examples=["binary"])
    positive_class: Scalar = Field(None, description="Binary: the class that is predicted")
    exclude: dict[str, Annotated[str, Field(min_length=1, description="The reason")]] = Field(
        {}, description="Column → the reason it is no feature"
    )
    preparation: Preparation = Preparation()
    analysis: Analysis = Analysis()
    validation: Validation = Validation()
    split: Split = Field(RandomSplit(), examples=["{by: random}"])
    search: tuple[Search, ...] = Field(
        min_length=1, description="The algorithms to try", examples=["[{algorithm: lightgbm}]"]
    )
    metric: str = Field(description="What ranks the configurations", examples=["roc_auc"])
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
        check_cron(value)
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        self._check_target_has_one_role()
        if self.positive_class is not None and self.task != "binary":
            raise impossible(f"no effect on task {self.task}; drop it", "positive_class")
        self._check_metric(self.metric, "metric")
        for number, criterion in enumerate(self.acceptance):
            self._check_metric(criterion.metric, "acceptance", number, "metric")
            if criterion.metric in [other.metric for other in self.acceptance[:number]]:
                raise impossible(
                    f"{criterion.metric} has a limit already; keep one",
                    *("acceptance", number, "metric"),
                )
        return self

    def _check_target_has_one_role(self) -> None:
        roles: list[tuple[str | int, ...]] = []
        if self.target in self.exclude:
            roles.append(("exclude", self.target))
        if self.target in self.split.id_columns:
            roles.append(("split", "id_columns"))
        if self.split.by != "random" and self.target == self.split.column:
            roles.append(("split", "column"))
        if self.target in self.preparation.calendar:
            roles.append(("preparation", "calendar"))
        for role in roles:
            raise impossible(f"names the target {self.target!r}; drop it there", *role)

    def _check_metric(self, name: str, *location: str | int) -> None:
        place = ".".join(map(str, location))
        try:
            metrics.check_name(name, self.task, place)
        except ValueError as error:
            raise impossible(str(error).removeprefix(f"{place}: "), *location) from None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The ranking metric first, then those of the acceptance criteria."""
        return tuple(dict.fromkeys([self.metric, *(c.metric for c in self.acceptance)]))

    @cached_property
    def not_features(self) -> frozenset[str]:
        """Columns that never reach a model: target, excluded, ids, and the split's column."""
        split_columns = set() if self.split.by == "random" else {self.split.column}
        return frozenset({self.target, *self.exclude, *self.split.id_columns, *split_columns})
