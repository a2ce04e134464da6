"""Fits: a configuration on shared work, measured and ready to be stored, or as a whole
pipeline.

A configuration is fitted with each of its seeds, on folds under cross-validation, and
calibrated; several seeds and calibration only at the full rung. The mean of the fits is
a model of its own. Calibrators are learnt from out-of-fold predictions of train rows,
with folds that keep clusters whole: no test row is used.

A pipeline is features and model, as they are judged and exported: a fitted scikit-learn
Pipeline.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from experiment_pipeline.errors import EmptySet, TrainingError
from experiment_pipeline.spec import (
    CrossValidation,
    ExperimentSpec,
    Features,
)
from experiment_pipeline.spec.algorithms import refit_count
from experiment_pipeline.stages.search import fingerprints
from experiment_pipeline.stages.search.averaging import (
    Calibrators,
    averaged,
    calibration_in,
    learn_calibration,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.encoding import (
    as_read,
    encode,
    fit_features,
    fit_rows,
)
from experiment_pipeline.stages.search.features import (
    categorical_positions,
    directions,
    frame_step,
)
from experiment_pipeline.stages.search.learners import hyperparameters, learner_of
from experiment_pipeline.stages.search.learners.learner import (
    Clock,
    FitRequest,
    FittedModel,
)
from experiment_pipeline.stages.search.results import (
    ModelResult,
    Predictions,
    TrainedModel,
)
from experiment_pipeline.stages.search.scoring import (
    predictions_of,
    scored_rows,
    scores,
)
from experiment_pipeline.stages.search.shared_work import (
    HELD_ROWS,
    EncodedRows,
    SharedWork,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.threads import one_thread
from experiment_pipeline.storage import persistence
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.membership import FoldRows, folds_of
from experiment_pipeline.table.table import slices, spilled

# With fewer rows of the rarest class, the two parameters of a sigmoid are a guess.
FEWEST_TO_CALIBRATE = 20

# Rows on which the predictions of two fits are compared, to see whether the seed
# matters.
_COMPARED_ROWS = 1_000
_DRAWS_NOTHING = (
    "another seed gives the same model: its fits draw nothing, and count as one"
)


def share_work(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> SharedWork:
    """Encode the sets once per encoder, and prepare what else the fits share."""
    configurations = list(configurations)
    read_at_once = held_encoders(configurations)

    def shared(sets: TrainingSets) -> SharedWork:
        y_train, w_train = sets.y_train, sets.w_train
        read, trusted = as_read(sets)
        train, test = dict[Features, EncodedRows](), dict[Features, Any]()
        for encoder in dict.fromkeys(
            configuration.features for configuration in configurations
        ):
            train[encoder], test[encoder] = encode(
                encoder, read, y_train, w_train, in_memory=encoder in read_at_once
            )
        return SharedWork(
            train=train,
            test=test,
            y_train=y_train,
            y_test=sets.y_test,
            w_train=w_train,
            w_test=sets.w_test,
            trusted_types=trusted,
        )

    work = shared(sets)
    if sets.folds:
        return replace(work, folds=tuple(shared(fold.sets) for fold in sets.folds))
    return replace(
        work, folds_to_calibrate=folds_to_calibrate(configurations, sets, spec)
    )


def fit_configuration(
    configuration: Configuration,
    work: SharedWork,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> TrainedModel:
    """Fit and score a configuration; TrainingError: a prediction is not finite."""
    composed = compose(FitRequest(configuration, sets, spec), work)
    fitted, on_test = composed.fitted, composed.on_test
    scored = scored_rows(len(work.y_train), sets.classes)
    on_train = fitted.predict(work.train[configuration.features].table[scored])
    for rows, predicted in (("test", on_test), ("train", on_train)):
        infinite = int((~np.isfinite(predicted)).sum())
        if infinite:
            raise TrainingError(
                f"configuration {configuration.key}",
                rule=f"{infinite} of {predicted.size} predictions on {rows} rows are "
                "not finite",
                fix="regularise more, learn more slowly, or scale the target",
            )
    predictions = Predictions(on_test, on_train, composed.by_seed)
    result = ModelResult(
        key=configuration.key,
        fingerprint=fingerprints.fingerprint(configuration, sets, spec),
        encoder_fingerprint=fingerprints.encoder_fingerprint(
            configuration.features, sets
        ),
        algorithm=configuration.algorithm,
        features=configuration.features,
        hyperparameters=configuration.hyperparameters,
        status="trained",
        rounds=fitted.rounds,
        fit_cpu_seconds=fitted.cpu_seconds,
        fit_wall_seconds=fitted.wall_seconds,
        predict_seconds_per_row=composed.predict_seconds / len(on_test),
        model_bytes=len(fitted.model),
        trusted_types=tuple(sorted({*fitted.trusted_types, *work.trusted_types})),
        calibration=composed.calibration,
        notes=fitted.notes,
        **asdict(scores(predictions, work, spec, sets.classes)),
    )
    return TrainedModel(result, fitted.model, predictions)


@dataclass(frozen=True, eq=False)
class Composed:
    """The model of a configuration, or one of the fits that it is made of."""

    # the model; that of a configuration as it is stored, judged and exported
    fitted: FittedModel
    on_test: np.ndarray  # its predictions of the test rows
    predict_seconds: float  # CPU time of that
    # (fits, n_test, …) the predictions of each fit; None: there is one
    by_seed: np.ndarray | None = None
    calibration: str | None = None  # "sigmoid"; None: not calibrated


def folds_to_calibrate(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> tuple[FoldRows, ...]:
    """Return folds of the train rows; none where nothing is to be calibrated."""
    if not any(
        fingerprints.calibration_of(configuration, spec)
        for configuration in configurations
    ):
        return ()
    five = CrossValidation(folds=fingerprints.CALIBRATION_FOLDS, repeats=1)
    try:
        return folds_of(sets.train, spec, five, sets.features)
    except EmptySet:
        # One cluster cannot be cut: `_calibrates` notes that the model is not.
        return ()


def compose(request: FitRequest, work: SharedWork) -> Composed:
    """Fit a configuration with each of its seeds, and calibrate it."""
    spec = request.spec
    planned = fingerprints.planned_fits(request.configuration, spec)
    requests = _with_seeds(request, planned)
    fits = _distinct_fits(requests, work)
    calibrates, notes = _calibrates(request, work)
    if len(fits) < len(requests):
        notes = [_DRAWS_NOTHING, *notes]
    whole = _first_of(fits, notes)
    if not calibrates:
        return whole
    estimator = learner_of(request.configuration.algorithm).restore(
        request, whole.fitted, whole.fitted.model
    )
    whole, calibrators = _calibrated(whole, estimator.classes_, request, work)
    return _as_stored(whole, calibrators.around(estimator), request, work)


def _with_seeds(request: FitRequest, fits: int) -> list[FitRequest]:
    """Requests for so many fits, each with a seed, the experiment's first."""
    spec, requests = request.spec, [request]
    for number in range(2, fits + 1):
        seed = int(sha256(f"{spec.seed}/fit {number}".encode())[:8], 16) % 2**31
        requests.append(replace(request, spec=spec.model_copy(update={"seed": seed})))
    return requests


def _distinct_fits(requests: Sequence[FitRequest], work: SharedWork) -> list[Composed]:
    """A fit per request; the first alone where a second seed changes nothing."""
    fits = list[Composed]()
    for request in requests:
        fit = _cross_fitted if request.sets.folds else _fitted
        fits.append(fit(request, work))
        if len(fits) == 2 and np.array_equal(fits[0].on_test, fits[1].on_test):
            return fits[:1]
    return fits


def _first_of(fits: Sequence[Composed], notes: Sequence[str]) -> Composed:
    """The first fit, with what all of them cost."""
    fitted = _with_costs_of(fits[0].fitted, [fit.fitted for fit in fits])
    by_seed = np.stack([fit.on_test for fit in fits]) if len(fits) > 1 else None
    return replace(fits[0], fitted=replace(fitted, notes=tuple(notes)), by_seed=by_seed)


def _with_costs_of(model: FittedModel, models: Sequence[FittedModel]) -> FittedModel:
    return replace(
        model,
        cpu_seconds=sum(fit.cpu_seconds for fit in models),
        wall_seconds=sum(fit.wall_seconds for fit in models),
    )


def _median_rounds(models: Iterable[FittedModel]) -> int | None:
    """The median of the fits' rounds; None where no fit has rounds."""
    rounds = [model.rounds for model in models if model.rounds is not None]
    return round(float(np.median(rounds))) if rounds else None


def _as_stored(
    whole: Composed, estimator: Any, request: FitRequest, work: SharedWork
) -> Composed:
    """What is stored, and predicts, is the estimator that would be exported."""
    sets = request.sets

    def predict(rows: Any) -> np.ndarray:
        return predictions_of(estimator, rows, sets.task, sets.classes)

    model = persistence.to_bytes(estimator)
    whole = replace(whole, fitted=replace(whole.fitted, predict=predict, model=model))
    if sets.folds:
        return whole
    with Clock() as clock:
        on_test = predict(work.test[request.configuration.features])
    return replace(whole, on_test=on_test, predict_seconds=clock.cpu_seconds)


def _fitted(request: FitRequest, work: SharedWork, *, stored: bool = True) -> Composed:
    learner = learner_of(request.configuration.algorithm)
    fitted = learner.fit(request, work, stored=stored)
    test = work.test[request.configuration.features]
    with Clock() as predicting:
        # Some estimators copy the rows that they predict.
        parts = [
            fitted.predict(test[rows]) for rows in slices(test.shape[0], HELD_ROWS)
        ]
    return Composed(fitted, np.concatenate(parts), predicting.cpu_seconds)


def _cross_fitted(request: FitRequest, work: SharedWork) -> Composed:
    """A model of all rows, with the median rounds of the folds' models."""
    folds = request.sets.folds
    fits = [
        _fitted(replace(request, sets=fold.sets), part, stored=False)
        for part, fold in zip(work.folds, folds, strict=True)
    ]
    models = [fit.fitted for fit in fits]
    rounds = _median_rounds(models)
    learner = learner_of(request.configuration.algorithm)
    whole = learner.fit(request, work, rounds, stored=True)
    on_test = np.empty((len(work.y_test), *fits[0].on_test.shape[1:]))
    for fold, fit in zip(folds, fits, strict=True):
        on_test[fold.places] = fit.on_test
    fitted = replace(_with_costs_of(whole, [*models, whole]), rounds=rounds)
    return Composed(fitted, on_test, sum(fit.predict_seconds for fit in fits))


def _calibrates(request: FitRequest, work: SharedWork) -> tuple[bool, list[str]]:
    """Whether to calibrate on these rows, and a note if the YAML says otherwise."""
    if fingerprints.calibration_of(request.configuration, request.spec) is None:
        return False, []
    counts = np.bincount(work.y_train)
    rows = fewest = int(counts.min())
    if not work.folds:
        in_folds = [
            np.bincount(work.y_train[fold.fitted], minlength=len(counts)).min()
            for fold in work.folds_to_calibrate
        ]
        fewest = int(min(in_folds, default=0))
    has = f"the rarest class has {rows:,} train rows"
    if rows < FEWEST_TO_CALIBRATE or not fewest:
        few = f"fewer than the {FEWEST_TO_CALIBRATE} needed"
        return False, [f"not calibrated: {has}, {few}"]
    return True, []


def _calibrated(
    whole: Composed,
    labels: np.ndarray,
    request: FitRequest,
    work: SharedWork,
) -> tuple[Composed, Calibrators]:
    """Learn calibrators of a model whose classes are in the order of `labels`."""
    sets, on_test = request.sets, whole.on_test
    order = [list(sets.classes or ()).index(label) for label in labels]
    with Clock() as clock, one_thread("openmp"):
        if sets.folds:
            # The predictions of a cross-validation are out of fold. Each fold is
            # calibrated on the others, the model on all.
            learn = partial(learn_calibration, order=order)
            learnt = learn(on_test, work.y_test, weights=work.w_test)
            on_test = _cross_calibrated(learn, on_test, sets, work)
        else:
            rows, predicted = _out_of_fold(request, work, whole.fitted.rounds)
            weights = None if work.w_train is None else work.w_train[rows]
            learnt = learn_calibration(predicted, work.y_train[rows], order, weights)
    fitted = replace(
        whole.fitted,
        cpu_seconds=whole.fitted.cpu_seconds + clock.cpu_seconds,
        wall_seconds=whole.fitted.wall_seconds + clock.wall_seconds,
    )
    by_seed = whole.by_seed
    if by_seed is not None:
        by_seed = np.stack([learnt.applied(predicted) for predicted in by_seed])
    whole = replace(
        whole, fitted=fitted, on_test=on_test, by_seed=by_seed, calibration="sigmoid"
    )
    return whole, learnt


def _cross_calibrated(
    learn: Callable[..., Calibrators],
    predicted: np.ndarray,
    sets: TrainingSets,
    work: SharedWork,
) -> np.ndarray:
    """Predictions of each fold, calibrated on the other folds of the same repeat."""
    calibrated = np.empty_like(predicted)
    for fold in sets.folds:
        rows = np.concatenate(
            [
                other_fold.places
                for other_fold in sets.folds
                if other_fold.repeat == fold.repeat and other_fold is not fold
            ]
        )
        weights = None if work.w_test is None else work.w_test[rows]
        of_others = learn(predicted[rows], work.y_test[rows], weights=weights)
        calibrated[fold.places] = of_others.applied(predicted[fold.places])
    return calibrated


def _out_of_fold(
    request: FitRequest, work: SharedWork, rounds: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of train rows, and their out-of-fold predictions.

    Features are encoded on all train rows; encoders that use the target are
    cross-fitted.
    """
    configuration, sets = request.configuration, request.sets
    refit = learner_of(configuration.algorithm).refit
    train = work.train[configuration.features]
    rows, predicted = list[np.ndarray](), list[np.ndarray]()
    for fold in work.folds_to_calibrate:
        fitted, left_out = train.part(fold.fitted), train.table[fold.predicted]
        model = refit(request, rounds, fitted)
        predicted.append(predictions_of(model, left_out, sets.task, sets.classes))
        rows.append(np.flatnonzero(fold.predicted))
    return np.concatenate(rows), np.concatenate(predicted)


def train_features(encoder: Features, sets: TrainingSets) -> ColumnTransformer:
    """Return the features, fitted on train, with which a model is judged."""
    return fit_features(encoder, sets.train, sets.fit_mask, sets)


def fitted_pipeline(
    result: ModelResult,
    model: bytes,
    sets: TrainingSets,
    spec: ExperimentSpec,
    features: ColumnTransformer | None = None,
) -> Pipeline:
    """Return the stored model behind `features`, None: fitted on train."""
    if result.calibration:
        estimator = persistence.from_bytes(model, result.trusted_types)
    else:
        request = FitRequest(result.configuration, sets, spec)
        estimator = learner_of(result.algorithm).restore(request, result, model)
    features = train_features(result.features, sets) if features is None else features
    return Pipeline([("features", features), ("model", estimator)])


def refits(
    trained: TrainedModel,
    encoded: EncodedRows,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> list[Callable[[], Any]]:
    """Return the fits of a trained configuration on other rows, to be called in any
    thread.

    There are as many as the model averages, or `refit_count` if that is more. Rows of
    `sets` are not used.
    """
    result = trained.result
    refit = learner_of(result.algorithm).refit
    request = FitRequest(result.configuration, sets, spec)
    requests = _with_seeds(request, refit_count(result.algorithm, spec.export.fits))
    rounds = hyperparameters.rounds_on(len(encoded.y), result.rounds, request)
    return [partial(refit, request, rounds, encoded) for request in requests]


def refitted_pipeline(
    trained: TrainedModel,
    fits: Sequence[Any],
    features: ColumnTransformer,
    encoded: EncodedRows,
    sets: TrainingSets,
) -> Pipeline:
    """Return the mean of what `refits` made, calibrated as the trained configuration
    is.

    `features` are fitted on the rows of `encoded`.
    """
    result, model = trained.result, fits[0]
    if len(fits) > 1:
        rows = encoded.table[slice(_COMPARED_ROWS)]
        first, second = (
            predictions_of(fit, rows, sets.task, sets.classes) for fit in fits[:2]
        )
        # Equal predictions: the algorithm draws nothing at random, and one fit is the
        # mean.
        if not np.array_equal(first, second):
            model = averaged(fits, getattr(model, "classes_", None))
    if result.calibration is not None:
        # The calibrators that were judged; new ones would be learnt on test rows, too.
        judged = persistence.from_bytes(trained.model, result.trusted_types)
        model = calibration_in(judged, sets.classes or ()).around(model)
    return Pipeline([("features", features), ("model", model)])


def held_encoders(configurations: Iterable[Configuration]) -> set[Features]:
    """Return the encoders whose rows some fit reads all at once."""
    return {
        configuration.features
        for configuration in configurations
        if learner_of(configuration.algorithm).reads_all(configuration)
    }


def encoded_rows(
    encoder: Features, rows: pd.DataFrame, sets: TrainingSets, *, in_memory: bool = True
) -> tuple[ColumnTransformer, EncodedRows]:
    """Return features fitted on prepared rows, and these as fits read them, in a
    table `in_memory` if that is asked for.
    """
    # Spilled: libraries keep their own copy of the targets with the tables that they
    # make.
    y = spilled(encode_target(rows[sets.target], sets.classes))
    features, table = fit_rows(
        encoder, rows, np.ones(len(rows), dtype=bool), sets, in_memory=in_memory
    )
    return features, EncodedRows(
        table,
        y,
        categorical=categorical_positions(features),
        weights=sets.weights_of(rows),
        directions=directions(features, sets.directions),
        frame_step=frame_step(encoder, features, table),
    )
