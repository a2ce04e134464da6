"""Training: one fitted model per configuration, as fast as the machine allows.

    sets.py             what every fit is given
    algorithms.py       names and import paths → unfitted estimators, checked
    lightgbm_parameters.py  the names LightGBM accepts
    features.py         recipes: prepared columns → numbers
    shared_work.py      encoding and binning, once per sweep
    boosting.py         LightGBM on shared bins
    boosted_estimator.py    Booster → scikit-learn estimator
    fit.py              one configuration, measured and scored
    cost.py  sweep.py   the pool: longest first, a failure is a result
    fingerprints.py     what decides a trained model
    results.py          what is left behind
    pipelines.py  predictions.py   the whole pipeline, and what it predicts

Nothing here touches a disk. In: configurations and `TrainingSets`. Out: `TrainedModel`s.
Names are loaded when first used: the heavy libraries take seconds to import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiment_pipeline.core.trained_model.algorithms import check_hyperparameters
    from experiment_pipeline.core.trained_model.fingerprints import (
        TRAINING_VERSION,
        fingerprint,
        recipe_fingerprint,
    )
    from experiment_pipeline.core.trained_model.pipelines import fitted_pipeline, refit
    from experiment_pipeline.core.trained_model.predictions import predict
    from experiment_pipeline.core.trained_model.results import (
        FailedConfiguration,
        ModelResult,
        TrainedModel,
    )
    from experiment_pipeline.core.trained_model.sets import TrainingSets
    from experiment_pipeline.core.trained_model.sweep import train_configurations

__all__ = [
    "TRAINING_VERSION",
    "FailedConfiguration",
    "ModelResult",
    "TrainedModel",
    "TrainingSets",
    "check_hyperparameters",
    "fingerprint",
    "fitted_pipeline",
    "predict",
    "recipe_fingerprint",
    "refit",
    "train_configurations",
]
_MODULES = {
    "TRAINING_VERSION": "fingerprints",
    "FailedConfiguration": "results",
    "ModelResult": "results",
    "TrainedModel": "results",
    "TrainingSets": "sets",
    "check_hyperparameters": "algorithms",
    "fingerprint": "fingerprints",
    "fitted_pipeline": "pipelines",
    "predict": "predictions",
    "recipe_fingerprint": "fingerprints",
    "refit": "pipelines",
    "train_configurations": "sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
