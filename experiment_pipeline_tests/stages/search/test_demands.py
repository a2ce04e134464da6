"""What an experiment asks of all fits: weights of rows, and directions of
predictions.
"""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from experiment_pipeline.errors import InvalidExperiment, UnusableTable
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners.estimators import check_demands
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.table.features import directions_of
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    OWN,
    ROWS,
    TRAIN_ROWS,
    assembled,
    experiment,
    one,
    predicted,
    refit,
    table,
    train,
    train_one,
    training_sets,
)

ENTRIES: list[dict[str, Any]] = [
    one("lightgbm", num_leaves=8, n_estimators=15),
    one("random_forest", n_estimators=5) | {"features": "onehot"},
    one("linear"),
    one("dummy"),
    one("sklearn.ensemble.HistGradientBoostingClassifier", max_iter=10),
    *(one(name, n_estimators=8) for name in ("catboost", "xgboost") if find_spec(name)),
]
DIRECTED = [entry for entry in ENTRIES if entry["algorithm"] != "linear"]
DIRECTIONS = {"distance": -1, "delay": 1}


def weighted(task: str, weights: np.ndarray) -> TrainingSets:
    """The table of the scenario with a column of weights, which is no feature."""
    classes = training_sets(task).classes
    sets = training_sets(task, frame=table(classes).assign(counts=weights))
    features = tuple(name for name in sets.features if name != "counts")
    return replace(sets, features=features, weight_column="counts")


def test_every_learner_follows_the_rows_that_count():
    """Where rows of one kind have nearly all the weight, predictions are theirs, also
    refitted; equal weights give the same models as none.
    """
    frame = table(CLASSES["binary"])
    is_heavy = frame["night"].to_numpy() == (frame["carrier"] == "AA")
    heavy = weighted("binary", np.where(is_heavy, 1e3, 1e-3))
    plain = replace(heavy, weight_column=None)
    spec = experiment(ENTRIES)
    unweighted = train(spec, plain)
    equal = train(spec, weighted("binary", np.full(ROWS, 3.7)))
    for key, first in train(spec, heavy).items():
        without = unweighted[key]
        assert equal[key].model == without.model
        assert equal[key].result.test_scores == without.result.test_scores
        result = first.result
        assert result.fingerprint != without.result.fingerprint
        stored = predicted(assembled(first, heavy, spec), heavy)
        assert np.array_equal(stored, first.predictions.test)
        assert not np.array_equal(stored, without.predictions.test), key
        by_weight, by_row = (
            refit(result.configuration, result.rounds, heavy.train, sets, spec)
            for sets in (heavy, plain)
        )
        assert not np.array_equal(
            predicted(by_weight, heavy), predicted(by_row, heavy)
        ), key


def test_scores_and_the_baseline_are_weighted():
    """What is stored with a fit is the weighted score of its predictions, on test and
    train.
    """
    sets = weighted("regression", np.random.default_rng(0).lognormal(size=ROWS))
    trained = train_one(experiment([one("dummy")], "regression"), sets)
    constant = np.average(sets.y_train, weights=sets.w_train)
    assert trained.predictions.test[0] == pytest.approx(constant)
    result, predictions = trained.result, trained.predictions
    on_test = score("rmse", sets.y_test, predictions.test, weights=sets.w_test)
    on_train = score("rmse", sets.y_train, predictions.train, weights=sets.w_train)
    assert (result.test_score, result.train_score) == (on_test, on_train)
    assert on_test != score("rmse", sets.y_test, predictions.test)


def _least(pipeline: Any, sets: TrainingSets, column: str) -> float:
    """The smallest step of predictions in the direction of a column, as its number
    grows.
    """
    rows = sets.test.sample(30, random_state=0)
    predictions = [
        predicted(pipeline, sets, rows.assign(**{column: value}))
        for value in np.linspace(-4, 4, 6)
    ]
    return float((DIRECTIONS[column] * np.diff(predictions, axis=0)).min())


def test_predictions_keep_their_direction_on_any_row():
    """Stored and refitted pipelines, though the data lean the other way and the positive
    class sorts first; a free one does not.
    """
    sets, spec = training_sets("binary", ("yes", "no")), experiment(DIRECTED)
    bound = replace(sets, directions=DIRECTIONS)
    models = train(spec, bound)
    for key, trained in models.items():
        result = trained.result
        stored = assembled(trained, bound, spec)
        again = refit(result.configuration, result.rounds, bound.train, bound, spec)
        for pipeline, column in zip((stored, again), DIRECTIONS, strict=True):
            assert _least(pipeline, bound, column) >= -1e-9, (key, column)
    free = train_one(experiment(DIRECTED[:1]), sets)
    assert free.result.fingerprint != models[free.key].result.fingerprint
    assert _least(assembled(free, sets, spec), sets, "distance") < -1e-9


def test_an_estimator_that_cannot_is_refused():
    """Weights would count in the scores alone, and a linear model may learn
    any sign.
    """
    free = experiment([one(f"{OWN}.WithHelper"), one("linear"), *DIRECTED])
    cannot_weigh, linear, *can = configurations(free)
    weighed = free.model_copy(update={"sample_weight": "counts"})
    bound = experiment(DIRECTED, monotone={"distance": "increasing"})
    with pytest.raises(
        InvalidExperiment, match="takes no sample_weight when it is fitted"
    ):
        check_demands(cannot_weigh, weighed)
    with pytest.raises(
        InvalidExperiment, match="LogisticRegression cannot be held to a direction"
    ):
        check_demands(linear, bound)
    check_demands(cannot_weigh, free)
    check_demands(linear, weighed)
    for configuration in can:
        check_demands(configuration, weighed)
        check_demands(configuration, bound)


@pytest.mark.parametrize(
    ("metric", "entry"),
    [
        ("pinball_0.9", one("lightgbm")),
        ("mae", one("xgboost", objective="reg:absoluteerror")),
    ],
)
def test_trees_towards_a_quantile_keep_no_direction(metric: str, entry: dict[str, Any]):
    """LightGBM stops there, and XGBoost's predictions go the other way: both are
    refused before.
    """
    spec = experiment(
        [entry], "regression", metric=metric, monotone={"distance": "increasing"}
    )
    with pytest.raises(InvalidExperiment, match="cannot be held to a direction"):
        check_demands(*configurations(spec), spec)


def test_only_numbers_of_the_table_have_a_direction():
    """A text has none, and a name that is not there is told from what is."""
    frame = table(CLASSES["binary"])
    spec = experiment(
        [one("dummy")], monotone={"distance": "decreasing", "night": "increasing"}
    )
    assert directions_of(frame, spec) == {"distance": -1, "night": 1}
    problems = {"carrier": "which has no direction", "distanse": "distance"}
    for name, problem in problems.items():
        wrong = experiment([one("dummy")], monotone={name: "increasing"})
        with pytest.raises(UnusableTable, match=problem):
            directions_of(frame, wrong)


def test_early_stopping_listens_to_the_weights_of_the_slice():
    """Where the slice counts another kind of rows, another round is the best one."""
    frame = table(("no", "yes"))
    wrong = (frame["distance"] > 0) != (frame["late"] == "yes")
    early_stopping = np.zeros(ROWS, dtype=bool)
    early_stopping[:TRAIN_ROWS] = training_sets().early_stopping
    of_the_slice = np.where(wrong, 100.0, 0.01)
    odd = weighted("binary", np.where(early_stopping, of_the_slice, 1.0))
    usual = weighted("binary", np.where(early_stopping, 1.0, 1.001))
    spec = experiment([one("lightgbm")], metric="log_loss")
    assert train_one(spec, odd).result.rounds < train_one(spec, usual).result.rounds
