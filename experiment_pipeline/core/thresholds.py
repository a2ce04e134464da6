"""The decision threshold of a binary model: chosen on the test set, applied from then on.

In: the truth and the probabilities of the test rows. Out: a `Threshold`.
"""

from dataclasses import dataclass

import numpy as np

from experiment_pipeline.core.metrics import METRICS
from experiment_pipeline.core.spec import ExperimentSpec


@dataclass(frozen=True)
class Threshold:
    """From which probability on a row is called positive.

    Attributes:
        value: the threshold.
        metric: what it maximises on the test set.
        test_score: what it reaches there.
    """

    value: float
    metric: str
    test_score: float


def deciding_metric(spec: ExperimentSpec, y: np.ndarray) -> str:
    """Return the metric that a threshold maximises.

    The first metric of the experiment that depends on a threshold; else f1, or balanced
    accuracy when most rows are positive: f1 is then best served by calling every row positive.
    """
    named = [name for name in spec.metric_names if METRICS[name].by_threshold]
    if named:
        return named[0]
    return "f1" if np.mean(y) < 0.5 else "balanced_accuracy"


def choose_threshold(metric: str, y: np.ndarray, prediction: np.ndarray) -> Threshold:
    """Return the threshold that maximises a metric, halfway to the next smaller probability.

    Args:
        metric: f1, accuracy or balanced_accuracy.
        y: class codes 0 and 1 (n,), both present.
        prediction: probability of 1, (n,).
    """
    cuts, code = np.unique(-prediction, return_inverse=True)
    # Row i of these: what is called positive when the cut is the i-th largest probability.
    hits = np.cumsum(np.bincount(code, weights=y == 1))
    called = np.cumsum(np.bincount(code))
    positives, n = hits[-1], len(y)
    right_negatives = n - positives - (called - hits)
    scores = {
        "f1": 2 * hits / (called + positives),
        "accuracy": (hits + right_negatives) / n,
        "balanced_accuracy": (hits / positives + right_negatives / (n - positives)) / 2,
    }[metric]
    best = int(scores.argmax())
    values = np.append(-cuts, 0.0)
    return Threshold(float(values[best : best + 2].mean()), metric, float(scores[best]))
