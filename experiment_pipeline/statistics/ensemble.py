"""Ensembles of fitted models: weights by greedy selection, and folds to judge them without bias.

Forward selection with replacement from a sorted start (Caruana, Niculescu-Mizil, Crew and Ksikes 2004,
"Ensemble Selection from Libraries of Models") averages predictions; a model taken twice weighs twice as
much. Weights chosen on rows make the score on these rows optimistic, so the score is cross-fitted
(Chernozhukov et al. 2018): each fold is predicted with weights that were chosen on the other folds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics.comparisons import comparison_codes
from experiment_pipeline.statistics.spread import ConsecutiveClusters
from experiment_pipeline.statistics.thresholds import FOLDS, fold_of_rows
from experiment_pipeline.statistics.weights import Weights, relative_weights

# Candidates: models further behind lose more than an average regains.
LIBRARY = 30
# Steps of the selection: weights are multiples of a twentieth at the finest.
STEPS = 20
# Steps without a better score that end it.
PATIENCE = 4
# Share of an ensemble's gain over the best model that must remain when members are removed.
KEPT = 0.95
# More rows do not change the weights of five models.
MOST_ROWS = 20_000
# Relative to a score, less than this is rounding, not a gain.
_ROUNDING = 1e-9

Score = Callable[[np.ndarray], float]


@dataclass(frozen=True, eq=False)
class Folds:
    """Resampling clusters dealt into folds."""

    of_row: np.ndarray  # (n,) the fold of each row, 0 … K-1
    of_cluster: np.ndarray  # (G,) that of each cluster of `comparisons.comparison_codes`
    rows: np.ndarray  # (G,) total weight of the rows of each cluster, on average 1 a row

    @property
    def count(self) -> int:
        """K: at most five, fewer with few clusters."""
        return int(self.of_cluster.max()) + 1


def folds_of(y: np.ndarray, clusters: np.ndarray, weights: Weights = None) -> Folds:
    """Deal clusters (n,) into folds by their encoded targets (n,); consecutive ones in blocks."""
    codes = comparison_codes(clusters)
    rows = np.bincount(codes, relative_weights(weights))
    if isinstance(clusters, ConsecutiveClusters):
        count = min(FOLDS, len(rows))
        of_cluster = np.arange(len(rows)) * count // len(rows)
    else:
        of_cluster = np.empty(len(rows), dtype=np.int64)
        of_cluster[codes] = fold_of_rows(y, codes)
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
    """Return the positions of the LIBRARY best scores, the best first, equal ones in their order."""
    best_first: np.ndarray = np.argsort(-scores, kind="stable")
    return best_first[:LIBRARY]


def forward_selection(library: np.ndarray, score: Score, members: int) -> np.ndarray:
    """Return the weights (L,) of the mean that scores best; they sum to 1.

    It starts with one each of the first models, as many as score best together, and then takes, step
    by step, the model that helps most.

    Args:
        library: (L, n) or (L, n, k) predictions, the best model first; of equal steps the
            earlier model is taken.
        score: of a prediction (n,) or (n, k); greater is better, nan is the worst.
        members: different models at the most.
    """
    sums = np.cumsum(library[:members], axis=0)
    starts = [_defined(score(total / size)) for size, total in enumerate(sums, 1)]
    start = next(size for size, one in enumerate(starts, 1) if not _gains(max(starts), one))
    counts = (np.arange(len(library)) < start).astype(np.float64)
    total = np.tensordot(counts, library, axes=1)
    best, best_score = counts, _defined(score(total / counts.sum()))
    waited = 0
    for size in range(start + 1, STEPS + 1):
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
    """Return the weights (L,) without models that hardly help; the others share their weight.

    Each member costs storage and prediction time. One after the other is removed, the largest first,
    as long as the others keep KEPT of what the mean gains over the first model alone.

    Args:
        library: as of `forward_selection`.
        weights: (L,) its result.
        score: as of `forward_selection`.
        sizes: (L,) of the models, in any one unit.
    """
    alone = _defined(score(library[0]))
    if not np.isfinite(alone):
        return weights

    def without(one: int) -> np.ndarray:
        left = np.where(np.arange(len(weights)) == one, 0.0, weights)
        return np.asarray(left / left.sum())

    def gain(by: np.ndarray) -> float:
        return _defined(score(np.tensordot(by, library, axes=1))) - alone

    needed = KEPT * gain(weights)
    while np.count_nonzero(weights) > 1:
        members = np.flatnonzero(weights).tolist()
        removable = [one for one in members if gain(without(one)) >= needed]
        if not removable:
            break
        weights = without(max(removable, key=lambda one: (sizes[one], one)))
    return weights


def _gains(score: float, over: float) -> bool:
    return score > over + (_ROUNDING * abs(over) if np.isfinite(over) else 0.0)


def _defined(score: float) -> float:
    return -np.inf if np.isnan(score) else score


def some_rows(n: int) -> np.ndarray:
    """Return the positions of the rows that weights are chosen on: all, or evenly MOST_ROWS."""
    return np.linspace(0, n - 1, min(n, MOST_ROWS)).astype(np.int64)
