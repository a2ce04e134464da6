"""Ensembles of models that are there already: weights by greedy selection, judged without flattery.

Forward selection with replacement from a sorted start (Caruana, Niculescu-Mizil, Crew and Ksikes
2004, "Ensemble Selection from Libraries of Models"): what is averaged are predictions, and a model
that is taken twice weighs twice as much. Weights that are chosen on rows flatter the score on these
rows, so the score is cross-fitted (Chernozhukov et al. 2018): the rows of each fold are predicted
with weights that were chosen on the others. In: predictions of C models for the same rows, and what
each cluster adds to each score. Out: weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics.comparisons import comparison_codes
from experiment_pipeline.statistics.spread import ConsecutiveClusters
from experiment_pipeline.statistics.thresholds import FOLDS, dealt
from experiment_pipeline.statistics.weights import Weights, relative_weights

# Models that are looked at: those behind them are worse by more than an average wins back.
LIBRARY = 30
# Steps of the selection: no weight is told from another by less than a twentieth.
STEPS = 20
# Steps without a better score that end it.
PATIENCE = 4
# What is kept of what a mean gains over the best model alone, when those who hardly help go.
KEPT = 0.95
# Weights of five models are known from so many rows as well as from more.
MOST_ROWS = 20_000
# Relative to a score, less than this is rounding, not a gain.
_ROUNDING = 1e-9

Score = Callable[[np.ndarray], float]


@dataclass(frozen=True, eq=False)
class Folds:
    """Resampling clusters dealt into folds.

    Attributes:
        of_row: (n,) the fold of each row, 0 … K-1.
        of_cluster: (G,) that of each cluster of `comparisons.comparison_codes`.
        rows: (G,) how much the rows of each cluster count, on average 1 each.
    """

    of_row: np.ndarray
    of_cluster: np.ndarray
    rows: np.ndarray

    @property
    def count(self) -> int:
        """K: at most five, fewer with few clusters."""
        return int(self.of_cluster.max()) + 1


def folds_of(y: np.ndarray, clusters: np.ndarray, weights: Weights = None) -> Folds:
    """Deal clusters into folds by their targets; consecutive ones, which resemble neighbours, in blocks.

    Args:
        y: encoded targets (n,).
        clusters: (n,) codes of the resampling clusters.
        weights: (n,) how much each row counts.
    """
    codes = comparison_codes(clusters)
    rows = np.bincount(codes, relative_weights(weights))
    if isinstance(clusters, ConsecutiveClusters):
        count = min(FOLDS, len(rows))
        of_cluster = np.arange(len(rows)) * count // len(rows)
    else:
        of_cluster = np.empty(len(rows), dtype=np.int64)
        of_cluster[codes] = dealt(y, codes)
    return Folds(of_cluster[codes], of_cluster, rows)


def scores_without(
    scores: np.ndarray, contributions: np.ndarray, folds: Folds, fold: int
) -> np.ndarray:
    """Return C scores as they would be without the rows of a fold, to first order, (C,).

    A score moves by -Σψ / (n - m) when m rows with influence ψ are left out.

    Args:
        scores: (C,) on all rows.
        contributions: (G, C) what each cluster adds to each score.
        folds: of the clusters.
        fold: the one that is left out.
    """
    out = folds.of_cluster == fold
    n = folds.rows.sum()
    lost = contributions[out].sum(axis=0) * n / max(n - folds.rows[out].sum(), 1)
    return np.asarray(scores - lost)


def library_of(scores: np.ndarray) -> np.ndarray:
    """Return the positions of the best scores, the best first, equal ones in their order."""
    best_first: np.ndarray = np.argsort(-scores, kind="stable")
    return best_first[:LIBRARY]


def forward_selection(library: np.ndarray, score: Score, members: int) -> np.ndarray:
    """Return the weights (L,) of the mean that scores best; they sum to 1.

    It starts with the best mean of the first models, so that it does not have to find by luck
    what ranks know already, and then takes, step by step, the model that helps most.

    Args:
        library: (L, n) or (L, n, k) predictions, the best model first; of equal steps the
            earlier model is taken.
        score: of a prediction (n,) or (n, k); greater is better, nan is worse than any.
        members: different models at the most.
    """
    counts = _start(library[:members], score, len(library))
    total = np.tensordot(counts, library, axes=1)
    best, best_score = counts, _defined(score(total / counts.sum()))
    waited = 0
    for size in range(int(counts.sum()) + 1, STEPS + 1):
        allowed = np.flatnonzero(counts) if (counts > 0).sum() >= members else range(len(library))
        tried = {int(one): _defined(score((total + library[one]) / size)) for one in allowed}
        taken = max(tried, key=tried.__getitem__)
        counts = counts + (np.arange(len(library)) == taken)
        total = total + library[taken]
        waited += 1
        if _gains(tried[taken], best_score):
            best, best_score, waited = counts, tried[taken], 0
        if waited == PATIENCE:
            break
    return np.asarray(best / best.sum())


def without_dispensable(
    library: np.ndarray, weights: np.ndarray, score: Score, sizes: Sequence[float]
) -> np.ndarray:
    """Return the weights (L,) without models that hardly help; who stays shares what they had.

    They are stored, and asked about every row, all the same. One after the other goes, the largest
    first, as long as those who stay keep KEPT of what the mean gains over the first model alone.

    Args:
        library: as of `forward_selection`.
        weights: (L,) what that gave.
        score: as of `forward_selection`.
        sizes: (L,) of the models, in whatever cluster.
    """
    alone = _defined(score(library[0]))
    if not np.isfinite(alone):
        return weights

    def without(one: int) -> np.ndarray:
        left = np.where(np.arange(len(weights)) == one, 0.0, weights)
        return np.asarray(left / left.sum())

    def gained(by: np.ndarray) -> float:
        return _defined(score(np.tensordot(by, library, axes=1))) - alone

    needed = KEPT * gained(weights)
    while np.count_nonzero(weights) > 1:
        members = np.flatnonzero(weights).tolist()
        may_go = [one for one in members if gained(without(one)) >= needed]
        if not may_go:
            break
        weights = without(max(may_go, key=lambda one: (sizes[one], one)))
    return weights


def _start(first: np.ndarray, score: Score, length: int) -> np.ndarray:
    """One of each of the first models, of as many as score best."""
    sums = np.cumsum(first, axis=0)
    found = [_defined(score(total / size)) for size, total in enumerate(sums, 1)]
    size = next(size for size, one in enumerate(found, 1) if not _gains(max(found), one))
    return (np.arange(length) < size).astype(np.float64)


def _gains(score: float, over: float) -> bool:
    return score > over + (_ROUNDING * abs(over) if np.isfinite(over) else 0.0)


def _defined(score: float) -> float:
    return -np.inf if np.isnan(score) else score


def some_rows(n: int) -> np.ndarray:
    """Return the positions of the rows that weights are chosen on: all, or evenly MOST_ROWS."""
    return np.linspace(0, n - 1, min(n, MOST_ROWS)).astype(np.int64)
