"""The decision threshold of a binary model: chosen on the test set, applied from then on.

Every score at a threshold of a configuration's own comes from here: `on_test` for the test rows,
`cross_fitted` where that score must not flatter itself. Where wrong decisions have costs, the
exported threshold is the cheapest one. In: the truth and the probabilities of the test rows. Out: a
`DecisionThreshold`, scores with influence, a curve. Weights are as in `scores.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.outcomes import Called
from experiment_pipeline.statistics.scores import SetPrediction, linearise
from experiment_pipeline.statistics.spread import Linearised, cluster_codes
from experiment_pipeline.statistics.weights import (
    Weights,
    relative_weights,
    weighted,
    weighted_mean,
)

# Folds of `cross_fitted`: each chooses on four fifths of what the real choice sees.
FOLDS = 5
EXPECTED_COST = "expected cost per row"
_TINY = float(np.finfo(np.float64).tiny)
# The end above all probabilities: halfway from it to 1 is still above 1.
_ABOVE_ALL = 1 + 2 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class DecisionThreshold:
    """From which probability on a row is called positive.

    Attributes:
        value: the threshold; above 1 where no row is called positive.
        metric: what it is best for on the test set: it maximises a metric, or minimises
            EXPECTED_COST.
        test_score: what it reaches there.
    """

    value: float
    metric: str
    test_score: float


def deciding_metric(metrics: Sequence[str], y: np.ndarray, weights: Weights = None) -> str:
    """Return the metric that a threshold maximises.

    The first metric of the experiment that depends on a threshold; else f1, or balanced
    accuracy when most rows are positive: f1 is then best served by calling every row positive.
    """
    named = [name for name in metrics if METRICS[name].by_threshold]
    if named:
        return named[0]
    return "f1" if weighted_mean(y, relative_weights(weights)) < 0.5 else "balanced_accuracy"


def choose_threshold(
    metric: str, y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold:
    """Return the threshold that maximises a metric, halfway to the next smaller probability."""
    return _Cuts.of(prediction, weights).best(metric, y)


def decision_threshold(
    metrics: Sequence[str], y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold | None:
    """Return the threshold of one fit, from its predictions of the test rows; None: not binary.

    Args:
        metrics: of the experiment, the ranking one first.
        y: encoded targets (n,), of all test rows or those of a rung.
        prediction: as for `scores.score`.
        weights: of the rows.
    """
    if prediction.ndim == 2 or "binary" not in METRICS[metrics[0]].tasks:
        return None
    return choose_threshold(deciding_metric(metrics, y, weights), y, prediction, weights)


class ErrorCosts(Protocol):
    """What wrong decisions cost, in any one cluster; both are positive."""

    @property
    def false_positive(self) -> float:
        """Of a negative row that is called positive."""

    @property
    def false_negative(self) -> float:
        """Of a positive row that is not."""


def cheapest_threshold(
    costs: ErrorCosts, y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> DecisionThreshold:
    """Return the threshold that minimises the expected cost per row; of equal ones the highest.

    It is found on the rows, not by the odds of the costs (Elkan 2001): probabilities need not
    be calibrated for it.
    """
    cuts = _Cuts.of(prediction, weights)
    called = cuts.called(y)
    expected = _cost_at(costs, called)
    best = int(expected.argmin())
    return DecisionThreshold(float(cuts.values[best]), EXPECTED_COST, float(expected[best]))


def _cost_at(costs: ErrorCosts, at: Called) -> np.ndarray:
    wrongly = costs.false_positive * (at.called - at.hits)
    return np.asarray((wrongly + costs.false_negative * (at.positives - at.hits)) / at.rows)


def cost_of(costs: ErrorCosts, y: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return what each row's decision costs, (n,), of rows that are called positive or not."""
    wrongly = np.where(called, costs.false_positive, costs.false_negative)
    return np.asarray(np.where(called == (y == 1), 0.0, wrongly))


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """What decisions come to at each of k thresholds, rising.

    Attributes:
        thresholds: (k,) over the range of the probabilities.
        precision: (k,) share of the called rows that are positive; nan where none is called.
        recall: (k,) share of the positive rows that are called.
        cost: (k,) expected cost per row; None without costs.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    cost: np.ndarray | None


def threshold_curve(
    y: np.ndarray,
    prediction: np.ndarray,
    costs: ErrorCosts | None = None,
    weights: Weights = None,
    points: int = 101,
) -> ThresholdCurve:
    """Return the curve at evenly spaced thresholds; arguments as of `cheapest_threshold`."""
    thresholds = np.linspace(prediction.min(), prediction.max(), points)
    order = np.argsort(prediction, kind="stable")
    counted = weighted(np.ones(len(y)), relative_weights(weights))[order]
    of_positives = counted * (y[order] == 1)
    place = np.searchsorted(prediction[order], thresholds)
    # The weight of the rows from each place on.
    hits, called = (
        np.append(np.cumsum(one[::-1])[::-1], 0.0)[place] for one in (of_positives, counted)
    )
    at = Called(hits, called, float(of_positives.sum()), float(counted.sum()))
    return ThresholdCurve(
        thresholds,
        np.where(called > 0, hits / np.maximum(called, _TINY), np.nan),
        hits / max(at.positives, _TINY),
        None if costs is None else _cost_at(costs, at),
    )


def scoring_threshold(
    metrics: Sequence[str], y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> float:
    """Return the threshold to score one fit at, by `decision_threshold`, whose arguments these are.

    Where none of the metrics depends on one any value serves, 0.5, and none is looked for.
    """
    if not any(METRICS[name].by_threshold for name in metrics):
        return 0.5
    return threshold_value(decision_threshold(metrics, y, prediction, weights))


def threshold_value(threshold: DecisionThreshold | None) -> float:
    """Return the threshold's value; without one any value serves, 0.5."""
    return 0.5 if threshold is None else threshold.value


def on_test(
    metrics: Sequence[str], y: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> Linearised:
    """Return the score of a configuration on the test rows: by this it is ranked.

    The score is that of the ranking metric; one that depends on a threshold is at the
    threshold that is best for this configuration, as the chosen one will be used. The influence
    takes the threshold as given: at a maximum it moves the score in second order only.
    Arguments as of `decision_threshold`.
    """
    threshold = scoring_threshold(metrics[:1], y, prediction, weights)
    return linearise(metrics[0], y, prediction, threshold, weights)


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A score on the rows that the threshold is chosen on, without flattery.

    Attributes:
        score: of all rows, each decided by the threshold that is best on other folds.
        cuts: (K,) the thresholds of the folds; empty where the metric needs none.
    """

    score: Linearised
    cuts: np.ndarray

    def luck(self, metric: str, others: SetPrediction) -> float:
        """Return how far other rows' score is from this one by the choice of the threshold alone.

        The choice on all rows is one more draw like those of the folds. What they score on the
        other rows varies by s²; one draw differs from the mean of K by s²·(1 + 1/K).

        Args:
            metric: of the score.
            others: by the same fit, of rows that no threshold was chosen on.

        Returns:
            A standard error, in units of the metric; 0 where no threshold was chosen.
        """
        folds = len(self.cuts)
        if folds < 2:
            return 0.0
        scores = [others.score(metric, cut) for cut in self.cuts.tolist()]
        return float(np.std(scores, ddof=1)) * math.sqrt(1 + 1 / folds)


def cross_fitted(metric: str, predicted: SetPrediction) -> CrossFitted:
    """Score the rows that a threshold is chosen on as rows that it was not chosen on.

    The clusters are dealt into folds, and the rows of each are decided by the threshold that is
    best on the others (cross-fitting: Chernozhukov et al. 2018). Metrics without a threshold
    are scored as they are.
    """
    y, prediction, weights = predicted.y, predicted.prediction, predicted.weights
    by_threshold = METRICS[metric].by_threshold and prediction.ndim == 1
    if not by_threshold or not np.isfinite(prediction).all():
        return CrossFitted(predicted.linearise(metric), np.empty(0))
    fold, every = dealt(y, cluster_codes(predicted.clusters)), _Cuts.of(prediction, weights)
    cuts = np.array([every.best(metric, y, fold != one).value for one in range(fold.max() + 1)])
    decided = replace(predicted, prediction=(prediction >= cuts[fold]).astype(np.float64))
    return CrossFitted(decided.linearise(metric), cuts)


def dealt(y: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the fold (n,) of each row: clusters by their mean target, dealt in turn.

    Clusters of equal means are dealt at random: five working days would be a fold per weekday.

    Args:
        y: encoded targets (n,); of two classes the mean is the share of positives.
        codes: (n,) of the clusters, 0 … G-1.
    """
    shares = np.bincount(codes, weights=y) / np.bincount(codes)
    order = np.lexsort((np.random.default_rng(0).permutation(len(shares)), shares))
    fold = np.empty(len(shares), dtype=np.int64)
    fold[order] = np.arange(len(shares)) % FOLDS
    return np.asarray(fold[codes])


@dataclass(frozen=True, eq=False)
class _Cuts:
    """Where probabilities can be cut: above all, then between the distinct ones, falling.

    Attributes:
        values: (k + 1,) thresholds.
        code: (n,) place of each row's probability among the k distinct ones, the largest first.
        weights: (n,) of the rows.
    """

    values: np.ndarray
    code: np.ndarray
    weights: Weights

    @classmethod
    def of(cls, prediction: np.ndarray, weights: Weights) -> "_Cuts":
        falling, code = np.unique(-prediction, return_inverse=True)
        ends = np.concatenate([[_ABOVE_ALL], -falling, [0.0]])
        return cls((ends[:-1] + ends[1:]) / 2, code, relative_weights(weights))

    def best(self, metric: str, y: np.ndarray, rows: np.ndarray | None = None) -> DecisionThreshold:
        """Return the best threshold for all rows, or those of a mask; of equal ones the highest.

        Raises:
            ValueError: the metric depends on no threshold.
        """
        if (at_thresholds := METRICS[metric].at_thresholds) is None:
            raise ValueError(f"{metric} depends on no threshold")
        scores = at_thresholds(self.called(y, rows))
        best = int(scores.argmax())
        return DecisionThreshold(float(self.values[best]), metric, float(scores[best]))

    def called(self, y: np.ndarray, rows: np.ndarray | None = None) -> Called:
        """Return what each threshold calls positive, of all rows or those of a mask."""
        counted = weighted(np.ones(len(y)) if rows is None else rows * 1.0, self.weights)
        hits, called = self._called(counted * (y == 1)), self._called(counted)
        return Called(hits, called, hits[-1], called[-1])

    def _called(self, weights: np.ndarray) -> np.ndarray:
        """Return the weight of what each threshold calls positive, (k + 1,)."""
        counts = np.bincount(self.code, weights=weights, minlength=len(self.values) - 1)
        return np.concatenate([[0.0], np.cumsum(counts)])
