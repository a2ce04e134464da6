"""Bounds that hold a promised share of new rows: split conformal prediction.

Calibrated on predictions by fits that had not seen the rows (Vovk, Gammerman and Shafer 2005). A share of
rows is promised, so rows count alike; together they count as so many independent ones as know the share of
large errors equally well (design effect: Kish 1965), and the new row is one more. Hierarchical conformal
prediction (Lee, Barber and Willett 2023; Dunn, Wasserman and Ramdas 2023) counts a cluster as one row, which
is wider, and weights its rows by 1/size: it promises a row of a random cluster (`make bench`, statistics).
Classes have bounds of their own (Sadinle, Lei and Wasserman 2019): a promise to all rows can be kept without
a rare class in any set. One in too few clusters has those of all rows (Ding et al. 2023). Adaptive sets
(Romano, Sesia and Candès 2020) are larger, and draw random numbers.

crepes takes errors, MAPIE an estimator that it pickles; both take rows for independent.
"""

from collections.abc import Sequence

import numpy as np

from experiment_pipeline.statistics.interval import (
    effective_number,
    mean,
    relative_weights,
    spread_of,
    weighted_quantile,
)
from experiment_pipeline.statistics.scores import SetPrediction, one_sample

LARGE = 0.9  # the quantile beyond which errors are large
_FEW_CLUSTERS = 10  # fewer count as so many rows


def conformal_bounds(rows: SetPrediction, scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return what a level's share of new rows does not exceed, by the scores (n,) of these; infinite: too few."""
    reached = levels * (1 + 1 / independent(rows, scores))
    found = weighted_quantile(scores, rows.weights, np.minimum(reached, 1.0))
    return np.where(reached > 1 + 1e-9, np.inf, found)


def independent(rows: SetPrediction, scores: np.ndarray) -> float:
    """Return as how many independent rows these count, by the share of large scores (n,)."""
    drawn, weights = one_sample(rows.clusters, rows.weights), relative_weights(rows.weights)
    share = spread_of(mean(scores >= weighted_quantile(scores, weights, LARGE), weights), drawn)
    clusters = effective_number(np.bincount(drawn.cluster, weights))
    if clusters < _FEW_CLUSTERS or not share.standard_error:
        return clusters
    known = share.estimate * (1 - share.estimate) / share.standard_error**2
    # Without the factor of the jackknife's variance: n rows are n rows.
    return float(np.clip(known * clusters / (clusters - 1), clusters, len(scores)))


def least_probabilities(rows: SetPrediction, levels: np.ndarray) -> np.ndarray:
    """Return how probable each class has to be in sets that hold a level's share of it, (m, k)."""
    every, codes = _by_class(rows.prediction), rows.y.astype(np.int64)
    scores = 1 - every[np.arange(len(every)), codes]
    least = np.tile(1 - conformal_bounds(rows, scores, levels)[:, None], every.shape[1])
    for code in np.unique(codes):
        known = 1 - conformal_bounds(rows.rows(own := codes == code), scores[own], levels)
        least[:, code] = np.where(np.isfinite(known), known, least[:, code])
    return np.floor(1e6 * least) / 1e6  # what differs by rounding is equal


def sets_of(prediction: np.ndarray, least: Sequence[float]) -> np.ndarray:
    """Return which classes are in the set of each row, bool (n, k): the likeliest always, others by `least`."""
    found: np.ndarray = (probabilities := _by_class(prediction)) >= np.array(least)
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return found


def _by_class(prediction: np.ndarray) -> np.ndarray:
    return prediction if prediction.ndim == 2 else np.column_stack([1 - prediction, prediction])
