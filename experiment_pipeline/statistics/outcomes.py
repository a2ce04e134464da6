"""What predictions come to, in terms that need no metric: class by class, and errors in clusters.

In: encoded targets and predictions of one set. Out: frozen numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Of a regression's residuals.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# scikit-learn clips probabilities and targets by the same amount.
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Called:
    """What is called positive from each of k thresholds on; rows count as their weights say.

    Attributes:
        hits: (k,) positive rows among those that are called.
        called: (k,) rows that are called.
        positives: rows that are positive.
        rows: all rows.
    """

    hits: np.ndarray
    called: np.ndarray
    positives: float
    rows: float

    @property
    def right_negatives(self) -> np.ndarray:
        """(k,) negative rows that are not called."""
        return np.asarray((self.rows - self.positives) - (self.called - self.hits))


@dataclass(frozen=True)
class ClassOutcome:
    """What became of the rows of one class.

    Attributes:
        label: the class.
        support: rows that are of it.
        precision: share of the rows called so that are of it; nan where none is called so.
        recall: share of its rows that are called so; nan where there is none.
        f1: their harmonic mean.
        confused_with: what its rows are called most often instead; None: all are right.
        confused: how many of them.
    """

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    confused_with: str | None
    confused: int


def most_frequent(counts: np.ndarray, most: int) -> np.ndarray:
    """Return the codes of the classes with the most rows, at most so many, in their own order.

    Args:
        counts: (k,) rows of each class.
        most: of equal counts the lower code comes first.
    """
    return np.sort(np.argsort(-counts, kind="stable")[:most])


def confusion(y: np.ndarray, decided: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (k, k) rows of actual class i that are called j."""
    codes = y.astype(np.int64) * n_classes + decided.astype(np.int64)
    return np.bincount(codes, minlength=n_classes**2).reshape(n_classes, n_classes)


def class_outcomes(matrix: np.ndarray, classes: Sequence[object]) -> tuple[ClassOutcome, ...]:
    """Return the outcome of each class of a confusion, in its order."""
    found = []
    for code, label in enumerate(classes):
        hits, support = int(matrix[code, code]), int(matrix[code].sum())
        called = int(matrix[:, code].sum())
        missed = matrix[code].copy()
        missed[code] = 0
        worst = int(missed.argmax())
        found.append(
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
    return tuple(found)


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


@dataclass(frozen=True)
class Residuals:
    """How far a regression is off: actual minus predicted, in units of the target.

    Attributes:
        mean: positive: the model says too little on average.
        mean_absolute: mean size of an error.
        median_absolute: half of the errors are smaller.
        quantiles: at QUANTILES.
        largest: size of the largest error.
        spread_of_target: standard deviation of the target on the same rows.
    """

    mean: float
    mean_absolute: float
    median_absolute: float
    quantiles: tuple[float, ...]
    largest: float
    spread_of_target: float


def residuals_of(y: np.ndarray, prediction: np.ndarray) -> Residuals:
    """Return the residuals of predictions (n,) of a target (n,), at least one row."""
    off = y - prediction
    size = np.abs(off)
    return Residuals(
        float(off.mean()),
        float(size.mean()),
        float(np.median(size)),
        tuple(np.quantile(off, QUANTILES).tolist()),
        float(size.max()),
        float(y.std()),
    )
