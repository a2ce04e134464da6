"""What each row adds to an error of numbers, and the constants that make such errors smallest.

Which metric is made of which lives in `metrics.py`. In: targets and predictions (n,). Out: (n,) what
each row adds, () a constant.
"""

import numpy as np

# scikit-learn clips probabilities and targets by the same amount.
EPSILON = float(np.finfo(np.float64).eps)


def squared_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what each row adds to a squared error, (n,)."""
    return np.asarray((y - prediction) ** 2)


def absolute_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what each row adds to an absolute error, (n,)."""
    return np.asarray(np.abs(y - prediction))


def relative_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what each row adds to a relative error, (n,)."""
    return np.asarray(np.abs(y - prediction) / np.maximum(np.abs(y), EPSILON))


def pinball_errors(y: np.ndarray, prediction: np.ndarray, level: float) -> np.ndarray:
    """Return level·(y - p) where p is too low, (1 - level)·(p - y) where it is too high, (n,)."""
    return np.asarray(np.maximum(level * (y - prediction), (level - 1) * (y - prediction)))


def deviances(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return 2·(y·log(y/p) - y + p), (n,); a prediction of nothing or less counts as nearly none."""
    expected = np.maximum(prediction, EPSILON)
    # y·log(y) is 0 at 0.
    logs = y * np.log(np.where(y > 0, y, 1.0) / expected)
    return np.asarray(2 * (logs - y + expected))


def relative_median(y: np.ndarray) -> np.ndarray:
    """The median weighted by 1/|y| (Gneiting 2011)."""
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(1 / np.maximum(np.abs(y[order]), EPSILON))
    return np.asarray(y[order][np.searchsorted(reached, reached[-1] / 2)])


def lowest_quantile(y: np.ndarray, level: float) -> np.ndarray:
    """Return the smallest target () that this share of the targets reaches or stays below."""
    return np.asarray(np.quantile(y, level, method="inverted_cdf"))
