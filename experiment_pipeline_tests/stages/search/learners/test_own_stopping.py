"""An estimator's own early stopping never holds out rows that the split would keep together."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier

from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners.estimators import AUTO_ROWS, set_early_stopping
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    one,
    refit,
    table,
    train_one,
    training_sets,
)

HIST = "sklearn.ensemble.HistGradientBoosting"
FEW, MANY = (np.arange(rows) % 7 == 0 for rows in (700, AUTO_ROWS + 1))
NO_SET = np.zeros(AUTO_ROWS + 1, dtype=bool)


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(early_stopping=True),
        SGDClassifier(early_stopping=True),
        SGDRegressor(early_stopping=True),
        Perceptron(early_stopping=True),
        OneVsRestClassifier(SGDClassifier(early_stopping=True)),
    ],
)
def test_random_early_stopping_is_switched_off_with_a_note(estimator: Any) -> None:
    """These hold out random rows of what they are fitted on."""
    on_set, (note,) = set_early_stopping(estimator, FEW)
    values = [v for k, v in estimator.get_params().items() if k.endswith("early_stopping")]
    assert values == [False]
    assert not on_set
    assert "early_stopping: True has no effect" in note


def test_patience_is_a_switch_where_there_is_no_other() -> None:
    """GradientBoosting holds out rows as soon as it is patient; MLP's patience is for train rows."""
    boosting = GradientBoostingClassifier(n_iter_no_change=5)
    _, (note,) = set_early_stopping(boosting, FEW)
    assert boosting.n_iter_no_change is None
    assert "n_iter_no_change: 5 has no effect" in note
    for patient in (MLPClassifier(n_iter_no_change=5), SGDClassifier(n_iter_no_change=3)):
        patience = patient.n_iter_no_change
        assert set_early_stopping(patient, FEW) == (False, ())
        assert patient.n_iter_no_change == patience


@pytest.mark.parametrize(
    ("asked", "early_stopping", "on_set", "notes"),
    [
        (True, FEW, True, 0),
        (True, MANY, True, 0),
        (True, NO_SET, False, 1),
        ("auto", FEW, False, 0),
        ("auto", MANY, True, 0),
        ("auto", NO_SET, False, 1),
        (False, MANY, False, 0),
    ],
)
@pytest.mark.parametrize("kind", [HistGradientBoostingClassifier, HistGradientBoostingRegressor])
def test_an_estimator_that_takes_a_set_gets_the_early_stopping_set(
    kind: Any, asked: Any, early_stopping: np.ndarray, on_set: bool, notes: int
) -> None:
    """True stops whatever the size, auto from 10,000 rows on, as scikit-learn has it."""
    estimator = kind(early_stopping=asked)
    found, noted = set_early_stopping(estimator, early_stopping)
    assert (found, len(noted)) == (on_set, notes)
    assert estimator.early_stopping is on_set


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_fit_stops_on_the_early_stopping_set_alone(task: str) -> None:
    """Another early-stopping set gives another model, and the refit makes as many rounds."""
    name = "Regressor" if task == "regression" else "Classifier"
    spec = experiment([one(f"{HIST}{name}", early_stopping=True, max_iter=500)], task)
    sets = training_sets(task)
    trained = train_one(spec, sets)
    assert 1 <= trained.result.rounds < 500
    moved = replace(sets, early_stopping=np.roll(sets.early_stopping, 1))
    assert train_one(spec, moved).model != trained.model
    pipeline = refit(configurations(spec)[0], trained.result.rounds, sets.train, sets, spec)
    assert pipeline[-1].n_iter_ == trained.result.rounds
    assert predict(pipeline, sets.test, sets.features, task, sets.classes).shape[0] == 200


def test_no_group_is_on_both_sides_of_the_stop() -> None:
    """Copies of rows with targets by chance: rows held out beside their copies would reward noise."""
    frame, copies = table(("no", "yes")), 4
    late = np.random.default_rng(0).permutation(frame["late"])
    train = pd.concat([frame.assign(late=late)] * copies, ignore_index=True)
    group = np.tile(np.arange(len(frame)), copies)
    sets = replace(training_sets(), train=train, early_stopping=group % 7 == 0)
    spec = experiment([one(f"{HIST}Classifier", early_stopping=True, max_iter=60)])
    by_chance = replace(sets, early_stopping=np.random.default_rng(1).random(len(train)) < 1 / 7)
    assert train_one(spec, sets).result.rounds < 30 < train_one(spec, by_chance).result.rounds


def test_a_note_reaches_the_result() -> None:
    """A setting without effect is reported beside the scores."""
    entry = one("sklearn.linear_model.SGDClassifier", loss="log_loss", early_stopping=True)
    assert "has no effect" in train_one(experiment([entry]), training_sets()).result.notes[0]
