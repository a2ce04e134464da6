"""Fingerprints: a sha256 digest of all that decides a model, known before any fit."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiment_pipeline.spec import ExperimentSpec, Features, Scalar
from experiment_pipeline.spec.algorithms import ALGORITHMS, NGRAMS, STACKED, competes
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.estimators import is_own_estimator
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.storage.provenance import installed_version
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.run_code import SOURCE, own_code
from experiment_pipeline.table.digests import sha256

# scikit-learn's default. Simulated (190 positives of 4,000): calibration slope 1.11,
# with 3 folds 1.17.
CALIBRATION_FOLDS = 5
_FEATURE_LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")


def fingerprint(
    configuration: Configuration, sets: TrainingSets, spec: ExperimentSpec
) -> str:
    """Return the digest of everything that decides a trained model and its predictions.

    Of a user's own estimator: its package's version, the source of its module (in a
    notebook its own source), and the source of the user's code that it uses. Metrics
    count only where a fit uses one.
    """
    fitted_sets = sets.folds[0].sets if sets.folds else sets
    request = FitRequest(configuration, fitted_sets, spec)
    # Which rows each fold's model is fitted on, and which it predicts.
    folds = [
        [
            _digest(fold.fitted),
            _digest(fold.sets.early_stopping),
            _digest(fold.sets.fit_mask),
            sha256(fold.places.tobytes()),
        ]
        for fold in sets.folds
    ]
    return fingerprint_of(
        encoder=encoder_fingerprint(configuration.features, sets),
        test=sets.digests["test"],
        inner=[_digest(sets.early_stopping), _digest(sets.fit_mask)],
        target=sets.target,
        weights=sets.weight_column,
        task=sets.task,
        classes=list(sets.classes or ()),
        code=code_of(configuration.import_paths),
        folds=folds,
        directions=dict(sets.directions),
        algorithm=configuration.algorithm,
        hyperparameters=dict(configuration.hyperparameters),
        seed=spec.seed,
        watched=learner_of(configuration.algorithm).watched(request),
        **composition(configuration, spec),
    )


def encoder_fingerprint(encoder: Features, sets: TrainingSets) -> str:
    """Return the digest of all that decides the fitted features of an encoder."""
    decisive = dict[str, Any]()
    if encoder not in ("ordinal", "onehot", NGRAMS) or sets.own is not None:
        # What decides codes by the target and a user's features, and which rows
        # cross-fit which others.
        decisive["target"] = [
            sets.target,
            sets.task,
            list(sets.classes or ()),
            sets.weight_column,
        ]
        decisive["grown"] = _digest(sets.fit_mask)
        decisive["split"] = sets.split.model_dump(mode="json")
        if sets.own is not None:
            decisive["own"] = asdict(sets.own)
        if encoder == STACKED:
            decisive["directions"] = dict(sets.directions)
    return fingerprint_of(
        **decisive,
        train=sets.digests["train"],
        # The features of a cross-validated model have seen the test rows as well.
        pooled=sets.digests["test"] if sets.folds else None,
        features=list(sets.features),
        encoder=encoder,
        training_version=STAGES["search"].version,
        libraries={name: installed_version(name) for name in _FEATURE_LIBRARIES},
    )


def _digest(rows: np.ndarray) -> str:
    return sha256(np.packbits(rows).tobytes())


def code_of(paths: Sequence[str]) -> dict[str, Any]:
    """Return the code of a fit: library → version, or a user's source → digest.

    `paths`: the algorithm, and the import paths in its hyperparameters.
    """
    algorithm, *parts = paths
    code = dict[str, str | None]()
    if is_own_estimator(algorithm):
        code |= own_code(algorithm)
    else:
        libraries = ALGORITHMS[algorithm].libraries
        code |= {name: installed_version(name) for name in libraries}
    for path in parts:
        for name, version in own_code(path).items():
            code[f"{SOURCE} of {path}" if name == SOURCE else name] = version
    return code


def calibration_of(configuration: Configuration, spec: ExperimentSpec) -> str | None:
    """Return how to calibrate: as the YAML says, else only if it reweights classes."""
    is_classifier = spec.task != "regression" and competes(configuration.algorithm)
    if spec.calibrate == "off" or not is_classifier:
        return None
    if spec.calibrate is None:
        return "sigmoid" if reweighting(configuration.hyperparameters) else None
    return spec.calibrate


def planned_fits(configuration: Configuration, spec: ExperimentSpec) -> int:
    """Return the number of seeds that a configuration is fitted with."""
    if spec.seeds is None or not competes(configuration.algorithm):
        return 1
    return spec.seeds


def composition(
    configuration: Configuration, spec: ExperimentSpec
) -> dict[str, dict[str, Scalar]]:
    """Return seeds and calibration of a model; empty for one uncalibrated fit."""
    parts: dict[str, Scalar] = {}
    if (fits := planned_fits(configuration, spec)) > 1:
        parts["fits"] = fits
    if method := calibration_of(configuration, spec):
        parts |= {"calibrate": method, "folds": CALIBRATION_FOLDS}
    return {"composition": parts} if parts else {}
