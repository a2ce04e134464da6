"""Monotone constraints: predictions keep their direction, on any row, in fits and as exported."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from experiment_pipeline.errors import InvalidExperiment, UnusableTable
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.learners import check_demands
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.table.features import directions_of
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    experiment,
    one,
    refit,
    table,
    train,
    train_one,
    training_sets,
)

HGB = "sklearn.ensemble.HistGradientBoosting"
BOOSTERS = ("catboost", "xgboost")
DIRECTIONS = {"distance": -1, "delay": 1}


def _entries(task: str) -> list[dict[str, Any]]:
    kind = "Regressor" if task == "regression" else "Classifier"
    return [
        one("lightgbm", num_leaves=15, min_data_in_leaf=3, n_estimators=30),
        one("random_forest", n_estimators=8) | {"features": ["ordinal", "onehot"]},
        one(f"{HGB}{kind}", max_iter=15),
        *(one(name, n_estimators=15) for name in BOOSTERS if find_spec(name)),
        one("dummy"),
    ]


def _least(pipeline: Any, sets: TrainingSets, column: str) -> float:
    """The smallest step of predictions in the direction of a column, as its number grows."""
    rows = sets.test.sample(30, random_state=0)
    found = [
        predict(pipeline, rows.assign(**{column: value}), sets.features, sets.task, sets.classes)
        for value in np.linspace(-4, 4, 6)
    ]
    return float((DIRECTIONS[column] * np.diff(found, axis=0)).min())


@pytest.mark.parametrize(
    ("task", "classes"),
    [("regression", None), ("binary", CLASSES["binary"]), ("binary", ("yes", "no"))],
)
def test_predictions_keep_their_direction_on_any_row(task: str, classes: tuple | None) -> None:
    """Stored and refitted pipelines, though the data lean the other way; a free one does not.

    Of two classes it is the positive one, also where it sorts first. One-hot numbers are moved and
    stretched, never turned; indicators have no direction.
    """
    sets, spec = training_sets(task, classes), experiment(_entries(task), task)
    bound = replace(sets, directions=DIRECTIONS)
    found = train(spec, bound)
    for key, trained in found.items():
        result = trained.result
        stored = fitted_pipeline(result, trained.model, bound, spec)
        again = refit(result.configuration, result.rounds, bound.train, bound, spec)
        for pipeline, column in zip((stored, again), DIRECTIONS, strict=True):
            assert _least(pipeline, bound, column) >= -1e-9, (key, column)
    free = train_one(experiment(_entries(task)[:1], task), sets)
    assert free.result.fingerprint != found[free.key].result.fingerprint
    assert _least(fitted_pipeline(free.result, free.model, sets, spec), sets, "distance") < -1e-9


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
