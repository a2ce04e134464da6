"""`ExperimentSpec`: every key of an experiment's defs.yaml, the rules between keys, its
JSON schema.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from experiment_pipeline.errors import InvalidExperiment, allowed_instead
from experiment_pipeline.spec import operation, table
from experiment_pipeline.spec.models import Closed, Location, Scalar, impossible
from experiment_pipeline.spec.reading import Problem, explain, invalid
from experiment_pipeline.spec.search import (
    AuditSetting,
    Budget,
    CalibrateSetting,
    ChampionSetting,
    Costs,
    Criterion,
    CrossValidation,
    EnsembleRule,
    EnsembleSetting,
    EvaluationSetting,
    Export,
    Halving,
    HalvingSetting,
    MetricName,
    NotWorseThanChampion,
    Search,
    SeedsSetting,
)
from experiment_pipeline.spec.templates import Templates, with_templates
from experiment_pipeline.statistics.metrics import metric_of, names_of

Task = Literal["binary", "multiclass", "regression"]
# The name of an experiment: it becomes part of asset keys, op names and a job name.
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"
# Templates are filled in before validation, so the JSON schema has to accept them.
_TEMPLATE = r"\{\{\s*env\b"
SHORTEST_SECRET = 6


class ExperimentSpec(Closed):
    """One table, one target, one search."""

    name: str = Field(
        pattern=NAME, description="A folder name of letters, digits and _"
    )
    # None: the table is a DataFrame in memory. A file must name it.
    data: table.DataSetting = Field(
        None, description="The table", examples=["data/customers.csv"]
    )

    # What is predicted, and which columns and rows count how.
    target: str = Field(
        min_length=1, description="The column to predict", examples=["price"]
    )
    task: Task = Field(description="What is predicted", examples=["binary"])
    positive_class: Scalar = Field(
        None, description="Binary: the class that counts as positive"
    )
    label: table.Label | None = Field(
        None,
        description="How long the target takes to be known; rows without label yet are "
        "set aside",
        examples=["{since: signed_up, within: 90 days}"],
    )
    sample_weight: str | None = Field(
        None,
        min_length=1,
        description="Column with a positive weight per row; not a feature",
    )
    incumbent: str | None = Field(
        None,
        min_length=1,
        description="Column with the answers of the rule in use today: classes, "
        "probabilities or numbers; not a feature",
    )
    exclude: dict[
        str, Annotated[str, Field(min_length=1, description="The reason")]
    ] = Field(
        {},
        description="Column → the reason it is not a feature; also for the parts of a "
        "date",
    )
    monotone: dict[str, Literal["increasing", "decreasing"]] = Field(
        {},
        description="Numeric feature → how the prediction (binary: the probability of "
        "the positive class) may go when it rises, all else equal",
    )
    preparation: table.Preparation = table.Preparation()
    features: table.FeaturesSetting = Field(
        None, description="Your transformer: module:name"
    )
    analysis: table.Analysis = table.Analysis()
    validation: table.Validation = table.Validation()
    split: table.Split = Field(
        table.RandomSplit(),
        description="How rows are divided into the three sets",
        examples=["{by: random}"],
    )

    # Which configurations are compared, on which rows, and by what.
    search: tuple[Search, ...] = Field(
        min_length=1,
        description="The algorithms to try",
        examples=["[{algorithm: lightgbm}]"],
    )
    metric: MetricName = Field(
        description="What ranks the configurations", examples=["roc_auc"]
    )
    evaluation: EvaluationSetting = Field(
        None,
        description="test_set, or cross_validation of train and test rows: for small "
        "tables",
    )
    seeds: SeedsSetting = Field(
        None,
        description="Fits per configuration, by other seeds, to tell its lead from "
        "chance",
    )
    calibrate: CalibrateSetting = Field(
        None,
        description="Of probabilities; unset: reweighted classes, and the chosen "
        "multiclass model",
    )
    halving: HalvingSetting = Field(
        Halving(),
        description="off, or shares of the train rows for fewer and fewer "
        "configurations",
    )
    budget: Budget = Budget()
    seed: int = Field(
        0, ge=0, lt=2**31, description="For all random draws: fits, resamples"
    )
    workers: int | None = Field(None, ge=1, le=256, description="Unset: one per core")
    # Excluded from dumps and so from fingerprints: where fits run changes no result.
    engine: operation.Engine | None = Field(
        None,
        exclude=True,
        description="Unset: as EXPERIMENT_PIPELINE_DASK says, else threads here",
    )
    choice: Literal["best_score", "smallest_in_tie_group"] = Field(
        "best_score",
        description="Or the smallest configuration that is tied with the best",
    )
    ensemble: EnsembleSetting = Field(
        EnsembleRule(),
        description="off, or the largest number of configurations in the average",
    )

    # How the chosen model is evaluated, and where it is exported to.
    acceptance: tuple[Criterion, ...] = Field(
        (),
        description="Limits that must hold, in addition to the gate against the "
        "baseline",
    )
    baseline: bool = Field(
        True,
        description="off: the model need not be significantly better than the baseline",
    )
    not_worse_than_champion: ChampionSetting = Field(
        NotWorseThanChampion(),
        description="off, or how much worse than the champion and the best so far a "
        "model may be",
    )
    coverage: float | None = Field(
        None,
        ge=0.5,
        lt=1,
        description="A gate: intervals or sets cover this share of rows",
    )
    costs: Costs | None = Field(
        None,
        description="Binary: costs of wrong decisions; the exported threshold "
        "minimizes them",
    )
    audit: AuditSetting = Field(
        None,
        description="Columns whose groups are compared on the validation set, or with "
        "limits",
    )
    export: Export = Export()
    approval: Literal["none", "required"] = Field(
        "none", description="required: a version becomes champion only after approval"
    )

    record: operation.Statements = operation.Statements()

    # How the experiment runs in Dagster; nothing of it decides a result.
    schedule: str = Field(
        "0 6 * * *", description="Cron expression; stopped until you start it"
    )
    price_per_hour: float | None = Field(
        None, gt=0, description="Price of an hour of this machine"
    )
    owners: tuple[str, ...] = Field((), description="Email addresses or team:name")
    tags: dict[str, str] = Field({}, description="Name → value, on every asset")
    run_tags: dict[str, Any] = Field(
        {}, description="Name → value, on every run, such as dagster-k8s/config"
    )
    freshness: operation.Freshness | None = Field(
        None,
        description="Largest age of leaderboard and exported model; unset: no limit",
    )
    retention: operation.Retention | None = Field(
        None, exclude=True, description="Runs whose files `clean` keeps; unset: all"
    )
    publish: operation.PublishSetting = Field(
        None,
        exclude=True,
        description="sql: rows of the last run for dashboards; unset: nowhere",
    )
    # Excluded from dumps: their addresses may contain a secret.
    watch: operation.Watch | None = Field(
        None,
        exclude=True,
        description="Compares later labels with the promise; unset: not watched",
    )
    lab: operation.LabBudget = Field(
        operation.LabBudget(),
        exclude=True,
        description="What agents may spend in `experiment-pipeline lab`",
    )
    mlflow: operation.Mlflow | None = Field(
        None,
        exclude=True,
        description="Where runs are copied to; unset: nothing goes to MLflow",
    )

    # Key → value filled in → the text with templates that the file holds for it.
    _templates: Mapping[str, Mapping[str, str]] = PrivateAttr(default_factory=dict)

    # Value of a variable → its template.
    _values: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def filled_from(self, templates: Templates) -> Self:
        """Return a copy that knows the templates behind its values."""
        copy = self.model_copy()
        copy._templates = templates.written  # noqa: SLF001
        copy._values = templates.values  # noqa: SLF001
        return copy

    def without_values(self, text: str) -> str:
        """Return a message with the templates in place of variables' values, which may
        be secrets; short ones may be any word, and stay.
        """
        for value, template in self._values.items():
            if len(value) >= SHORTEST_SECRET:
                text = text.replace(value, template)
        return text

    def declared(self) -> dict[str, Any]:
        """Return what was declared, for a file or a page: a template stays one, because
        its value may be a secret.
        """
        values = self.model_dump(mode="json", exclude_unset=True)
        return {
            key: with_templates(value, self._templates.get(key, {}))
            for key, value in values.items()
        }

    @property
    def shown_source(self) -> str:
        """Where the table is, without credentials and values of the environment."""
        declared = self.declared().get("data")
        if declared is None:
            return "a DataFrame"
        return self.source.model_copy(update={"url": declared["url"]}).shown_url

    def part(self, keys: tuple[str, ...]) -> Self:
        """Return a copy with only these keys; reading any other raises AttributeError.

        This ensures that a stage's fingerprint covers every key that the stage reads.
        """
        copy = self.model_copy()
        values = {key: getattr(self, key) for key in ("name", *keys)}
        object.__setattr__(copy, "__dict__", values)
        stated = self.model_fields_set & values.keys()
        object.__setattr__(copy, "__pydantic_fields_set__", stated)
        return copy

    @property
    def source(self) -> table.Data:
        """Where the table is; InvalidExperiment if the experiment has no `data`."""
        if self.data is None:
            raise InvalidExperiment(
                "data",
                rule="is missing: this experiment names no table",
                fix="write data: with the path or URL of the table",
            )
        return self.data

    @cached_property
    def not_features(self) -> frozenset[str]:
        """Columns that never reach a model, by their role."""
        names = {self.target, *self.exclude, *self.split.id_columns}
        if self.split.by != "random":
            names.add(self.split.column)
        others = (self.sample_weight, self.incumbent, table.kept_apart(self.split))
        names.update(filter(None, others))
        return frozenset(names)

    @property
    def label_since(self) -> str:
        """The column of the times that labels count from; empty: there is no label."""
        if self.label is None:
            return ""
        of_split = self.split.column if self.split.by == "time" else ""
        return self.label.since or of_split

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The ranking metric first, then those of the acceptance criteria."""
        return tuple(dict.fromkeys([self.metric, *(c.metric for c in self.acceptance)]))

    @property
    def paths_by_key(self) -> dict[str, list[str]]:
        """Key → the import paths in it: `package.module.Name` or `module:name`."""
        transformer = self.features and self.features.transformer
        names = {
            "search": [path for entry in self.search for path in entry.import_paths],
            "preparation": [self.preparation.function or ""],
            "features": [transformer or ""],
            "metric": self.metric_names,
            "analysis": self.analysis.findings,
        }
        return {
            key: [name for name in named if "." in name or ":" in name]
            for key, named in names.items()
        }

    @property
    def import_paths(self) -> tuple[str, ...]:
        """All import paths that it names."""
        return tuple(dict.fromkeys(chain.from_iterable(self.paths_by_key.values())))

    @property
    def audited(self) -> tuple[str, ...]:
        """The columns whose groups are compared."""
        return () if self.audit is None else tuple(dict.fromkeys(self.audit.columns))

    @property
    def audit_limits(self) -> dict[str, float]:
        """Audit measure, such as `selection_rate_ratio` → its limit."""
        if self.audit is None:
            return {}
        return self.audit.model_dump(exclude={"columns"}, exclude_none=True)

    @property
    def evaluation_name(self) -> Literal["test_set", "cross_validation"]:
        """What the choice is based on, as named in the YAML."""
        return "test_set" if self.evaluation is None else "cross_validation"

    @property
    def cross_validation(self) -> CrossValidation | None:
        """How train and test rows are cut into folds; None: the test set decides."""
        if self.evaluation is None:
            return None
        settings = self.evaluation.cross_validation
        if self.split.by == "time":  # there is only one way to form folds
            return settings.model_copy(update={"repeats": 1})
        return settings

    @property
    def plain(self) -> Self:
        """The spec with one fit and no calibration: for rungs below the last."""
        return self.model_copy(update={"seeds": None, "calibrate": "off"})

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        for conflicts in (
            self._roles(),
            self._incomplete(),
            self._without_effect(),
            self._without_effect_on_folds(),
            self._metrics(),
        ):
            for place, message in conflicts:
                raise impossible(message, *place)
        calendar = self.preparation.calendar
        if calendar.keys() & self.exclude.keys():  # an excluded date has no parts
            parts = {
                name: calendar[name] for name in calendar if name not in self.exclude
            }
            preparation = self.preparation.model_copy(update={"calendar": parts})
            object.__setattr__(self, "preparation", preparation)
        split = self.split
        if self.label and split.by == "time" and "gap" not in split.model_fields_set:
            # Of rows just before the cut, nobody knew the label at the cut.
            split = split.model_copy(update={"gap": self.label.within})
            object.__setattr__(self, "split", split)
        return self

    def _roles(self) -> Iterator[tuple[Location, str]]:
        """Conflicts of columns with two roles, such as a target that is excluded."""
        if self.sample_weight == self.target:
            yield ("sample_weight",), f"names the target {self.target!r}; name another"
        if self.incumbent and self.incumbent in (self.target, self.sample_weight):
            message = f"names the target or weights {self.incumbent!r}; name another"
            yield ("incumbent",), message
        roles = {
            "target": self.target,
            "column of weights": self.sample_weight,
            "incumbent": self.incumbent,
        }
        keys = self.split.model_dump(include={"column", "group"}, exclude_none=True)
        for role, name in roles.items():
            other_roles: list[tuple[bool, Location]] = [
                (name in self.exclude, ("exclude", str(name))),
                (name in self.split.id_columns, ("split", "id_columns")),
                (name == keys.get("column", ""), ("split", "column")),
                (name == keys.get("group", ""), ("split", "group")),
                (name in self.preparation.calendar, ("preparation", "calendar")),
                (name in self.audited, ("audit", "columns")),
            ]
            for has_role, place in other_roles:
                if has_role:
                    yield place, f"names the {role} {name!r}; drop it there"
        if self.monotone and self.features is not None:
            message = "cannot apply to columns that `features` makes; drop one of both"
            yield ("monotone",), message
        for name in self.monotone.keys() & self.not_features:
            message = f"{name!r} is not a feature; drop it here, or its other role"
            yield ("monotone", name), message

    def _incomplete(self) -> Iterator[tuple[Location, str]]:
        """Settings that lack another one."""
        if self.label is not None and not self.label_since:
            message = "is missing: the column of the time that a row is of"
            yield ("label", "since"), message

    def _without_effect(self) -> Iterator[tuple[Location, str]]:
        """Settings without effect on this task, or without another key."""
        if self.monotone and self.task == "multiclass":
            message = "several classes have no direction; predict one by task: binary"
            yield ("monotone",), message
        if not (self.baseline or self.acceptance or self.coverage):
            message = "off leaves no gate; write acceptance criteria, or drop it"
            yield ("baseline",), message
        if self.lab.money is not None and self.price_per_hour is None:
            message = "no effect without price_per_hour; write that too, or drop it"
            yield ("lab", "money"), message
        for place in self._of_another_task():
            yield place, f"no effect on task {self.task}; drop it"

    def _of_another_task(self) -> Iterator[Location]:
        for key in ("positive_class", "costs"):
            if self.task != "binary" and getattr(self, key) is not None:
                yield (key,)
        if self.calibrate == "sigmoid" and self.task == "regression":
            yield ("calibrate",)
        measures = {"multiclass": "accuracy", "regression": "mean_absolute_error"}
        measured = measures.get(self.task, ("selection_rate", "equalized_odds"))
        for name in self.audit_limits:
            if not name.startswith(measured):
                yield ("audit", name)

    def _without_effect_on_folds(self) -> Iterator[tuple[Location, str]]:
        """Settings without effect under cross-validation."""
        if self.evaluation is None:
            return
        instead = "drop it, or write evaluation: test_set"
        if self.export.refit == "none":
            message = "cross-validation fits one model per fold, and none for export"
            yield ("export", "refit"), f"{message}; {instead}"
        if "halving" in self.model_fields_set and self.halving is not None:
            message = "cross-validation fits every configuration on all folds"
            yield ("halving",), f"{message}; write off, {instead}"
        stated = self.evaluation.cross_validation.model_fields_set
        if self.split.by == "time" and "repeats" in stated:
            yield (
                ("evaluation", "cross_validation", "repeats"),
                "no effect on a split by time, which has only one order; drop it",
            )

    def _metrics(self) -> Iterator[tuple[Location, str]]:
        """Metrics of another task or without weights, and metrics with two limits."""
        if message := self._metric_problem(self.metric):
            yield ("metric",), message
        gates = [criterion.metric for criterion in self.acceptance]
        for number, name in enumerate(gates):
            place = ("acceptance", number, "metric")
            if message := self._metric_problem(name):
                yield place, message
            if gates.count(name) > 1:
                yield place, f"{name} has several limits; keep one"

    def _metric_problem(self, name: str) -> str:
        """Return why a metric cannot judge this experiment; empty: it can."""
        allowed = allowed_instead(name, names_of(self.task))
        wrong = f"{name!r} is not a metric of task {self.task}"
        try:
            metric = metric_of(name)
        except InvalidExperiment as error:
            if ":" in name:
                return f"{error.rule}; {error.fix}"
            return f"{wrong}; {allowed}, or your own as module:name"
        if self.task not in metric.tasks:
            if metric.is_own:
                wrong = f"{name!r} ({metric.words}) is not a metric of task {self.task}"
            return f"{wrong}; {allowed}, or your own as module:name"
        if self.sample_weight is not None and not metric.takes_weights:
            return (
                f"{name} has no argument sample_weight for {self.sample_weight}; add "
                "the argument to the function"
            )
        return ""


def spec_from(
    name: str,
    raw: Mapping[str, Any],
    line_of: Callable[[Location], str] = lambda _: "settings",
    *,
    needs_data: bool = False,
) -> ExperimentSpec:
    """Return the spec of a file's keys, or of settings in Python.

    `line_of`: path of a key → its `file:line`; `needs_data`: `data` is required, as in
    a file. Raises InvalidExperiment: it lists every problem.
    """
    if "name" in raw:
        message = f"the folder names the experiment ({name}); drop this key"
        raise invalid([Problem(("name",), message)], line_of)
    settings = {"name": name, **raw}
    problems = []
    if needs_data and raw.get("data") is None:
        message = "is missing: the table, such as data/customers.csv"
        problems.append(Problem(("data",), message))
    try:
        spec = ExperimentSpec.model_validate(settings)
    except ValidationError as error:
        problems += explain(error, ExperimentSpec, settings)
        raise invalid(problems, line_of) from None
    if problems:
        raise invalid(problems, line_of)
    return spec


Schema = dict[str, Any]


def defs_yaml_schema() -> Schema:
    """Return the JSON schema of everything below `attributes`, for editors and `dg
    check yaml`.

    It has no references, and is never stricter than the models, which do the
    validation.
    """
    whole = ExperimentSpec.model_json_schema()
    schema = _published(whole, whole["$defs"])
    del schema["$defs"], schema["properties"]["name"]
    # An experiment in a file has its name from the folder, and reads its table from
    # somewhere.
    schema["required"] = ["data", *(key for key in schema["required"] if key != "name")]
    return schema


# Keywords that only the models check, or that a member of a union must not impose.
_DROPPED = frozenset(
    {
        "pattern",
        "minLength",
        "maxLength",
        "title",
        "discriminator",
        "anyOf",
        "oneOf",
        "$ref",
    }
)


def _published(node: Schema, models: Mapping[str, Schema]) -> Schema:
    """Return a part of pydantic's schema without references and strict keywords."""
    if "$ref" in node:
        node = {**models[node["$ref"].removeprefix("#/$defs/")], **node}
    schema = {key: value for key, value in node.items() if key not in _DROPPED}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _published(schema[key], models)
    if "properties" in schema:
        properties = schema["properties"].items()
        schema["properties"] = {
            key: _published(part, models) for key, part in properties
        }
    for branch in node.get("anyOf", node.get("oneOf", ())):
        _admit(schema, _published(branch, models))
    return _templated(schema)


def _admit(schema: Schema, member: Schema) -> None:
    """Extend the schema of a union by what one of its members allows.

    Only keywords that constrain lists or mappings alone: `type`, `enum` and `const`
    would constrain the values of the other members.
    """
    for key in ("items", "additionalProperties"):
        if key in member:
            schema[key] = member[key]
    for name, inner in member.get("properties", {}).items():
        fields = schema.setdefault("properties", {})
        shared = {"description": inner.get("description", "")}
        fields[name] = shared if name in fields else inner


def _templated(schema: Schema) -> Schema:
    """Accept a template in place of a number, a boolean or a word."""
    if schema.get("type") in ("integer", "number", "boolean"):
        schema["type"] = [schema["type"], "string"]
    if "enum" in schema:
        words = schema.pop("enum")
        schema |= {"if": {"pattern": _TEMPLATE}, "else": {"enum": words}}
    return schema
