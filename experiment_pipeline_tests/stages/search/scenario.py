"""One small table, binary, multiclass or regression, and an experiment on it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.fitting import encoded_rows, fitted_pipeline
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.hyperparameters import rounds_on
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.threads import one_thread
from experiment_pipeline_tests.scenario import to_train_on

ROWS, TRAIN_ROWS = 800, 600
METRIC = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
CLASSES = {"binary": ("no", "yes"), "multiclass": ("c", "a", "b"), "regression": None}
OWN = "experiment_pipeline_tests.stages.search.own_estimators"


def table(classes: tuple | None) -> pd.DataFrame:
    """Two numbers with gaps, a flag, a text with gaps; the target leans on three of
    them.
    """
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "distance": random.normal(size=ROWS),
            "delay": np.where(
                random.random(ROWS) < 0.1, np.nan, random.normal(size=ROWS)
            ),
            "night": random.random(ROWS) < 0.5,
            "carrier": pd.Series(
                random.choice(["AA", "BB", "CC", None], ROWS), dtype="str"
            ),
        },
        index=pd.RangeIndex(ROWS, name="row_number"),
    )
    signal = (
        frame["distance"] + (frame["carrier"] == "AA") + random.normal(size=ROWS) / 2
    )
    if classes is None:
        return frame.assign(late=signal * 3)
    parts = np.quantile(signal, np.linspace(0, 1, len(classes) + 1)[1:-1])
    labels = [classes[code] for code in np.digitize(signal, parts)]
    return frame.assign(late=pd.Series(labels, index=frame.index))


def training_sets(
    task: str = "binary",
    classes: tuple | None = None,
    frame: pd.DataFrame | None = None,
) -> TrainingSets:
    """The table as sets: the first rows train, every seventh of them held out
    inside.
    """
    classes = classes or CLASSES[task]
    frame = table(classes) if frame is None else frame
    return TrainingSets(
        train=frame.iloc[:TRAIN_ROWS],
        test=frame.iloc[TRAIN_ROWS:],
        features=tuple(name for name in frame.columns if name != "late"),
        target="late",
        task=task,
        classes=classes,
        early_stopping=np.arange(TRAIN_ROWS) % 7 == 0,
        digests={"train": "digest of train", "test": "digest of test"},
    )


def sets_of(spec: ExperimentSpec, frame: pd.DataFrame | None = None) -> TrainingSets:
    """The table as the split stage stores it, and a search takes it."""
    frame = table(CLASSES[spec.task]) if frame is None else frame
    return to_train_on(frame.iloc[:TRAIN_ROWS], frame.iloc[TRAIN_ROWS:], spec)


def experiment(
    search: Sequence[dict[str, Any]], task: str = "binary", **keys: Any
) -> ExperimentSpec:
    """An experiment on the table with such a search."""
    settings = {
        "name": "e",
        "data": "x.csv",
        "target": "late",
        "metric": METRIC[task],
    } | keys
    return ExperimentSpec(task=task, search=search, **settings)


def by_hand(algorithm: str, **hyperparameters: Any) -> Configuration:
    """A configuration by hand."""
    return Configuration(algorithm, algorithm, "ordinal", hyperparameters)


lightgbm = partial(by_hand, "lightgbm")


def one(algorithm: str, **hyperparameters: Any) -> dict[str, Any]:
    """A search entry of one configuration."""
    return {"algorithm": algorithm, "hyperparameters": hyperparameters}


def train(spec: ExperimentSpec, sets: TrainingSets, workers: int = 2) -> dict[str, Any]:
    """Train all of an experiment; key → outcome."""
    outcomes = train_configurations(configurations(spec), sets, spec, workers)
    return {
        (
            outcome.result.key if isinstance(outcome, TrainedModel) else outcome.key
        ): outcome
        for outcome in outcomes
    }


def train_one(spec: ExperimentSpec, sets: TrainingSets) -> TrainedModel:
    """Train an experiment of one configuration, which must not fail."""
    (outcome,) = train(spec, sets, workers=1).values()
    assert isinstance(outcome, TrainedModel), outcome
    return outcome


def refit(
    configuration: Configuration,
    rounds: int | None,
    rows: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> Pipeline:
    """Fit a configuration once on other rows, with fresh features and no early
    stopping.
    """
    learner, request = (
        learner_of(configuration.algorithm),
        FitRequest(configuration, sets, spec),
    )
    rounds = rounds_on(len(rows), rounds, request)
    in_memory = learner.reads_all(configuration)
    with one_thread():
        features, encoded = encoded_rows(
            configuration.features, rows, sets, in_memory=in_memory
        )
        model = learner.refit(request, rounds, encoded)
    return Pipeline([("features", features), ("model", model)])


def assembled(
    trained: TrainedModel, sets: TrainingSets, spec: ExperimentSpec
) -> Pipeline:
    """The pipeline of a stored fit."""
    return fitted_pipeline(trained.result, trained.model, sets, spec)


def predicted(
    pipeline: Any, sets: TrainingSets, rows: pd.DataFrame | None = None
) -> np.ndarray:
    """What a pipeline predicts of the test rows, or of others."""
    rows = sets.test if rows is None else rows
    return predictions_of(pipeline, rows[list(sets.features)], sets.task, sets.classes)
