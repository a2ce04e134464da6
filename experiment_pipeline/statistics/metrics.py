"""Metrics by name: for which tasks, in which direction, in which range, and how to score.

The names are `spec.metrics`; the formulas live in `influence.py`, the
statistics of an interval in `intervals.py`. In: encoded targets and predictions (regression
(n,); binary (n,), the probability of classes[1]; multiclass (n, k) probabilities).
Out: numbers and `Interval`s.
"""

import math
from typing import TYPE_CHECKING

from experiment_pipeline.spec.metrics import METRICS
from experiment_pipeline.statistics.interval import Interval

if TYPE_CHECKING:
    import numpy as np


def score(name: str, y: "np.ndarray", prediction: "np.ndarray", threshold: float = 0.5) -> float:
    """Return the metric; nan where it is undefined (one class only, a prediction not finite).

    Args:
        name: one of METRICS.
        y: encoded targets (n,).
        prediction: see the module docstring.
        threshold: binary f1, accuracy and balanced_accuracy: positive from this probability on.
    """
    from experiment_pipeline.statistics.influence import linearise

    return linearise(name, y, prediction, threshold).estimate


def better(name: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`; a score that is not finite is better than none."""
    if not math.isfinite(a):
        return False
    return not math.isfinite(b) or (a - b) * METRICS[name].sign > 0


def surely_better(name: str, difference: Interval) -> bool:
    """Whether the worse end of a score minus another is still better than no difference."""
    return METRICS[name].sign * difference.worse_bound(name) > 0
