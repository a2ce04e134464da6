"""How much a score varies when the resampling clusters are drawn anew.

Infinitesimal jackknife (Efron 1982, ch. 6; Hampel 1974): the influence values ψ of a score θ are the
derivatives n·∂θ/∂m_i by how often each row is drawn. They have mean zero and include the row's
weight. One pass over the rows replaces a bootstrap.

Influence values are summed over clusters (a row, a group, a day): the cluster-robust variance with the
factor G/(G-1) for G clusters (Liang and Zeger 1986; Cameron and Miller 2015). Consecutive clusters may
resemble their neighbours: their long-run variance is that of equal-weighted cosines (Müller 2007;
Lazarus, Lewis, Stock and Watson 2018). Projections on slow cosines are nearly independent. How many
cosines are slow enough depends on the memory of the series; without memory all of them are, and the
variance is the usual one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from experiment_pipeline.statistics.weights import Weights, effective_number, weighted

# Integers up to so many times their count are counted (8 bytes each) instead of sorted: it is faster.
_COUNTED = 8
# By which share the long-run variance may be too small for the memory that was found.
_BIAS = 0.02
# With fewer cosines, Student's t is very wide (4: ±2.8, 2: ±4.3).
_FEWEST_COSINES = 4
_LONGEST_MEMORY = 0.95
# Tolerance for sums of weights.
_ROUNDING = 1e-9
# In shorter series the correlations are noise.
_FEWEST_CLUSTERS = 6


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values, ascending, and the position (n,) of each value among them."""
    codes = np.can_cast(values.dtype, np.int64) and len(values) > 0
    if not codes or values.min() < 0 or values.max() > _COUNTED * len(values):
        return np.unique(values, return_inverse=True)
    present = np.bincount(values) > 0
    found = np.flatnonzero(present)
    if len(found) == len(present):
        return found, values.astype(np.int64, copy=False)
    return found, (np.cumsum(present) - 1)[values]


def cluster_codes(clusters: np.ndarray) -> np.ndarray:
    """Return clusters as codes 0 … G-1, (n,)."""
    return distinct(np.asarray(clusters))[1]


class ConsecutiveClusters(np.ndarray):
    """Codes of resampling clusters in the order of time: `codes.view(ConsecutiveClusters)`.

    The spread of a score then allows for neighbours that resemble each other. Parts and
    permutations of the rows keep the type.
    """


@dataclass(frozen=True, eq=False)
class Linearised:
    """A score and its linear approximation."""

    estimate: float  # the score; nan where it is undefined
    influence: np.ndarray  # (n,) of mean zero; nan where the score is
    # variance that the rows do not show: of a mean over classes, the part of classes that are all
    # right or all wrong in this sample
    unseen: float = 0.0


def undefined(n: int) -> Linearised:
    """Return an undefined score of n rows."""
    return Linearised(float("nan"), np.full(n, np.nan))


def mean(values: np.ndarray, weights: Weights = None) -> Linearised:
    """Return the mean of (n,) values; weights (n,) have a mean of 1."""
    estimate = float(weighted(values, weights).mean())
    return Linearised(estimate, weighted(values - estimate, weights))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Linearised:
    """Return Σa / Σb, by the delta method: ψ = (a - θb) / mean(b)."""
    size = denominator.mean()
    if size == 0:
        return undefined(len(denominator))
    estimate = float(numerator.mean() / size)
    return Linearised(estimate, (numerator - estimate * denominator) / size)


def average(parts: Iterable[Linearised]) -> Linearised:
    """Return the mean of one or more scores of the same rows; holds one part at a time."""
    estimates, unseen, total = list[float](), 0.0, np.zeros(1)
    for part in parts:
        total = total + part.influence
        estimates.append(part.estimate)
        unseen += part.unseen
    n = len(estimates)
    return Linearised(float(np.mean(estimates)), total / n, unseen / n**2)


def recall(truth: np.ndarray, called: np.ndarray, weights: Weights = None) -> Linearised:
    """Return the share of the true rows that are called so: bool (n,) each."""
    of_truth = weighted(truth * 1.0, weights)
    return _with_unseen(ratio(of_truth * called, of_truth), of_truth, 1.0)


def f1(truth: np.ndarray, called: np.ndarray, weights: Weights = None) -> Linearised:
    """Return the harmonic mean of recall and precision: bool (n,) each."""
    of_truth, of_called = weighted(truth * 1.0, weights), weighted(called * 1.0, weights)
    score = ratio(2.0 * of_truth * called, of_truth + of_called)
    # For a given number of called rows, f1 is proportional to recall.
    both = float(of_truth.sum() + of_called.sum())
    return _with_unseen(score, of_truth, 2 * float(of_truth.sum()) / both if both else 0.0)


def _with_unseen(part: Linearised, rows: np.ndarray, slope: float) -> Linearised:
    """Give a share of 0 or 1 the variance of Agresti and Coull (1998): 0 of 10 is no certainty.

    Args:
        part: the score of one class.
        rows: (n,) how much each row counts in it.
        slope: derivative of the score by the share.
    """
    n = effective_number(rows)
    if n == 0 or 0 < part.estimate < 1:
        return part
    return replace(part, unseen=slope**2 * 2 * (n + 2) / (n + 4) ** 3)


def concordance(
    positive: np.ndarray, prediction: np.ndarray, weights: Weights = None
) -> Linearised:
    """Return the share of pairs, a positive and a negative row, with the positive ahead (ROC AUC).

    By the placement values of DeLong, DeLong and Clarke-Pearson (1988), ties counted half: the
    share of negatives that a positive beats, of positives that beat a negative. One sort serves
    both (Sun and Xu 2014). The weight of a pair is the product of its rows' weights.
    """
    n = len(positive)
    if positive.all() or not positive.any():
        return undefined(n)
    code = np.unique(prediction, return_inverse=True)[1]
    of_ones, of_zeros = weighted(positive * 1.0, weights), weighted(~positive * 1.0, weights)
    n_positive, n_negative = float(of_ones.sum()), float(of_zeros.sum())
    ones, zeros = np.bincount(code, of_ones), np.bincount(code, of_zeros)
    beaten = (np.cumsum(zeros) - zeros / 2) / n_negative
    beating = 1 - (np.cumsum(ones) - ones / 2) / n_positive
    placement = np.where(positive, beaten[code], beating[code])
    estimate = float((of_ones * placement)[positive].sum() / n_positive)
    class_share = np.where(positive, n_positive, n_negative) / n
    return Linearised(estimate, weighted((placement - estimate) / class_share, weights))


def variance_factor(fitted: Sequence[int], predicted: Sequence[int], repeats: int) -> float:
    """Return the factor on the variance of a cross-validated score, whose models share rows.

    Errors of models that were fitted on each other's rows are correlated (Bates, Hastie and
    Tibshirani 2021), and the variance has no unbiased estimate (Bengio and Grandvalet 2004). Nadeau
    and Bengio (2003): the mean of J fold scores with variance S² has (1/J + predicted/fitted)·S²
    instead of S²/J. Relative to S²/K of one repeat's K folds, R repeats give
    1/R + Σ predicted/fitted: 2.25 for five folds once, 1.58 for three times five.

    Args:
        fitted: rows that each fold of one repeat is fitted on, for all repeats.
        predicted: rows that it predicts.
        repeats: R.
    """
    ratios = np.asarray(predicted) / np.asarray(fitted)
    return float(1 + ratios.sum()) / repeats


def widened(score: Linearised, factor: float) -> Linearised:
    """Return a score whose variance is multiplied by a factor."""
    influence = score.influence * math.sqrt(factor)
    return replace(score, influence=influence, unseen=score.unseen * factor)


@dataclass(frozen=True)
class Spread:
    """A score and how much it varies between draws of the clusters."""

    estimate: float  # the score
    standard_error: float  # nan when there is one cluster only, or no score
    degrees_of_freedom: float  # of the standard error; 0: unknown
    scarcest: int  # clusters that hold the rarest class, where classes are compared; else all
    skewness: float = 0.0  # of the score between draws
    # of what consecutive clusters add to the score; 0 for other clusters
    autocorrelation: float = 0.0


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows are drawn together, and which of them are one sample; the same for all fits."""

    cluster: np.ndarray  # (n,) code of each row's cluster, 0 … G-1
    cell: np.ndarray  # (n,) code of each row's cluster within its class, 0 … K-1
    cell_class: np.ndarray  # (K,) class of each cell
    # (classes,) clusters that hold each class; with row weights, the effective number of them
    clusters_per_class: np.ndarray
    consecutive: bool = False  # whether the codes are in the order of time

    @classmethod
    def of(cls, clusters: np.ndarray, classes: np.ndarray, weights: Weights = None) -> Self:
        """Lay rows out by their clusters (n,) and by class codes (n,), all 0 for one sample."""
        cluster = cluster_codes(clusters)
        n_classes = int(classes.max(initial=0)) + 1
        # With one class the cells are the clusters: share the array.
        cells, cell = distinct(cluster * n_classes + classes if n_classes > 1 else cluster)
        cell_class = cells % n_classes
        number = np.bincount(cell_class)
        if weights is not None:
            of_rows, of_weights = (
                _effective(np.bincount(cell, counted), cell_class) for counted in (None, weights)
            )
            # By how much the weights make clusters less even than their rows do.
            number = number * np.minimum(of_weights / of_rows, 1.0)
        return cls(cluster, cell, cell_class, number, isinstance(clusters, ConsecutiveClusters))

    @property
    def scarcest(self) -> int:
        """Clusters that hold the rarest class."""
        return int(self.clusters_per_class[self.clusters_per_class > 0].min() + _ROUNDING)


def _effective(cells: np.ndarray, cell_class: np.ndarray) -> np.ndarray:
    """`effective_number` of the cells of each class, (classes,)."""
    squares = np.bincount(cell_class, cells * cells)
    return np.asarray(
        np.bincount(cell_class, cells) ** 2 / np.maximum(squares, np.finfo(np.float64).tiny)
    )


def cluster_sums(influence: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return what each cluster adds to the score's deviation, (G,): its rows' ψ, divided by n."""
    return np.bincount(codes, weights=influence) / len(influence)


def spread_of(linearised: Linearised, layout: Layout) -> Spread:
    """Return the spread of a linearised score.

    Where classes are samples of their own, each class's part of the variance has its own factor
    and degrees of freedom: of 12,000 rows with 8 positives, the positives' part of an AUC's
    variance needs the factor 8/7 (DeLong, DeLong and Clarke-Pearson 1988), and Welch and
    Satterthwaite's degrees of freedom are about 7.
    """
    if not math.isfinite(linearised.estimate):
        return Spread(math.nan, math.nan, 0.0, 0)
    sums = cluster_sums(linearised.influence, layout.cluster)
    if len(sums) < 2:
        return Spread(linearised.estimate, math.nan, 0.0, layout.scarcest)
    independent = independent_projections(sums) if layout.consecutive else sums
    n = len(independent)
    parts = np.bincount(layout.cell_class, cluster_sums(linearised.influence, layout.cell) ** 2)
    freedoms = np.maximum(layout.clusters_per_class - 1, 1)
    lacking = max(float(parts @ (1 / freedoms - 1 / (len(sums) - 1))), 0.0)
    known = float((parts**2 / freedoms).sum())
    by_class = float(parts.sum()) ** 2 / known if known > 0 else layout.scarcest - 1.0
    variance = n / (n - 1) * float(independent @ independent) + lacking + linearised.unseen
    return Spread(
        linearised.estimate,
        math.sqrt(variance),
        float(np.clip(min(n - 1.0, _freedom_by_tails(sums), by_class), 1, len(sums) - 1)),
        layout.scarcest,
        _skewness(sums),
        _autocorrelation(sums, 1) if layout.consecutive else 0.0,
    )


def independent_projections(sums: np.ndarray, differing: np.ndarray | None = None) -> np.ndarray:
    """Return the slow projections of consecutive clusters: K + 1 nearly independent contributions.

    Their sum varies as that of the G consecutive clusters does. Without memory K + 1 is G.

    Args:
        sums: (G,) or (G, C) what each cluster adds to one sum or several, of mean zero, in the
            order of time.
        differing: (G, …) the series whose memory counts, where it is not that of the sums: what
            all of them share does not matter where they are compared.

    Returns:
        (K + 1,) or (K + 1, C).
    """
    from scipy.fft import dct

    n_clusters = len(sums)
    series = sums if differing is None else differing
    memory = _memory(_autocorrelation(series, 1), _autocorrelation(series, 2), n_clusters)
    n = _slow_cosines(n_clusters, memory) + 1
    slow = dct(sums, type=2, norm="ortho", axis=0)[:n]
    return np.asarray(math.sqrt(n_clusters / n) * slow)


def _freedom_by_tails(sums: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom 2·V²/Var(V) of a variance V, by the sample's kurtosis κ.

    Var(V)/V² = (κ - (n-3)/(n-1)) / n: n - 1 for a normal sample, about 2k where k clusters of many
    add nearly all.
    """
    n, squares = len(sums), sums * sums
    total = float(squares.sum())
    if total == 0:
        return n - 1.0
    kurtosis = n * float(squares @ squares) / total**2
    return float(max(2 * n / (kurtosis - (n - 3) / (n - 1)), 1.0))


def _skewness(sums: np.ndarray) -> float:
    """The skewness of the sum, adjusted for few clusters (Joanes and Gill 1998)."""
    n, total = len(sums), float(sums @ sums)
    if n < 3 or total == 0:
        return 0.0
    adjusted = math.sqrt(n * (n - 1)) / (n - 2)
    return float((sums * sums) @ sums / total**1.5) * adjusted


def _autocorrelation(sums: np.ndarray, lag: int) -> float:
    """The correlation at a lag, corrected for its bias in short series (Kendall 1954).

    Of several series, (G, C), the mean one, each weighted by its variance.
    """
    n_clusters, total = len(sums), float(np.vdot(sums, sums))
    if n_clusters < _FEWEST_CLUSTERS or total == 0:
        return 0.0
    raw = float(np.vdot(sums[lag:], sums[:-lag])) / total
    return raw + (1 + 3 * raw) / n_clusters


def _memory(first: float, second: float, n_clusters: int) -> float:
    """What persists from one cluster to the next, by the correlations at lags 1 and 2.

    The model is an autoregressive series plus noise, ARMA(1, 1), whose correlations fall by the
    memory from lag to lag (Box and Jenkins 1970). Where the first is no more than chance, the
    quotient is noise.
    """
    persists = second / first if first > 1 / math.sqrt(n_clusters) else 0.0
    return float(np.clip(max(first, persists), 0.0, _LONGEST_MEMORY))


def _slow_cosines(n_clusters: int, memory: float) -> int:
    """How many cosines see a spectrum as high as at frequency 0, but for _BIAS.

    The spectrum of an autoregressive series with memory m falls as 1 - ω²·m/(1-m)²; the mean
    over the first k cosines, whose ω are πj/G, as 1 - (πk/G)²/3 · m/(1-m)².
    """
    if memory == 0:
        return n_clusters - 1
    flat = n_clusters / math.pi * (1 - memory) * math.sqrt(3 * _BIAS / memory)
    return int(np.clip(flat, min(_FEWEST_COSINES, n_clusters - 1), n_clusters - 1))
