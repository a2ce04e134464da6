"""Sample weights in fits: what counts more is learnt more, and equal weights change nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.learners import check_demands
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.scores import score
from experiment_pipeline_tests.stages.search.scenario import (
    METRIC,
    OWN,
    ROWS,
    experiment,
    one,
    refit,
    table,
    train,
    train_one,
    training_sets,
)

HGB = "sklearn.ensemble.HistGradientBoosting"
ENTRIES: dict[str, list[dict[str, Any]]] = {
    task: [
        one("lightgbm", num_leaves=8, n_estimators=30),
        one("random_forest", n_estimators=5),
        one("linear"),
        one("dummy"),
        one(f"{HGB}{kind}", early_stopping=True, max_iter=20),
    ]
    for task, kind in (("regression", "Regressor"), ("binary", "Classifier"))
}


def weighted(task: str, weights: np.ndarray) -> TrainingSets:
    """The table of the scenario with a column of weights, which is no feature."""
    classes = training_sets(task).classes
    sets = training_sets(task, frame=table(classes).assign(counts=weights))
    features = tuple(name for name in sets.features if name != "counts")
    return replace(sets, features=features, weight_column="counts")


@pytest.mark.parametrize("task", ENTRIES)
def test_every_learner_follows_the_rows_that_count(task: str) -> None:
    """Where rows of one kind have nearly all the weight, predictions are theirs, also refitted."""
    frame = table(training_sets(task).classes)
    night = frame["night"].to_numpy()
    heavy = weighted(task, np.where(night == (frame["carrier"] == "AA"), 1e3, 1e-3))
    plain = replace(heavy, weight_column=None)
    spec = experiment(ENTRIES[task], task)
    unweighted = train(spec, plain)
    for key, first in train(spec, heavy).items():
        assert not np.array_equal(first.predictions.test, unweighted[key].predictions.test), key
        result = first.result
        assert result.fingerprint != unweighted[key].result.fingerprint
        stored, again, other = [
            predict(pipeline, heavy.test, heavy.features, task, heavy.classes)
            for pipeline in (
                fitted_pipeline(result, first.model, heavy, spec),
                refit(result.configuration, result.rounds, heavy.train, heavy, spec),
                refit(result.configuration, result.rounds, heavy.train, plain, spec),
            )
        ]
        assert np.array_equal(stored, first.predictions.test)
        assert not np.array_equal(again, other), key


@pytest.mark.parametrize("task", ENTRIES)
def test_equal_weights_train_the_same_models(task: str) -> None:
    """Bit for bit the models, predictions and scores of no weights."""
    equal = weighted(task, np.full(ROWS, 3.7))
    spec = experiment(ENTRIES[task], task)
    with_weights, without = (
        train(spec, one) for one in (equal, replace(equal, weight_column=None))
    )
    for key, trained in with_weights.items():
        other = without[key]
        assert trained.model == other.model
        assert np.array_equal(trained.predictions.test, other.predictions.test)
        assert trained.result.test_scores == other.result.test_scores


def test_scores_and_the_baseline_are_weighted() -> None:
    """What is stored with a fit is the weighted score of its predictions, on test and train."""
    weights = np.random.default_rng(0).lognormal(size=ROWS)
    sets = weighted("regression", weights)
    spec = experiment([one("dummy")], "regression")
    trained = train_one(spec, sets)
    constant = np.average(sets.y_train, weights=sets.w_train)
    assert trained.predictions.test[0] == pytest.approx(constant)
    result, metric = trained.result, METRIC["regression"]
    expected = score(metric, sets.y_test, trained.predictions.test, weights=sets.w_test)
    assert result.test_score == expected != score(metric, sets.y_test, trained.predictions.test)
    on_train = score(metric, sets.y_train, trained.predictions.train, weights=sets.w_train)
    assert result.train_score == on_train


def test_weights_are_the_rows_own_on_every_rung_and_have_a_mean_of_one() -> None:
    """A rung has fewer rows, and their weights with them; only ratios count."""
    weights = np.random.default_rng(1).lognormal(size=ROWS)
    sets = weighted("binary", weights)
    rung = replace(sets, train=sets.train.iloc[::4])
    own = pd.Series(weights)[rung.train.index].to_numpy()
    assert rung.w_train == pytest.approx(own / own.mean())
    assert sets.w_test is not None
    assert sets.w_test.mean() == pytest.approx(1)


def test_early_stopping_listens_to_the_weights_of_the_slice() -> None:
    """Where the slice counts another kind of rows, another round is the best one."""
    frame = table(("no", "yes"))
    wrong = (frame["distance"] > 0) != (frame["late"] == "yes")
    early_stopping = np.zeros(ROWS, dtype=bool)
    early_stopping[: training_sets().early_stopping.size] = training_sets().early_stopping
    odd = weighted(
        "binary", np.where(early_stopping & wrong, 100.0, np.where(early_stopping, 0.01, 1.0))
    )
    usual = weighted("binary", np.where(early_stopping, 1.0, 1.001))
    rounds = [
        train_one(experiment([one("lightgbm")], metric="log_loss"), sets).result.rounds
        for sets in (odd, usual)
    ]
    assert rounds[0] < rounds[1]


def test_an_estimator_that_takes_no_weights_is_refused() -> None:
    """Its fit would count rows alike while the scores do not; others are let pass."""
    spec = experiment([one(f"{OWN}.WithHelper"), *ENTRIES["binary"]], sample_weight="counts")
    own, *others = configurations(spec)
    with pytest.raises(InvalidExperiment, match="takes no sample_weight when it is fitted"):
        check_demands(own, "binary", spec)
    for other in others:
        check_demands(other, "binary", spec)
    check_demands(own, "binary", experiment([one("linear")]))
