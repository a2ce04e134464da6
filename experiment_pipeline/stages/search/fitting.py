"""Fits: one configuration on shared work, measured and ready to be stored, or as a whole pipeline.

A pipeline is features and model, as they are judged and exported: a fitted scikit-learn Pipeline
that takes a table with the feature columns by name and loads without this package. What differs
between families of algorithms lives in their `Learner`, threads, order and failures in `sweep.py`. In: a configuration, or a stored model, and rows. Out: a
`TrainedModel`, or a Pipeline.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.columns.target import encode_target
from experiment_pipeline.spec import Scoring
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import (
    build_features,
    categorical_positions,
    encode,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint, recipe_fingerprint
from experiment_pipeline.stages.search.learner import Clock, EncodedRows
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.results import ModelResult, Predictions, TrainedModel
from experiment_pipeline.stages.search.scoring import scored_rows, scores
from experiment_pipeline.stages.search.shared_work import SharedTables, SharedWork, labels_of
from experiment_pipeline.stages.search.training_sets import TrainingSets


def share_work(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: Scoring
) -> SharedWork:
    """Encode the sets once per recipe, and prepare what else the fits share."""
    configurations = list(configurations)
    recipes = dict.fromkeys(configuration.features for configuration in configurations)
    planned = (learner_of(one.algorithm).shared_table(one, sets, spec) for one in configurations)
    y_train = sets.y_train
    return SharedWork(
        encoded={recipe: encode(recipe, sets) for recipe in recipes},
        y_train=y_train,
        labels=labels_of(y_train, sets.classes),
        y_test=sets.y_test,
        tables=SharedTables(table for table in planned if table is not None),
    )


def fit_configuration(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: Scoring
) -> TrainedModel:
    """Fit one configuration and score it.

    Raises:
        TrainingError: it predicts something that is not finite, or not the same once reloaded.
        Exception: whatever the estimator raises.
    """
    fitted = learner_of(configuration.algorithm).fit(configuration, work, sets, spec)
    encoded = work.encoded[configuration.features]
    with Clock() as predicting:
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
        **asdict(scores(predictions, work.y_train[scored], work.y_test, spec)),
    )
    return TrainedModel(result, fitted.model, predictions)


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
    estimator = learner_of(result.algorithm).restore(result, model, sets, spec)
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
    y = encode_target(rows[sets.target], sets.classes)
    features = build_features(configuration.features, rows, columns)
    categorical = categorical_positions(configuration.features, rows, columns)
    with threadpool_limits(limits=1):
        encoded = EncodedRows(features.fit_transform(rows[columns]), y, categorical)
        learner = learner_of(configuration.algorithm)
        return _pipeline(features, learner.refit(configuration, rounds, encoded, sets, spec))


def _pipeline(features: Any, estimator: Any) -> Pipeline:
    return Pipeline([("features", features), ("model", estimator)])
