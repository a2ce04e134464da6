"""Intervals and sets that hold a promised share of new rows: split conformal prediction.

Calibrated on predictions by fits that had not seen the rows (Vovk, Gammerman and Shafer 2005). A share of
rows is promised, so rows count alike; together they count as so many independent ones as know the share of
large errors equally well (design effect: Kish 1965), and the new row is one more. Hierarchical conformal
prediction (Lee, Barber and Willett 2023; Dunn, Wasserman and Ramdas 2023) counts a cluster as one row and
weights its rows by 1/size: it promises a row of a random cluster, and is wider (`make bench`, statistics).

Errors of numbers are signed, so that skewed ones have uneven bounds, and in units of their size in a leaf of
a small tree over features and prediction, grown on other clusters (locally weighted: Lei et al. 2018).
Classes have bounds of their own (Sadinle, Lei and Wasserman 2019), because a promise to all rows can be kept
without a rare class in any set; one in too few clusters has those of all rows (Ding et al. 2023). Adaptive
sets (Romano, Sesia and Candès 2020) are larger, and draw random numbers.

crepes takes errors, MAPIE an estimator that it pickles; both take rows for independent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from experiment_pipeline.statistics.interval import (
    cluster_codes,
    mean,
    relative_weights,
    spread_of,
    weighted_quantile,
)
from experiment_pipeline.statistics.scores import SetPrediction, one_sample

LARGEST = float(np.finfo(np.float32).max)  # of the numbers of a cut
_PERCENTS = np.arange(50, 100)  # what may be promised
_LARGE = 0.9  # the quantile beyond which errors are large; of those in a leaf, their size
_FEW_CLUSTERS = 10  # fewer count as so many rows
_FOLDS, _LEAVES, _FEWEST_ROWS = 5, 8, 50  # of a leaf
# A split explains so many times what a row explains by chance: the best of many rarely does by noise.
_EVIDENCE = 20.0


@dataclass(frozen=True)
class Cut:
    """What divides rows: a number, or whether a text has this value."""

    column: str | None  # a feature; None: the prediction
    value: str | None = None


@dataclass(frozen=True)
class ErrorSize:
    """The size of errors, in units of the target: of all rows, or of each side of a cut."""

    size: float
    cut: Cut | None = None
    at_most: float = 0.0  # on the first side
    missing_first: bool = False  # whether a missing value is there, too
    sides: "tuple[ErrorSize, ErrorSize] | None" = None

    def of(self, numbers: Callable[[Cut], np.ndarray]) -> np.ndarray:
        """Return the size for each row, (n,) or (); `numbers` returns those of a cut, float32 (n,)."""
        if self.cut is None or self.sides is None:
            return np.asarray(self.size)
        found = numbers(self.cut)
        first = np.where(np.isnan(found), self.missing_first, found <= self.at_most)
        return np.where(first, *(side.of(numbers) for side in self.sides))


@dataclass(frozen=True)
class ConformalBounds:
    """What intervals, or sets, of new rows are made of."""

    rows: int  # that calibrated it
    independent: float  # as how many independent rows they count
    # percent of rows → the lowest and the highest error, in its size; or of each class the least
    # probability in a set. What so few rows cannot promise is missing
    bounds: Mapping[int, tuple[float, ...]]
    size: ErrorSize | None = None  # None: of classes
    classes: tuple[object, ...] = ()  # in the order of their bounds

    def at(self, coverage: float) -> tuple[float, ...] | None:
        """Return the bounds for a share of rows, in full percent or the next; None: too few rows."""
        return self.bounds.get(ceil(100 * coverage - 1e-9))


NOT_CALIBRATED = ConformalBounds(0, 0.0, {})


def sets_of(prediction: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """Return which classes are in the set of each row, bool (n, k): the likeliest one always is.

    `prediction` has the probabilities of all classes, (n, k), or of the second of two, (n,).
    """
    found: np.ndarray = (probabilities := _by_class(prediction)) >= np.array(bounds)
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return found


def _by_class(prediction: np.ndarray) -> np.ndarray:
    return prediction if prediction.ndim == 2 else np.column_stack([1 - prediction, prediction])


def conformal_bounds(rows: SetPrediction, scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return what a level's share of new rows does not exceed, by the scores (n,) of these.

    Infinite: too few rows.
    """
    reached = levels * (1 + 1 / _independent(rows, scores))
    found = weighted_quantile(scores, rows.weights, np.minimum(reached, 1.0))
    return np.where(reached > 1 + 1e-9, np.inf, found)


def _independent(rows: SetPrediction, scores: np.ndarray) -> float:
    """As how many independent rows these count, by the share of large scores."""
    drawn = one_sample(rows.clusters, rows.weights)
    large = 1.0 * (scores > weighted_quantile(scores, rows.weights, _LARGE))
    share, clusters = spread_of(mean(large, relative_weights(rows.weights)), drawn), drawn.scarcest
    if clusters < _FEW_CLUSTERS or not share.standard_error:
        return clusters
    known = share.estimate * (1 - share.estimate) / share.standard_error**2
    # Without the factor of the jackknife's variance: n rows are n rows.
    return float(min(known * clusters / (clusters - 1), len(scores)))


def bounds_of_classes(rows: SetPrediction) -> ConformalBounds:
    """Calibrate sets on rows that the fit had not seen."""
    every, codes, levels = _by_class(rows.prediction), rows.y.astype(np.int64), _PERCENTS / 100
    of_target = every[np.arange(len(every)), codes]
    least = np.tile(conformal_bounds(rows, -of_target, levels)[:, None], every.shape[1])
    for code in np.unique(codes):
        own = codes == code
        known = conformal_bounds(rows.rows(own), -of_target[own], levels)
        least[:, code] = np.where(np.isfinite(known), known, least[:, code])
    # Probabilities that differ by rounding are equal.
    return _promised(rows, of_target, np.floor(-1e6 * least) / 1e6)


def bounds_of_numbers(rows: SetPrediction, cuts: Mapping[Cut, np.ndarray]) -> ConformalBounds:
    """Calibrate intervals on rows that the fit had not seen; `cuts` have float32 (n,), nan: missing."""
    errors, fold = rows.y - rows.prediction, cluster_codes(rows.clusters) % _FOLDS
    x = np.column_stack(list(cuts.values()))
    tree, sizes = _grown(rows, x)
    scores = errors / sizes[0]
    for out in (fold == number for number in range(_FOLDS if len(sizes) > 1 else 0)):
        if out.any() and not out.all():
            other, of_nodes = _grown(rows.rows(~out), x[~out])
            scores[out] = errors[out] / of_nodes[other.apply(x[out])]
    levels = (1 + _PERCENTS / 100) / 2
    ends = [-conformal_bounds(rows, -scores, levels), conformal_bounds(rows, scores, levels)]
    size = _error_size(tree.tree_, sizes, list(cuts))
    return _promised(rows, np.abs(scores), np.column_stack(ends), size)


def _promised(
    rows: SetPrediction, scores: np.ndarray, bounds: np.ndarray, size: ErrorSize | None = None
) -> ConformalBounds:
    known = np.flatnonzero(np.isfinite(bounds).all(axis=1))
    promised = {int(_PERCENTS[place]): tuple(bounds[place].tolist()) for place in known}
    return ConformalBounds(len(rows.y), _independent(rows, scores), promised, size)


def _grown(rows: SetPrediction, x: np.ndarray) -> tuple[Any, np.ndarray]:
    """Grow a tree by the ranks of errors, whatever their tails; return the size of errors in its nodes, too."""
    from scipy.stats import rankdata
    from sklearn.tree import DecisionTreeRegressor

    errors = np.abs(rows.y - rows.prediction)
    tree = DecisionTreeRegressor(
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=max(_FEWEST_ROWS, len(x) // 20),
        min_impurity_decrease=_EVIDENCE / 12 / _independent(rows, errors),  # ranks vary by 1/12
        random_state=0,
    )
    inside = tree.fit(x, rankdata(errors) / len(errors), rows.weights).decision_path(x).toarray()
    parts = (rows.rows(in_node > 0) for in_node in inside.T)
    large = [weighted_quantile(np.abs(p.y - p.prediction), p.weights, _LARGE) for p in parts]
    # A leaf without errors has some.
    return tree, np.maximum(large, large[0] / 100 or 1.0)


def _error_size(tree: Any, sizes: np.ndarray, cuts: Sequence[Cut], node: int = 0) -> ErrorSize:
    below = int(tree.children_left[node]), int(tree.children_right[node])
    if below[0] == below[1]:
        return ErrorSize(float(sizes[node]))
    first, second = (_error_size(tree, sizes, cuts, one) for one in below)
    # A cut of missing values from all others is at infinity.
    cut, at_most = cuts[tree.feature[node]], float(min(tree.threshold[node], LARGEST))
    missing = bool(tree.missing_go_to_left[node])
    return ErrorSize(float(sizes[node]), cut, at_most, missing, (first, second))
