"""Every metric, declared once: its tasks, direction and range, its formula, its interval, its words.

A metric is one function with a declaration above it, which everything else asks (what a YAML may
name, intervals, baselines, thresholds, reports): a new metric is written here and nowhere else. Parts
of formulas: `spread.py`, `outcomes.py`; laws of intervals: `interval.py`; scores by a metric's name: `scores.py`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.outcomes import (
    EPSILON,
    Called,
    absolute_errors,
    deviances,
    pinball_errors,
    relative_errors,
    squared_errors,
)
from experiment_pipeline.statistics.spread import (
    Linearised,
    Spread,
    average,
    found,
    found_and_right,
    in_order,
    mean,
    undefined,
)
from experiment_pipeline.statistics.weights import (
    MetricInput,
    Weights,
    weighted,
    weighted_mean,
    weighted_median,
    weighted_quantile,
)

_TINY = float(np.finfo(np.float64).tiny)

Form = Callable[[MetricInput], Linearised]
Errors = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: all that is known of it.

    Attributes:
        name: as the YAML writes it.
        words: what it measures, a clause for people.
        tasks: what it can judge; the first metric that is declared for a task is its usual one.
        greater_is_better: the direction.
        lowest: no score lies below.
        highest: no score lies above.
        form: rows → the score and the influence of each row.
        bounds: the law of its interval, (spread, t) → low and high.
        by_class: it compares classes, so the rarest decides how much is known; else it is a mean.
        by_pairs: it counts pairs in the right order: near 1, as if sure, on few rows of a class.
        by_probability: it takes probabilities for what they say, so that reweighting moves it.
        at_thresholds: scores at each threshold of a binary model; None: it depends on none.
        errors: (y, prediction) → what each row adds, (n,), where a few rows can make up the most.
        constant: y (n,), weights → the best prediction () without classes, or with two.
        of_equals: what to predict for rows that nothing tells apart; None: it hangs on others.
        hides_rare: always guessing the frequent class does well.
        lightgbm: its name there, for early stopping; None: not there, or it moves in steps.
        objective: LightGBM's parameters that make it boost towards the metric; empty: it boosts
            towards what is usual for the task.
        lowest_target: no target may lie below.
        when_asked: it answers a question of its own (a quantile, counts): reported where the
            experiment names it, and not beside every other metric of the task.
    """

    name: str
    words: str
    tasks: frozenset[str]
    greater_is_better: bool = True
    lowest: float = 0.0
    highest: float = 1.0
    form: Form
    bounds: Callable[[Spread, float], tuple[float, float]]
    by_class: bool = False
    by_pairs: bool = False
    by_probability: bool = False
    at_thresholds: Callable[[Called], np.ndarray] | None = None
    errors: Errors | None = None
    constant: Callable[[np.ndarray, Weights], np.ndarray] = weighted_mean
    of_equals: Literal["mean", "median"] | None = None
    hides_rare: bool = False
    lightgbm: str | None = None
    objective: Mapping[str, str | float] = field(default_factory=dict)
    lowest_target: float = -math.inf
    when_asked: bool = False

    @property
    def sign(self) -> int:
        """1 or -1: multiplied by it, greater scores are better ones."""
        return 1 if self.greater_is_better else -1

    @property
    def better_is(self) -> str:
        """`higher` or `lower`: which scores are the better ones, in words."""
        return "higher" if self.greater_is_better else "lower"

    @property
    def by_threshold(self) -> bool:
        """Whether a binary score depends on the decision threshold."""
        return self.at_thresholds is not None


METRICS: dict[str, Metric] = {}


def names_of(task: str) -> tuple[str, ...]:
    """Return the metrics that judge a task, its usual one first."""
    return tuple(metric.name for metric in METRICS.values() if task in metric.tasks)


def reported_of(task: str) -> tuple[str, ...]:
    """Return those that every report of a task shows, whether or not they were asked for."""
    return tuple(name for name in names_of(task) if not METRICS[name].when_asked)


def worse_bound(name: str, of: interval.Interval) -> float:
    """Return the end that a careful reader judges: the low one where greater is better."""
    return of.low if METRICS[name].greater_is_better else of.high


def better_bound(name: str, of: interval.Interval) -> float:
    """Return the other end."""
    return of.high if METRICS[name].greater_is_better else of.low


def better(name: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`; a score that is not finite is better than none."""
    return math.isfinite(a) and (not math.isfinite(b) or (a - b) * METRICS[name].sign > 0)


def significantly_better(name: str, difference: interval.Interval) -> bool:
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
def _roc_auc(of: MetricInput) -> Linearised:
    return in_order(of.y == 1, of.prediction, of.weights)


@_metric(
    "average_precision",
    "how many of the rows that look most positive are, over all thresholds",
    _BINARY,
    bounds=interval.by_logit,
    by_class=True,
    of_equals="mean",
    lightgbm="average_precision",
)
def _average_precision(of: MetricInput) -> Linearised:
    """The mean over positives i of P(s_i), the precision among rows that score s_i or more.

    Differentiated exactly. Row k enters its own term, and with M(s) rows scoring s or more it
    moves P(s_i) of every positive with s_i ≤ s_k by (y_k - P(s_i)) / M(s_i):
    ψ_k = n/n₊ · (y_k·(P(s_k) - θ) + Σ_{positive i: s_i ≤ s_k} (y_k - P(s_i)) / M(s_i)).
    All numbers of rows are sums of weights, and ψ_k is counted as the weight of row k.
    """
    n = len(of.y)
    positive = of.y == 1
    counted = weighted(positive.astype(np.float64), of.weights)
    n_positive = float(counted.sum())
    if n_positive == 0:
        return undefined(n)
    code = np.unique(of.prediction, return_inverse=True)[1]
    ones = np.bincount(code, weights=counted)
    at_least = np.cumsum(np.bincount(code, weights=of.weights)[::-1])[::-1]
    precision = np.cumsum(ones[::-1])[::-1] / at_least
    estimate = float((ones * precision).sum() / n_positive)
    gained = np.cumsum(ones / at_least)[code]
    lost = np.cumsum(ones * precision / at_least)[code]
    own = positive * (precision[code] - estimate)
    influence = (own + positive * gained - lost) * n / n_positive
    return Linearised(estimate, weighted(influence, of.weights))


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
def _brier(of: MetricInput) -> Linearised:
    return mean((of.prediction - of.y) ** 2, of.weights)


def _decided(of: MetricInput) -> np.ndarray:
    several = of.prediction.ndim == 2
    return np.asarray(of.prediction.argmax(axis=1) if several else of.prediction >= of.threshold)


def _f1_at(cuts: Called) -> np.ndarray:
    return np.asarray(2 * cuts.hits / np.maximum(cuts.called + cuts.positives, _TINY))


@_metric(
    "f1",
    "how many positives are found and how many that are called so are, at a threshold",
    _BINARY,
    bounds=interval.wilson,
    by_class=True,
    at_thresholds=_f1_at,
    constant=lambda *_: np.asarray(1.0),  # every row is positive: with none it is 0
)
def _f1(of: MetricInput) -> Linearised:
    return found_and_right(of.y == 1, _decided(of) == 1, of.weights)


@_metric(
    "log_loss",
    "how good the predicted probabilities are, over all classes",
    _CLASSES,
    **_LOSS,
    bounds=interval.by_log,
    by_probability=True,
    of_equals="mean",
)
def _log_loss(of: MetricInput) -> Linearised:
    if of.prediction.ndim == 2:
        of_truth = of.prediction[np.arange(len(of.y)), of.y.astype(np.int64)]
    else:
        of_truth = np.where(of.y == 1, of.prediction, 1 - of.prediction)
    return mean(-np.log(np.clip(of_truth, EPSILON, 1 - EPSILON)), of.weights)


def _accuracy_at(cuts: Called) -> np.ndarray:
    return np.asarray((cuts.hits + cuts.right_negatives) / max(cuts.rows, _TINY))


@_metric(
    "accuracy",
    "the share of rows that are decided rightly",
    _CLASSES,
    bounds=interval.wilson,
    at_thresholds=_accuracy_at,
    of_equals="mean",
    hides_rare=True,
)
def _accuracy(of: MetricInput) -> Linearised:
    return mean((_decided(of) == of.y).astype(np.float64), of.weights)


def _balanced_accuracy_at(cuts: Called) -> np.ndarray:
    negatives = cuts.rows - cuts.positives
    shares = cuts.hits / max(cuts.positives, _TINY) + cuts.right_negatives / max(negatives, _TINY)
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
def _balanced_accuracy(of: MetricInput) -> Linearised:
    right = _decided(of) == of.y
    return average(found(of.y == label, right, of.weights) for label in np.unique(of.y))


@_metric(
    "f1_macro",
    "how many of a class are found and how many that are called so are, mean over the classes",
    ("multiclass",),
    bounds=interval.wilson,
    by_class=True,
)
def _f1_macro(of: MetricInput) -> Linearised:
    y, decided = of.y, _decided(of)
    classes = np.union1d(y, decided)
    return average(found_and_right(y == c, decided == c, of.weights) for c in classes)


@_metric(
    "roc_auc_ovr",
    "how well each class is told from the others, mean over the classes",
    ("multiclass",),
    bounds=interval.by_logit,
    by_class=True,
    by_pairs=True,
    of_equals="mean",
)
def _roc_auc_ovr(of: MetricInput) -> Linearised:
    columns = enumerate(of.prediction.T)
    return average(in_order(of.y == label, one, of.weights) for label, one in columns)


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
def _rmse(of: MetricInput) -> Linearised:
    squares = mean(squared_errors(of.y, of.prediction), of.weights)
    root = float(np.sqrt(squares.estimate))
    return Linearised(root, squares.influence / (2 * root) if root else squares.influence)


@_metric(
    "mae",
    "the mean error in units of the target",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_log,
    errors=absolute_errors,
    constant=weighted_median,
    of_equals="median",
    lightgbm="l1",
    objective={"objective": "regression_l1"},
)
def _mae(of: MetricInput) -> Linearised:
    return mean(absolute_errors(of.y, of.prediction), of.weights)


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
def _r2(of: MetricInput) -> Linearised:
    """1 - mean(e²) / var(y), by the delta method; the mean of y is drawn anew as well."""
    errors = weighted(squared_errors(of.y, of.prediction), of.weights)
    distances = weighted((of.y - weighted_mean(of.y, of.weights)) ** 2, of.weights)
    variance = distances.mean()
    if variance == 0:
        return undefined(len(of.y))
    unexplained = errors.mean() / variance
    return Linearised(float(1 - unexplained), (unexplained * distances - errors) / variance)


def _relative_median(y: np.ndarray, weights: Weights) -> np.ndarray:
    """The median weighted by 1/|y| (Gneiting 2011)."""
    return weighted_median(y, weighted(1 / np.maximum(np.abs(y), EPSILON), weights))


@_metric(
    "mape",
    "the mean error as a share of the target, which must not come near zero",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_log,
    errors=relative_errors,
    constant=_relative_median,
    lightgbm="mape",
)
def _mape(of: MetricInput) -> Linearised:
    return mean(relative_errors(of.y, of.prediction), of.weights)


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
    when_asked=True,
)
def _poisson_deviance(of: MetricInput) -> Linearised:
    defined = of.y.min() >= 0
    return mean(deviances(of.y, of.prediction), of.weights) if defined else undefined(len(of.y))


# A number of levels keeps the names a list to choose from; half of mae is the level .5.
PINBALL_LEVELS = (0.05, 0.1, 0.2, 0.25, 0.75, 0.8, 0.9, 0.95)


def _pinball(of: MetricInput, level: float) -> Linearised:
    """The loss that the quantile minimises (Koenker and Bassett 1978)."""
    return mean(pinball_errors(of.y, of.prediction, level), of.weights)


for _level in PINBALL_LEVELS:
    _metric(
        f"pinball_{_level:g}",
        f"how well a number is predicted that {_level:.0%} of the targets stay below",
        _NUMBER,
        **_LOSS,
        bounds=interval.by_log,
        errors=partial(pinball_errors, level=_level),
        constant=partial(weighted_quantile, level=_level),
        lightgbm="quantile",
        objective={"objective": "quantile", "alpha": _level},
        when_asked=True,
    )(partial(_pinball, level=_level))
