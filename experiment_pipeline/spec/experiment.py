"""`ExperimentSpec`: every key of an experiment's defs.yaml, and the rules between keys.

What stands below a key is declared in `table`, `search`, `judgement` and `operation`.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from experiment_pipeline.errors import InvalidExperiment, allowed_instead
from experiment_pipeline.spec import sentences, table
from experiment_pipeline.spec.models import (
    OFF_IS_WRITTEN,
    Closed,
    Location,
    Scalar,
    impossible,
    on_or_off,
)
from experiment_pipeline.spec.operation import (
    Engine,
    Freshness,
    Mlflow,
    Owner,
    TagKey,
    TagValue,
    check_cron,
)
from experiment_pipeline.spec.search import (
    Budget,
    CalibrateSetting,
    Costs,
    Criterion,
    CrossValidation,
    EnsembleRule,
    EvaluationSetting,
    Export,
    Halving,
    NotWorseThanChampion,
    Search,
    SeedsSetting,
)
from experiment_pipeline.statistics.metrics import names_of

Task = Literal["binary", "multiclass", "regression"]
# Of an experiment; it becomes part of asset keys, op names and a job name.
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"
_NAME_IT = "write data: with the path or URL of the table"


class ExperimentSpec(Closed):
    """One table, one target, one search."""

    name: str = Field(
        pattern=NAME,
        description="A folder name of letters, digits and _, beginning with a letter",
    )
    # None: the table is a DataFrame at hand. In a file it is required.
    data: table.Data | None = Field(None, description="The table", examples=["data/customers.csv"])

    # What is predicted, and which columns and rows count how.
    target: str = Field(min_length=1, description="The column to predict", examples=["price"])
    task: Task = Field(description="What is predicted", examples=["binary"])
    positive_class: Scalar = Field(None, description="Binary: the class that is predicted")
    sample_weight: str | None = Field(
        None,
        min_length=1,
        description="The column of positive numbers that weigh the rows; not a feature",
        examples=["policy_years"],
    )
    exclude: dict[str, Annotated[str, Field(min_length=1, description="The reason")]] = Field(
        {}, description="Column → the reason it is not a feature"
    )
    monotone: dict[str, Literal["increasing", "decreasing"]] = Field(
        {},
        description="Feature that is a number → how the prediction (binary: the probability of "
        "the positive class) may go when it rises, all else equal",
        examples=["{distance: increasing}"],
    )
    preparation: table.Preparation = table.Preparation()
    analysis: table.Analysis = table.Analysis()
    validation: table.Validation = table.Validation()
    split: table.Split = Field(table.RandomSplit(), examples=["{by: random}"])

    # Which configurations are compared, on which rows, and by what.
    search: tuple[Search, ...] = Field(
        min_length=1, description="The algorithms to try", examples=["[{algorithm: lightgbm}]"]
    )
    metric: str = Field(description="What ranks the configurations", examples=["roc_auc"])
    evaluation: EvaluationSetting = Field(
        None,
        description="test_set, or cross_validation of the train and test rows: for small tables",
    )
    seeds: SeedsSetting = Field(
        None,
        description="How often a configuration is fitted, to separate its lead from chance; unset: once",
    )
    calibrate: CalibrateSetting = Field(
        None,
        description="How probabilities are calibrated, on train rows alone; "
        "unset: sigmoid where a configuration reweights classes",
    )
    halving: Annotated[
        Halving | None,
        on_or_off(Halving, "fractions: [0.25, 1.0], keep: 0.25"),
        OFF_IS_WRITTEN,
    ] = Field(
        Halving(), description="off, or shares of the train rows for ever fewer configurations"
    )
    budget: Budget = Budget()
    seed: int = Field(
        0, ge=0, lt=2**31, description="Of everything that is drawn: fits and resamples"
    )
    workers: int | None = Field(None, ge=1, le=256, description="Unset: one per core")
    # Excluded from every dump: where fits run decides no result.
    engine: Engine | None = Field(
        None, exclude=True, description="Unset: EXPERIMENT_PIPELINE_DASK, else threads here"
    )
    choice: Literal["best_score", "smallest_in_tie_group"] = "best_score"
    ensemble: Annotated[
        EnsembleRule | None, on_or_off(EnsembleRule, "members: 5"), OFF_IS_WRITTEN
    ] = Field(EnsembleRule(), description="off, or how many configurations an average may have")

    # How the chosen one is judged, and where it goes.
    acceptance: tuple[Criterion, ...] = Field(
        (), description="Empty: significantly better than the baseline on the same rows"
    )
    not_worse_than_champion: Annotated[
        NotWorseThanChampion | None,
        on_or_off(NotWorseThanChampion, "tolerance: 0.01"),
        OFF_IS_WRITTEN,
    ] = Field(NotWorseThanChampion(), description="off, or how much worse than the current model")
    costs: Costs | None = Field(
        None,
        description="Binary: what wrong decisions cost; the exported threshold is then the cheapest",
    )
    export: Export = Export()
    approval: Literal["none", "required"] = Field(
        "none", description="required: a version becomes champion only when it is approved"
    )

    # How the experiment runs in Dagster; nothing of it decides a result.
    schedule: str = Field("0 6 * * *", description="Cron expression; the schedule starts stopped")
    price_per_hour: float | None = Field(
        None, gt=0, description="What an hour of this machine costs, in any currency"
    )
    owners: tuple[Owner, ...] = Field((), description="Email addresses or team:name")
    tags: dict[TagKey, TagValue] = Field({}, description="Name → value, on every asset")
    freshness: Freshness | None = Field(
        None, description="How old leaderboard and exported model may get; unset: any age"
    )
    # Excluded from every dump: its address may hold a secret.
    mlflow: Mlflow | None = Field(None, exclude=True, description="Unset: nothing goes to MLflow")

    def part(self, keys: tuple[str, ...]) -> Self:
        """Return a copy with the name and these keys alone: what one stage may depend on.

        Reading another key raises AttributeError, and `model_dump` holds no other, so that the
        stage's fingerprint covers what the stage reads.
        """
        copy = self.model_copy()
        kept = {key: getattr(self, key) for key in ("name", *keys)}
        object.__setattr__(copy, "__dict__", kept)
        object.__setattr__(copy, "__pydantic_fields_set__", self.model_fields_set & kept.keys())
        return copy

    @property
    def source(self) -> table.Data:
        """Where the table is.

        Raises:
            InvalidExperiment: the experiment has no `data`.
        """
        if self.data is None:
            raise InvalidExperiment("data", "is missing: this experiment names no table", _NAME_IT)
        return self.data

    @cached_property
    def not_features(self) -> frozenset[str]:
        """Columns that never reach a model: target, weights, excluded, ids, the split's column."""
        split_columns = set() if self.split.by == "random" else {self.split.column}
        weights = set() if self.sample_weight is None else {self.sample_weight}
        named = {*self.exclude, *self.split.id_columns, *split_columns}
        return frozenset({self.target, *named, *weights})

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The ranking metric first, then those of the acceptance criteria."""
        return tuple(dict.fromkeys([self.metric, *(c.metric for c in self.acceptance)]))

    @property
    def evaluation_name(self) -> Literal["test_set", "cross_validation"]:
        """What the choice rests on, by the name that the YAML gives it."""
        return "test_set" if self.evaluation is None else "cross_validation"

    @property
    def cross_validation(self) -> CrossValidation | None:
        """How the train and test rows are cut into folds; None: the test set decides."""
        if self.evaluation is None:
            return None
        settings = self.evaluation.cross_validation
        # In time order there is one way to cut.
        return settings.model_copy(update={"repeats": 1}) if self.split.by == "time" else settings

    @property
    def plain(self) -> Self:
        """The same with one fit, not calibrated: for small rungs."""
        return self.model_copy(update={"seeds": None, "calibrate": "off"})

    @field_validator("data", mode="before", json_schema_input_type=str | table.Data)
    @classmethod
    def _url_alone(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("exclude", mode="before")
    @classmethod
    def _reasons_are_given(cls, value: Any) -> Any:
        if isinstance(value, list):
            raise ValueError(  # noqa: TRY004 - pydantic collects ValueErrors
                "write each excluded column with its reason: {column: reason}"
            )
        return value

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        check_cron(value)
        return value

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        self._check_one_role(self.target, "target")
        if self.sample_weight == self.target:
            raise impossible(f"names the target {self.target!r}; name another", "sample_weight")
        self._check_one_role(self.sample_weight, "column of the weights")
        for name in self.monotone:
            if name in self.not_features:
                raise impossible(
                    f"{name!r} is not a feature, so no prediction depends on it; drop it here, or "
                    "its other role",
                    *("monotone", name),
                )
        self._check_task()
        self._check_evaluation()
        self._check_metric(self.metric, "metric")
        for number, criterion in enumerate(self.acceptance):
            place = ("acceptance", number, "metric")
            self._check_metric(criterion.metric, *place)
            if criterion.metric in [other.metric for other in self.acceptance[:number]]:
                raise impossible(f"{criterion.metric} has a limit already; keep one", *place)
        return self

    def _check_one_role(self, name: str | None, what: str) -> None:
        """Refuse a second role for the target, or for the column of the weights."""
        roles: list[tuple[bool, tuple[str, ...]]] = [
            (name in self.exclude, ("exclude", str(name))),
            (name in self.split.id_columns, ("split", "id_columns")),
            (name == getattr(self.split, "column", ""), ("split", "column")),
            (name in self.preparation.calendar, ("preparation", "calendar")),
        ]
        for has_role, place in roles:
            if has_role:
                raise impossible(f"names the {what} {name!r}; drop it there", *place)

    def _check_task(self) -> None:
        """Refuse settings of another task."""
        if self.monotone and self.task == "multiclass":
            raise impossible(
                "several classes have no direction: their probabilities sum to 1, so that one "
                "rises where others fall; drop it, or predict one class by task: binary",
                "monotone",
            )
        if self.positive_class is not None and self.task != "binary":
            raise impossible(f"no effect on task {self.task}; drop it", "positive_class")
        if self.costs is not None and self.task != "binary":
            raise impossible(f"no threshold decides a task {self.task}; drop it", "costs")
        if self.calibrate in ("sigmoid", "isotonic") and self.task == "regression":
            raise impossible("a regression predicts no probabilities; drop it", "calibrate")

    def _check_evaluation(self) -> None:
        """Refuse settings that cross-validation cannot follow."""
        if self.evaluation is None:
            return
        if self.export.refit == "none":
            raise impossible(
                "cross-validation leaves a model of each fold, and none for export; drop it, or "
                "write evaluation: test_set",
                *("export", "refit"),
            )
        if "halving" in self.model_fields_set and self.halving is not None:
            raise impossible(
                "cross-validation fits every configuration on all folds; drop it, write off, or "
                "write evaluation: test_set",
                "halving",
            )
        given = self.evaluation.cross_validation.model_fields_set
        if self.split.by == "time" and "repeats" in given:
            raise impossible(
                "no effect on a split by time: there is one order to cut; drop it",
                *("evaluation", "cross_validation", "repeats"),
            )

    def _check_metric(self, name: str, *place: str | int) -> None:
        allowed = names_of(self.task)
        if name not in allowed:
            known = allowed_instead(name, allowed)
            raise impossible(f"{name!r} is not a metric of task {self.task}; {known}", *place)


def spec_from(
    name: str, raw: Mapping[str, Any], line_of: Callable[[Location], str] | None = None
) -> ExperimentSpec:
    """Return the spec of a file's keys, or of settings given in Python.

    Args:
        name: of the experiment: the folder's.
        raw: the YAML's `attributes`, or the settings.
        line_of: path of a key → `file:line`, of the key or of what would hold it; None: the
            settings come from no file, and may name no table.

    Raises:
        InvalidExperiment: with every problem.
    """
    if "name" in raw:
        problem = sentences.Problem(
            ("name",), f"the folder names the experiment ({name}); drop this key"
        )
        raise sentences.invalid([problem], line_of)
    given = {"name": name, **raw}
    problems = []
    if line_of is not None and raw.get("data") is None:
        lacking = "is missing: the table, such as data/customers.csv"
        problems.append(sentences.Problem(("data",), lacking))
    try:
        spec = ExperimentSpec.model_validate(given)
    except ValidationError as error:
        problems += sentences.explain(error, ExperimentSpec, given)
    if problems:
        raise sentences.invalid(problems, line_of) from None
    return spec
