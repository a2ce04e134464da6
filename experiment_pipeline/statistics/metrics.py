"""Every metric, declared once: its tasks, direction, range, formula, interval and
description.

To add a metric, write it here: one function with a declaration above it. All else (what
a YAML may name, intervals, baselines, thresholds, reports) asks `metric_of`. Laws of
intervals are in `interval.py`. A user's own metric is a function of their module,
declared by `metric` and named by its import path.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Literal, get_args

import numpy as np

from experiment_pipeline.errors import (
    InvalidExperiment,
    UnusableMetric,
    allowed_instead,
    imported,
)
from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.interval import (
    Linearised,
    Spread,
    Weights,
    bootstrapped,
    effective_number,
    mean,
    undefined,
    weighted,
    weighted_mean,
    weighted_median,
    weighted_quantile,
)

# scikit-learn clips probabilities and targets by the same amount.
EPSILON = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)
_DECLARE = (
    'write @experiment_pipeline.metric(greater_is_better=…, takes="labels") above it'
)
# A fixed list keeps the number of names small; twice the loss at level .5 is mae.
PINBALL_LEVELS = (0.05, 0.1, 0.2, 0.25, 0.75, 0.8, 0.9, 0.95)

METRICS: dict[str, "Metric"] = {}
# scikit-learn's function → the metric here; others are called as here, with `_score`.
_OF_SKLEARN = {
    "brier_score_loss": "brier",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "mean_poisson_deviance": "poisson_deviance",
    "root_mean_squared_error": "rmse",
}
# What scikit-learn's names promise: scores are maximised, losses minimised.
_DIRECTIONS = {"_score": True, "_corrcoef": True}
_DIRECTIONS |= dict.fromkeys(["_error", "_loss", "_deviance"], False)


@dataclass(frozen=True, eq=False)
class MetricInput:
    """The input of a metric's formula."""

    y: np.ndarray  # encoded targets (n,)
    prediction: np.ndarray  # (n,) or (n, k), finite
    threshold: float  # of the metrics that depend on one
    weights: Weights = None  # (n,) by `relative_weights`
    clusters: np.ndarray | None = None  # (n,) resampled for a user's metric; None: rows

    @property
    def predicted_classes(self) -> np.ndarray:
        """(n,) class codes; of a binary task bool: whether it is predicted positive."""
        if self.prediction.ndim == 2:
            return self.prediction.argmax(axis=1)
        return self.prediction >= self.threshold

    def part(self, rows: np.ndarray) -> "MetricInput":
        """Return the rows at some positions, each as often as it is named."""
        weights = None if self.weights is None else self.weights[rows]
        return MetricInput(self.y[rows], self.prediction[rows], self.threshold, weights)


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
        return (self.rows - self.positives) - (self.called - self.hits)


Formula = Callable[[MetricInput], Linearised]
Losses = Callable[[MetricInput], np.ndarray]
Errors = Callable[[np.ndarray, np.ndarray], np.ndarray]
Takes = Literal["probabilities", "labels", "values"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The declaration of one metric."""

    name: str  # as the YAML writes it
    words: str  # what it measures, as a clause for people
    # what it can judge; the first metric declared for a task is the task's default
    tasks: frozenset[str]
    greater_is_better: bool = True
    lowest: float = 0.0  # lower end of its range
    highest: float = 1.0  # upper end of its range
    formula: Formula  # rows → the score and the influence of each row
    # the law of its interval, (spread, t) → low and high
    bounds: Callable[[Spread, float], tuple[float, float]]
    # it compares classes, so the rarest limits the precision; else it is a mean
    by_class: bool = False
    # it counts ordered pairs: with few rows of a class it is near 1 by chance
    by_pairs: bool = False
    by_probability: bool = False  # it depends on the calibration of probabilities
    # scores at each threshold of a binary model; None: it depends on none
    at_thresholds: Callable[[Called], np.ndarray] | None = None
    # (y, prediction) → what each row adds, (n,), where a few rows can dominate
    errors: Errors | None = None
    tail_prior: float = 3.0  # of `Tail.of`; the tail of squares is heavier
    # the losses of rows (n,), none negative, that decide the score; None: it has none
    losses: Losses | None = None
    # (the baseline's score, share of its losses that is explained) → the score
    explaining: Callable[[float, float], float] = lambda baseline, share: (
        baseline * (1 - share)
    )
    # y (n,), weights → the best constant prediction () for regression and binary
    constant: Callable[[np.ndarray, Weights], np.ndarray] = weighted_mean
    # the best prediction for indistinguishable rows; None: it depends on other rows
    of_equals: Literal["mean", "median"] | None = None
    hides_rare: bool = False  # always predicting the most frequent class scores well
    # its name in LightGBM, for early stopping; None: unknown there, or a step function
    lightgbm: str | None = None
    # LightGBM's parameters to boost towards it; empty: the task's default
    objective: Mapping[str, str | float] = field(default_factory=dict)
    lowest_target: float = -math.inf  # lower limit of the targets
    when_asked: bool = False  # it is reported only where the experiment names it
    # of a user's own metric: the score alone; it may be nan where all targets are equal
    value: Callable[[MetricInput], float] | None = None
    # a user's own metric that takes class labels, not probabilities
    takes_labels: bool = False
    takes_weights: bool = True

    @property
    def sign(self) -> int:
        """1 or -1: scores multiplied by it are better when greater."""
        return 1 if self.greater_is_better else -1

    @property
    def better_is(self) -> str:
        """`higher` or `lower`: the direction in words."""
        return "higher" if self.greater_is_better else "lower"

    @property
    def by_threshold(self) -> bool:
        """Whether a binary score depends on the decision threshold."""
        return self.at_thresholds is not None or self.takes_labels

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own metric."""
        return self.value is not None


def metric_of(name: str) -> Metric:
    """Return a built-in metric, or a user's own, `module:name`.

    Raises InvalidExperiment where it is not a metric.
    """
    if name in METRICS:
        return METRICS[name]
    function = imported(_importable(name), f"metric {name}", "metric")
    declared = function if isinstance(function, OwnMetric) else _by_its_name(function)
    if declared is None:
        raise InvalidExperiment(
            f"metric {name}",
            rule=f"{name} is a {type(function).__name__} without a direction",
            fix=_DECLARE,
        )
    return _own_metric(name, declared)


def written(metric: Any) -> Any:
    """Return a metric as YAML has it: the name of a built-in one, or an import path.

    It may be a name, a function, one of scikit-learn, or a scorer of it, whose
    direction and predictions are those of its function. Raises InvalidExperiment: a
    scorer has other arguments.
    """
    function = getattr(metric, "_score_func", metric)  # of a scorer
    if arguments := getattr(metric, "_kwargs", {}):
        raise InvalidExperiment(
            f"metric {metric}",
            rule=f"a scorer with arguments ({', '.join(arguments)}) has no import path",
            fix=f"write a function in a module that calls it with them, and {_DECLARE}",
        )
    if isinstance(function, OwnMetric):
        return function.path
    if not callable(function):
        return metric
    name = getattr(function, "__qualname__", repr(function))
    if _by_its_name(function) is None:
        return _importable(f"{function.__module__}:{name}")
    name_here = _OF_SKLEARN.get(name, name.removesuffix("_score"))
    return name_here if name_here in METRICS else f"sklearn.metrics:{name}"


def _by_its_name(function: Any) -> "OwnMetric | None":
    """Declare a function of sklearn.metrics by its name, module and second argument."""
    module = getattr(function, "__module__", "").removeprefix("sklearn.metrics._")
    if module not in {"classification", "ranking", "regression"}:
        return None
    name = function.__name__
    directions = (up for end, up in _DIRECTIONS.items() if name.endswith(end))
    greater_is_better = next(directions, None)
    second = [*inspect.signature(function).parameters][1]
    kinds: dict[str, Takes] = {"y_pred": "labels", "y2": "labels"}
    kinds |= {"y_proba": "probabilities", "y_score": "probabilities"}
    if "log_loss" in name:  # called y_pred before scikit-learn 1.9
        kinds["y_pred"] = "probabilities"
    if module == "regression":
        kinds["y_pred"] = "values"
    if greater_is_better is None or second not in kinds:
        return None
    return OwnMetric(function, greater_is_better, kinds[second])


def _importable(path: str) -> str:
    if not re.fullmatch(r"(?!__main__:)[A-Za-z_][\w.]*:[A-Za-z_]\w*", path):
        raise InvalidExperiment(
            f"metric {path}",
            rule=f"{path} cannot be imported by another process",
            fix="move it into a module as a function with a name, and write "
            "module:function",
        )
    return path


def names_of(task: str) -> tuple[str, ...]:
    """Return the metrics of a task, its default first."""
    return tuple(metric.name for metric in METRICS.values() if task in metric.tasks)


def reported_of(task: str) -> tuple[str, ...]:
    """Return the metrics that every report of a task shows."""
    return tuple(name for name in names_of(task) if not metric_of(name).when_asked)


def worse_bound(name: str, score: interval.Interval) -> float:
    """Return the bound at the worse end: the low one where greater is better."""
    return score.low if metric_of(name).greater_is_better else score.high


def better_bound(name: str, score: interval.Interval) -> float:
    """Return the bound at the better end."""
    return score.high if metric_of(name).greater_is_better else score.low


def better(name: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`; a finite score beats one that is not."""
    if not math.isfinite(a):
        return False
    return not math.isfinite(b) or (a - b) * metric_of(name).sign > 0


def significantly_better(name: str, difference: interval.Interval) -> bool:
    """Whether even the worse bound of a score minus another is an improvement."""
    return metric_of(name).sign * worse_bound(name, difference) > 0


def significantly_worse(name: str, difference: interval.Interval) -> bool:
    """Whether even the better bound of a score minus another is a loss."""
    best_case = better_bound(name, difference)
    return math.isfinite(best_case) and better(name, 0.0, best_case)


def average(parts: Iterable[Linearised]) -> Linearised:
    """Return the mean of scores on the same rows; one part is in memory at a time."""
    estimates = list[float]()
    total = np.zeros(1)
    unseen = 0.0
    for part in parts:
        estimates.append(part.estimate)
        total = total + part.influence
        unseen += part.unseen
    n = len(estimates)
    return Linearised(float(np.mean(estimates)), total / n, unseen / n**2)


def _class_share(
    truth: np.ndarray, numerator: np.ndarray, denominator: np.ndarray, slope: float
) -> Linearised:
    """The score Σa / Σb of one class by the delta method, ψ = (a - θb) / mean(b).

    A score of 0 or 1 gets the variance of Agresti and Coull (1998): 0 of 10 is not
    certain. `truth`: weights of the class's rows; `slope`: derivative of the score with
    respect to the share of them that is found.
    """
    size = denominator.mean()
    n = effective_number(truth)
    if size == 0:
        return undefined(len(denominator))
    estimate = float(numerator.mean() / size)
    score = Linearised(estimate, (numerator - estimate * denominator) / size)
    if n == 0 or 0 < estimate < 1:
        return score
    return replace(score, unseen=slope**2 * 2 * (n + 2) / (n + 4) ** 3)


def _f1_of(truth: np.ndarray, called: np.ndarray, weights: Weights) -> Linearised:
    """The harmonic mean of recall and precision: bool (n,) each."""
    of_truth = weighted(truth * 1.0, weights)
    of_called = weighted(called * 1.0, weights)
    # For a given number of called rows, f1 is proportional to recall.
    total = float(of_truth.sum() + of_called.sum())
    slope = 2 * float(of_truth.sum()) / total if total else 0.0
    return _class_share(of_truth, 2.0 * of_truth * called, of_truth + of_called, slope)


def _concordance(
    positive: np.ndarray, prediction: np.ndarray, weights: Weights
) -> Linearised:
    """The share of pairs of both classes with the positive row ahead (ROC AUC).

    Ties count half. It is computed by the placement values of DeLong, DeLong and
    Clarke-Pearson (1988), by one sort (Sun and Xu 2014). The weight of a pair is the
    product of its rows' weights.
    """
    n = len(positive)
    if positive.all() or not positive.any():
        return undefined(n)
    code = np.unique(prediction, return_inverse=True)[1]
    of_ones = weighted(positive * 1.0, weights)
    of_zeros = weighted(~positive * 1.0, weights)
    n_positive = float(of_ones.sum())
    n_negative = float(of_zeros.sum())
    ones = np.bincount(code, of_ones)
    zeros = np.bincount(code, of_zeros)
    beaten = (np.cumsum(zeros) - zeros / 2) / n_negative
    beating = 1 - (np.cumsum(ones) - ones / 2) / n_positive
    placement = np.where(positive, beaten[code], beating[code])
    estimate = float((of_ones * placement)[positive].sum() / n_positive)
    class_share = np.where(positive, n_positive, n_negative) / n
    return Linearised(estimate, weighted((placement - estimate) / class_share, weights))


_BINARY = ("binary",)
_CLASSES = ("binary", "multiclass")
_NUMBER = ("regression",)
_LOSS = {"greater_is_better": False, "highest": math.inf}
_SHARES = {"bounds": interval.wilson, "by_class": True}
_ORDER = {"bounds": interval.by_logit, "by_class": True, "of_equals": "mean"}


def _metric(
    name: str, words: str, tasks: tuple[str, ...], **facts: Any
) -> Callable[[Formula], Formula]:
    """Declare the metric of the formula below; facts are attributes of `Metric`."""

    def declare(formula: Formula) -> Formula:
        METRICS[name] = Metric(
            name=name, words=words, tasks=frozenset(tasks), formula=formula, **facts
        )
        return formula

    return declare


def _mean_error(name: str, words: str, errors: Errors, **facts: Any) -> None:
    """Declare a regression metric that is the mean of its rows' errors."""

    def formula(rows: MetricInput) -> Linearised:
        if rows.y.min() < METRICS[name].lowest_target:
            return undefined(len(rows.y))
        return mean(errors(rows.y, rows.prediction), rows.weights)

    declare = _metric(
        name,
        words,
        _NUMBER,
        **_LOSS,
        bounds=interval.by_tail,
        errors=errors,
        losses=lambda rows: errors(rows.y, rows.prediction),
        **facts,
    )
    declare(formula)


_metric(
    "roc_auc",
    "how well the two classes are told apart, at any threshold",
    _BINARY,
    **_ORDER,
    by_pairs=True,
    lightgbm="auc",
)(lambda rows: _concordance(rows.y == 1, rows.prediction, rows.weights))


@_metric(
    "average_precision",
    "how many of the rows ranked as most positive are positive, over all thresholds",
    _BINARY,
    **_ORDER,
    lightgbm="average_precision",
)
def _average_precision(rows: MetricInput) -> Linearised:
    """The mean over positives i of P(s_i), the precision among rows that score s_i or
    more.

    Differentiated exactly. Row k enters its own term, and with M(s) rows scoring s or
    more it moves P(s_i) of every positive with s_i ≤ s_k by (y_k - P(s_i)) / M(s_i):
    ψ_k = n/n₊ · (y_k·(P(s_k) - θ) + Σ_{positive i: s_i ≤ s_k} (y_k - P(s_i)) / M(s_i)).
    Numbers of rows are sums of weights, and ψ_k is multiplied by the weight of row k.
    """
    n = len(rows.y)
    positive = rows.y == 1
    counted = weighted(positive.astype(np.float64), rows.weights)
    n_positive = float(counted.sum())
    if n_positive == 0:
        return undefined(n)
    code = np.unique(rows.prediction, return_inverse=True)[1]
    ones = np.bincount(code, weights=counted)
    at_least = np.cumsum(np.bincount(code, weights=rows.weights)[::-1])[::-1]
    precision = np.cumsum(ones[::-1])[::-1] / at_least
    estimate = float((ones * precision).sum() / n_positive)
    gained = np.cumsum(ones / at_least)[code]
    lost = np.cumsum(ones * precision / at_least)[code]
    own_term = positive * (precision[code] - estimate)
    influence = (own_term + positive * gained - lost) * n / n_positive
    return Linearised(estimate, weighted(influence, rows.weights))


def _squares_of(rows: MetricInput) -> np.ndarray:
    return (rows.y - rows.prediction) ** 2


_metric(
    "brier",
    "how far the probabilities are from the outcomes; large errors weigh more",
    _BINARY,
    greater_is_better=False,
    bounds=interval.wilson,
    by_probability=True,
    losses=_squares_of,
    of_equals="mean",
    lightgbm="l2",
)(lambda rows: mean(_squares_of(rows), rows.weights))

_metric(
    "f1",
    "how many positives are found, and how many predicted positives are right, at a "
    "threshold",
    _BINARY,
    **_SHARES,
    at_thresholds=lambda cuts: (
        2 * cuts.hits / np.maximum(cuts.called + cuts.positives, _TINY)
    ),
    constant=lambda *_: np.asarray(1.0),  # every row is positive: with none it is 0
)(lambda rows: _f1_of(rows.y == 1, rows.predicted_classes == 1, rows.weights))


def _log_losses(rows: MetricInput) -> np.ndarray:
    if rows.prediction.ndim == 2:
        of_truth = rows.prediction[np.arange(len(rows.y)), rows.y.astype(np.int64)]
    else:
        of_truth = np.where(rows.y == 1, rows.prediction, 1 - rows.prediction)
    return -np.log(np.clip(of_truth, EPSILON, 1 - EPSILON))


_metric(
    "log_loss",
    "how good the predicted probabilities are, over all classes",
    _CLASSES,
    **_LOSS,
    bounds=interval.by_log,
    by_probability=True,
    losses=_log_losses,
    of_equals="mean",
)(lambda rows: mean(_log_losses(rows), rows.weights))


_metric(
    "accuracy",
    "the share of rows that are predicted correctly",
    _CLASSES,
    bounds=interval.wilson,
    at_thresholds=lambda cuts: (
        (cuts.hits + cuts.right_negatives) / max(cuts.rows, _TINY)
    ),
    of_equals="mean",
    hides_rare=True,
)(
    lambda rows: mean(
        (rows.predicted_classes == rows.y).astype(np.float64), rows.weights
    )
)


def _balanced_accuracy_at(cuts: Called) -> np.ndarray:
    negatives = cuts.rows - cuts.positives
    of_positives = cuts.hits / max(cuts.positives, _TINY)
    of_negatives = cuts.right_negatives / max(negatives, _TINY)
    # As in the metric itself, an absent class has no share.
    present = int(cuts.positives > 0) + int(negatives > 0)
    return (of_positives + of_negatives) / max(present, 1)


@_metric(
    "balanced_accuracy",
    "the share of rows that are predicted correctly, mean over the classes",
    _CLASSES,
    **_SHARES,
    at_thresholds=_balanced_accuracy_at,
)
def _balanced_accuracy(rows: MetricInput) -> Linearised:
    right = rows.predicted_classes == rows.y
    labels = np.unique(rows.y)
    truths = (weighted((rows.y == label) * 1.0, rows.weights) for label in labels)
    return average(_class_share(truth, truth * right, truth, 1.0) for truth in truths)


@_metric(
    "f1_macro",
    "how many of a class are found, and how many predicted as it are right, mean over "
    "the classes",
    ("multiclass",),
    **_SHARES,
)
def _f1_macro(rows: MetricInput) -> Linearised:
    predicted = rows.predicted_classes
    classes = np.union1d(rows.y, predicted)
    return average(_f1_of(rows.y == c, predicted == c, rows.weights) for c in classes)


@_metric(
    "roc_auc_ovr",
    "how well each class is told from the others, mean over the classes",
    ("multiclass",),
    **_ORDER,
    by_pairs=True,
)
def _roc_auc_ovr(rows: MetricInput) -> Linearised:
    return average(
        _concordance(rows.y == code, probability, rows.weights)
        for code, probability in enumerate(rows.prediction.T)
    )


def _squares(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    return (y - prediction) ** 2


@_metric(
    "rmse",
    "the typical error in units of the target; large errors weigh more",
    _NUMBER,
    **_LOSS,
    bounds=interval.by_squares,
    errors=_squares,
    tail_prior=1.0,
    losses=_squares_of,
    explaining=lambda baseline, share: baseline * math.sqrt(max(1 - share, 0.0)),
    of_equals="mean",
    lightgbm="l2",
)
def _rmse(rows: MetricInput) -> Linearised:
    squares = mean(_squares(rows.y, rows.prediction), rows.weights)
    root = float(np.sqrt(squares.estimate))
    slope = 2 * root if root else 1.0
    return Linearised(root, squares.influence / slope)


_mean_error(
    "mae",
    "the mean error in units of the target",
    lambda y, prediction: np.abs(y - prediction),
    constant=weighted_median,
    of_equals="median",
    lightgbm="l1",
    objective={"objective": "regression_l1"},
)


@_metric(
    "r2",
    "the share of the target's variance that is explained",
    _NUMBER,
    lowest=-math.inf,
    bounds=interval.by_skewness,  # of the mean of squares, as those of rmse
    errors=_squares,
    tail_prior=1.0,
    losses=_squares_of,
    explaining=lambda baseline, share: 1 - (1 - baseline) * (1 - share),
    of_equals="mean",
    lightgbm="l2",
)
def _r2(rows: MetricInput) -> Linearised:
    """1 - mean(e²) / var(y), by the delta method; the mean of y is sampled, too."""
    errors = weighted(_squares(rows.y, rows.prediction), rows.weights)
    distances = weighted(
        (rows.y - weighted_mean(rows.y, rows.weights)) ** 2, rows.weights
    )
    variance = distances.mean()
    if variance == 0:
        return undefined(len(rows.y))
    unexplained = errors.mean() / variance
    influence = (unexplained * distances - errors) / variance
    return Linearised(float(1 - unexplained), influence)


def _deviances(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """2·(y·log(y/p) - y + p); a prediction of zero or less is raised to EPSILON."""
    expected = np.maximum(prediction, EPSILON)
    logs = y * np.log(np.where(y > 0, y, 1.0) / expected)  # y·log(y) is 0 at 0
    return 2 * (logs - y + expected)


def _pinball(y: np.ndarray, prediction: np.ndarray, level: float) -> np.ndarray:
    error = y - prediction
    return np.maximum(level * error, (level - 1) * error)


_mean_error(
    "mape",
    "the mean error as a share of the target, which must not come near zero",
    lambda y, prediction: np.abs(y - prediction) / np.maximum(np.abs(y), EPSILON),
    # the median weighted by 1/|y| (Gneiting 2011)
    constant=lambda y, weights: weighted_median(
        y, weighted(1 / np.maximum(np.abs(y), EPSILON), weights)
    ),
    lightgbm="mape",
)
_mean_error(
    "poisson_deviance",
    "how well counts are predicted, where large ones vary more; no target may be "
    "negative",
    _deviances,
    of_equals="mean",
    lightgbm="poisson",
    objective={"objective": "poisson"},
    lowest_target=0.0,
    when_asked=True,
)
# The loss that a quantile minimises (Koenker and Bassett 1978).
for _level in PINBALL_LEVELS:
    _mean_error(
        f"pinball_{_level:g}",
        f"how well a number is predicted that {_level:.0%} of the targets are below",
        partial(_pinball, level=_level),
        constant=partial(weighted_quantile, level=_level),
        lightgbm="quantile",
        objective={"objective": "quantile", "alpha": _level},
        when_asked=True,
    )


@dataclass(frozen=True, eq=False)
class OwnMetric:
    """A user's own function that scores predictions: its direction, what it takes."""

    # (y, prediction), and sample_weight where it has that argument
    function: Callable[..., float]
    greater_is_better: bool
    takes: Takes

    def __call__(self, *arguments: Any, **named: Any) -> float:
        """Call the function."""
        return self.function(*arguments, **named)

    @property
    def path(self) -> str:
        """Its import path; InvalidExperiment: another process cannot import it."""
        return _importable(f"{self.function.__module__}:{self.function.__qualname__}")


def metric(
    *, greater_is_better: bool, takes: Takes
) -> Callable[[Callable[..., float]], OwnMetric]:
    """Declare the function below as a metric, which YAML files name by its import path.

    >>> @metric(greater_is_better=True, takes="labels")
    ... def profit(y, called):
    ...     return (100 * (called & y) - 5 * called).mean()

    It is called with arrays (n,): class codes in sorted order (the positive class is
    1); then labels at the threshold that is best for it, or probabilities of the
    positive class (of several classes (n, k)), or values; and weights with a mean of 1,
    if it has an argument `sample_weight`. An interval takes up to 300 calls.
    """
    if takes not in get_args(Takes):
        raise InvalidExperiment(
            f"takes={takes!r}",
            rule="is not what a metric can take",
            fix=allowed_instead(str(takes), get_args(Takes)),
        )
    return lambda function: OwnMetric(function, greater_is_better, takes)


@cache
def _own_metric(name: str, declared: OwnMetric) -> Metric:
    parameters = inspect.signature(declared.function).parameters
    takes_labels = declared.takes == "labels"
    takes_weights = "sample_weight" in parameters

    def unusable(complaint: str) -> UnusableMetric:
        return UnusableMetric(
            f"metric {name}",
            rule=complaint,
            fix="return a number for any rows, such as 0.0 where no row is called "
            "positive",
        )

    def value(rows: MetricInput) -> float:
        prediction = rows.prediction.copy()
        if takes_labels:
            prediction = rows.predicted_classes.astype(np.int64)
        weights = {}
        if takes_weights and rows.weights is not None:
            weights["sample_weight"] = rows.weights
        try:
            with np.errstate(all="ignore"):
                score = float(declared.function(rows.y.copy(), prediction, **weights))
        except Exception as error:  # a user's function may raise anything
            raise unusable(f"raised {type(error).__name__}: {error}") from error
        if math.isnan(score) and (rows.y != rows.y[0]).any():
            raise unusable(
                f"returned nan for {len(rows.y):,} rows with different targets"
            )
        return score

    def formula(rows: MetricInput) -> Linearised:
        clusters = np.arange(len(rows.y)) if rows.clusters is None else rows.clusters
        return bootstrapped(lambda drawn: value(rows.part(drawn)), clusters)

    return Metric(
        name=name,
        words=f"a user's own function of {declared.takes}",
        tasks=frozenset(_NUMBER if declared.takes == "values" else _CLASSES),
        greater_is_better=declared.greater_is_better,
        lowest=-math.inf,
        highest=math.inf,
        formula=formula,
        bounds=interval.plain,
        value=value,
        takes_labels=takes_labels,
        takes_weights=takes_weights,
    )
