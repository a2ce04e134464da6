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
    LEVEL,
    Interval,
    Linearised,
    Weights,
    around,
    cluster_codes,
    mean,
    relative_weights,
    spread_of,
    weighted,
    weighted_mean,
)
from experiment_pipeline.statistics.metrics import Called, MetricInput, metric_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    mean_with_interval,
    one_sample,
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
    # the metric that it is best for on the test set; EXPECTED_COST is minimised
    metric: str
    test_score: float  # the score, or cost, that it reaches there

    @property
    def aim(self) -> str:
        """What it is chosen for, in words."""
        least = self.metric == EXPECTED_COST or metric_of(self.metric).sign < 0
        return f"{'minimises' if least else 'maximises'} {self.metric}"


def choose_threshold(
    metric: str, y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold:
    """Return a metric's best threshold, halfway to the next smaller probability."""
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


class DecisionCosts(Protocol):
    """What decisions cost, in the same unit; a gain is a negative cost."""

    @property
    def false_positive(self) -> float: ...  # noqa: D102

    @property
    def false_negative(self) -> float: ...  # noqa: D102

    @property
    def true_positive(self) -> float: ...  # noqa: D102


def cheapest_threshold(
    costs: DecisionCosts, y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold:
    """Return the cheapest threshold on the rows; of equals the highest.

    Probabilities may be calibrated or not.
    """
    cuts = _Cuts.of(prediction, weights)
    costs_of_cuts = _cost_at(costs, cuts.called(y))
    best = int(costs_of_cuts.argmin())
    return DecisionThreshold(
        float(cuts.values[best]), EXPECTED_COST, float(costs_of_cuts[best])
    )


def best_threshold(
    metrics: Sequence[str], costs: DecisionCosts | None, test: SetPrediction
) -> DecisionThreshold | None:
    """Return the cheapest threshold on the test rows, without costs the best for the
    metrics; None: not binary.
    """
    if costs is not None:
        return cheapest_threshold(costs, test.y, test.prediction, test.weights)
    return decision_threshold(metrics, test.y, test.prediction, test.weights)


def _cost_at(costs: DecisionCosts, at: Called) -> np.ndarray:
    of_negatives = costs.false_positive * (at.called - at.hits)
    of_found = costs.true_positive * at.hits
    of_missed = costs.false_negative * (at.positives - at.hits)
    return (of_negatives + of_found + of_missed) / at.rows


def cost_of(costs: DecisionCosts, y: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return what each row's decision costs, (n,), of rows that are called or not."""
    of_called = np.where(y == 1, costs.true_positive, costs.false_positive)
    return np.where(called, of_called, np.where(y == 1, costs.false_negative, 0.0))


def cost_interval(costs: DecisionCosts, rows: SetPrediction, cut: float) -> Interval:
    """Return the cost per row of deciding at a threshold.

    Its interval adds one row of each kind (Agresti and Caffo 2000): eight of eight
    positives found do not prove that all are found.
    """
    extended = with_one_of_each(rows, cut)
    least = min(costs.true_positive, 0.0)  # gains are below 0
    above = cost_of(costs, extended.y, extended.prediction > 0) - least
    wider = mean_with_interval(above, extended.clusters, extended.weights)
    cost = _observed(above, rows, wider)
    return Interval(cost.estimate + least, cost.low + least, cost.high + least)


def saved_interval(
    costs: DecisionCosts,
    rows: SetPrediction,
    cut: float,
    instead: np.ndarray,
    level: float = LEVEL,
) -> Interval:
    """Return what deciding at a threshold saves per row, paired, against calling the
    rows of a mask (n,); its interval adds rows as `cost_interval` does.
    """
    extended = with_one_of_each(rows, cut)
    called = extended.prediction > 0
    added = ~called[len(rows.y) :]  # the decisions differ
    if instead.all() or not instead.any():
        added = np.full(len(added), instead.all())  # as it never decides otherwise
    others = cost_of(costs, extended.y, np.append(instead, added))
    saved = others - cost_of(costs, extended.y, called)
    score = mean(saved, relative_weights(extended.weights))
    layout = one_sample(extended.clusters, extended.weights)
    return _observed(saved, rows, around(spread_of(score, layout), level))


def _observed(values: np.ndarray, rows: SetPrediction, wider: Interval) -> Interval:
    """Return the mean of the rows that were not added, with the bounds of all."""
    weights = relative_weights(rows.weights)
    observed = float(weighted_mean(values[: len(rows.y)], weights))
    return replace(
        wider,
        estimate=observed,
        low=min(wider.low, observed),
        high=max(wider.high, observed),
    )


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Precision, recall and cost at each of k increasing thresholds."""

    thresholds: np.ndarray  # (k,) over the range of the probabilities
    # (k,) share of the called rows that are positive; nan where none is
    precision: np.ndarray
    recall: np.ndarray  # (k,) share of the positive rows that are called
    cost: np.ndarray | None  # (k,) expected cost per row; None without costs


def threshold_curve(
    y: np.ndarray,
    prediction: np.ndarray,
    costs: DecisionCosts | None,
    weights: Weights = None,
) -> ThresholdCurve:
    """Return the curve at evenly spaced thresholds."""
    thresholds = np.linspace(prediction.min(), prediction.max(), 101)
    called = _Cuts.of(prediction, weights).called(y)
    cuts = np.searchsorted(np.unique(-prediction), -thresholds, side="right")
    at = replace(called, hits=called.hits[cuts], called=called.called[cuts])
    precision = at.hits / np.maximum(at.called, _TINY)
    return ThresholdCurve(
        thresholds,
        precision=np.where(at.called > 0, precision, np.nan),
        recall=at.hits / max(at.positives, _TINY),
        cost=None if costs is None else _cost_at(costs, at),
    )


def scoring_threshold(
    metrics: Sequence[str],
    y: np.ndarray,
    prediction: np.ndarray,
    weights: Weights = None,
) -> float:
    """Return the value of `decision_threshold`; 0.5 where no metric depends on it."""
    if not any(metric_of(name).by_threshold for name in metrics):
        return 0.5
    return threshold_value(decision_threshold(metrics, y, prediction, weights))


def threshold_value(threshold: DecisionThreshold | None) -> float:
    """Return the threshold's value; 0.5 without one, when nothing depends on it."""
    return 0.5 if threshold is None else threshold.value


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A score whose thresholds were chosen on other rows."""

    # of all rows, each decided by the threshold that is best on other folds
    score: Linearised
    # (K,) the thresholds of the folds; empty where the metric needs none
    cuts: np.ndarray

    def threshold_error(self, metric: str, unused: SetPrediction) -> float:
        """Return the standard error that the choice of the threshold adds to a score.

        Scores of the folds' thresholds on `unused`, rows that no threshold was chosen
        on, vary by s²; the choice on all rows is one more draw, which differs from the
        mean of K by s²·(1 + 1/K).
        """
        folds = len(self.cuts)
        if folds < 2:
            return 0.0
        scores = [unused.score(metric, cut) for cut in self.cuts.tolist()]
        return float(np.std(scores, ddof=1)) * math.sqrt(1 + 1 / folds)


def cross_fitted(metric: str, predicted: SetPrediction) -> CrossFitted:
    """Score rows at thresholds of other folds (Chernozhukov et al. 2018).

    Metrics without a threshold are scored as they are.
    """
    y = predicted.y
    prediction = predicted.prediction
    by_threshold = metric_of(metric).by_threshold and prediction.ndim == 1
    if not by_threshold or not np.isfinite(prediction).all():
        return CrossFitted(predicted.linearise(metric), np.empty(0))
    fold_of_row = fold_of_rows(y, cluster_codes(predicted.clusters))
    possible = _Cuts.of(prediction, predicted.weights)
    cuts = np.array(
        [
            possible.best(metric, y, fold_of_row != fold).value
            for fold in range(fold_of_row.max() + 1)
        ]
    )
    decisions = (prediction >= cuts[fold_of_row]).astype(np.float64)
    decided = replace(predicted, prediction=decisions)
    return CrossFitted(decided.linearise(metric), cuts)


def fold_of_rows(y: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the fold of each row, (n,); `codes` are those of clusters, 0 … G-1.

    Clusters are sorted by mean target and dealt in turn. Equal means are dealt at
    random; in order of time, each of five weekdays would become a fold.
    """
    shares = np.bincount(codes, weights=y) / np.bincount(codes)
    order = np.lexsort((np.random.default_rng(0).permutation(len(shares)), shares))
    fold = np.empty(len(shares), dtype=np.int64)
    fold[order] = np.arange(len(shares)) % FOLDS
    return fold[codes]


@dataclass(frozen=True, eq=False)
class _Cuts:
    """The possible thresholds, decreasing: above all probabilities, then between."""

    values: np.ndarray  # (k + 1,) thresholds
    # (n,) position of each row's probability among the k distinct, decreasing
    code: np.ndarray
    weights: Weights  # (n,) of the rows

    @classmethod
    def of(cls, prediction: np.ndarray, weights: Weights) -> "_Cuts":
        falling, code = np.unique(-prediction, return_inverse=True)
        ends = np.concatenate([[_ABOVE_ALL], -falling, [0.0]])
        return cls((ends[:-1] + ends[1:]) / 2, code, relative_weights(weights))

    def best(
        self, metric: str, y: np.ndarray, mask: np.ndarray | None = None
    ) -> DecisionThreshold:
        """Return the best threshold for all rows, or those of a mask.

        Of equal ones it is the highest.
        """
        declared = metric_of(metric)
        positions = np.arange(len(self.values))
        if declared.at_thresholds is not None:
            scores = declared.at_thresholds(self.called(y, mask))
        elif declared.value is not None and declared.takes_labels:
            # Evenly spread over the distinct probabilities, and more of the highest.
            last = len(positions) - 1
            tried = [np.linspace(0, last, 50), np.geomspace(1, last, 50)]
            positions = np.unique(np.concatenate(tried).astype(np.int64))
            rows = MetricInput(y, -self.code, 0.0, self.weights)
            if mask is not None:
                rows = rows.part(mask)
            values = [
                declared.value(replace(rows, threshold=1.0 - position))
                for position in positions.tolist()
            ]
            scores = declared.sign * np.array(values)
        else:
            raise ValueError(f"{metric} does not depend on a threshold")
        equal = np.isclose(scores, scores.max(), 1e-12, 1e-12)
        best = int(equal.argmax())  # the first of equals
        return DecisionThreshold(
            float(self.values[positions[best]]),
            metric,
            test_score=float(declared.sign * scores[best]),
        )

    def called(self, y: np.ndarray, mask: np.ndarray | None = None) -> Called:
        """Return what each threshold calls positive, of all rows or those of a mask."""
        rows = np.ones(len(y)) if mask is None else mask * 1.0
        weights = weighted(rows, self.weights)
        hits = self._up_to_each(weights * (y == 1))
        called = self._up_to_each(weights)
        return Called(hits, called, positives=hits[-1], rows=called[-1])

    def _up_to_each(self, weights: np.ndarray) -> np.ndarray:
        """The weight of the rows that each threshold calls positive, (k + 1,)."""
        sums = np.bincount(self.code, weights, len(self.values) - 1)
        return np.append(0.0, np.cumsum(sums))
