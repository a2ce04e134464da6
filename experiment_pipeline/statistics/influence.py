"""Metrics as sums over rows: the score, and the influence of each row on it.

A score θ is a function of the rows' weights w (all 1). Its influence values ψ are the
derivatives n·∂θ/∂w_i: when rows are drawn anew with weights w, the score moves to about
θ + mean((w - 1)·ψ), and ψ has mean zero. One pass over the rows thus gives what a bootstrap
gives, for every configuration and every unit of resampling (infinitesimal jackknife:
Efron 1982, ch. 6; Hampel 1974). What is done with ψ lives in `intervals.py` and
`comparisons.py`. In: encoded targets and predictions. Out: `Linearised`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

# scikit-learn clips probabilities and targets by the same amount.
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Linearised:
    """A score and its linear approximation.

    Attributes:
        estimate: the score; nan where it is undefined.
        influence: (n,) of mean zero; nan where the score is.
        unseen: variance that no row shows: of a mean over classes, the part of those classes
            that are all right or all wrong in this sample.
    """

    estimate: float
    influence: np.ndarray
    unseen: float = 0.0


def linearise(
    name: str, y: np.ndarray, prediction: np.ndarray, threshold: float = 0.5
) -> Linearised:
    """Return a metric's score and the influence of each row.

    Args:
        name: one of `metrics.METRICS`.
        y: encoded targets (n,).
        prediction: (n,), or (n, k) probabilities for several classes.
        threshold: binary f1, accuracy, balanced_accuracy: positive from this probability on.
    """
    y, prediction = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    if len(y) == 0 or not np.isfinite(prediction).all():
        return _undefined(len(y))
    with np.errstate(over="ignore", invalid="ignore"):
        linearised = _FORMS[name](y, prediction, threshold)
        finite = np.isfinite(linearised.estimate) and np.isfinite(linearised.influence).all()
    return linearised if finite else _undefined(len(y))


def _undefined(n: int) -> Linearised:
    return Linearised(float("nan"), np.full(n, np.nan))


def _mean(values: np.ndarray) -> Linearised:
    estimate = float(values.mean())
    return Linearised(estimate, values - estimate)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> Linearised:
    """Σa / Σb, by the delta method: ψ = (a - θb) / mean(b)."""
    size = denominator.mean()
    if size == 0:
        return _undefined(len(denominator))
    estimate = float(numerator.mean() / size)
    return Linearised(estimate, (numerator - estimate * denominator) / size)


def gained(first: Linearised, second: Linearised) -> Linearised:
    """Return second - first, of scores of the same rows."""
    return Linearised(second.estimate - first.estimate, second.influence - first.influence)


def average(parts: Sequence[Linearised]) -> Linearised:
    """Return the mean of scores of the same rows."""
    return Linearised(
        float(np.mean([part.estimate for part in parts])),
        np.mean([part.influence for part in parts], axis=0),
        sum(part.unseen for part in parts) / len(parts) ** 2,
    )


def _decided(prediction: np.ndarray, threshold: float) -> np.ndarray:
    several = prediction.ndim == 2
    return np.asarray(prediction.argmax(axis=1) if several else prediction >= threshold)


def _accuracy(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    return _mean((_decided(prediction, threshold) == y).astype(np.float64))


def _balanced_accuracy(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    right = _decided(prediction, threshold) == y
    return average([_recall(y == label, right) for label in np.unique(y)])


def _recall(truth: np.ndarray, right: np.ndarray) -> Linearised:
    return _with_unseen(_ratio(truth & right, truth), int(truth.sum()), 1.0)


def _f1_of(label: int, y: np.ndarray, decided: np.ndarray) -> Linearised:
    truth, said = y == label, decided == label
    f1 = _ratio(2.0 * (truth & said), truth.astype(np.float64) + said)
    # With the number of rows that are said to be of the class, f1 goes as the share found.
    return _with_unseen(f1, int(truth.sum()), 2 * truth.sum() / max(truth.sum() + said.sum(), 1))


def _with_unseen(part: Linearised, n: int, slope: float) -> Linearised:
    """Give a share of n rows that is 0 or 1 the variance of Agresti and Coull (1998).

    Two successes and two failures are added: 0 of 10 is no certainty.

    Args:
        part: the score of one class.
        n: its rows.
        slope: by how much the score moves with the share.
    """
    if n == 0 or 0 < part.estimate < 1:
        return part
    return replace(part, unseen=slope**2 * 2 * (n + 2) / (n + 4) ** 3)


def _f1(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    return _f1_of(1, y, _decided(prediction, threshold))


def _f1_macro(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    decided = _decided(prediction, threshold)
    return average([_f1_of(label, y, decided) for label in np.union1d(y, decided)])


def _log_loss(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    if prediction.ndim == 2:
        of_truth = prediction[np.arange(len(y)), y.astype(np.int64)]
    else:
        of_truth = np.where(y == 1, prediction, 1 - prediction)
    return _mean(-np.log(np.clip(of_truth, _EPSILON, 1 - _EPSILON)))


def _brier(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return _mean((prediction - y) ** 2)


def _roc_auc(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    """The placement values of DeLong, DeLong and Clarke-Pearson (1988), ties counted half.

    A positive's placement is the share of negatives it beats, a negative's the share of
    positives that beat it. One sort serves both (Sun and Xu 2014).
    """
    n = len(y)
    positive = y == 1
    n_positive = int(positive.sum())
    if n_positive in (0, n):
        return _undefined(n)
    code = np.unique(prediction, return_inverse=True)[1]
    ones = np.bincount(code, weights=positive)
    zeros = np.bincount(code) - ones
    beaten = (np.cumsum(zeros) - zeros / 2) / (n - n_positive)
    beating = 1 - (np.cumsum(ones) - ones / 2) / n_positive
    placement = np.where(positive, beaten[code], beating[code])
    estimate = float(placement[positive].mean())
    class_share = np.where(positive, n_positive, n - n_positive) / n
    return Linearised(estimate, (placement - estimate) / class_share)


def _roc_auc_ovr(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    labels = range(prediction.shape[1])
    return average([_roc_auc(y == label, prediction[:, label], threshold) for label in labels])


def _average_precision(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    """The mean over positives i of P(s_i), the precision among rows that score s_i or more.

    Differentiated exactly. Row k enters its own term, and with M(s) rows scoring s or more it
    moves P(s_i) of every positive with s_i ≤ s_k by (y_k - P(s_i)) / M(s_i):
    ψ_k = n/n₊ · (y_k·(P(s_k) - θ) + Σ_{positive i: s_i ≤ s_k} (y_k - P(s_i)) / M(s_i)).
    """
    n = len(y)
    positive = y == 1
    n_positive = int(positive.sum())
    if n_positive == 0:
        return _undefined(n)
    code = np.unique(prediction, return_inverse=True)[1]
    ones = np.bincount(code, weights=positive)
    at_least = np.cumsum(np.bincount(code)[::-1])[::-1]
    precision = np.cumsum(ones[::-1])[::-1] / at_least
    estimate = float((ones * precision).sum() / n_positive)
    gained = np.cumsum(ones / at_least)[code]
    lost = np.cumsum(ones * precision / at_least)[code]
    own = positive * (precision[code] - estimate)
    return Linearised(estimate, (own + positive * gained - lost) * n / n_positive)


def squared_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what each row adds to a squared error, (n,)."""
    return np.asarray((y - prediction) ** 2)


def absolute_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what each row adds to an absolute error, (n,)."""
    return np.asarray(np.abs(y - prediction))


def relative_errors(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what each row adds to a relative error, (n,)."""
    return np.asarray(np.abs(y - prediction) / np.maximum(np.abs(y), _EPSILON))


def _mae(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return _mean(absolute_errors(y, prediction))


def _mape(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return _mean(relative_errors(y, prediction))


def _rmse(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    squares = _mean(squared_errors(y, prediction))
    root = float(np.sqrt(squares.estimate))
    return Linearised(root, squares.influence / (2 * root) if root else squares.influence)


def _r2(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    """1 - mean(e²) / var(y), by the delta method; the mean of y is drawn anew as well."""
    errors, distances = squared_errors(y, prediction), (y - y.mean()) ** 2
    variance = distances.mean()
    if variance == 0:
        return _undefined(len(y))
    unexplained = errors.mean() / variance
    return Linearised(float(1 - unexplained), (unexplained * distances - errors) / variance)


_FORMS: dict[str, Callable[[np.ndarray, np.ndarray, float], Linearised]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "brier": _brier,
    "f1": _f1,
    "log_loss": _log_loss,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "roc_auc_ovr": _roc_auc_ovr,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "mape": _mape,
}
