"""The predictions of a fit, and the scores computed from them; no score influences a
fit.

Predictions have the shape of `results.Predictions`. They are stored for the test rows
and for some train rows: a metric or gate that is added to the experiment later is
computed from these.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.results import (
    ModelResult,
    ModelStore,
    Predictions,
    Scores,
)
from experiment_pipeline.stages.search.shared_work import SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.statistics.thresholds import scoring_threshold

# The train score shows overfitting. Trees predict a row in half the time that it takes
# to grow them on it: predicting a fifth of the rows costs a tenth of the fit.
TRAIN_SCORE_SHARE = 0.2
TRAIN_SCORE_ROWS = (1_000, 5_000)
# At most so many rows times classes: boosted trees predict each class by separate
# trees.
TRAIN_SCORE_NUMBERS = 50_000


def predictions_of(
    estimator: Any, rows: Any, task: str, classes: Sequence[Any] | None
) -> np.ndarray:
    """Return what a fitted estimator predicts for rows (n, …) in the form it reads."""
    if classes is None:
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1)
    predicted = estimator.predict_proba(rows)
    probabilities = np.zeros((len(predicted), len(classes)))
    # A class that the fit has not seen has no column, and probability 0.
    for column, label in enumerate(estimator.classes_):
        probabilities[:, list(classes).index(label)] = predicted[:, column]
    return probabilities[:, 1] if task == "binary" else probabilities


def scored_rows(n_train: int, classes: Sequence | None) -> np.ndarray:
    """Return the positions of the rows of the train score, evenly spaced."""
    share = np.clip(round(TRAIN_SCORE_SHARE * n_train), *TRAIN_SCORE_ROWS)
    scored = min(n_train, share, TRAIN_SCORE_NUMBERS // len(classes or (0,)))
    return np.linspace(0, n_train - 1, scored).astype(np.int64)


def scores(
    predictions: Predictions,
    truth: SharedWork | TrainingSets,
    spec: ExperimentSpec,
    classes: Sequence | None,
) -> Scores:
    """Return the scores of one fit, at the threshold that is best for the test rows."""
    names, y, weights = spec.metric_names, truth.y_test, truth.w_test

    def best_threshold(prediction: np.ndarray) -> float:
        return scoring_threshold(names, y, prediction, weights)

    def test_score(name: str, prediction: np.ndarray, threshold: float) -> float:
        return score(name, y, prediction, threshold, weights)

    threshold = best_threshold(predictions.test)
    test_scores = {
        name: test_score(name, predictions.test, threshold) for name in names
    }
    y_train, w_train = truth.y_train, truth.w_train
    scored = scored_rows(len(y_train), classes)
    train_score = score(
        spec.metric,
        y_train[scored],
        predictions.train,
        threshold,
        None if w_train is None else w_train[scored],
    )
    by_seed = () if predictions.by_seed is None else predictions.by_seed
    return Scores(
        metric=spec.metric,
        train_score=train_score,
        test_score=test_scores[spec.metric],
        test_scores=test_scores,
        # Each at its own best threshold.
        seed_scores=tuple(
            test_score(spec.metric, prediction, best_threshold(prediction))
            for prediction in by_seed
        ),
    )


def scored_as_asked(
    store: ModelStore,
    fingerprints: Sequence[str],
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> dict[str, ModelResult]:
    """Return the stored results, scored by the metrics that the experiment has now."""
    results = dict(store.results(fingerprints))
    # The code of a user's metric may have changed.
    has_own_metric = any(metric_of(name).is_own for name in spec.metric_names)
    for fingerprint, result in results.items():
        # Order counts: the first metric ranks, the first with a threshold sets it.
        if tuple(result.test_scores) != spec.metric_names or has_own_metric:
            predictions = store.predictions(fingerprint)
            again = scores(predictions, sets, spec, sets.classes)
            results[fingerprint] = replace(result, **asdict(again))
    return results
