"""The decision threshold of a binary model: chosen on the test set, applied from then
on.

`scoring_threshold` is a configuration's own best; `cross_fitted` scores without the
optimism of that choice. With costs, the exported threshold is the cheapest. Arguments
are as in `scores.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from experiment_pipeline.statistics.interval import (
    Interval,
    Linearised,
    Weights,
    cluster_codes,
    relative_weights,
    weighted,
    weighted_mean,
)
from experiment_pipeline.statistics.metrics import Called, MetricInput, metric_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    mean_with_interval,
    with_one_of_each,
)

# Folds of `cross_fitted`: each threshold is chosen on four fifths of the rows.
FOLDS = 5
EXPECTED_COST = "expected cost per row"
_TINY = float(np.finfo(np.float64).tiny)
# An upper end above all probabilities: halfway between it and 1 is still above 1.
_ABOVE_ALL = 1 + 2 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class DecisionThreshold:
    """The probability from which on a row is called positive."""

    value: float  # above 1 where no row is called positive
    metric: str  # the metric that it is best for on the test set; EXPECTED_COST is minimised
    test_score: float  # the score, or cost, that it reaches there


def choose_threshold(
    metric: str, y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold:
    """Return the threshold that is best for a metric, halfway to the next smaller
    probability.
    """
    return _Cuts.of(prediction, weights).best(metric, y)


def decision_threshold(
    metrics: Sequence[str],
    y: np.ndarray,
    prediction: np.ndarray,
    weights: Weights = None,
) -> DecisionThreshold | None:
    """Return the threshold of one fit on its test rows; None: not binary.

    It is best for the first metric of the experiment that depends on a threshold; else
    for f1, or balanced accuracy if most rows are positive: calling all rows positive
    would then maximise f1.
    """
    if prediction.ndim == 2 or "binary" not in metric_of(metrics[0]).tasks:
        return None
    rare = weighted_mean(y, relative_weights(weights)) < 0.5
    otherwise = "f1" if rare else "balanced_accuracy"
    metric = next((name for name in metrics if metric_of(name).by_threshold), otherwise)
    return choose_threshold(metric, y, prediction, weights)


class ErrorCosts(Protocol):
    """What wrong decisions cost, in the same unit."""

    @property
    def false_positive(self) -> float: ...  # noqa: D102

    @property
    def false_negative(self) -> float: ...  # noqa: D102


def cheapest_threshold(
    costs: ErrorCosts, y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold:
    """Return the cheapest threshold on the rows, for calibrated probabilities or not;
    of equals the highest.
    """
    cuts = _Cuts.of(prediction, weights)
    expected = _cost_at(costs, cuts.called(y))
    best = int(expected.argmin())
    return DecisionThreshold(
        float(cuts.values[best]), EXPECTED_COST, float(expected[best])
    )


def _cost_at(costs: ErrorCosts, at: Called) -> np.ndarray:
    wrongly = costs.false_positive * (at.called - at.hits)
    return np.asarray(
        (wrongly + costs.false_negative * (at.positives - at.hits)) / at.rows
    )


def cost_of(costs: ErrorCosts, y: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return what each row's decision costs, (n,), of rows that are called positive or
    not.
    """
    wrongly = np.where(called, costs.false_positive, costs.false_negative)
    return np.asarray(np.where(called == (y == 1), 0.0, wrongly))


def cost_interval(costs: ErrorCosts, rows: SetPrediction, cut: float) -> Interval:
    """Return the cost per row of deciding at a threshold, with an interval that adds
    one row of each kind (Agresti and Caffo 2000): eight of eight positives found do not
    prove that all are found.
    """
    more = with_one_of_each(rows, cut)
    cost = cost_of(costs, more.y, more.prediction > 0)
    given = float(weighted_mean(cost[: len(rows.y)], relative_weights(rows.weights)))
    found = mean_with_interval(cost, more.clusters, more.weights)
    return Interval(given, min(found.low, given), max(found.high, given))


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Precision, recall and cost at each of k increasing thresholds."""

    thresholds: np.ndarray  # (k,) over the range of the probabilities
    precision: (
        np.ndarray
    )  # (k,) share of the called rows that are positive; nan where none is
    recall: np.ndarray  # (k,) share of the positive rows that are called
    cost: np.ndarray | None  # (k,) expected cost per row; None without costs


def threshold_curve(
    y: np.ndarray,
    prediction: np.ndarray,
    costs: ErrorCosts | None = None,
    weights: Weights = None,
) -> ThresholdCurve:
    """Return the curve at evenly spaced thresholds."""
    thresholds = np.linspace(prediction.min(), prediction.max(), 101)
    every = _Cuts.of(prediction, weights).called(y)
    cuts = np.searchsorted(np.unique(-prediction), -thresholds, side="right")
    at = replace(every, hits=every.hits[cuts], called=every.called[cuts])
    return ThresholdCurve(
        thresholds,
        np.where(at.called > 0, at.hits / np.maximum(at.called, _TINY), np.nan),
        at.hits / max(at.positives, _TINY),
        None if costs is None else _cost_at(costs, at),
    )


def scoring_threshold(
    metrics: Sequence[str],
    y: np.ndarray,
    prediction: np.ndarray,
    weights: Weights = None,
) -> float:
    """Return the value of `decision_threshold`; 0.5 where no metric depends on a
    threshold.
    """
    if not any(metric_of(name).by_threshold for name in metrics):
        return 0.5
    return threshold_value(decision_threshold(metrics, y, prediction, weights))


def threshold_value(threshold: DecisionThreshold | None) -> float:
    """Return the threshold's value; 0.5 without one, when nothing depends on it."""
    return 0.5 if threshold is None else threshold.value


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A score whose thresholds were chosen on other rows."""

    score: Linearised  # of all rows, each decided by the threshold that is best on other folds
    cuts: (
        np.ndarray
    )  # (K,) the thresholds of the folds; empty where the metric needs none

    def threshold_error(self, metric: str, others: SetPrediction) -> float:
        """Return the standard error that the choice of the threshold adds, in units of
        the metric.

        Scores of the folds' thresholds on `others`, rows that no threshold was chosen
        on, vary by s²; the choice on all rows is one more draw, which differs from the
        mean of K by s²·(1 + 1/K).
        """
        folds = len(self.cuts)
        if folds < 2:
            return 0.0
        scores = [others.score(metric, cut) for cut in self.cuts.tolist()]
        return float(np.std(scores, ddof=1)) * math.sqrt(1 + 1 / folds)


def cross_fitted(metric: str, predicted: SetPrediction) -> CrossFitted:
    """Score rows at thresholds that were chosen on other folds (Chernozhukov et al.
    2018).

    Metrics without a threshold are scored as they are.
    """
    y, prediction, weights = predicted.y, predicted.prediction, predicted.weights
    by_threshold = metric_of(metric).by_threshold and prediction.ndim == 1
    if not by_threshold or not np.isfinite(prediction).all():
        return CrossFitted(predicted.linearise(metric), np.empty(0))
    fold, every = (
        fold_of_rows(y, cluster_codes(predicted.clusters)),
        _Cuts.of(prediction, weights),
    )
    cuts = np.array(
        [every.best(metric, y, fold != one).value for one in range(fold.max() + 1)]
    )
    decided = replace(
        predicted, prediction=(prediction >= cuts[fold]).astype(np.float64)
    )
    return CrossFitted(decided.linearise(metric), cuts)


def fold_of_rows(y: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the fold (n,) of each row: clusters, codes 0 … G-1, are sorted by mean
    target and dealt in turn.

    Equal means are dealt at random; in order of time, each of five weekdays would
    become a fold.
    """
    shares = np.bincount(codes, weights=y) / np.bincount(codes)
    order = np.lexsort((np.random.default_rng(0).permutation(len(shares)), shares))
    fold = np.empty(len(shares), dtype=np.int64)
    fold[order] = np.arange(len(shares)) % FOLDS
    return np.asarray(fold[codes])


@dataclass(frozen=True, eq=False)
class _Cuts:
    """The possible thresholds: above all probabilities, then between the distinct ones,
    decreasing.
    """

    values: np.ndarray  # (k + 1,) thresholds
    code: (
        np.ndarray
    )  # (n,) position of each row's probability among the k distinct, decreasing
    weights: Weights  # (n,) of the rows

    @classmethod
    def of(cls, prediction: np.ndarray, weights: Weights) -> "_Cuts":
        falling, code = np.unique(-prediction, return_inverse=True)
        ends = np.concatenate([[_ABOVE_ALL], -falling, [0.0]])
        return cls((ends[:-1] + ends[1:]) / 2, code, relative_weights(weights))

    def best(
        self, metric: str, y: np.ndarray, rows: np.ndarray | None = None
    ) -> DecisionThreshold:
        """Return the best threshold for all rows, or those of a mask; of equal ones the
        highest.
        """
        declared, tried = metric_of(metric), np.arange(len(self.values))
        if declared.at_thresholds is not None:
            scores = declared.at_thresholds(self.called(y, rows))
        elif declared.value is not None and declared.takes_labels:
            # Tried are some, evenly spread over the distinct probabilities, and more of
            # the highest.
            last = len(tried) - 1
            places = [np.linspace(0, last, 50), np.geomspace(1, last, 50)]
            tried = np.unique(np.concatenate(places).astype(np.int64))
            some = MetricInput(y, -self.code, 0.0, self.weights)
            some = some if rows is None else some.part(rows)
            found = [
                declared.value(replace(some, threshold=1.0 - k)) for k in tried.tolist()
            ]
            scores = declared.sign * np.array(found)
        else:
            raise ValueError(f"{metric} does not depend on a threshold")
        best = int(
            np.isclose(scores, scores.max(), 1e-12, 1e-12).argmax()
        )  # the first of equals
        score = float(declared.sign * scores[best])
        return DecisionThreshold(float(self.values[tried[best]]), metric, score)

    def called(self, y: np.ndarray, rows: np.ndarray | None = None) -> Called:
        """Return what each threshold calls positive, of all rows or those of a mask."""
        counted = weighted(
            np.ones(len(y)) if rows is None else rows * 1.0, self.weights
        )
        hits, called = (
            np.append(0.0, np.cumsum(np.bincount(self.code, one, len(self.values) - 1)))
            for one in (counted * (y == 1), counted)
        )
        return Called(hits, called, hits[-1], called[-1])
