"""`search`, `evaluation`, `seeds`, `halving`, `budget`, `ensemble`, gates, audit,
costs, export.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    WrapSerializer,
    field_validator,
    model_validator,
)

from experiment_pipeline.errors import InvalidExperiment, allowed_instead
from experiment_pipeline.spec import notation
from experiment_pipeline.spec.algorithms import (
    ALGORITHMS,
    COLUMNS,
    ENSEMBLE,
    Features,
    Range,
)
from experiment_pipeline.spec.models import (
    OFF_IS_WRITTEN,
    Closed,
    Location,
    Scalar,
    alone,
    impossible,
    on_or_off,
)
from experiment_pipeline.statistics.metrics import metric_of, written

Hyperparameter = Scalar | Range | tuple[Scalar, ...]

_KEY = r"^[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*\.?$"


class Search(Closed):
    """The configurations of one algorithm: a grid, random draws, or an
    explicit list.
    """

    algorithm: str = Field(
        description=f"{', '.join(ALGORITHMS)} or an import path", examples=["lightgbm"]
    )
    method: Literal["grid", "random"] = "grid"
    draws: int | None = Field(None, ge=1, le=100_000, description="For method: random")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the draws")
    hyperparameters: dict[str, Hyperparameter] = Field(
        {},
        description="Name → one value, a list, or a range {low: …, high: …, scale: "
        "log}",
    )
    configurations: tuple[dict[str, Scalar], ...] = ()
    features: Features | tuple[Features, ...] | None = Field(
        None,
        description="How texts become numbers: an encoder, or a list to choose from; "
        "target: each text of a column with many becomes its mean target; text: also "
        "numbers of its n-grams; ngrams: onehot, with a column for each n-gram of such "
        "texts, for linear models; stacked: ordinal, and the predictions of two "
        "forests and a linear model; columns: not at all, for an estimator by import "
        "path that reads a DataFrame; unset: by the algorithm",
    )
    name: str | None = Field(
        None,
        pattern=_KEY,
        max_length=40,
        description="Its key; halving does not stop it",
    )
    note: str = Field("", description="Why it is tried; the leaderboard shows it")

    @field_validator("algorithm")
    @classmethod
    def _is_known_or_a_path(cls, value: str) -> str:
        if value in ALGORITHMS or re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
            return value
        raise ValueError(
            f"{value!r} is not an algorithm; "
            f"{allowed_instead(value, list(ALGORITHMS))} "
            "or an import path such as sklearn.neighbors.KNeighborsClassifier"
        )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        if self.features == () or len({*self.encoders}) < len(self.encoders):
            raise impossible(
                "the list is empty or names an encoder twice; correct it", "features"
            )
        for place, message in self._conflicts():
            raise impossible(message, *place)
        return self

    def _conflicts(self) -> Iterator[tuple[Location, str]]:
        yield from self._hyperparameter_conflicts()
        is_several = self.searched or self.configurations[1:] or self.encoders[1:]
        if self.name == ENSEMBLE or (self.name and is_several):
            yield (
                ("name",),
                f"needs a single configuration, without lists; {ENSEMBLE} is reserved",
            )
        if COLUMNS in self.encoders and self.algorithm in ALGORITHMS:
            message = f"{self.algorithm} reads numbers, and {COLUMNS} leaves texts"
            yield ("features",), f"{message}; name an estimator by its import path"
        yield from self._method_conflicts()

    def _hyperparameter_conflicts(self) -> Iterator[tuple[Location, str]]:
        for key, value in self.hyperparameters.items():
            message = ""
            if value == ():
                message = "the list is empty; name values"
            elif self.configurations and key in self.searched:
                message = (
                    "cannot be searched beside explicit configurations; write two "
                    "entries"
                )
            elif self.method == "grid" and isinstance(value, Range):
                message = (
                    "a grid cannot hold a range; write a list, or random with draws"
                )
            if message:
                yield ("hyperparameters", key), message
        for number, configuration in enumerate(self.configurations):
            for key in configuration.keys() & self.hyperparameters.keys():
                place = ("configurations", number, key)
                yield place, f"{key} is also in hyperparameters; keep it in one place"

    def _method_conflicts(self) -> Iterator[tuple[Location, str]]:
        if self.method == "grid":
            for key in self.model_fields_set & {"draws", "seed"}:
                if getattr(self, key) is not None:
                    message = f"{key} has no effect on a grid"
                    yield (key,), f"{message}; write method: random, or drop it"
        elif self.configurations:
            message = "random has no effect on explicit configurations; drop it"
            yield ("method",), message
        elif self.draws is None:
            yield (), "method random needs draws: the number of configurations"
        elif not self.searched and len(self.encoders) < 2:
            message = "random has nothing to draw; give a list, or low and high"
            yield ("method",), message

    @property
    def import_paths(self) -> tuple[str, ...]:
        """The algorithm, and the import paths in hyperparameters."""
        paths = notation.paths_in([self.hyperparameters, self.configurations])
        return (self.algorithm, *paths)

    @property
    def searched(self) -> dict[str, Range | tuple[Scalar, ...]]:
        """The hyperparameters with more than one value, in the order of the YAML."""
        return {
            name: values
            for name, values in self.hyperparameters.items()
            if isinstance(values, Range | tuple)
        }

    @property
    def encoders(self) -> tuple[Features, ...]:
        """The feature encoders to choose from; empty: the algorithm's default."""
        if self.features is None:
            return ()
        return self.features if isinstance(self.features, tuple) else (self.features,)


SeedsSetting = Annotated[int, Field(ge=2, le=20)] | None
CalibrateSetting = Annotated[
    Literal["sigmoid", "off"] | None,
    # A YAML 1.1 reader, such as Dagster's, reads an unquoted off as false.
    BeforeValidator(
        lambda value: "off" if value is False else value,
        json_schema_input_type=Literal["sigmoid", "off", False],
    ),
]


class CrossValidation(Closed):
    """Folds of the train and test rows, each predicted by models that have
    not seen it.
    """

    folds: int = Field(5, ge=2, le=20, description="Parts into which the rows are cut")
    repeats: int = Field(3, ge=1, le=20, description="How often the rows are cut")


class Evaluation(Closed):
    """Which rows the choice is based on, if not on the test set alone."""

    cross_validation: CrossValidation = CrossValidation()


def _read_evaluation(value: Any) -> Any:
    words = {"test_set": None, "cross_validation": Evaluation()}
    return words.get(value, value) if isinstance(value, str) else value


EvaluationSetting = Annotated[
    Evaluation | None,
    BeforeValidator(
        _read_evaluation,
        json_schema_input_type=Evaluation | Literal["test_set", "cross_validation"],
    ),
    WrapSerializer(lambda value, write: "test_set" if value is None else write(value)),
]

Share = Annotated[float, Field(gt=0, le=1, description="A share of the train rows")]


class Halving(Closed):
    """Successive halving: all start on few train rows, the best go on to more."""

    fractions: tuple[Share, ...] = Field(
        (1 / 16, 1 / 4, 1.0),
        description="Growing shares of the train rows; the last one is 1",
    )
    keep: float = Field(
        0.25, gt=0, lt=1, description="Share that is promoted to the next rung"
    )
    # Five tables, LightGBM in a narrow space: the rank correlation of rungs of up to
    # 1,100 rows with all rows was 0.06, of 1,600 to 2,200 rows 0.3. In a wide space
    # fewer rows suffice.
    fewest_rows: int = Field(
        1_500, ge=50, description="A rung of fewer train rows is skipped"
    )

    @field_validator("fractions")
    @classmethod
    def _grow_to_all_rows(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if len(fractions) < 2:
            raise ValueError(
                "one rung stops no configuration; write two or more, or halving: off"
            )
        if any(rung >= later for rung, later in itertools.pairwise(fractions)):
            raise ValueError(
                "each rung needs more rows than the one before; put them in order"
            )
        if fractions[-1] != 1:
            raise ValueError(
                f"the last rung has {fractions[-1]:g} of the rows; end with 1.0"
            )
        return fractions


HalvingSetting = Annotated[Halving | None, on_or_off(Halving), OFF_IS_WRITTEN]


class EnsembleRule(Closed):
    """The weighted mean of the best few configurations, as one more row of the
    leaderboard.
    """

    members: int = Field(5, ge=2, le=10, description="Largest number of configurations")


EnsembleSetting = Annotated[
    EnsembleRule | None, on_or_off(EnsembleRule), OFF_IS_WRITTEN
]


class Budget(Closed):
    """Limits of a search, checked between fits; configurations that did not start are
    listed.
    """

    seconds: float | None = Field(
        None,
        gt=0,
        description="For the whole run; the result depends on the machine",
    )
    configurations: int | None = Field(
        None, ge=1, description="How many are tried, drawn by seed"
    )


# A user's metric is given as its import path, or in Python as a function.
MetricName = Annotated[str, BeforeValidator(written, json_schema_input_type=str)]


class Criterion(Closed):
    """One gate: a metric on the validation set and its limit."""

    metric: MetricName = Field(
        description="The metric that is judged", examples=["roc_auc"]
    )
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limit(self) -> float:
        """The one of `at_least` and `at_most` that is set."""
        limit = self.at_most if self.at_least is None else self.at_least
        assert limit is not None
        return limit

    judged_by: Literal["bound", "estimate"] = Field(
        "bound",
        description="bound: the worse bound of the interval must meet the limit",
    )

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        try:
            judged = metric_of(self.metric)
        except InvalidExperiment:
            return self  # ExperimentSpec reports an unknown metric
        key = "at_least" if judged.greater_is_better else "at_most"
        limit = getattr(self, key)
        if limit is None:
            raise ValueError(f"{self.metric} is a metric that needs {key}")
        if not judged.lowest <= limit <= judged.highest:
            raise impossible(
                f"{limit:g} is impossible: {self.metric} lies between "
                f"{judged.lowest:g} and {judged.highest:g}",
                key,
            )
        return self


class NotWorseThanChampion(Closed):
    """A gate: the model must not be worse than the champion that it would replace, nor
    than the best so far.
    """

    tolerance: float = Field(0.0, ge=0, description="In units of the ranking metric")
    replace: Literal["if_not_worse", "if_better"] = Field(
        "if_not_worse",
        description="if_better: only a significantly better one; no tolerance",
    )


ChampionSetting = Annotated[
    NotWorseThanChampion | None, on_or_off(NotWorseThanChampion), OFF_IS_WRITTEN
]


_Largest = Annotated[
    float | None, Field(ge=0, lt=1, description="Gate: at most, of two groups")
]
_Smallest = Annotated[
    float | None, Field(gt=0, le=1, description="Gate: at least, low / high")
]


class Audit(Closed):
    """Columns (features or not) whose groups are compared on the validation set;
    ratios: lowest / highest.
    """

    columns: tuple[str, ...] = Field(min_length=1, examples=[["sex", "age_band"]])
    selection_rate_difference: _Largest = None
    selection_rate_ratio: _Smallest = None
    equalized_odds_difference: _Largest = None
    equalized_odds_ratio: _Smallest = None
    accuracy_ratio: _Smallest = None
    mean_absolute_error_ratio: _Smallest = None


AuditSetting = Annotated[Audit | None, alone("columns", Audit, tuple[str, ...])]


class Costs(Closed):
    """What decisions of a binary model cost, all in the same unit."""

    false_positive: float = Field(
        gt=0, description="Cost per negative row", examples=[1]
    )
    false_negative: float = Field(
        0, ge=0, description="Cost per positive row", examples=[10]
    )
    true_positive: float = Field(
        0, description="Cost per positive row that is found; -40: it brings 40"
    )
    per_month: float | None = Field(
        None, gt=0, description="Rows a month; unset: the worth of 1,000 rows"
    )

    @model_validator(mode="after")
    def _finding_pays(self) -> Self:
        if self.true_positive >= self.false_negative:
            raise ValueError(
                "a positive row that is found costs no less than one that is missed; "
                "write what a missed one costs (false_negative: 10), or what one that "
                "is found brings, as a negative cost (true_positive: -40)"
            )
        return self

    @property
    def period(self) -> tuple[float, str]:
        """The rows that a worth is stated for, and the same in words."""
        if self.per_month is None:
            return 1_000.0, "per 1,000 rows"
        return self.per_month, f"in a month of {self.per_month:,.15g} rows"


class Export(Closed):
    """How an accepted model is refitted, and where it is exported to."""

    url: str | None = Field(None, description="Registry root; unset: the storage root")
    refit: Literal["train_and_test", "none"] = "train_and_test"
    fits: int = Field(
        1,
        ge=1,
        le=20,
        description="Refits with different seeds; their mean is exported; "
        "random_forest, extra_trees: always 1",
    )
    repository: str | None = Field(
        None, description="A git repository for metrics and card"
    )

    @model_validator(mode="after")
    def _fits_are_refits(self) -> Self:
        if self.refit == "none" and self.fits > 1:
            raise ValueError(
                "refit: none exports the model fitted in the search; drop fits"
            )
        return self
