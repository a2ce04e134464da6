"""LightGBM: shared bins change nothing, and neither does the way to an estimator."""

from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from lightgbm.basic import _ConfigAliases
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.stages.search.learners import lightgbm_learner as learner
from experiment_pipeline.stages.search.learners.hyperparameters import LIGHTGBM
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.scoring import scored_rows
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline_tests.stages.search.scenario import (
    assembled,
    experiment,
    lightgbm,
    one,
    predicted,
    train_one,
    training_sets,
)


def plan(task: str = "binary", *, stops: bool = True, **hyperparameters: Any) -> Any:
    """A plan of the scenario's experiment."""
    spec = experiment([one("lightgbm")], task)
    request = FitRequest(lightgbm(**hyperparameters), training_sets(task), spec)
    return learner.boosting_plan(request, stops=stops)


def numbers(task: str = "binary") -> EncodedRows:
    """The numeric columns of train."""
    sets = training_sets(task)
    table = sets.train[["distance", "delay", "night"]].to_numpy(dtype=np.float64)
    return EncodedRows(table, sets.y_train, [])


def held_out(task: str) -> learner.Bins:
    """Bins of these rows, with the early-stopping set held out."""
    return learner.bin_rows(numbers(task), plan(task), training_sets(task))


def by_lightgbm(planned: Any, bins: learner.Bins, callback: Any) -> lgb.Booster:
    """What the library's own loop grows."""
    parameters = {"metric": planned.rounds.watched, "feature_pre_filter": False}
    return lgb.train(
        dict(planned.parameters) | parameters,
        bins[0],
        planned.rounds.at_most,
        valid_sets=[bins[1]],
        callbacks=[callback],
        keep_training_booster=True,
    )


def test_the_list_of_names_is_that_of_the_library():
    """Every name and alias is LightGBM's, complete for what is listed."""
    of_library = _ConfigAliases._get_all_param_aliases()
    for name, aliases in LIGHTGBM.accepted.items():
        assert sorted(of_library[name]) == sorted([name, *aliases]), name
    reserved = {name for name in of_library if name in LIGHTGBM.reserved}
    assert {
        alias for name in reserved for alias in of_library[name]
    } == LIGHTGBM.reserved
    assert LIGHTGBM.accepted.keys() >= learner.DATASET_PARAMETERS


@pytest.mark.parametrize(
    ("task", "encoder", "metric"),
    [
        ("binary", "ordinal", "roc_auc"),
        ("multiclass", "onehot", "log_loss"),
        ("regression", "ordinal", "pinball_0.9"),
    ],
)
def test_an_ordinary_fit_predicts_the_same_bit_for_bit(
    task: str, encoder: str, metric: str
):
    """The assembled estimator is what LGBMClassifier.fit or LGBMRegressor.fit would
    give.
    """
    sets = training_sets(task)
    entry = one("lightgbm", num_leaves=[5], min_child_samples=8, subsample=0.8)
    spec = experiment([entry | {"features": encoder}], task, metric=metric)
    pipeline = assembled(train_one(spec, sets), sets, spec)
    features, model = pipeline[0], pipeline[-1]
    fitted_on = sets.train[~sets.early_stopping]
    codes = {"categorical_feature": [3]} if encoder == "ordinal" else {}
    # The booster's codes follow the order of the classes, fit's that of their names.
    y = (
        fitted_on["late"]
        if sets.classes is None
        else fitted_on["late"].map(sets.classes.index)
    )
    ordinary = type(model)(**model.get_params())
    ordinary.fit(features.transform(fitted_on), y.to_numpy(), **codes)
    method = "predict" if task == "regression" else "predict_proba"
    rows = features.transform(sets.test)
    assert np.array_equal(getattr(ordinary, method)(rows), getattr(model, method)(rows))


@pytest.mark.parametrize(
    ("task", "hyperparameters"),
    [
        ("binary", {}),
        ("multiclass", {"early_stopping_min_delta": 0.01}),
        ("regression", {"n_estimators": 7}),
    ],
)
def test_it_stops_where_lightgbm_would(task: str, hyperparameters: dict[str, float]):
    """The same trees and the same best round as with its own callback, in the same
    text.
    """
    planned, bins = (
        plan(task, early_stopping_round=5, **hyperparameters),
        held_out(task),
    )
    stops = lgb.early_stopping(5, min_delta=planned.rounds.min_delta, verbose=False)
    ordinary = by_lightgbm(planned, bins, stops)
    ours = learner.boost(bins, planned, numbers(task), task)
    assert 0 < ours.best_iteration == ordinary.best_iteration
    assert ours.model_to_string() == ordinary.model_to_string()


def test_a_large_early_stopping_set_is_evaluated_every_few_rounds(monkeypatch):
    """The best of these rounds is kept; the last round is always evaluated."""
    planned, bins = plan(n_estimators=20, learning_rate=0.02), held_out("binary")
    evaluated: dict[str, dict[str, list[float]]] = {}
    by_lightgbm(planned, bins, lgb.record_evaluation(evaluated))
    scores = dict(enumerate(evaluated["valid_0"]["auc"], start=1))
    assert bins[1] is not None
    monkeypatch.setattr(learner, "_EVALUATED_ROWS", bins[1].num_data() // 2)
    best = max([3, 6, 9, 12, 15, 18, 20], key=scores.__getitem__)
    assert learner.boost(bins, planned, numbers(), "binary").best_iteration == best


def test_without_early_stopping_every_row_is_fitted_on():
    """No early-stopping set, or no patience: a fixed number of rounds on all train
    rows.
    """
    sets = training_sets()
    none = replace(sets, early_stopping=np.zeros(600, dtype=bool))
    default = train_one(experiment([one("lightgbm")]), none)
    stated = train_one(experiment([one("lightgbm", early_stopping_round=0)]), sets)
    assert default.result.rounds == stated.result.rounds == 100
    assert np.array_equal(default.predictions.test, stated.predictions.test)


@pytest.mark.parametrize(
    ("task", "hyperparameters"),
    [
        ("binary", {"boosting": "dart"}),
        ("regression", {"linear_tree": True}),
    ],
)
def test_stored_train_predictions_are_bit_for_bit_those_of_the_exported_model(
    task: str, hyperparameters: dict[str, Any]
):
    """However trees are grown."""
    sets = training_sets(task)
    spec = experiment([one("lightgbm", **hyperparameters)], task)
    trained = train_one(spec, sets)
    exported = predicted(assembled(trained, sets, spec), sets, sets.train)
    scored = scored_rows(len(sets.train), sets.classes)
    assert np.array_equal(trained.predictions.train, exported[scored])


def _towards(
    metric: str, task: str = "regression", **hyperparameters: Any
) -> tuple[object, object]:
    """What trees are grown towards, and what stops them."""
    spec, sets = experiment([one("lightgbm")], task, metric=metric), training_sets(task)
    sets = replace(sets, directions=hyperparameters.pop("directions", {}))
    planned = learner.boosting_plan(FitRequest(lightgbm(**hyperparameters), sets, spec))
    return planned.parameters["objective"], planned.rounds.watched


def test_trees_are_grown_towards_the_metric_and_stop_by_it_or_by_the_loss():
    """The objective follows the metric, a configuration may set its own, and both are
    watched.
    """
    assert _towards("rmse") == ("regression", "l2")
    assert _towards("mae") == ("regression_l1", "l1")
    assert _towards("pinball_0.9") == ("quantile", "quantile")
    assert _towards("average_precision", "binary") == ("binary", "average_precision")
    assert _towards("accuracy", "multiclass") == ("multiclass", "multi_logloss")
    assert _towards("mae", objective="regression") == ("regression", "l1")
    # LightGBM refuses monotone constraints where it boosts towards a median.
    assert _towards("mae", directions={"distance": 1}) == ("regression", "l1")
    with pytest.raises(InvalidExperiment, match="judges the quantile"):
        _towards("pinball_0.9", alpha=0.5)


def test_what_a_plan_sets_for_every_configuration():
    """What reproducibility needs; bagging that has an effect; dart has no best round."""
    parameters = plan().parameters
    fixed = {"deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 0}
    assert fixed.items() <= parameters.items()
    assert "bagging_freq" not in parameters
    assert plan(subsample=0.5).parameters["bagging_freq"] == 1
    planned = plan(boosting_type="dart")
    assert (planned.rounds.patience, planned.rounds.at_most) == (0, 100)


def test_an_exported_model_predicts_the_same_bits_with_any_number_of_threads():
    """It uses the threads of OpenMP, which `OMP_NUM_THREADS` or a limit in the process
    sets.
    """
    spec, sets = experiment([one("lightgbm")]), training_sets()
    trained = train_one(spec, sets)
    pipeline = assembled(trained, sets, spec)
    assert pipeline[-1].n_jobs == 0
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="openmp"):
            probabilities = pipeline.predict_proba(sets.test)[:, 1]
        assert np.array_equal(probabilities, trained.predictions.test)
