"""Training: one fitted model per configuration, as fast as the machine allows.

    sets.py             what every fit is given
    algorithms.py       names and import paths → unfitted estimators, checked
    lightgbm_parameters.py  the names LightGBM accepts
    features.py         recipes: prepared columns → numbers
    shared_work.py      encoding and binning, once per sweep
    boosting.py         LightGBM on shared bins
    boosted_estimator.py    Booster → scikit-learn estimator
    own_stopping.py     an estimator's own early stopping
    fit.py              one configuration, measured and stored with its predictions
    scoring.py          scores, from predictions alone
    parsing.py          one parse at a time
    cost.py  sweep.py  processes.py    the pools: longest first, a failure is a result
    fitting.py  brake.py  conclusions.py   fits within the budget, and what came of each
    thinning.py  rungs.py  halving.py   nested parts of the train rows, and who goes on
    surrogate.py  rounds.py   all train rows, and who is promising
    search_run.py       one search, in either way
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
    from experiment_pipeline.core.trained_model.conclusions import (
        FAILED,
        NOT_STARTED,
        STOPPED_EARLY,
        TRAINED,
        Conclusion,
        Event,
        Fitted,
        Note,
        RungStarted,
    )
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
        Predictions,
        TrainedModel,
    )
    from experiment_pipeline.core.trained_model.search_run import search, settled
    from experiment_pipeline.core.trained_model.sets import TrainingSets
    from experiment_pipeline.core.trained_model.sweep import train_configurations

__all__ = [
    "FAILED",
    "NOT_STARTED",
    "STOPPED_EARLY",
    "TRAINED",
    "TRAINING_VERSION",
    "Conclusion",
    "Event",
    "FailedConfiguration",
    "Fitted",
    "ModelResult",
    "Note",
    "Predictions",
    "RungStarted",
    "TrainedModel",
    "TrainingSets",
    "check_hyperparameters",
    "fingerprint",
    "fitted_pipeline",
    "predict",
    "recipe_fingerprint",
    "refit",
    "search",
    "settled",
    "train_configurations",
]
_MODULES = {
    "FAILED": "conclusions",
    "NOT_STARTED": "conclusions",
    "STOPPED_EARLY": "conclusions",
    "TRAINED": "conclusions",
    "TRAINING_VERSION": "fingerprints",
    "Conclusion": "conclusions",
    "Event": "conclusions",
    "FailedConfiguration": "results",
    "Fitted": "conclusions",
    "ModelResult": "results",
    "Note": "conclusions",
    "Predictions": "results",
    "RungStarted": "conclusions",
    "TrainedModel": "results",
    "TrainingSets": "sets",
    "check_hyperparameters": "algorithms",
    "fingerprint": "fingerprints",
    "fitted_pipeline": "pipelines",
    "predict": "predictions",
    "recipe_fingerprint": "fingerprints",
    "refit": "pipelines",
    "search": "search_run",
    "settled": "search_run",
    "train_configurations": "sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
