"""How much each row counts: rows with their weights, and what weights do to numbers of rows.

Only ratios of weights count: they are brought to a mean of 1, and weights that are all equal are
none. A score is then a function of weighted rows, as scikit-learn's `sample_weight` defines it, and
a row of weight 2 scores as two equal rows of weight 1 do; how sure a score is, is another question:
it is one row, drawn once. In: targets, predictions, weights. Out: arrays and numbers.
"""

from dataclasses import dataclass

import numpy as np

Weights = np.ndarray | None
# Half of the weight is reached, but for the rounding of sums.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class MetricInput:
    """Predictions beside the truth, as a metric takes them.

    Attributes:
        y: encoded targets (n,).
        prediction: (n,) or (n, k), of finite numbers.
        threshold: of the metrics that depend on one.
        weights: (n,) by `relative_weights`.
    """

    y: np.ndarray
    prediction: np.ndarray
    threshold: float
    weights: Weights = None


def relative_weights(weights: Weights) -> Weights:
    """Return weights (n,) with a mean of 1; None where none are given, or all are equal."""
    if weights is None or not len(weights) or (weights == weights[0]).all():
        return None
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def weighted(values: np.ndarray, weights: Weights) -> np.ndarray:
    """Return what each row adds, (n,), counted as its weight says."""
    return values if weights is None else values * weights


def effective_number(weights: np.ndarray) -> float:
    """Return of how many equal rows a mean is as uncertain (Kish 1965): (Σw)² / Σw²."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def weighted_mean(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the mean, ()."""
    return np.asarray(np.mean(y) if weights is None else np.average(y, weights=weights))


def weighted_median(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the median, (): where half of the weight is reached; halfway to the next if exactly."""
    if weights is None:
        return np.asarray(np.median(y))
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(weights[order])
    half = reached[-1] / 2
    ends = np.searchsorted(reached, [half * (1 - _ROUNDING), half * (1 + _ROUNDING)])
    return np.asarray(y[order][ends].mean())


def weighted_quantile(y: np.ndarray, weights: Weights, level: float) -> np.ndarray:
    """Return the smallest value () up to which the level's share of the weight is reached."""
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(np.ones(len(y)) if weights is None else weights[order])
    return np.asarray(y[order][np.searchsorted(reached, level * reached[-1] * (1 - _ROUNDING))])
