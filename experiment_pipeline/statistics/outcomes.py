"""Predictions beside the truth without a metric: confusion, outcomes by class, errors by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Of a regression's residuals.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# scikit-learn clips probabilities and targets by the same amount.
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Called:
    """The rows called positive at each of k thresholds, as sums of weights."""

    hits: np.ndarray  # (k,) positive rows among the called ones
    called: np.ndarray  # (k,) called rows
    positives: float  # all positive rows
    rows: float  # all rows

    @property
    def right_negatives(self) -> np.ndarray:
        """(k,) negative rows that are not called."""
        return np.asarray((self.rows - self.positives) - (self.called - self.hits))


@dataclass(frozen=True)
class ClassOutcome:
    """Precision, recall and f1 of one class, and its most frequent confusion."""

    label: str  # the class
    support: int  # rows of the class
    precision: float  # nan where no row is called so
    recall: float  # nan without support
    f1: float  # their harmonic mean
    confused_with: str | None  # what its rows are called most often instead; None: all are right
    confused: int  # how many of them


def most_frequent(counts: np.ndarray, most: int) -> np.ndarray:
    """Return the codes of the at most `most` classes with the highest counts (k,), ascending.

    Of equal counts the lower code is taken.
    """
    return np.sort(np.argsort(-counts, kind="stable")[:most])


def confusion(y: np.ndarray, decided: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (k, k) rows of actual class i that are called j."""
    codes = y.astype(np.int64) * n_classes + decided.astype(np.int64)
    return np.bincount(codes, minlength=n_classes**2).reshape(n_classes, n_classes)


def class_outcomes(matrix: np.ndarray, classes: Sequence[object]) -> tuple[ClassOutcome, ...]:
    """Return the outcome of each class of a confusion, in its order."""
    outcomes = []
    for code, label in enumerate(classes):
        hits, support = int(matrix[code, code]), int(matrix[code].sum())
        called = int(matrix[:, code].sum())
        missed = matrix[code].copy()
        missed[code] = 0
        worst = int(missed.argmax())
        outcomes.append(
            ClassOutcome(
                str(label),
                support,
                hits / called if called else float("nan"),
                hits / support if support else float("nan"),
                2 * hits / max(called + support, 1),
                str(classes[worst]) if missed[worst] else None,
                int(missed[worst]),
            )
        )
    return tuple(outcomes)


def squared_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return (y - p)², (n,)."""
    return np.asarray((y - prediction) ** 2)


def absolute_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return |y - p|, (n,)."""
    return np.asarray(np.abs(y - prediction))


def relative_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return |y - p| / |y|, (n,)."""
    return np.asarray(np.abs(y - prediction) / np.maximum(np.abs(y), EPSILON))


def pinball_errors(y: np.ndarray, prediction: np.ndarray, level: float) -> np.ndarray:
    """Return level·(y - p) where p is too low, (1 - level)·(p - y) where it is too high, (n,)."""
    return np.asarray(np.maximum(level * (y - prediction), (level - 1) * (y - prediction)))


def deviances(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return 2·(y·log(y/p) - y + p), (n,); a prediction of zero or less is raised to EPSILON."""
    expected = np.maximum(prediction, EPSILON)
    # y·log(y) is 0 at 0.
    logs = y * np.log(np.where(y > 0, y, 1.0) / expected)
    return np.asarray(2 * (logs - y + expected))


@dataclass(frozen=True)
class Residuals:
    """Summary of actual minus predicted, in units of the target."""

    mean: float  # positive: the model predicts too little on average
    mean_absolute: float  # mean size of an error
    median_absolute: float  # median size of an error
    quantiles: tuple[float, ...]  # at QUANTILES
    largest: float  # size of the largest error
    spread_of_target: float  # standard deviation of the target on the same rows


def residuals_of(y: np.ndarray, prediction: np.ndarray) -> Residuals:
    """Return the residuals of predictions (n,) of a target (n,), at least one row."""
    residual = y - prediction
    size = np.abs(residual)
    return Residuals(
        float(residual.mean()),
        float(size.mean()),
        float(np.median(size)),
        tuple(np.quantile(residual, QUANTILES).tolist()),
        float(size.max()),
        float(y.std()),
    )
