"""Row weights: how much each row counts in a score.

Only ratios of weights matter: they are scaled to a mean of 1. A row of weight 2 scores as two equal
rows of weight 1 do (scikit-learn's `sample_weight`); for uncertainty it is one row, drawn once.
"""

import numpy as np

Weights = np.ndarray | None
# Tolerance for rounded cumulative sums.
_ROUNDING = 1e-9


def relative_weights(weights: Weights) -> Weights:
    """Return weights (n,) with a mean of 1; None where none are given, or all are equal."""
    if weights is None or not len(weights) or (weights == weights[0]).all():
        return None
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def weighted(values: np.ndarray, weights: Weights) -> np.ndarray:
    """Return values (n,) multiplied by the weights."""
    return values if weights is None else values * weights


def effective_number(weights: np.ndarray) -> float:
    """Return the number of equal rows with the same variance of a mean: (Σw)² / Σw² (Kish 1965)."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def weighted_mean(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the mean, ()."""
    return np.asarray(np.mean(y) if weights is None else np.average(y, weights=weights))


def weighted_median(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the median, (): the mean of both neighbours where exactly half the weight lies below."""
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
