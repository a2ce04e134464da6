"""Fits: one configuration on shared work, measured and ready to be stored, or as a whole pipeline.

A pipeline is features and model, as they are judged and exported: a fitted scikit-learn Pipeline
that takes a table with the feature columns by name and loads without this package. Threads, order
and failures live in `sweep.py`. In: a configuration, or a stored model, and rows. Out: a
`TrainedModel`, or a Pipeline.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.columns.target import encode_target
from experiment_pipeline.spec import Scoring
from experiment_pipeline.stages.search import algorithms, boosting
from experiment_pipeline.stages.search.algorithms import estimator_for, is_own_estimator, settle
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import (
    SharedWork,
    build_features,
    categorical_positions,
    labels_of,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint, recipe_fingerprint
from experiment_pipeline.stages.search.results import ModelResult, Predictions, TrainedModel
from experiment_pipeline.stages.search.scoring import Truth, predictions_of, scored_rows, scores
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage import persistence

# Rows on which a user's own estimator must predict the same after it was stored and loaded.
RELOADED_ROWS = 100


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A fitted model: how it predicts encoded rows, how it is stored, what its fit cost.

    What it predicts for every train row is given where the fit has found that anyway.
    """

    predict: Callable[[Any], np.ndarray]
    model: bytes
    cpu_seconds: float
    wall_seconds: float
    rounds: int | None = None
    trusted_types: tuple[str, ...] = ()
    on_train: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Clock:
    """Time spent inside its `with` block by this thread: one thread per fit, so all of it."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def __enter__(self) -> Self:
        self._cpu, self._wall = time.thread_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = time.thread_time() - self._cpu
        self.wall_seconds = time.perf_counter() - self._wall


def fit_configuration(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: Scoring
) -> TrainedModel:
    """Fit one configuration and score it.

    Raises:
        TrainingError: it predicts something that is not finite, or not the same once reloaded.
        Exception: whatever the estimator raises.
    """
    is_lightgbm = configuration.algorithm == "lightgbm"
    fitted = (_fit_lightgbm if is_lightgbm else _fit_estimator)(configuration, work, sets, spec)
    encoded = work.encoded[configuration.features]
    with _Clock() as predicting:
        on_test = fitted.predict(encoded.test)
    scored = scored_rows(len(work.y_train), sets.classes)
    if fitted.on_train is None:
        on_train = fitted.predict(encoded.train[scored])
    else:
        on_train = fitted.on_train[scored]
    for rows, predicted in (("test", on_test), ("train", on_train)):
        _check_finite(configuration, rows, predicted)
    predictions = Predictions(on_test, on_train)
    result = ModelResult(
        key=configuration.key,
        fingerprint=fingerprint(configuration, sets, spec),
        recipe_fingerprint=recipe_fingerprint(configuration.features, sets),
        algorithm=configuration.algorithm,
        features=configuration.features,
        hyperparameters=configuration.hyperparameters,
        status="trained",
        rounds=fitted.rounds,
        fit_cpu_seconds=fitted.cpu_seconds,
        fit_wall_seconds=fitted.wall_seconds,
        predict_seconds_per_row=predicting.cpu_seconds / len(on_test),
        model_bytes=len(fitted.model),
        trusted_types=fitted.trusted_types,
        notes=fitted.notes,
        **asdict(scores(predictions, Truth.of(work, sets.classes), spec)),
    )
    return TrainedModel(result, fitted.model, predictions)


def _fit_lightgbm(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: Scoring
) -> _Fitted:
    plan = boosting.boosting_plan(configuration, sets, spec)
    with work.binned.borrow(configuration, plan) as binned, _Clock() as clock:
        booster = boosting.boost(binned, plan, sets.task)
    rounds = booster.best_iteration or booster.current_iteration()

    def predict(rows: Any) -> np.ndarray:
        return np.asarray(booster.predict(rows, num_iteration=rounds, num_threads=1))

    return _Fitted(
        predict=predict,
        model=booster.model_to_string(num_iteration=rounds).encode(),
        cpu_seconds=clock.cpu_seconds,
        wall_seconds=clock.wall_seconds,
        rounds=rounds,
        # Rows that were held out to stop on are not among those that trees were grown on.
        on_train=None if plan.patience else boosting.predictions_of_grown(booster),
    )


def _fit_estimator(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: Scoring
) -> _Fitted:
    weights = work.w_train
    estimator = estimator_for(configuration, sets.task, spec, work.labels, weights)
    encoded = work.encoded[configuration.features]
    stopping = settle(estimator, sets.inner)
    X, y, held_out = encoded.train, work.labels, dict[str, Any]()
    if stopping.on_slice:
        held_out = {"X_val": X[sets.inner], "y_val": y[sets.inner]}
        if weights is not None:
            held_out["sample_weight_val"] = weights[sets.inner]
            weights = weights[sets.grown]
        X, y = X[sets.grown], y[sets.grown]
    # Once more here: the import of a user's own estimator may have loaded another OpenMP.
    with threadpool_limits(limits=1, user_api="openmp"), _Clock() as clock:
        estimator.fit(X, y, **held_out, **algorithms.weighted_fit(weights))

    def predict(rows: Any) -> np.ndarray:
        return predictions_of(estimator, rows, sets.task, sets.classes)

    model = persistence.to_bytes(estimator)
    trusted_types: tuple[str, ...] = ()
    if is_own_estimator(configuration.algorithm):
        trusted_types = persistence.untrusted_types(model)
        reloaded = persistence.from_bytes(model, trusted_types)
        _check_reloaded(configuration, predict, reloaded, encoded.test[:RELOADED_ROWS], sets)
    return _Fitted(
        predict=predict,
        model=model,
        cpu_seconds=clock.cpu_seconds,
        wall_seconds=clock.wall_seconds,
        rounds=estimator.n_iter_ if stopping.on_slice else None,
        trusted_types=trusted_types,
        notes=stopping.notes,
    )


def _check_reloaded(
    configuration: Configuration,
    predict: Callable[[Any], np.ndarray],
    reloaded: Any,
    rows: Any,
    sets: TrainingSets,
) -> None:
    again = predictions_of(reloaded, rows, sets.task, sets.classes)
    if not np.array_equal(predict(rows), again, equal_nan=True):
        raise errors.TrainingError(
            f"configuration {configuration.key}",
            "the estimator predicts something else after it was stored and loaded",
            "keep everything that it has learnt in attributes of plain data and arrays",
        )


def _check_finite(configuration: Configuration, rows: str, predictions: np.ndarray) -> None:
    if odd := int((~np.isfinite(predictions)).sum()):
        raise errors.TrainingError(
            f"configuration {configuration.key}",
            f"{odd} of {predictions.size} predictions on {rows} rows are not finite",
            "regularise more, learn more slowly, or scale the target",
        )


def fitted_pipeline(
    result: ModelResult, model: bytes, sets: TrainingSets, spec: Scoring
) -> Pipeline:
    """Return the pipeline of a trained model: its features fitted anew on train, which gives
    the same ones, and the stored model.

    Raises:
        InvalidModel: the bytes are no model, or hold a type that is not trusted.
    """
    columns = list(sets.features)
    features = build_features(result.features, sets.train, columns).fit(sets.train[columns])
    if result.algorithm == "lightgbm":
        plan = boosting.boosting_plan(result.configuration, sets, spec)
        estimator = _boosted(model.decode(), plan, sets.classes, result.rounds)
    else:
        estimator = persistence.from_bytes(model, result.trusted_types)
    return _pipeline(features, estimator)


def refit(
    configuration: Configuration,
    rounds: int | None,
    rows: pd.DataFrame,
    sets: TrainingSets,
    spec: Scoring,
) -> Pipeline:
    """Fit a chosen configuration on other rows, with fresh features and no early stopping.

    Args:
        configuration: the chosen one.
        rounds: of the chosen fit; None for what does not stop early.
        rows: (n, columns) prepared rows, such as train and test together.
        sets: gives features, target, task and classes; its rows are not used.
        spec: its seed and its metric are used.
    """
    columns = list(sets.features)
    y, weights = encode_target(rows[sets.target], sets.classes), sets.weights_of(rows)
    features = build_features(configuration.features, rows, columns)
    with threadpool_limits(limits=1):
        table = features.fit_transform(rows[columns])
        if configuration.algorithm != "lightgbm":
            labels = labels_of(y, sets.classes)
            estimator = estimator_for(configuration, sets.task, spec, labels, weights)
            algorithms.fix_rounds(estimator, rounds)
            estimator.fit(table, labels, **algorithms.weighted_fit(weights))
            return _pipeline(features, estimator)
    plan = boosting.boosting_plan(configuration, sets, spec, stops=False, rounds=rounds)
    categorical = categorical_positions(configuration.features, rows, columns)
    binned = boosting.bin_table(table, y, None, categorical, plan, weights=weights)
    booster = boosting.boost(binned, plan, sets.task)
    return _pipeline(features, _boosted(booster.model_to_string(), plan, sets.classes, plan.rounds))


def _boosted(
    text: str, plan: boosting.BoostingPlan, classes: tuple | None, rounds: int | None
) -> Any:
    import lightgbm as lgb

    booster = lgb.Booster(model_str=text)
    return boosting.as_estimator(booster, plan, classes, rounds or booster.current_iteration())


def _pipeline(features: Any, estimator: Any) -> Pipeline:
    return Pipeline([("features", features), ("model", estimator)])
