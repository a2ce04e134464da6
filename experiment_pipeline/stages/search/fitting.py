"""Fits: one configuration on shared work, measured and ready to be stored, or as a whole pipeline.

A pipeline is features and model, as they are judged and exported: a fitted scikit-learn Pipeline
that takes a table with the feature columns by name and loads without this package. What differs
between families of algorithms lives in their `Learner`; threads, order and failures in `sweep.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.search import composing
from experiment_pipeline.stages.search.calibrating import calibration_in
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.encoding import encode, fit_features, fit_rows
from experiment_pipeline.stages.search.features import categorical_positions, directions
from experiment_pipeline.stages.search.fingerprints import encoder_fingerprint, fingerprint
from experiment_pipeline.stages.search.gathering import gathered
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel
from experiment_pipeline.stages.search.results import ModelResult, Predictions, TrainedModel
from experiment_pipeline.stages.search.scoring import Truth, scored_rows, scores
from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedTables, SharedWork
from experiment_pipeline.stages.search.slices import HELD_ROWS
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.mapped import aside
from experiment_pipeline.table.table import slices
from experiment_pipeline.table.target import encode_target


def share_work(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> SharedWork:
    """Encode the sets once per encoder, and prepare what else the fits share."""
    configurations = list(configurations)
    work = _shared(configurations, sets, spec)
    if sets.folds:
        folds = tuple(_shared(configurations, fold.sets, spec) for fold in sets.folds)
        return replace(work, folds=folds)
    folds_to_calibrate = composing.folds_to_calibrate(configurations, sets, spec)
    return replace(work, folds_to_calibrate=folds_to_calibrate)


def _shared(
    configurations: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> SharedWork:
    held = held_encoders(configurations)
    planned = (
        table
        for one in configurations
        if (table := learner_of(one.algorithm).shared_table(one, sets, spec)) is not None
        for _ in range(composing.planned_fits(one, spec))
    )
    y_train, w_train = sets.y_train, sets.w_train
    encoded = {
        encoder: encode(encoder, sets, y_train, w_train, held=encoder in held)
        for encoder in dict.fromkeys(one.features for one in configurations)
    }
    return SharedWork(
        train={encoder: train for encoder, (train, _) in encoded.items()},
        test={encoder: test for encoder, (_, test) in encoded.items()},
        y_train=y_train,
        y_test=sets.y_test,
        w_train=w_train,
        w_test=sets.w_test,
        tables=SharedTables(planned),
    )


def fit_configuration(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec
) -> TrainedModel:
    """Fit one configuration and score it.

    Raises:
        TrainingError: it predicts something that is not finite, or not the same once reloaded.
        Exception: whatever the estimator raises.
    """
    fit = _cross_fitted if sets.folds else _fitted
    composed = composing.compose(configuration, work, sets, spec, fit)
    fitted, on_test = composed.fitted, composed.on_test
    scored = scored_rows(len(work.y_train), sets.classes)
    on_train = fitted.predict(work.train[configuration.features].table[scored])
    for rows, predicted in (("test", on_test), ("train", on_train)):
        if odd := int((~np.isfinite(predicted)).sum()):
            raise errors.TrainingError(
                f"configuration {configuration.key}",
                f"{odd} of {predicted.size} predictions on {rows} rows are not finite",
                "regularise more, learn more slowly, or scale the target",
            )
    predictions = Predictions(on_test, on_train, composed.by_seed)
    result = ModelResult(
        key=configuration.key,
        fingerprint=fingerprint(configuration, sets, spec),
        encoder_fingerprint=encoder_fingerprint(configuration.features, sets),
        algorithm=configuration.algorithm,
        features=configuration.features,
        hyperparameters=configuration.hyperparameters,
        status="trained",
        rounds=fitted.rounds,
        fit_cpu_seconds=fitted.cpu_seconds,
        fit_wall_seconds=fitted.wall_seconds,
        predict_seconds_per_row=composed.predict_seconds / len(on_test),
        model_bytes=len(fitted.model),
        trusted_types=fitted.trusted_types,
        averaged=composed.averaged,
        calibration=composed.calibration,
        notes=fitted.notes,
        **asdict(scores(predictions, Truth.of(work, sets.classes), spec)),
    )
    return TrainedModel(result, fitted.model, predictions)


def _fitted(
    configuration: Configuration,
    work: SharedWork,
    sets: TrainingSets,
    spec: ExperimentSpec,
    *,
    stored: bool = True,
) -> tuple[FittedModel, np.ndarray, float]:
    """A model of the train rows, what it predicts for the test rows, in how many seconds."""
    learner = learner_of(configuration.algorithm)
    fitted = learner.fit(configuration, work, sets, spec, stored=stored)
    test = work.test[configuration.features]
    with Clock() as predicting:
        # Some estimators copy what they predict.
        parts = [fitted.predict(test[rows]) for rows in slices(test.shape[0], HELD_ROWS)]
    return fitted, np.concatenate(parts), predicting.cpu_seconds


def _cross_fitted(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec
) -> tuple[FittedModel, np.ndarray, float]:
    """The same of a cross-validation: each test row is predicted by the model of its fold.

    What is kept is the model of all rows, of as many rounds as the folds had in the median.
    """
    each = [
        _fitted(configuration, part, fold.sets, spec, stored=False)
        for part, fold in zip(work.folds, sets.folds, strict=True)
    ]
    models = [model for model, _, _ in each]
    stopped = [model.rounds for model in models if model.rounds is not None]
    rounds = round(float(np.median(stopped))) if stopped else None
    whole = learner_of(configuration.algorithm).fit(configuration, work, sets, spec, rounds)
    on_test = np.empty((len(work.y_test), *each[0][1].shape[1:]))
    for fold, (_, predicted, _) in zip(sets.folds, each, strict=True):
        on_test[fold.places] = predicted
    every = [*models, whole]
    fitted = replace(
        whole,
        rounds=rounds,
        cpu_seconds=sum(model.cpu_seconds for model in every),
        wall_seconds=sum(model.wall_seconds for model in every),
        notes=tuple(dict.fromkeys(note for model in every for note in model.notes)),
    )
    return fitted, on_test, sum(seconds for _, _, seconds in each)


def train_features(encoder: Features, sets: TrainingSets) -> ColumnTransformer:
    """Return the features of an encoder as a model of the train rows is judged with them."""
    return gathered(fit_features(encoder, sets.train, sets.fit_mask, sets), sets.train)


def fitted_pipeline(
    result: ModelResult,
    model: bytes,
    sets: TrainingSets,
    spec: ExperimentSpec,
    features: ColumnTransformer | None = None,
) -> Pipeline:
    """Return the pipeline of a trained model: features fitted again on train, and the stored model.

    Args:
        result: its results.
        model: its bytes.
        sets: that it was trained on.
        spec: as of its fit.
        features: of its encoder, if fitted on train already.

    Raises:
        InvalidModel: the bytes are no model, or hold a type that is not trusted.
    """
    if features is None:
        features = train_features(result.features, sets)
    if result.is_composed:
        estimator = persistence.from_bytes(model, result.trusted_types)
    else:
        estimator = learner_of(result.algorithm).restore(result, model, sets, spec)
    return _pipeline(features, estimator)


def refit(
    configuration: Configuration,
    rounds: int | None,
    rows: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> Pipeline:
    """Fit a configuration once on other rows, with fresh features and no early stopping.

    Args:
        configuration: the chosen one.
        rounds: of the chosen fit; None for what does not stop early.
        rows: (n, columns) prepared rows, such as train and test together.
        sets: gives features, target, task, classes and split; its rows are not used.
        spec: its seed and its metric are used.
    """
    learner = learner_of(configuration.algorithm)
    with threadpool_limits(limits=1):
        held = bool(held_encoders([configuration]))
        features, encoded = encoded_rows(configuration.features, rows, sets, held=held)
        return _pipeline(features, learner.refit(configuration, rounds, encoded, sets, spec))


def refit_trained(
    trained: TrainedModel,
    features: ColumnTransformer,
    encoded: EncodedRows,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> Pipeline:
    """Fit a trained configuration on other rows, as often averaged, and calibrated as it is.

    Args:
        trained: as the search has left it: gives the rounds, and the calibrators.
        features: of its encoder, fitted on these rows.
        encoded: the rows, by `encoded_rows`; several fits may read them at once.
        sets: as of `refit`.
        spec: as of `refit`, and its seeds.
    """
    result = trained.result
    calibration = None
    if result.calibration is not None:
        model = persistence.from_bytes(trained.model, result.trusted_types)
        calibration = calibration_in(model, sets.classes or ())
    with threadpool_limits(limits=1):
        estimator = composing.refit_composed(
            *(result.configuration, result.rounds, encoded, sets, spec),
            averaged_fits=result.averaged,
            calibration=calibration,
        )
        return _pipeline(features, estimator)


def held_encoders(configurations: Iterable[Configuration]) -> set[Features]:
    """Return the encoders of which some fit reads all rows at once."""
    return {one.features for one in configurations if learner_of(one.algorithm).reads_all(one)}


def encoded_rows(
    encoder: Features, rows: pd.DataFrame, sets: TrainingSets, *, held: bool = True
) -> tuple[ColumnTransformer, EncodedRows]:
    """Return features that are fitted on rows, and these rows as a fit is to read them.

    Args:
        encoder: how columns are encoded.
        rows: as of `refit`.
        sets: as of `refit`.
        held: whether some fit reads all of them at once, by `held_encoders`.
    """
    # Libraries keep targets of their own beside the tables that they make.
    y = aside(encode_target(rows[sets.target], sets.classes))
    all_rows = np.ones(len(rows), dtype=bool)
    features, table = fit_rows(encoder, rows, all_rows, sets, held=held)
    codes, wanted = categorical_positions(features), directions(features, sets.directions)
    encoded = EncodedRows(table, y, codes, sets.weights_of(rows), wanted)
    return gathered(features, rows), encoded


def _pipeline(features: Any, estimator: Any) -> Pipeline:
    return Pipeline([("features", features), ("model", estimator)])
