"""Every metric, declared once: its tasks, direction and range, its formula, its interval, its words.

A metric is one function with a declaration above it, which everything else asks (what a YAML may
name, intervals, baselines, thresholds, reports): a new metric is written here and nowhere else. Parts
of formulas: `spread.py`, `row_errors.py`; laws of intervals: `interval.py`; scores by a metric's name:
`scores.py`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.metric import Called, Form, Metric
from experiment_pipeline.statistics.row_errors import (
    EPSILON,
    absolute_errors,
    deviances,
    lowest_quantile,
    pinball_errors,
    relative_errors,
    relative_median,
    squared_errors,
)
from experiment_pipeline.statistics.spread import (
    Linearised,
    average,
    found,
    found_and_right,
    in_order,
    mean,
    undefined,
)

METRICS: dict[str, Metric] = {}


def names_of(task: str) -> tuple[str, ...]:
    """Return the metrics that judge a task, its usual one first."""
    return tuple(metric.name for metric in METRICS.values() if task in metric.tasks)


def worse_bound(name: str, of: interval.Interval) -> float:
    """Return the end that a careful reader judges: the low one where greater is better."""
    return of.low if METRICS[name].greater_is_better else of.high


def better_bound(name: str, of: interval.Interval) -> float:
    """Return the other end."""
    return of.high if METRICS[name].greater_is_better else of.low


def better(name: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`; a score that is not finite is better than none."""
    return math.isfinite(a) and (not math.isfinite(b) or (a - b) * METRICS[name].sign > 0)


def surely_better(name: str, difference: interval.Interval) -> bool:
    """Whether the worse end of a score minus another is still better than no difference."""
    return METRICS[name].sign * worse_bound(name, difference) > 0


_BINARY, _CLASSES, _NUMBER = ("binary",), ("binary", "multiclass"), ("regression",)
_LOSS = {"greater_is_better": False, "highest": math.inf}


def _metric(name: str, words: str, tasks: tuple[str, ...], **facts: Any) -> Callable[[Form], Form]:
    """Declare the metric whose formula follows; the facts are the attributes of `Metric`."""

    def declare(form: Form) -> Form:
        METRICS[name] = Metric(name=name, words=words, tasks=frozenset(tasks), form=form, **facts)
        return form

    return declare


@_metric(
    "roc_auc",
    "how well the two classes are told apart, at any threshold",
    _BINARY,
    bounds=interval.by_logit,
    by_class=True,
    by_pairs=True,
    of_equals="mean",
    lightgbm="auc",
)
def _roc_auc(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return in_order(y == 1, prediction)


@_metric(
    "average_precision",
    "how many of the rows that look most positive are, over all thresholds",
    _BINARY,
    bounds=interval.by_logit,
    by_class=True,
    of_equals="mean",
    lightgbm="average_precision",
)
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
        return undefined(n)
    code = np.unique(prediction, return_inverse=True)[1]
    ones = np.bincount(code, weights=positive)
    at_least = np.cumsum(np.bincount(code)[::-1])[::-1]
    precision = np.cumsum(ones[::-1])[::-1] / at_least
    estimate = float((ones * precision).sum() / n_positive)
    gained = np.cumsum(ones / at_least)[code]
    lost = np.cumsum(ones * precision / at_least)[code]
    own = positive * (precision[code] - estimate)
    return Linearised(estimate, (own + positive * gained - lost) * n / n_positive)


@_metric(
    "brier",
    "how far the probabilities are from what came true; large errors weigh more",
    _BINARY,
    greater_is_better=False,
    bounds=interval.wilson,
    by_probability=True,
    of_equals="mean",
    lightgbm="l2",
)
def _brier(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return mean((prediction - y) ** 2)


def _decided(prediction: np.ndarray, threshold: float) -> np.ndarray:
    several = prediction.ndim == 2
    return np.asarray(prediction.argmax(axis=1) if several else prediction >= threshold)


def _f1_at(cuts: Called) -> np.ndarray:
    return np.asarray(2 * cuts.hits / np.maximum(cuts.called + cuts.positives, 1))


@_metric(
    "f1",
    "how many positives are found and how many that are called so are, at a threshold",
    _BINARY,
    bounds=interval.wilson,
    by_class=True,
    at_thresholds=_f1_at,
    constant=lambda _: np.asarray(1.0),  # every row is positive: with none it is 0
)
def _f1(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    return found_and_right(y == 1, _decided(prediction, threshold) == 1)


@_metric(
    "log_loss",
    "how good the predicted probabilities are, over all classes",
    _CLASSES,
    **_LOSS,
    bounds=interval.by_log,
    by_probability=True,
    of_equals="mean",
)
def _log_loss(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    if prediction.ndim == 2:
        of_truth = prediction[np.arange(len(y)), y.astype(np.int64)]
    else:
        of_truth = np.where(y == 1, prediction, 1 - prediction)
    return mean(-np.log(np.clip(of_truth, EPSILON, 1 - EPSILON)))


def _accuracy_at(cuts: Called) -> np.ndarray:
    return np.asarray((cuts.hits + cuts.right_negatives) / max(cuts.rows, 1))


@_metric(
    "accuracy",
    "the share of rows that are decided rightly",
    _CLASSES,
    bounds=interval.wilson,
    at_thresholds=_accuracy_at,
    of_equals="mean",
    hides_rare=True,
)
def _accuracy(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    return mean((_decided(prediction, threshold) == y).astype(np.float64))


def _balanced_accuracy_at(cuts: Called) -> np.ndarray:
    negatives = cuts.rows - cuts.positives
    shares = cuts.hits / max(cuts.positives, 1) + cuts.right_negatives / max(negatives, 1)
    # A class that is not there has no share, as in the metric itself.
    return np.asarray(shares / max(int(cuts.positives > 0) + int(negatives > 0), 1))


@_metric(
    "balanced_accuracy",
    "the share of rows that are decided rightly, mean over the classes",
    _CLASSES,
    bounds=interval.wilson,
    by_class=True,
    at_thresholds=_balanced_accuracy_at,
)
def _balanced_accuracy(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    right = _decided(prediction, threshold) == y
    return average([found(y == label, right) for label in np.unique(y)])


@_metric(
    "f1_macro",
    "how many of a class are found and how many that are called so are, mean over the classes",
    ("multiclass",),
    bounds=interval.wilson,
    by_class=True,
)
def _f1_macro(y: np.ndarray, prediction: np.ndarray, threshold: float) -> Linearised:
    decided = _decided(prediction, threshold)
    return average([found_and_right(y == c, decided == c) for c in np.union1d(y, decided)])


@_metric(
    "roc_auc_ovr",
    "how well each class is told from the others, mean over the classes",
    ("multiclass",),
    bounds=interval.by_logit,
    by_class=True,
    by_pairs=True,
    of_equals="mean",
)
def _roc_auc_ovr(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    labels = range(prediction.shape[1])
    return average([in_order(y == label, prediction[:, label]) for label in labels])


@_metric(
    "rmse",
    "the typical error in units of the target; large errors weigh more",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_squares,
    errors=squared_errors,
    of_equals="mean",
    lightgbm="l2",
)
def _rmse(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    squares = mean(squared_errors(y, prediction))
    root = float(np.sqrt(squares.estimate))
    return Linearised(root, squares.influence / (2 * root) if root else squares.influence)


@_metric(
    "mae",
    "the mean error in units of the target",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_log,
    errors=absolute_errors,
    constant=np.median,
    of_equals="median",
    lightgbm="l1",
    objective={"objective": "regression_l1"},
)
def _mae(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return mean(absolute_errors(y, prediction))


@_metric(
    "r2",
    "the share of the target's variance that is explained",
    _NUMBER,
    lowest=-math.inf,
    bounds=interval.plain,
    errors=squared_errors,
    of_equals="mean",
    lightgbm="l2",
)
def _r2(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    """1 - mean(e²) / var(y), by the delta method; the mean of y is drawn anew as well."""
    errors, distances = squared_errors(y, prediction), (y - y.mean()) ** 2
    variance = distances.mean()
    if variance == 0:
        return undefined(len(y))
    unexplained = errors.mean() / variance
    return Linearised(float(1 - unexplained), (unexplained * distances - errors) / variance)


@_metric(
    "mape",
    "the mean error as a share of the target, which must not come near zero",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_log,
    errors=relative_errors,
    constant=relative_median,
    lightgbm="mape",
)
def _mape(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return mean(relative_errors(y, prediction))


@_metric(
    "poisson_deviance",
    "how well counts are predicted, where large ones vary more; no target may be negative",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_log,
    errors=deviances,
    of_equals="mean",
    lightgbm="poisson",
    objective={"objective": "poisson"},
    lowest_target=0.0,
)
def _poisson_deviance(y: np.ndarray, prediction: np.ndarray, _: float) -> Linearised:
    return mean(deviances(y, prediction)) if y.min() >= 0 else undefined(len(y))


# A number of levels keeps the names a list to choose from; half of mae is the level .5.
PINBALL_LEVELS = (0.05, 0.1, 0.2, 0.25, 0.75, 0.8, 0.9, 0.95)


def _pinball(y: np.ndarray, prediction: np.ndarray, _: float, level: float) -> Linearised:
    """The loss that the quantile minimises (Koenker and Bassett 1978)."""
    return mean(pinball_errors(y, prediction, level))


for _level in PINBALL_LEVELS:
    _metric(
        f"pinball_{_level:g}",
        f"how well a number is predicted that {_level:.0%} of the targets stay below",
        _NUMBER,
        **_LOSS,
        bounds=interval.by_log,
        errors=partial(pinball_errors, level=_level),
        constant=partial(lowest_quantile, level=_level),
        lightgbm="quantile",
        objective={"objective": "quantile", "alpha": _level},
    )(partial(_pinball, level=_level))
