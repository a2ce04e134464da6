"""How a model treats groups of rows, and how much the groups differ.

Rates, differences and ratios are those of fairlearn (Bird et al. 2020): of the highest
and the lowest group. The intervals of all pairs by all measures are simultaneous: a
multiplier bootstrap over clusters (`comparisons.py`) gives the level at which the
groups' own intervals are combined to one of a difference, or of a ratio by logarithms
(MOVER: Newcombe 1998; Zou and Donner 2008).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Self

import numpy as np

from experiment_pipeline.statistics.calibration import MOST_CLASSES, most_frequent
from experiment_pipeline.statistics.comparisons import (
    Drawn,
    comparison_codes,
    simultaneous_reach,
)
from experiment_pipeline.statistics.interval import (
    LEVEL,
    ConsecutiveClusters,
    Interval,
    Spread,
    around,
    independent_projections,
    mean,
    relative_weights,
    spread_of,
)
from experiment_pipeline.statistics.scores import SetPrediction, interval_of, one_sample

# Clusters with counted rows that a group needs; with fewer, no claim is made.
FEWEST_CLUSTERS = 30
MEANINGS = {
    "selection_rate": (
        "share of the rows that is predicted positive; of several classes, as the class"
    ),
    "true_positive_rate": "share of the positive rows that is predicted positive",
    "false_positive_rate": "share of the negative rows that is predicted positive",
    "precision": "share of the rows predicted positive that is positive",
    "predicted_minus_observed": (
        "mean probability minus the share of positive rows; above 0: too high"
    ),
    "accuracy": "share of the rows whose class is predicted",
    "mean_error": "mean of predicted minus actual; above 0: too high",
    "mean_absolute_error": "mean size of predicted minus actual",
}
_SMALLEST = 1e-100  # in place of 0, which has no logarithm
Classes = Sequence[object] | None
Law = Callable[[Spread, float], Interval]


@dataclass(frozen=True, eq=False)
class GroupMeasure:
    """A measure of every group; K of them have enough rows."""

    name: str  # of MEANINGS; `late: selection_rate` of one of several classes
    rows: np.ndarray  # (groups,) number of counted rows
    # (K) code of a group → its value with its own 95 % interval
    intervals: Mapping[int, Interval]
    # (K, K, 2) bounds of row minus column, for all measures at once
    differences: np.ndarray
    # the same of row divided by column; None: of a measure with a sign
    ratios: np.ndarray | None

    def extremes(self) -> Iterator[tuple[str, int, int, Interval]]:
        """Yield the largest `difference` and the smallest `ratio`.

        With the codes of the groups that are highest and lowest.
        """
        if len(self.intervals) < 2:
            return
        values = {code: group.estimate for code, group in self.intervals.items()}
        falling = sorted(values, key=values.__getitem__, reverse=True)
        high, low = falling[0], falling[-1]
        lower, upper = self.differences.max(axis=(0, 1)).tolist()
        difference = Interval(values[high] - values[low], lower, upper)
        yield "difference", high, low, difference
        if self.ratios is not None and values[high] > 0:
            lower, upper = self.ratios.min(axis=(0, 1)).tolist()
            yield "ratio", high, low, Interval(values[low] / values[high], lower, upper)


@dataclass(frozen=True, eq=False)
class _Measure:
    """A measure of rows: the mean of values, over the rows that are counted."""

    name: str  # of MEANINGS
    values: np.ndarray  # (n,)
    counted: np.ndarray  # (n,) bool
    law: Law  # of its bounds


@dataclass(frozen=True, eq=False)
class _Groups:
    """The groups by a measure; K of them have enough rows."""

    measure: _Measure
    rows: np.ndarray  # (groups,) number of counted rows
    spreads: Mapping[int, Spread]  # (K) of code, as if clusters were independent
    intervals: Mapping[int, Interval]  # (K)
    sums: Sequence[np.ndarray]  # (K) what each cluster contributes, (G,)

    @classmethod
    def of(
        cls,
        measure: _Measure,
        codes: np.ndarray,
        predicted: SetPrediction,
        clusters: np.ndarray,
    ) -> Self:
        n_clusters = int(clusters.max()) + 1
        spreads = dict[int, Spread]()
        intervals = dict[int, Interval]()
        sums = []
        for code in range(int(codes.max()) + 1):
            at = np.flatnonzero(measure.counted & (codes == code))
            if len(at) < FEWEST_CLUSTERS:
                continue
            part = predicted.rows(at)
            layout = one_sample(part.clusters, part.weights)
            if layout.scarcest < FEWEST_CLUSTERS:
                continue
            weights = relative_weights(part.weights)
            score = mean(measure.values[at] * 1.0, weights)
            intervals[code] = measure.law(spread_of(score, layout), LEVEL)
            spreads[code] = spread_of(score, replace(layout, consecutive=False))
            influence = score.influence / len(at)
            sums.append(np.bincount(clusters[at], influence, n_clusters))
        rows = np.bincount(codes[measure.counted], minlength=int(codes.max()) + 1)
        return cls(measure, rows, spreads, intervals, sums)

    def compared(self, drawn: np.ndarray, level: float) -> GroupMeasure:
        """Compare the groups by the contributions (n, K) of n clusters.

        Errors and correlations come from the same contributions: otherwise a
        correlation may exceed 1.
        """
        freedom = max(len(drawn) - 1.0, 1.0)
        products = drawn.T @ drawn * (1 + 1 / freedom)
        errors = np.sqrt(np.diag(products))
        correlations = products / np.maximum(np.outer(errors, errors), _SMALLEST)
        law = self.measure.law
        ends = []
        for spread, error in zip(self.spreads.values(), errors.tolist(), strict=True):
            alone = replace(
                spread,
                standard_error=error,
                degrees_of_freedom=min(spread.degrees_of_freedom, freedom),
            )
            interval = law(alone, level)
            ends.append([interval.estimate, interval.low, interval.high])
        values, low, high = np.reshape(ends, (-1, 3)).T
        differences = _bounds_of_pairs(values, low, high, correlations)
        ratios = None
        if law is not around:
            logs = np.log(np.maximum(np.where(values > 0, values, high / 2), _SMALLEST))
            lower = np.log(np.maximum(low, _SMALLEST))
            upper = np.log(np.maximum(high, _SMALLEST))
            of_logs = _bounds_of_pairs(logs, lower, upper, correlations)
            ratios = np.exp(of_logs).round(12)
        return GroupMeasure(
            self.measure.name, self.rows, self.intervals, differences, ratios
        )


def compare_groups(
    codes: np.ndarray, predicted: SetPrediction, threshold: float, classes: Classes
) -> list[GroupMeasure]:
    """Measure groups, by their codes (n,), and compare those with enough rows.

    `classes` are None for regression.
    """
    from scipy.special import stdtr

    clusters = comparison_codes(predicted.clusters)
    n_clusters = int(clusters.max()) + 1
    measured = [
        _Groups.of(measure, codes, predicted, clusters)
        for measure in _measures(predicted, threshold, classes)
    ]
    sums = list[np.ndarray]()
    gaps = list[np.ndarray]()
    for groups in measured:
        sums += groups.sums
        gaps += [first - second for first, second in combinations(groups.sums, 2)]
    drawn = np.reshape(sums, (-1, n_clusters)).T
    drawn_gaps = np.reshape(gaps, (-1, n_clusters)).T
    consecutive = isinstance(predicted.clusters, ConsecutiveClusters)
    if consecutive and gaps:
        # What groups share on a day cancels out, and so does its memory.
        drawn = independent_projections(drawn, drawn_gaps)
    reach = simultaneous_reach(drawn_gaps, Drawn(0, consecutive))
    level = max(2 * float(stdtr(len(drawn) - 1, reach)) - 1, LEVEL)
    ends = np.cumsum([len(groups.sums) for groups in measured])
    parts = np.split(drawn, ends[:-1], axis=1)
    return [
        groups.compared(part, level)
        for groups, part in zip(measured, parts, strict=True)
    ]


def _measures(
    predicted: SetPrediction, threshold: float, classes: Classes
) -> Iterator[_Measure]:
    y = predicted.y
    prediction = predicted.prediction
    all_rows = np.full(len(y), True)
    if classes is None:
        error = prediction - y
        size_law = partial(interval_of, "mae")
        yield _Measure("mean_error", error, all_rows, around)
        yield _Measure("mean_absolute_error", np.abs(error), all_rows, size_law)
        return
    called = predicted.decided(threshold)
    law = partial(interval_of, "accuracy")
    if prediction.ndim == 2:
        yield _Measure("accuracy", called == y, all_rows, law)
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        for code in most_frequent(counts, MOST_CLASSES):
            name = f"{classes[code]}: selection_rate"
            yield _Measure(name, called == code, all_rows, law)
        return
    yield _Measure("selection_rate", called, all_rows, law)
    yield _Measure("true_positive_rate", called, y == 1, law)
    yield _Measure("false_positive_rate", called, y == 0, law)
    yield _Measure("precision", y, called == 1, law)
    yield _Measure("predicted_minus_observed", prediction - y, all_rows, around)


def _bounds_of_pairs(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, correlations: np.ndarray
) -> np.ndarray:
    """Bounds (K, K, 2) of row minus column, by MOVER; correlations are (K, K)."""
    down = (values - low)[:, None]
    up = (high - values)[None]
    squares = down**2 - 2 * correlations * down * up + up**2
    reach = np.sqrt(np.maximum(squares, 0.0))
    np.fill_diagonal(reach, 0.0)
    gap = values[:, None] - values
    return np.stack([gap - reach, gap + reach.T], axis=-1)
