"""A small trained model and everything known about it, for the tests of the export."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model.export import package_model
from experiment_pipeline.stages.exported_model.page import EvaluatedModel
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.features import build_features
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.search.voting import weighted_mean
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report.gates import Gate
from experiment_pipeline.stages.validation_report.judged_model import MetricScore
from experiment_pipeline.stages.validation_report.report import (
    SetFact,
    ValidationReport,
)
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.thresholds import DecisionThreshold
from experiment_pipeline.storage.provenance import PATCH, CodeProvenance
from experiment_pipeline.storage.registry import RECORD, ModelPackage
from experiment_pipeline.storage.run_code import RunCode
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.search.scenario import refit
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FORESTS = ("random_forest", "extra_trees")
FEW_TREES = {"hyperparameters": {"n_estimators": 10}}
FEATURES = ["distance", "carrier", "day_hour"]
FITTED = FittedRows(("flight", "day"), np.array([1, 2, 2**63], dtype=np.uint64))
SCHEMA = """\
columns:
  distance: {dtype: float64, nullable: true, coerce: true, checks: {greater_than_or_equal_to: 0}}
  carrier: {dtype: str, nullable: true, coerce: true}
  day_hour: {dtype: float64, nullable: true}
  delay: {dtype: float64}
  late: {dtype: str, checks: {isin: ["yes", "no"]}}
"""


def make_spec(**changes: Any) -> ExperimentSpec:
    """The experiment: flights, late or not, with an id and a column known only
    afterwards.
    """
    attributes: dict[str, Any] = {
        "name": "flights",
        "data": {
            "url": "https://me:p@s3cr3t@example.org/flights.csv",
            "delimiter": ";",
        },
        "target": "late",
        "task": "binary",
        "positive_class": "yes",
        "exclude": {"delay": "known only after the <b>landing</b>"},
        "preparation": {
            "missing_values": {"carrier": ["?"], "delay": [-1]},
            "types": {"day": "datetime"},
            "calendar": {"day": ["hour"]},
        },
        "split": {"by": "random", "id_columns": ["flight", "day"]},
        "search": [{"algorithm": "linear", "hyperparameters": {"C": [1.0]}}],
        "metric": "roc_auc",
    }
    return ExperimentSpec.model_validate(attributes | changes)


def delivered(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Rows as the user delivers them: texts for days, "?" for an unknown carrier."""
    generator = np.random.default_rng(seed)
    distance = generator.integers(50, 3000, n).astype("float64")
    hours = generator.integers(0, 24, n)
    late = distance + 40 * hours + generator.normal(0, 300, n) > 2000
    frame = pd.DataFrame(
        {
            "flight": [f"F{number:03d}" for number in range(n)],
            "day": [
                f"2013-05-{1 + i % 28:02d} {hour:02d}:00"
                for i, hour in enumerate(hours)
            ],
            "distance": np.where(generator.random(n) < 0.1, np.nan, distance),
            "carrier": generator.choice(["9E", "AA", "007", "?"], n),
            "delay": generator.integers(-1, 99, n).astype("float64"),
            "late": np.where(late, "yes", "no"),
        }
    )
    return frame.rename_axis(index="row_number")


def prepared(raw: pd.DataFrame) -> pd.DataFrame:
    """The same rows after the preparation that the experiment declares."""
    return prepare(raw, make_spec().preparation).frame


def fitted(
    task: str = "binary", model: Any = None, target: pd.Series | None = None
) -> Any:
    """A pipeline of real features and a small model."""
    raw = delivered()
    rows = prepared(raw)
    y = raw["distance"].fillna(0) if task == "regression" else raw["late"]
    if model is None:
        model = Ridge() if task == "regression" else LogisticRegression()
    features = build_features("onehot", rows, FEATURES)
    return make_pipeline(features, model).fit(
        rows[FEATURES], y if target is None else target
    )


@cache
def usual() -> Any:
    """The pipeline of most packages, fitted once."""
    return fitted()


def refitted(
    rows: pd.DataFrame,
    features: Sequence[str],
    experiment: ExperimentSpec,
    classes: Any,
) -> list[tuple[str, Any]]:
    """Key and fitted pipeline of every configuration of an experiment, as a refit makes
    them.
    """
    asked = (
        experiment.target,
        experiment.task,
        classes,
        np.zeros(len(rows), dtype=bool),
    )
    sets = TrainingSets(
        rows, rows, tuple(features), *asked, digests={"train": "", "test": ""}
    )
    return [
        (
            one.key,
            refit(one, 5 if one.algorithm in NAMES else None, rows, sets, experiment),
        )
        for one in configurations(experiment)
    ]


@cache
def judged() -> tuple[ValidationReport, Leaderboard]:
    """A report and a board, as far as the files of a version go by them."""
    better = Interval(0.21, 0.15, 0.27)
    score = MetricScore("roc_auc", Interval(0.71, 0.65, 0.77), 0.5, better)
    rule = "lower bound of roc_auc beats the baseline 0.5"
    report = replace(
        report_of(),
        scores=(score,),
        gates=(Gate("roc_auc", rule, 0.65, 0.5, by_bound=True, passed=True),),
        positive_class="yes",
        threshold=DecisionThreshold(0.4, "f1", 0.6),
        looks=2,
        overlap=1.0,
        notes=("The train set holds no winter.",),
    )
    return report, replace(search_of(spec_of(), [1] * 4).rank(), notes=())


def accepted(
    pipeline: Any = None,
    *,
    spec: ExperimentSpec | None = None,
    rows: pd.DataFrame | None = None,
    raw_types: Mapping[str, str] | None = None,
    fingerprint: str = "f" * 64,
    configuration: Configuration | None = None,
    **changes: Any,
) -> EvaluatedModel:
    """What the stages before the export found out; `changes` are of the report."""
    report, board = judged()
    raw_types = raw_types or delivered().dtypes.astype("str").to_dict()
    rows = prepared(delivered()) if rows is None else rows
    origin = Origin("raw", raw_types, "profile", ())
    return EvaluatedModel(
        pipeline=usual() if pipeline is None else pipeline,
        configuration=configuration or configurations(spec or make_spec())[0],
        result=replace(model_result("linear", 0.7), fingerprint=fingerprint),
        board=board,
        report=replace(report, **changes),
        sets=(SetFact("train", 36, "a" * 64), SetFact("test", 12, "b" * 64)),
        validation=SetTable(rows, "c" * 64, np.empty(0, dtype=np.int8), origin),
        fitted_rows=FITTED,
        schema_text=SCHEMA,
    )


def package(
    pipeline: Any = None,
    *,
    spec: ExperimentSpec | None = None,
    created: datetime = CREATED,
    **changes: Any,
) -> ModelPackage:
    """The files of a version; `changes` as of `accepted`."""
    model, known = (
        accepted(pipeline, spec=spec, **changes),
        CodeProvenance("c" * 40, dirty=True),
    )
    code = RunCode(known, {"code/own.py": "C = 1\n", PATCH: "diff\n"}, {}, "")
    built = package_model(spec or make_spec(), model, created, code)
    return replace(
        built, numbered_files=lambda version: {RECORD: f"# {version}".encode()}
    )


def trained_package(algorithm: str, task: str) -> ModelPackage:
    """The files of a model that this project has fitted itself; of `a+b`, of their
    mean.
    """
    rows = prepared(delivered(200))
    target = {"binary": "late", "multiclass": "carrier", "regression": "delay"}[task]
    rows = rows[rows[target].notna()]
    # The positive class of a binary target sorts first here.
    order = sorted(rows[target].unique(), reverse=True)
    classes = None if task == "regression" else tuple(order)
    metric = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}[task]
    experiment = make_spec(
        target=target,
        task=task,
        positive_class=None,
        exclude=dict.fromkeys({"late", "delay"} - {target}, "not used here"),
        metric=metric,
        search=[
            {"algorithm": name} | (FEW_TREES if name.startswith(FORESTS) else {})
            for name in algorithm.split("+")
        ],
    )
    features = [name for name in FEATURES if name != target]
    fitted_all = refitted(rows, features, experiment, classes)
    members = [(key, pipeline, 1 / 3) for key, pipeline in fitted_all]
    pipeline = members[0][1] if len(members) == 1 else weighted_mean(members, classes)
    positive = classes[1] if classes and task == "binary" else None
    return package(pipeline, spec=experiment, rows=rows, positive_class=positive)
