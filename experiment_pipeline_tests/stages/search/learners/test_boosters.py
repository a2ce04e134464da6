"""CatBoost and XGBoost: our slice, our seed, one thread, and the way to an estimator and back."""

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline import errors
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.learners import check_hyperparameters, learner_of
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.storage import persistence
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
from experiment_pipeline_tests.stages.search.test_sweep import essence

EXTRAS = ("catboost", "xgboost")
TASKS = ("binary", "multiclass", "regression")
# XGBoost's constructor takes them without naming them.
OF_OBJECTIVES = {"huber_slope", "quantile_alpha", "tweedie_variance_power"}


def configuration(algorithm: str, **hyperparameters: Any) -> Configuration:
    """A configuration by hand."""
    return Configuration(algorithm, algorithm, "ordinal", hyperparameters)


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_listed_names_are_those_of_the_library(algorithm: str) -> None:
    """Every listed name is one of the constructor, of an objective, or decides the rounds."""
    names = NAMES[algorithm]
    rounds = {"num_iterations", "early_stopping_round", "early_stopping_min_delta"}
    assert rounds >= names.accepted.keys() - names.of_constructor - OF_OBJECTIVES
    declared = ALGORITHMS[algorithm].estimator("binary").spaces.values()
    assert {name for space in declared for name in space} <= {
        *names.accepted,
        *names.of_constructor,
    }


@pytest.mark.parametrize(
    ("algorithm", "given", "message"),
    [
        ("xgboost", {"max_dept": 3}, "'max_depth'"),
        ("catboost", {"l2_leaf_regg": 3}, "'l2_leaf_reg'"),
        ("xgboost", {"nthread": 2}, "the same for every configuration"),
        ("catboost", {"random_state": 2}, "the same for every configuration"),
        ("catboost", {"depth": 2, "max_depth": 3}, "set already"),
        ("lightgbm", {"min_child_samples": 5, "min_data_in_leaf": 7}, "set already"),
        ("xgboost", {"objective": "reg:squarederror"}, "not an objective of task binary"),
        ("lightgbm", {"objective": "quantile"}, "not an objective of task binary"),
        ("lightgbm", {"eta": 0}, "'eta' is 0 write a number above 0 and up to inf"),
        ("lightgbm", {"lambda_l2": -1}, "write a number from 0 to inf"),
    ],
)
def test_names_are_judged_without_a_fit(algorithm: str, given: dict, message: str) -> None:
    """Misspelt, reserved and doubled names, impossible values and losses of another task are refused."""
    with pytest.raises(errors.InvalidExperiment) as caught:
        check_hyperparameters(configuration(algorithm, **given), "binary")
    assert message in f"{caught.value.rule} {caught.value.fix}"
    check_hyperparameters(configuration("lightgbm", objective="quantile", alpha=0.9), "regression")
    # CatBoost writes the parameters of a loss behind a colon.
    check_hyperparameters(configuration("catboost", objective="Quantile:alpha=0.9"), "regression")


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_an_absent_package_is_an_error_with_the_line_that_installs_it(algorithm: str, monkeypatch):
    """Before anything is read or trained."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.UnknownAlgorithm) as caught:
        check_hyperparameters(configuration(algorithm), "binary")
    assert f'pip install "experiment-pipeline[{algorithm}]"' in caught.value.fix


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algorithm", EXTRAS)
def test_a_stored_model_predicts_what_the_fit_predicted(algorithm: str, task: str) -> None:
    """Bit by bit, with codes and without, also where a category is new or missing."""
    sets = training_sets(task)
    unseen = sets.test.assign(carrier="ZZ")
    sets = replace(sets, test=pd.concat([sets.test, unseen], ignore_index=True))
    for encoder in ("ordinal", "onehot"):
        spec = experiment(
            [one("dummy"), one(algorithm, n_estimators=30) | {"features": encoder}], task
        )
        outcomes = train(spec, sets)
        trained = outcomes[algorithm]
        pipeline = fitted_pipeline(trained.result, trained.model, sets, spec)
        again = predict(pipeline, sets.test, sets.features, task, sets.classes)
        assert np.array_equal(again, trained.predictions.test)
        assert persistence.untrusted_types(trained.model) == ()
        sign = 1 if task == "binary" else -1
        assert sign * trained.result.test_score > sign * outcomes["dummy"].result.test_score
        if task != "regression":
            assert list(pipeline.classes_) == list(CLASSES[task])
            assert set(pipeline.predict(sets.test)) <= set(CLASSES[task])


@pytest.mark.parametrize("classes", [("yes", "no"), (2, 1)])
@pytest.mark.parametrize("algorithm", EXTRAS)
def test_the_positive_class_may_sort_first(algorithm: str, classes: tuple) -> None:
    """Column 1 is the positive class, and predicted classes are values of the target."""
    sets = training_sets("binary", classes)
    spec = experiment([one(algorithm, n_estimators=20)])
    trained = train_one(spec, sets)
    assert trained.result.test_score > 0.8
    pipeline = fitted_pipeline(trained.result, trained.model, sets, spec)
    assert pipeline.predict(sets.test).dtype == np.asarray(classes).dtype
    chosen = pipeline.predict_proba(sets.test)[:, 1] > 0.5
    assert np.array_equal(pipeline.predict(sets.test) == classes[1], chosen)


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_the_answer_does_not_depend_on_workers(algorithm: str) -> None:
    """Fits side by side give models of the same bytes."""
    settings = {"max_depth": [2, 4, 6], "subsample": 0.7, "n_estimators": 20}
    spec, sets = experiment([one(algorithm, **settings)]), training_sets()
    first = essence(train(spec, sets, workers=1))
    assert essence(train(spec, sets, workers=3)) == first


@pytest.mark.parametrize("algorithm", ["lightgbm", *EXTRAS])
def test_it_stops_on_the_early_stopping_set_alone(algorithm: str) -> None:
    """Other test rows change nothing, another early-stopping set does; the refit makes as many rounds."""
    spec, sets = experiment([one(algorithm, learning_rate=0.3)]), training_sets()
    trained = train_one(spec, sets)
    assert 1 <= trained.result.rounds < 2_000
    fewer = replace(sets, test=sets.test.iloc[:50])
    assert train_one(spec, fewer).model == trained.model
    moved = replace(sets, early_stopping=np.roll(sets.early_stopping, 1))
    assert train_one(spec, moved).model != trained.model
    # Rows of that set are not among those that trees are grown on.
    wrong = sets.train["late"].where(~sets.early_stopping, "no")
    blinded = replace(sets, train=sets.train.assign(late=wrong))
    few = experiment([one(algorithm, n_estimators=1)])
    (first,) = configurations(few)
    assert np.array_equal(
        train_one(few, sets).predictions.test, train_one(few, blinded).predictions.test
    )
    again = refit(first, trained.result.rounds, sets.train, sets, spec)
    assert _rounds(again) == trained.result.rounds


def _rounds(pipeline: Any) -> int:
    if hasattr(pipeline[-1], "booster_"):
        return pipeline[-1].booster_.current_iteration()
    booster = pipeline[-1].estimators_[0][-1]
    return getattr(booster, "tree_count_", None) or booster.get_booster().num_boosted_rounds()


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_the_metric_that_stops_it_is_in_the_fingerprint(algorithm: str) -> None:
    """What a fit takes from the metric; a metric in steps is stopped by the loss."""
    sets, learner = training_sets(), learner_of(algorithm)
    for metric, watched in (("roc_auc", "auc"), ("f1", "binary_logloss"), ("brier", "l2")):
        spec = experiment([one(algorithm, n_estimators=3)], metric=metric)
        assert learner.watched(FitRequest(configuration(algorithm), sets, spec)) == watched
        assert train_one(spec, sets).result.rounds <= 3
    no_slice = replace(sets, early_stopping=np.zeros(len(sets.train), dtype=bool))
    assert learner.watched(FitRequest(configuration(algorithm), no_slice, spec)) is None


@pytest.mark.parametrize("algorithm", ["lightgbm", *EXTRAS])
@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_an_early_stopping_set_of_one_class_is_watched_by_its_loss(algorithm: str, metric: str):
    """It has no ranking: neither an error, nor a stop at the first round."""
    sets = training_sets()
    sets = replace(
        sets, early_stopping=sets.early_stopping & (sets.train["late"] == "no").to_numpy()
    )
    trained = train_one(
        experiment([one(algorithm, learning_rate=0.01, n_estimators=50)], metric=metric), sets
    )
    assert trained.result.rounds > 1


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_a_class_that_the_rows_lack_has_probability_0(algorithm: str) -> None:
    """A rung may lack a class of the train set, also all but two or one of them."""
    sets = training_sets("multiclass")
    lacking = (sets.train["late"] != "a").to_numpy()
    rung = replace(sets, train=sets.train[lacking], early_stopping=sets.early_stopping[lacking])
    trained = train_one(experiment([one(algorithm, n_estimators=5)], "multiclass"), rung)
    assert trained.predictions.test.shape == (200, 3)
    assert not trained.predictions.test[:, 1].any()
    single = training_sets()
    alone = (single.train["late"] == "yes").to_numpy()
    rung = replace(single, train=single.train[alone], early_stopping=single.early_stopping[alone])
    found = train_one(experiment([one(algorithm, n_estimators=5)]), rung).predictions.test
    assert found.min() > 0.5


@pytest.mark.parametrize("algorithm", EXTRAS)
def test_categories_are_read_as_categories(algorithm: str) -> None:
    """Codes whose order says nothing: a tree of one split takes every other one apart."""
    frame = table(None)
    code = np.arange(len(frame)) % 16
    frame = frame.assign(carrier=[f"C{one:02d}" for one in code], late=(code % 2).astype(float))
    sets = training_sets("regression", frame=frame)
    trained = train_one(experiment([one(algorithm, max_depth=1)], "regression"), sets)
    assert trained.result.test_score < 0.1
