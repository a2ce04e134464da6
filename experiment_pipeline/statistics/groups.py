"""How a model treats groups of rows, and how much the groups differ.

Rates, differences and ratios are those of fairlearn (Bird et al. 2020): of the highest
and the lowest group. The intervals of all pairs by all measures are simultaneous: a
multiplier bootstrap over clusters (`comparisons.py`) gives the level at which the
groups' own intervals are combined to one of a difference, or of a ratio by logarithms
(MOVER: Newcombe 1998; Zou and Donner 2008).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import combinations

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
    "selection_rate": "share of the rows that is predicted positive; of several classes, as the class",
    "true_positive_rate": "share of the positive rows that is predicted positive",
    "false_positive_rate": "share of the negative rows that is predicted positive",
    "precision": "share of the rows predicted positive that is positive",
    "predicted_minus_observed": "mean probability minus the share of positive rows; above 0: too high",
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
    known: Mapping[
        int, Interval
    ]  # (K) code of a group → its value with its own 95 % interval
    differences: (
        np.ndarray
    )  # (K, K, 2) bounds of row minus column, for all measures at once
    ratios: (
        np.ndarray | None
    )  # the same of row divided by column; None: of a measure with a sign

    def extremes(self) -> Iterator[tuple[str, int, int, Interval]]:
        """Yield the largest `difference` and smallest `ratio` with the codes of highest
        and lowest group.
        """
        if len(self.known) < 2:
            return
        values = {code: one.estimate for code, one in self.known.items()}
        high, *_, low = sorted(
            values, key=values.__getitem__, reverse=True
        )  # equal ones: two
        lower, upper = self.differences.max(axis=(0, 1)).tolist()
        yield (
            "difference",
            high,
            low,
            Interval(values[high] - values[low], lower, upper),
        )
        if self.ratios is not None and values[high] > 0:
            lower, upper = self.ratios.min(axis=(0, 1)).tolist()
            yield "ratio", high, low, Interval(values[low] / values[high], lower, upper)


def compare_groups(
    codes: np.ndarray, predicted: SetPrediction, threshold: float, classes: Classes
) -> list[GroupMeasure]:
    """Measure groups, by their codes (n,), and compare those with enough rows; classes:
    None for regression.
    """
    from scipy.special import stdtr

    clusters = comparison_codes(predicted.clusters)
    number, size = int(codes.max()) + 1, int(clusters.max()) + 1
    found, every, pairs = [], list[np.ndarray](), list[np.ndarray]()
    for name, values, counted, law in _measures(predicted, threshold, classes):
        known, spreads, sums = dict[int, Interval](), list[Spread](), list[np.ndarray]()
        for code in range(number):
            at = np.flatnonzero(counted & (codes == code))
            of = predicted.rows(at)
            layout = (
                one_sample(of.clusters, of.weights)
                if len(at) >= FEWEST_CLUSTERS
                else None
            )
            if layout and layout.scarcest >= FEWEST_CLUSTERS:
                score = mean(values[at] * 1.0, relative_weights(of.weights))
                known[code] = law(spread_of(score, layout), LEVEL)
                spreads.append(spread_of(score, replace(layout, consecutive=False)))
                sums.append(np.bincount(clusters[at], score.influence / len(at), size))
        every += sums
        pairs += [one - other for one, other in combinations(sums, 2)]
        rows = np.bincount(codes[counted], minlength=number)
        found.append((name, rows, known, law, spreads))
    drawn, apart = np.reshape(every, (-1, size)).T, np.reshape(pairs, (-1, size)).T
    consecutive = isinstance(predicted.clusters, ConsecutiveClusters)
    if (
        consecutive and pairs
    ):  # what groups share on a day cancels out, and so does its memory
        drawn = independent_projections(drawn, apart)
    reach = simultaneous_reach(apart, Drawn(0, consecutive))
    level = max(2 * float(stdtr(len(drawn) - 1, reach)) - 1, LEVEL)
    parts = np.split(
        drawn, np.cumsum([len(spreads) for *_, spreads in found])[:-1], axis=1
    )
    return [
        GroupMeasure(name, rows, known, *_compared(law, spreads, part, level))
        for (name, rows, known, law, spreads), part in zip(found, parts, strict=True)
    ]


def _measures(
    predicted: SetPrediction, threshold: float, classes: Classes
) -> Iterator[tuple[str, np.ndarray, np.ndarray, Law]]:
    """(name, values (n,) whose mean it is, which rows are counted (n,), law of its
    bounds) of each measure.
    """
    y, prediction, every = (
        predicted.y,
        predicted.prediction,
        np.full(len(predicted.y), True),
    )
    if classes is None:
        yield "mean_error", prediction - y, every, around
        yield (
            "mean_absolute_error",
            np.abs(prediction - y),
            every,
            partial(interval_of, "mae"),
        )
        return
    called, share = predicted.decided(threshold), partial(interval_of, "accuracy")
    if prediction.ndim == 2:
        yield "accuracy", called == y, every, share
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        for code in most_frequent(counts, MOST_CLASSES):
            yield f"{classes[code]}: selection_rate", called == code, every, share
        return
    yield "selection_rate", called, every, share
    yield "true_positive_rate", called, y == 1, share
    yield "false_positive_rate", called, y == 0, share
    yield "precision", y, called == 1, share
    yield "predicted_minus_observed", prediction - y, every, around


def _compared(
    law: Law, spreads: Sequence[Spread], drawn: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """(differences, ratios) of K groups, by their spreads and the contributions (n, K)
    of n clusters.

    Errors and correlations come from the same contributions: otherwise a correlation
    may exceed 1.
    """
    freedom = max(len(drawn) - 1.0, 1.0)
    products = drawn.T @ drawn * (1 + 1 / freedom)
    errors = np.sqrt(np.diag(products))
    shared = products / np.maximum(np.outer(errors, errors), _SMALLEST)
    alone = [
        replace(
            one,
            standard_error=error,
            degrees_of_freedom=min(one.degrees_of_freedom, freedom),
        )
        for one, error in zip(spreads, errors.tolist(), strict=True)
    ]
    bounds = np.reshape([astuple(law(one, level))[:3] for one in alone], (-1, 3)).T
    differences, (values, low, high) = _of_pairs(bounds, shared), bounds
    if law is around:
        return differences, None
    logs = np.log(
        np.maximum([np.where(values > 0, values, high / 2), low, high], _SMALLEST)
    )
    return differences, np.exp(_of_pairs(logs, shared)).round(12)


def _of_pairs(ends: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Bounds (K, K, 2) of row minus column, by values with bounds (3, K) and
    correlations (K, K).
    """
    values, low, high = ends
    down, up = (values - low)[:, None], (high - values)[None]
    reach = np.sqrt(np.maximum(down**2 - 2 * shared * down * up + up**2, 0.0))
    np.fill_diagonal(reach, 0.0)
    gap = values[:, None] - values
    return np.stack([gap - reach, gap + reach.T], axis=-1)
