"""Fits: one configuration on shared work, measured and ready to be stored, or as a whole pipeline.

A pipeline is features and model, as they are judged and exported: a fitted scikit-learn Pipeline
that takes a table with the feature columns by name and loads without this package.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.search import composing
from experiment_pipeline.stages.search.averaging import calibration_in
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.encoding import encode, fit_features, fit_rows
from experiment_pipeline.stages.search.features import categorical_positions, directions
from experiment_pipeline.stages.search.fingerprints import encoder_fingerprint, fingerprint
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.results import ModelResult, Predictions, TrainedModel
from experiment_pipeline.stages.search.scoring import scored_rows, scores
from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedTables, SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.mapped import aside
from experiment_pipeline.table.features import encode_target


def share_work(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> SharedWork:
    """Encode the sets once per encoder, and prepare what else the fits share."""
    configurations = list(configurations)
    held = held_encoders(configurations)

    def shared(sets: TrainingSets) -> SharedWork:
        planned = (
            table
            for one in configurations
            if (table := learner_of(one.algorithm).shared_table(FitRequest(one, sets, spec)))
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

    work = shared(sets)
    if sets.folds:
        return replace(work, folds=tuple(shared(fold.sets) for fold in sets.folds))
    cut = composing.folds_to_calibrate(configurations, sets, spec)
    return replace(work, folds_to_calibrate=cut)


def fit_configuration(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec
) -> TrainedModel:
    """Fit one configuration and score it.

    Raises:
        TrainingError: it predicts something that is not finite, or not the same once reloaded.
        Exception: whatever the estimator raises.
    """
    composed = composing.compose(FitRequest(configuration, sets, spec), work)
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
        **asdict(scores(predictions, work, spec, sets.classes)),
    )
    return TrainedModel(result, fitted.model, predictions)


def train_features(encoder: Features, sets: TrainingSets) -> ColumnTransformer:
    """Return the features of an encoder as a model of the train rows is judged with them."""
    return fit_features(encoder, sets.train, sets.fit_mask, sets)


def fitted_pipeline(
    result: ModelResult,
    model: bytes,
    sets: TrainingSets,
    spec: ExperimentSpec,
    features: ColumnTransformer | None = None,
) -> Pipeline:
    """Return the pipeline of a trained model: features fitted again on train, and the stored model.

    `features`: those of its encoder, if fitted on train already.

    Raises:
        InvalidModel: the bytes are no model, or hold a type that is not trusted.
    """
    if result.is_composed:
        estimator = persistence.from_bytes(model, result.trusted_types)
    else:
        request = FitRequest(result.configuration, sets, spec)
        estimator = learner_of(result.algorithm).restore(request, result, model)
    features = train_features(result.features, sets) if features is None else features
    return Pipeline([("features", features), ("model", estimator)])


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
        sets: what rows mean; their own rows are not used.
        spec: its seeds and its metric are used.
    """
    result, calibration = trained.result, None
    if result.calibration is not None:
        model = persistence.from_bytes(trained.model, result.trusted_types)
        calibration = calibration_in(model, sets.classes or ())
    request = FitRequest(result.configuration, sets, spec)
    with threadpool_limits(limits=1):
        estimator = composing.refit_composed(
            request, result.rounds, encoded, result.averaged, calibration
        )
    return Pipeline([("features", features), ("model", estimator)])


def held_encoders(configurations: Iterable[Configuration]) -> set[Features]:
    """Return the encoders of which some fit reads all rows at once."""
    return {one.features for one in configurations if learner_of(one.algorithm).reads_all(one)}


def encoded_rows(
    encoder: Features, rows: pd.DataFrame, sets: TrainingSets, *, held: bool = True
) -> tuple[ColumnTransformer, EncodedRows]:
    """Return features that are fitted on prepared rows, and these rows as a fit is to read them.

    `held`: whether some fit reads all of them at once, by `held_encoders`.
    """
    # Libraries keep targets of their own beside the tables that they make.
    y = aside(encode_target(rows[sets.target], sets.classes))
    all_rows = np.ones(len(rows), dtype=bool)
    features, table = fit_rows(encoder, rows, all_rows, sets, held=held)
    codes, wanted = categorical_positions(features), directions(features, sets.directions)
    return features, EncodedRows(table, y, codes, sets.weights_of(rows), wanted)
