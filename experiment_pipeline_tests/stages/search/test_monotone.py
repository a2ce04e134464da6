"""Monotone constraints: predictions keep their direction, on any row, in fits and as exported."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import InvalidExperiment, UnusableTable
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.learners import check_demands
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.table.features import directions_of
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    experiment,
    one,
    refit,
    table,
    train_one,
    training_sets,
)

HGB = "sklearn.ensemble.HistGradientBoosting"
BOOSTERS = ("catboost", "xgboost")
DIRECTIONS = {"distance": -1, "delay": 1}


def _entries(task: str) -> list[dict[str, Any]]:
    kind = "Regressor" if task == "regression" else "Classifier"
    return [
        one("lightgbm", num_leaves=31, min_data_in_leaf=3),
        one("random_forest", n_estimators=20),
        one(f"{HGB}{kind}", max_iter=30),
        *(one(name, n_estimators=30) for name in BOOSTERS if find_spec(name)),
        one("dummy"),
    ]


def _rising(frame: pd.DataFrame, column: str, steps: int = 12) -> list[pd.DataFrame]:
    """The same rows with ever greater numbers in a column."""
    values = np.linspace(-4, 4, steps)
    return [frame.assign(**{column: value}) for value in values]


@pytest.mark.parametrize(
    ("task", "classes"),
    [("regression", None), ("binary", CLASSES["binary"]), ("binary", ("yes", "no"))],
)
def test_predictions_keep_their_direction_on_any_row(task: str, classes: tuple | None) -> None:
    """Stored and refitted pipelines, though the data lean the other way; a free one does not.

    Of two classes it is the positive one, also where it sorts first.
    """
    bound = replace(training_sets(task, classes), directions=DIRECTIONS)
    shuffled = bound.test.sample(60, random_state=0)
    for entry in _entries(task):
        spec = experiment([entry], task)
        for sets in (bound, replace(bound, directions={})):
            trained = train_one(spec, sets)
            stored = fitted_pipeline(trained.result, trained.model, sets, spec)
            rows = pd.concat([sets.train, sets.test])
            again = refit(trained.result.configuration, trained.result.rounds, rows, sets, spec)
            for column, direction in DIRECTIONS.items():
                for pipeline in (stored, again):
                    found = np.array(
                        [
                            predict(pipeline, frame, sets.features, task, sets.classes)
                            for frame in _rising(shuffled, column)
                        ]
                    )
                    least = (direction * np.diff(found, axis=0)).min()
                    if sets.directions:
                        assert least >= -1e-9, (entry, column)
                    elif entry["algorithm"] != "dummy" and column == "distance":
                        assert least < -1e-9, (entry, column)


def test_directions_hold_in_every_encoding() -> None:
    """One-hot numbers are moved and stretched, never turned; indicators have no direction."""
    sets = replace(training_sets(), directions=DIRECTIONS)
    entry = one("random_forest", n_estimators=20) | {"features": "onehot"}
    trained = train_one(experiment([entry]), sets)
    pipeline = fitted_pipeline(trained.result, trained.model, sets, experiment([entry]))
    for column, direction in DIRECTIONS.items():
        found = [
            predict(pipeline, frame, sets.features, "binary", sets.classes)
            for frame in _rising(sets.test, column)
        ]
        assert (direction * np.diff(found, axis=0)).min() >= -1e-9


def test_an_estimator_without_directions_is_refused() -> None:
    """A linear model may learn any sign: it is not let pass in silence."""
    spec = experiment([one("linear"), *_entries("binary")], monotone={"distance": "increasing"})
    linear, *others = configurations(spec)
    with pytest.raises(InvalidExperiment, match="LogisticRegression cannot be held to a direction"):
        check_demands(linear, "binary", spec)
    for other in others:
        check_demands(other, "binary", spec)


def test_only_numbers_of_the_table_have_a_direction() -> None:
    """A text has none, and a name that is not there is told from what is."""
    frame = table(CLASSES["binary"])
    spec = experiment([one("dummy")], monotone={"distance": "decreasing", "night": "increasing"})
    assert directions_of(frame, spec) == {"distance": -1, "night": 1}
    for name, said in (("carrier", "which has no direction"), ("distanse", "distance")):
        wrong = experiment([one("dummy")], monotone={name: "increasing"})
        with pytest.raises(UnusableTable, match=said):
            directions_of(frame, wrong)
