"""LightGBM: shared bins change nothing, and neither does the way to an estimator."""

from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from lightgbm.basic import _ConfigAliases
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.stages.search import fitting
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.learners import boosting, lightgbm_parameters
from experiment_pipeline.stages.search.learners.boosting import (
    BinnedTable,
    BoostingPlan,
    bin_table,
    boost,
    boosting_plan,
    predictions_of_fitted,
    predictions_of_test,
)
from experiment_pipeline.stages.search.learners.rounds import rounds_between, stopping_metric
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    lightgbm,
    one,
    table,
    train,
    train_one,
    training_sets,
)


def plan(task: str = "binary", *, stops: bool = True, **hyperparameters: Any) -> Any:
    """A plan of the scenario's experiment."""
    spec = experiment([one("lightgbm")], task)
    return boosting_plan(lightgbm(**hyperparameters), training_sets(task), spec, stops=stops)


def numbers(sets: TrainingSets) -> np.ndarray:
    """The numeric columns of train."""
    return sets.train[["distance", "delay", "night"]].to_numpy(dtype=np.float64)


def grown(binned: BinnedTable, **hyperparameters: Any) -> str:
    """The text of a booster grown on a binned table without early stopping."""
    planned = plan(stops=False, n_estimators=20, **hyperparameters)
    return boost(binned, planned, "binary").model_to_string()


def test_the_list_of_names_is_that_of_the_library() -> None:
    """Every name and alias is LightGBM's, complete for what is listed."""
    known = _ConfigAliases._get_all_param_aliases()
    names = lightgbm_parameters.NAMES
    for own, aliases in {**names.accepted, **names.reserved}.items():
        assert sorted(known[own]) == sorted([own, *aliases]), own
    assert names.accepted.keys() >= lightgbm_parameters.DATASET_PARAMETERS


@pytest.mark.parametrize("encoder", ["ordinal", "onehot"])
@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("binary", {}),
        ("multiclass", {}),
        ("regression", {}),
        ("regression", {"metric": "pinball_0.9"}),
        ("regression", {"metric": "poisson_deviance"}),
    ],
)
def test_an_ordinary_fit_predicts_the_same_bit_for_bit(
    task: str, changes: dict[str, str], encoder: str
) -> None:
    """The assembled estimator is what LGBMClassifier.fit or LGBMRegressor.fit would give."""
    sets = training_sets(task)
    if changes.get("metric") == "poisson_deviance":
        sets = replace(sets, train=_counts(sets.train), test=_counts(sets.test))
    entry = one("lightgbm", num_leaves=[5], min_child_samples=8, subsample=0.8)
    spec = experiment([entry | {"features": encoder}], task, **changes)
    trained = train_one(spec, sets)
    pipeline = fitted_pipeline(trained.result, trained.model, sets, spec)
    features, model = pipeline[0], pipeline[-1]
    kept = sets.train[~sets.early_stopping]
    codes = {"categorical_feature": [3]} if encoder == "ordinal" else {}
    # The booster's codes follow the order of the classes, fit's that of their names.
    ordinary = type(model)(**model.get_params())
    ordinary.fit(features.transform(kept), _coded(kept["late"], sets.classes), **codes)
    method = "predict" if task == "regression" else "predict_proba"
    rows = features.transform(sets.test)
    assert np.array_equal(getattr(ordinary, method)(rows), getattr(model, method)(rows))


def _counts(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(late=rows["late"].clip(lower=0).round())


def _coded(y: Any, classes: tuple | None) -> np.ndarray:
    return y.to_numpy() if classes is None else y.map({c: i for i, c in enumerate(classes)})


def test_a_shared_table_gives_what_a_table_of_its_own_gives() -> None:
    """Configurations that differ in anything but the bins may read one binned table."""
    sets = training_sets()
    X, y = numbers(sets), sets.y_train
    shared = bin_table(EncodedRows(X, y, []), plan())
    for leaf in (2, 20, 100):
        own = bin_table(EncodedRows(X, y, []), plan(min_data_in_leaf=leaf))
        assert grown(shared, min_data_in_leaf=leaf) == grown(own, min_data_in_leaf=leaf)


def test_bins_of_another_size_are_another_table() -> None:
    """Only the parameters that decide the bins tell binnings apart."""
    assert not plan(num_leaves=5, learning_rate=0.2).binning
    assert list(plan(max_bins=15).binning) == [("max_bin", 15)]
    outcomes = train(experiment([one("lightgbm", max_bin=[15, 255])]), training_sets())
    assert len({outcome.model for outcome in outcomes.values()}) == 2


def test_early_stopping_keeps_the_best_round_and_leaves_the_test_set_alone() -> None:
    """Other test rows give the same model; another early-stopping set another one."""
    spec, sets = experiment([one("lightgbm")]), training_sets()
    first = train_one(spec, sets)
    assert 1 <= first.result.rounds < 2000
    other = table(sets.classes).iloc[600:].assign(distance=0.0, late="no")
    swapped = TrainingSets(**vars(sets) | {"test": other})
    assert train_one(spec, swapped).model == first.model
    moved = TrainingSets(**vars(sets) | {"early_stopping": np.roll(sets.early_stopping, 1)})
    assert train_one(spec, moved).model != first.model


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("asked", [{}, {"early_stopping_min_delta": 0.01}, {"n_estimators": 7}])
def test_it_stops_where_lightgbm_would(task: str, asked: dict[str, float]) -> None:
    """The same trees and the same best round as of its own callback, in the same text."""
    planned, binned = plan(task, early_stopping_round=5, **asked), held_out(task)
    stops = lgb.early_stopping(5, min_delta=planned.rounds.min_delta, verbose=False)
    ordinary = by_lightgbm(planned, binned, stops)
    ours = boost(binned, planned, task)
    assert 0 < ours.best_iteration == ordinary.best_iteration
    assert ours.model_to_string() == ordinary.model_to_string()


def test_a_large_slice_is_looked_at_each_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of these rounds is kept; small slices, and the last round, are always looked at."""
    assert [rounds_between(n) for n in (1, 99_999, 100_000, 337_500, 10**7)] == [1, 1, 2, 4, 5]
    planned, binned = plan(n_estimators=20, learning_rate=0.02), held_out("binary")
    seen: dict[str, dict[str, list[float]]] = {}
    by_lightgbm(planned, binned, lgb.record_evaluation(seen))
    scores = dict(enumerate(seen["valid_0"]["auc"], start=1))
    monkeypatch.setattr(boosting, "rounds_between", lambda _: 3)
    looked_at = [3, 6, 9, 12, 15, 18, 20]
    best = max(looked_at, key=scores.__getitem__)
    assert boost(binned, planned, "binary").best_iteration == best


def held_out(task: str) -> BinnedTable:
    """The numbers of the scenario, with its early-stopping set held out."""
    sets = training_sets(task)
    rows = EncodedRows(numbers(sets), sets.y_train, [])
    return bin_table(rows, plan(task), sets.early_stopping, sets.fit_mask)


def by_lightgbm(planned: BoostingPlan, binned: BinnedTable, looks: Any) -> lgb.Booster:
    """What the library's own loop grows."""
    parameters = {"metric": planned.rounds.watched, "feature_pre_filter": False}
    return lgb.train(
        *(dict(planned.parameters) | parameters, binned.fit, planned.rounds.at_most),
        valid_sets=[binned.early_stopping],
        callbacks=[looks],
        keep_training_booster=True,
    )


def test_without_stopping_every_train_row_is_fitted() -> None:
    """No early-stopping set, or patience 0: a fixed number of rounds on all rows."""
    sets = training_sets()
    nothing_held_out = TrainingSets(**vars(sets) | {"early_stopping": np.zeros(600, dtype=bool)})
    default = train_one(experiment([one("lightgbm")]), nothing_held_out)
    stated = train_one(experiment([one("lightgbm", early_stopping_round=0)]), sets)
    assert default.result.rounds == stated.result.rounds == 100
    assert np.array_equal(default.predictions.test, stated.predictions.test)


@pytest.mark.parametrize(
    ("metric", "task", "watched"),
    [
        ("roc_auc", "binary", "auc"),
        ("average_precision", "binary", "average_precision"),
        ("brier", "binary", "l2"),
        ("f1", "binary", "binary_logloss"),
        ("log_loss", "multiclass", "multi_logloss"),
        ("accuracy", "multiclass", "multi_logloss"),
        ("mae", "regression", "l1"),
        ("r2", "regression", "l2"),
    ],
)
def test_stopping_watches_what_ranks(metric: str, task: str, watched: str) -> None:
    """Where LightGBM has the metric it is watched, else the loss."""
    assert stopping_metric(metric, task) == watched


def _towards(
    metric: str, directions: dict[str, int] | None = None, **hyperparameters: Any
) -> tuple[object, object]:
    spec = experiment([one("lightgbm")], "regression", metric=metric)
    sets = replace(training_sets("regression"), directions=directions or {})
    planned = boosting_plan(lightgbm(**hyperparameters), sets, spec)
    return planned.parameters["objective"], planned.rounds.watched


def test_trees_are_grown_towards_the_metric() -> None:
    """The objective follows the metric, a configuration may set its own, and both are watched."""
    assert _towards("rmse") == ("regression", "l2")
    assert _towards("mae") == ("regression_l1", "l1")
    assert _towards("pinball_0.9") == ("quantile", "quantile")
    assert _towards("poisson_deviance") == ("poisson", "poisson")
    assert _towards("mae", objective="regression") == ("regression", "l1")
    # LightGBM refuses directions where it grows towards a median.
    assert _towards("mae", {"distance": 1}) == ("regression", "l1")
    with pytest.raises(InvalidExperiment, match="judges the quantile"):
        _towards("pinball_0.9", alpha=0.5)


def test_a_slice_of_one_class_is_watched_by_its_loss() -> None:
    """LightGBM calls any ranking of one class perfect, and would stop at once."""
    sets = training_sets()
    early_stopping = sets.early_stopping & (sets.y_train == 1)
    trained = train_one(
        experiment([one("lightgbm")]),
        TrainingSets(**vars(sets) | {"early_stopping": early_stopping}),
    )
    assert trained.result.rounds > 1


def test_a_bagging_fraction_has_an_effect() -> None:
    """LightGBM's default frequency of 0 would ignore it."""
    assert plan(subsample=0.5).parameters["bagging_freq"] == 1
    assert plan(subsample=0.5, subsample_freq=3).parameters["bagging_freq"] == 3
    assert "bagging_freq" not in plan().parameters


@pytest.mark.parametrize("boosting", ["dart", "rf"])
def test_boosting_without_a_best_round_does_not_stop_early(boosting: str) -> None:
    """Both dart and rf run their number of rounds, LightGBM's own default where none is given."""
    planned = plan(boosting_type=boosting, subsample=0.5)
    assert (planned.rounds.patience, planned.rounds.at_most) == (0, 100)


def test_every_fit_is_deterministic_and_of_one_thread() -> None:
    """What reproducibility needs is set for every configuration."""
    fixed = plan().parameters
    assert fixed["deterministic"]
    assert fixed["force_row_wise"]
    assert (fixed["num_threads"], fixed["seed"], fixed["learning_rate"]) == (1, 0, 0.1)


def test_an_exported_model_predicts_with_the_threads_it_is_given_and_the_same_bits() -> None:
    """All that OpenMP has, which `OMP_NUM_THREADS` or a limit in the process sets."""
    spec, sets = experiment([one("lightgbm")]), training_sets()
    trained = train_one(spec, sets)
    pipeline = fitted_pipeline(trained.result, trained.model, sets, spec)
    assert pipeline[-1].n_jobs == 0
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="openmp"):
            found.append(pipeline.predict_proba(sets.test)[:, 1])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], trained.predictions.test)


@pytest.mark.parametrize("setting", ["linear_tree", "use_quantized_grad", "extra_trees"])
def test_special_settings_train_and_store(setting: str) -> None:
    """Parameters that change how trees are grown survive the store."""
    spec, sets = experiment([one("lightgbm", **{setting: True})]), training_sets()
    trained = train_one(spec, sets)
    reloaded = lgb.Booster(model_str=trained.model.decode())
    pipeline = fitted_pipeline(trained.result, trained.model, sets, spec)
    rows = pipeline[0].transform(sets.test)
    assert np.array_equal(reloaded.predict(rows), trained.predictions.test)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("boosting", ["gbdt", "dart", "rf"])
def test_what_it_keeps_of_the_train_rows_is_what_it_predicts(task: str, boosting: str) -> None:
    """The train score may rest on it: nothing is predicted a second time."""
    sets = training_sets(task)
    planned = plan(task, stops=False, boosting_type=boosting, n_estimators=20, subsample=0.5)
    booster = boost(bin_table(EncodedRows(numbers(sets), sets.y_train, []), planned), planned, task)
    kept, predicted = predictions_of_fitted(booster), booster.predict(numbers(sets))
    assert kept.shape == predicted.shape
    np.testing.assert_allclose(kept, predicted, rtol=0 if boosting == "gbdt" else 1e-12)


def awkward(rows: int, seed: int, *, train: bool) -> np.ndarray:
    """Encoded rows: gaps, zeros of all kinds, the largest numbers, codes, and columns to bundle.

    Of the last eight columns no train row has two that are not 0, so that LightGBM stores them as
    one; test rows have several, and codes that train does not know.
    """
    random = np.random.default_rng(seed)
    table = random.normal(size=(rows, 17))
    table[random.random(rows) < 0.3, 0] = np.nan
    table[:, 1] = np.where(random.random(rows) < 0.7, 0, np.round(table[:, 1], 1))
    table[:, 2] = random.choice([0.0, -0.0, 1e-40, -1e-36, 1e-30, 1.0], rows)
    table[:, 3] = random.choice([np.inf, -np.inf, 1e308, -1e308, 0.5], rows)
    table[:, 4] = 7
    table[:, 5] = random.integers(-1, 12 if train else 30, rows)
    table[:, 6] = np.where(random.random(rows) < 0.1, np.nan, random.integers(0, 3, rows))
    table[:, 7] = np.round(table[:, 7], 2)
    table[:, 9:] = 0
    for _ in range(1 if train else 3):
        table[np.arange(rows), random.integers(9, 17, rows)] = random.integers(1, 4, rows)
    return table


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"max_bin": 6, "learning_rate": 0.7},
        {"zero_as_missing": True},
        {"use_missing": False, "extra_trees": True},
        {"boosting_type": "goss", "use_quantized_grad": True},
        {"subsample": 0.5, "colsample_bytree": 0.5, "path_smooth": 1.0, "max_cat_to_onehot": 1},
    ],
    ids=str,
)
def test_what_it_says_of_binned_test_rows_is_what_it_predicts(
    task: str, setting: dict[str, Any], sparse: bool
) -> None:
    """Bit by bit, whatever the rows: the ranking may rest on it."""
    random = np.random.default_rng(1)
    train_rows, test_rows = awkward(600, 2, train=True), awkward(400, 3, train=False)
    signal = (
        np.nan_to_num(train_rows[:, 0]) + (train_rows[:, 5] % 3) + train_rows[:, 9:].sum(axis=1)
    )
    y = signal + random.normal(size=600)
    if task != "regression":
        y = np.digitize(y, np.quantile(y, [0.5] if task == "binary" else [1 / 3, 2 / 3])) * 1.0
    planned = plan(task, stops=False, n_estimators=30, min_child_samples=3, **setting)
    assert planned.scores_bins
    test: Any = csr_matrix(test_rows) if sparse else test_rows
    rows = EncodedRows(csr_matrix(train_rows) if sparse else train_rows, y, [5, 6])
    binned = bin_table(rows, planned, test=test)
    booster = boost(binned, planned, task)
    said, predicted = predictions_of_test(booster, binned.test), booster.predict(test)
    assert len(np.unique(predicted)) > 50
    assert said.flags.c_contiguous
    np.testing.assert_array_equal(said, predicted)


def test_where_bins_say_something_else_nobody_asks_them() -> None:
    """Early stopping drops trees, dart and rf change them, linear trees read numbers."""
    assert plan(stops=False).scores_bins
    assert not plan().scores_bins
    for setting in ({"boosting_type": "dart"}, {"boosting_type": "rf"}, {"linear_tree": True}):
        assert not plan(stops=False, **setting).scores_bins


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_fit_is_the_same_whether_or_not_bins_were_asked(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model and predictions do not tell how the test rows were scored, and the stored model says the same."""
    spec = experiment([one("lightgbm", early_stopping_round=0, n_estimators=20)], task)
    sets = training_sets(task)
    monkeypatch.setattr(fitting, "ROWS_TO_TIME", len(sets.test))
    predicted = train_one(spec, sets)
    monkeypatch.setattr(fitting, "ROWS_TO_TIME", 10)
    scored = train_one(spec, sets)
    assert scored.model == predicted.model
    assert scored.result.test_scores == predicted.result.test_scores
    assert scored.predictions.test.tobytes() == predicted.predictions.test.tobytes()
    pipeline = fitted_pipeline(scored.result, scored.model, sets, spec)
    again = predict(pipeline, sets.test, sets.features, sets.task, sets.classes)
    assert again.tobytes() == scored.predictions.test.tobytes()
