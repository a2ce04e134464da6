"""CatBoost and XGBoost: our slice, our seed, one thread, and the way to an estimator
and back.
"""

import importlib.util
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiment_pipeline import errors
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners import check_hyperparameters, learner_of
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline_tests.stages.search.scenario import (
    by_hand,
    experiment,
    one,
    refit,
    table,
    train_one,
    training_sets,
)

EXTRAS = ("catboost", "xgboost")
# XGBoost's constructor takes them without naming them.
OF_OBJECTIVES = {"huber_slope", "quantile_alpha", "tweedie_variance_power"}


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_listed_names_are_those_of_the_library(algorithm: str):
    """Every listed name is one of the constructor, of an objective, or decides the
    rounds.
    """
    names = NAMES[algorithm]
    rounds = {"num_iterations", "early_stopping_round", "early_stopping_min_delta"}
    assert rounds >= names.accepted.keys() - names.of_constructor - OF_OBJECTIVES
    declared = ALGORITHMS[algorithm].estimator("binary").spaces.values()
    assert {name for space in declared for name in space} <= {
        *names.accepted,
        *names.of_constructor,
    }


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_an_absent_package_is_an_error_with_the_line_that_installs_it(
    algorithm: str, monkeypatch
):
    """Before anything is read or trained."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.UnknownAlgorithm) as caught:
        check_hyperparameters(by_hand(algorithm), "binary")
    assert f'pip install "experiment-pipeline[{algorithm}]"' in caught.value.fix


@pytest.mark.parametrize("algorithm", ["lightgbm", *EXTRAS])
def test_it_stops_on_the_early_stopping_set_alone(algorithm: str):
    """Other test rows change nothing; trees do not grow on that set; a refit of more rows
    has more rounds.
    """
    spec, sets = experiment([one(algorithm, learning_rate=0.3)]), training_sets()
    trained = train_one(spec, sets)
    assert 1 <= trained.result.rounds < 2_000
    fewer = replace(sets, test=sets.test.iloc[:50])
    assert train_one(spec, fewer).model == trained.model
    # Rows of that set are not among those that trees are grown on.
    wrong = sets.train["late"].where(~sets.early_stopping, "no")
    blinded = replace(sets, train=sets.train.assign(late=wrong))
    assert train_one(spec, blinded).model != trained.model
    few = experiment([one(algorithm, n_estimators=1)])
    grown = [train_one(few, variant).predictions.test for variant in (sets, blinded)]
    assert np.array_equal(*grown)
    again = refit(
        configurations(spec)[0], trained.result.rounds, sets.train, sets, spec
    )
    growth = math.sqrt(len(sets.train) / sets.fit_mask.sum())
    assert _rounds(again) == round(trained.result.rounds * growth)


def _rounds(pipeline: Any) -> int:
    if hasattr(pipeline[-1], "booster_"):
        return pipeline[-1].booster_.current_iteration()
    booster = pipeline[-1].estimators_[0][-1]
    return (
        getattr(booster, "tree_count_", None)
        or booster.get_booster().num_boosted_rounds()
    )


@pytest.mark.parametrize("algorithm", EXTRAS)
@pytest.mark.parametrize(
    ("metric", "watched"),
    [("roc_auc", "auc"), ("f1", "binary_logloss"), ("brier", "l2")],
)
def test_the_metric_that_stops_it_is_in_the_fingerprint(algorithm, metric, watched):
    """A metric in steps is stopped by the loss."""
    sets, spec = training_sets(), experiment([one(algorithm)], metric=metric)
    request = FitRequest(by_hand(algorithm), sets, spec)
    assert learner_of(algorithm).watched(request) == watched
    no_set = replace(sets, early_stopping=np.zeros(len(sets.train), dtype=bool))
    request = replace(request, sets=no_set)
    assert learner_of(algorithm).watched(request) is None


@pytest.mark.parametrize("algorithm", ["lightgbm", *EXTRAS])
def test_an_early_stopping_set_of_one_class_is_watched_by_its_loss(algorithm: str):
    """It has no ranking: neither an error, nor a stop at the first round."""
    sets = training_sets()
    is_no = (sets.train["late"] == "no").to_numpy()
    sets = replace(sets, early_stopping=sets.early_stopping & is_no)
    spec = experiment([one(algorithm, learning_rate=0.01, n_estimators=20)])
    assert train_one(spec, sets).result.rounds > 1


@pytest.mark.parametrize("algorithm", EXTRAS)
@pytest.mark.parametrize(
    ("task", "lacking"), [("multiclass", ["a"]), ("binary", ["no"])]
)
def test_a_class_that_the_rows_lack_has_probability_0(algorithm, task, lacking):
    """A rung may lack a class of the train set, also all but one of them."""
    sets = training_sets(task)
    present = ~sets.train["late"].isin(lacking).to_numpy()
    stops = sets.early_stopping[present]
    rung = replace(sets, train=sets.train[present], early_stopping=stops)
    trained = train_one(experiment([one(algorithm, n_estimators=5)], task), rung)
    predicted = trained.predictions.test
    if task == "binary":
        assert predicted.min() > 0.5
    else:
        assert not predicted[:, 1].any()


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_categories_are_read_as_categories(algorithm: str):
    """Codes whose order says nothing: a tree of one split takes every other
    one apart.
    """
    frame = table(None)
    code = np.arange(len(frame)) % 16
    frame = frame.assign(
        carrier=[f"C{number:02d}" for number in code], late=(code % 2).astype(float)
    )
    sets = training_sets("regression", frame=frame)
    trained = train_one(experiment([one(algorithm, max_depth=1)], "regression"), sets)
    assert trained.result.test_score < 0.1
