"""Results of configurations: made up, where only their scores matter, and of whole
searches.
"""

import time
from collections.abc import Iterator, Mapping

import joblib
import numpy as np

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import Event, Fitted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.halving import Threads, search
from experiment_pipeline.stages.search.results import (
    ModelResult,
    ModelsInMemory,
    TrainedModel,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.scores import SetPrediction


def events_of(
    spec: ExperimentSpec, sets: TrainingSets, workers: int | None = None
) -> Iterator[Event]:
    """What a search says that finds nothing stored; None: as many workers as cores."""
    engine = Threads(workers or joblib.cpu_count())
    return search(
        configurations(spec), sets, spec, ModelsInMemory(), engine, time.perf_counter
    )


def trained_by_search(
    spec: ExperimentSpec, sets: TrainingSets, workers: int | None = None
) -> Mapping[str, TrainedModel]:
    """Key → what such a search has trained on all train rows."""
    fits = (
        event for event in events_of(spec, sets, workers) if isinstance(event, Fitted)
    )
    return {fit.model.key: fit.model for fit in fits if fit.rung.is_full}


def apart(y: np.ndarray, prediction: np.ndarray) -> SetPrediction:
    """Predicted rows each of which is a cluster of its own."""
    return SetPrediction(y, prediction, np.arange(len(y)))


def model_result(key: str, test_score: float, metric: str = "roc_auc") -> ModelResult:
    """A trained linear configuration with that score."""
    return ModelResult(
        key=key,
        fingerprint=f"f-{key}",
        encoder_fingerprint="encoder",
        algorithm="linear",
        features="onehot",
        hyperparameters={},
        status="trained",
        metric=metric,
        train_score=test_score,
        test_score=test_score,
        test_scores={metric: test_score},
        rounds=None,
        fit_cpu_seconds=0.5,
        fit_wall_seconds=0.5,
        predict_seconds_per_row=1e-6,
        model_bytes=1_000,
    )
