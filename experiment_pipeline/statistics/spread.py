"""How much a score varies when the clusters of a split are drawn anew, and how well that is known.

A score θ is a function of how often each row is drawn, m (all 1). Its influence values ψ are the
derivatives n·∂θ/∂m_i: when rows are drawn anew m times, the score moves to about
θ + mean((m - 1)·ψ), and ψ has mean zero. A row that weighs w more than others moves it by w times
as much: so weights are part of ψ, and what follows from it needs none. One pass over the rows thus gives what a bootstrap gives, for every
configuration and every cluster of resampling (infinitesimal jackknife: Efron 1982, ch. 6; Hampel
1974).

Rows of one cluster (a row, a group, a day) move together, so influence values are summed over
clusters first: the cluster-robust variance, with the factor G/(G-1) for G clusters (Liang and
Zeger 1986; Cameron and Miller 2015). Consecutive clusters may resemble their neighbours; their
variance is the long-run one by equal-weighted cosines (Müller 2007; recommended by Lazarus,
Lewis, Stock and Watson 2018): the projections of a series on slow cosines are nearly
independent, each with the long-run variance, so that their mean square serves Student's t. How
many cosines are slow enough depends on how long the series remembers; without memory it is all
of them, and the variance is the usual one.

In: a score with its influence, and clusters. Out: a `Spread`; the interval made of it is
`interval.py`'s.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from experiment_pipeline.statistics.weights import Weights, effective_number, weighted

# Numbers up to so many times their count are counted, which takes 8 bytes for each: a sort is slower.
_COUNTED = 8


def cluster_codes(clusters: np.ndarray) -> np.ndarray:
    """Return clusters as codes 0 … G-1, (n,)."""
    return distinct(np.asarray(clusters))[1]


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values, ascending, and the position (n,) of each value among them.

    Of whole numbers that are small for their number, as codes are, nothing is sorted.
    """
    codes = np.can_cast(values.dtype, np.int64) and len(values) > 0
    if not codes or values.min() < 0 or values.max() > _COUNTED * len(values):
        return np.unique(values, return_inverse=True)
    there = np.bincount(values) > 0
    found = np.flatnonzero(there)
    if len(found) == len(there):
        return found, values.astype(np.int64, copy=False)
    return found, (np.cumsum(there) - 1)[values]


def with_own_clusters(clusters: np.ndarray, more: int) -> np.ndarray:
    """Return the clusters of rows (n,) that are followed by more, each a cluster of its own.

    Consecutive ones stay so: the added ones come last.
    """
    codes = cluster_codes(clusters)
    return np.concatenate([codes, codes.max() + 1 + np.arange(more)]).view(type(clusters))


@dataclass(frozen=True, eq=False)
class Linearised:
    """A score and its linear approximation.

    Attributes:
        estimate: the score; nan where it is undefined.
        influence: (n,) of mean zero; nan where the score is.
        unseen: variance that no row shows: of a mean over classes, the part of those classes
            that are all right or all wrong in this sample.
    """

    estimate: float
    influence: np.ndarray
    unseen: float = 0.0


def undefined(n: int) -> Linearised:
    """Return what n rows say where there is no score."""
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


def gained(first: Linearised, second: Linearised) -> Linearised:
    """Return second - first, of scores of the same rows."""
    return Linearised(second.estimate - first.estimate, second.influence - first.influence)


def average(parts: Iterable[Linearised]) -> Linearised:
    """Return the mean of scores of the same rows, one or more; of their parts one is held at a time."""
    estimates, unseen, total = list[float](), 0.0, np.zeros(1)
    for part in parts:
        total = total + part.influence
        estimates.append(part.estimate)
        unseen += part.unseen
    n = len(estimates)
    return Linearised(float(np.mean(estimates)), total / n, unseen / n**2)


def found(truth: np.ndarray, said: np.ndarray, weights: Weights = None) -> Linearised:
    """Return which share of the true rows are said to be so: bool (n,) each."""
    of_truth = weighted(truth * 1.0, weights)
    return _with_unseen(ratio(of_truth * said, of_truth), of_truth, 1.0)


def found_and_right(truth: np.ndarray, said: np.ndarray, weights: Weights = None) -> Linearised:
    """Return the harmonic mean (F1) of that share and of the share of the said that are true."""
    of_truth, of_said = weighted(truth * 1.0, weights), weighted(said * 1.0, weights)
    f1 = ratio(2.0 * of_truth * said, of_truth + of_said)
    # With the number of rows that are said to be of the class, f1 goes as the share found.
    both = float(of_truth.sum() + of_said.sum())
    return _with_unseen(f1, of_truth, 2 * float(of_truth.sum()) / both if both else 0.0)


def in_order(positive: np.ndarray, prediction: np.ndarray, weights: Weights = None) -> Linearised:
    """Return the share of pairs, a positive and a negative row, in which the positive is ahead.

    The placement values of DeLong, DeLong and Clarke-Pearson (1988), ties counted half: a
    positive's placement is the share of negatives it beats, a negative's the share of
    positives that beat it. One sort serves both (Sun and Xu 2014). A pair weighs what its rows
    weigh, multiplied.
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


def _with_unseen(part: Linearised, rows: np.ndarray, slope: float) -> Linearised:
    """Give a share of rows that is 0 or 1 the variance of Agresti and Coull (1998).

    Two successes and two failures are added: 0 of 10 is no certainty.

    Args:
        part: the score of one class.
        rows: (n,) how much each row counts in it.
        slope: by how much the score moves with the share.
    """
    n = effective_number(rows)
    if n == 0 or 0 < part.estimate < 1:
        return part
    return replace(part, unseen=slope**2 * 2 * (n + 2) / (n + 4) ** 3)


# By which share the long-run variance may come out too small for the memory that was found.
_BIAS = 0.02
# With fewer, Student's t is so wide that little would be said (4: ±2.8, 2: ±4.3).
_FEWEST_COSINES = 4
_LONGEST_MEMORY = 0.95
# Of sums of weights.
_ROUNDING = 1e-9
# In shorter series the correlations are noise.
_FEWEST_CLUSTERS = 6


class ConsecutiveClusters(np.ndarray):
    """Codes of resampling clusters in the order of time: `codes.view(ConsecutiveClusters)`.

    Neighbours may resemble one another, which the spread of a score then allows for. Parts
    and permutations of the rows stay consecutive clusters.
    """


@dataclass(frozen=True)
class Spread:
    """A score and how much it varies between draws of the clusters.

    Attributes:
        estimate: the score.
        standard_error: nan when there is one cluster only, or no score.
        degrees_of_freedom: how well the standard error itself is known; 0 = not at all.
        scarcest: clusters that hold the rarest class, where classes are compared; else all.
        skewness: of the score between draws: 0 = as often above as below.
        autocorrelation: of what consecutive clusters add to the score; 0 for other clusters.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    scarcest: int
    skewness: float = 0.0
    autocorrelation: float = 0.0


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows are drawn together, and which of them are one sample; the same for all fits.

    Attributes:
        cluster: (n,) code of each row's cluster, 0 … G-1.
        cell: (n,) code of each row's cluster within its class, 0 … K-1.
        cell_class: (K,) class of each cell.
        clusters_per_class: (classes,) number of clusters that hold each class; of how many equal ones
            they tell as much, where rows have weights.
        consecutive: whether the codes are in the order of time.
    """

    cluster: np.ndarray
    cell: np.ndarray
    cell_class: np.ndarray
    clusters_per_class: np.ndarray
    consecutive: bool = False

    @classmethod
    def of(cls, clusters: np.ndarray, classes: np.ndarray, weights: Weights = None) -> Self:
        """Lay rows out by their clusters (n,) and by class codes (n,), all 0 for one sample."""
        cluster = cluster_codes(clusters)
        n_classes = int(classes.max(initial=0)) + 1
        # Of one class its cells are the clusters: the same array, not another one.
        cells, cell = distinct(cluster * n_classes + classes if n_classes > 1 else cluster)
        cell_class = cells % n_classes
        told = np.bincount(cell_class)
        if weights is not None:
            of_rows, of_weights = (
                _effective(np.bincount(cell, counted), cell_class) for counted in (None, weights)
            )
            # By how much the weights make clusters less even than their rows do.
            told = told * np.minimum(of_weights / of_rows, 1.0)
        return cls(cluster, cell, cell_class, told, isinstance(clusters, ConsecutiveClusters))

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

    The standard error is as well known as its clusters' contributions and its classes allow.
    """
    if not math.isfinite(linearised.estimate):
        return Spread(math.nan, math.nan, 0.0, 0)
    sums = cluster_sums(linearised.influence, layout.cluster)
    if len(sums) < 2:
        return Spread(linearised.estimate, math.nan, 0.0, layout.scarcest)
    of_sum = moments(sums, consecutive=layout.consecutive)
    hidden, freedom_by_class = _by_class(linearised, layout, len(sums))
    freedom = min(of_sum.degrees_of_freedom, freedom_by_class)
    return Spread(
        linearised.estimate,
        math.sqrt(of_sum.variance + hidden + linearised.unseen),
        float(np.clip(freedom, 1, len(sums) - 1)),
        layout.scarcest,
        of_sum.skewness,
        of_sum.autocorrelation,
    )


def _by_class(linearised: Linearised, layout: Layout, n_clusters: int) -> tuple[float, float]:
    """Return what the variance lacks with the classes as samples, and its degrees of freedom.

    Of 12,000 rows with 8 positives, an AUC knows its variance from 8 rows, not from 12,000:
    their part of it needs the factor 8/7 (DeLong, DeLong and Clarke-Pearson 1988), and Welch
    and Satterthwaite's degrees of freedom are about 7.
    """
    parts = np.bincount(layout.cell_class, cluster_sums(linearised.influence, layout.cell) ** 2)
    freedoms = np.maximum(layout.clusters_per_class - 1, 1)
    lacking = float(parts @ (1 / freedoms - 1 / (n_clusters - 1)))
    known = float((parts**2 / freedoms).sum())
    freedom = float(parts.sum()) ** 2 / known if known > 0 else layout.scarcest - 1.0
    return max(lacking, 0.0), freedom


@dataclass(frozen=True)
class Moments:
    """Of the sum of what G clusters add, when they are drawn anew.

    Attributes:
        variance: of the sum.
        degrees_of_freedom: how well the variance is known, 1 … G-1.
        skewness: of the sum; 0 = as often above as below.
        autocorrelation: of what consecutive clusters add; 0 for independent ones.
    """

    variance: float
    degrees_of_freedom: float
    skewness: float
    autocorrelation: float


def moments(sums: np.ndarray, *, consecutive: bool) -> Moments:
    """Return the moments of a sum.

    Args:
        sums: (G,) what each cluster adds, of mean zero; at least two, in the order of time where
            they are consecutive.
        consecutive: whether neighbours may resemble one another.
    """
    strangers = independent_projections(sums) if consecutive else sums
    n_strangers = len(strangers)
    variance = n_strangers / (n_strangers - 1) * float(strangers @ strangers)
    freedom = min(n_strangers - 1.0, _freedom_by_tails(sums))
    autocorrelation = _autocorrelation(sums, 1) if consecutive else 0.0
    return Moments(variance, freedom, _skewness(sums), autocorrelation)


def independent_projections(sums: np.ndarray, differing: np.ndarray | None = None) -> np.ndarray:
    """Return what fewer clusters, independent of one another, would add to the same sums.

    The slow projections of the series are nearly independent; with the first, which is zero, they
    are K + 1 clusters whose sum varies as that of the G consecutive ones does. Without memory
    K + 1 is G.

    Args:
        sums: (G,) or (G, C) what each cluster adds to one sum or several, of mean zero, in the
            order of time.
        differing: (G, …) series whose memory counts, where it is not that of the sums: what
            all of them share does not matter where they are compared.

    Returns:
        (K + 1,) or (K + 1, C).
    """
    from scipy.fft import dct

    n_clusters = len(sums)
    series = sums if differing is None else differing
    memory = _memory(_autocorrelation(series, 1), _autocorrelation(series, 2), n_clusters)
    n_strangers = _slow_cosines(n_clusters, memory) + 1
    slow = dct(sums, type=2, norm="ortho", axis=0)[:n_strangers]
    return np.asarray(math.sqrt(n_clusters / n_strangers) * slow)


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
    """That of a cluster, adjusted for few of them (Joanes and Gill 1998), by the root of n."""
    n, total = len(sums), float(sums @ sums)
    if n < 3 or total == 0:
        return 0.0
    adjusted = math.sqrt(n * (n - 1)) / (n - 2)
    return float((sums * sums) @ sums / total**1.5) * adjusted


def _autocorrelation(sums: np.ndarray, lag: int) -> float:
    """The correlation at a lag, freed of its bias in short series (Kendall 1954).

    Of several series, (G, C), the mean one, each weighted by its variance.
    """
    n_clusters, total = len(sums), float(np.vdot(sums, sums))
    if n_clusters < _FEWEST_CLUSTERS or total == 0:
        return 0.0
    raw = float(np.vdot(sums[lag:], sums[:-lag])) / total
    return raw + (1 + 3 * raw) / n_clusters


def _memory(first: float, second: float, n_clusters: int) -> float:
    """What persists from one cluster to the next, by the correlations at lags 1 and 2.

    A day's score is what persists and the luck of its rows, an autoregressive series plus
    noise: ARMA(1, 1), whose correlations fall by the memory from lag to lag (Box and Jenkins
    1970). Where the first is no more than chance, the quotient is noise.
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


def variance_factor(fitted: Sequence[int], predicted: Sequence[int], repeats: int) -> float:
    """Return how many times the variance is what the rows show.

    Relative to S²/K of the K folds of one repeat, (1/J + predicted/fitted)·S² is
    1/R + Σ predicted/fitted over these K for R repeats: 2.25 for five folds once, 1.58 for
    three times five.

    Args:
        fitted: rows that each fold is fitted on, of all repeats.
        predicted: rows that it predicts.
        repeats: how often the rows were cut anew.
    """
    ratios = np.asarray(predicted) / np.asarray(fitted)
    return float(1 + ratios.sum()) / repeats


def widened(score: Linearised, factor: float) -> Linearised:
    """Return a score whose variance is so many times what its rows show."""
    influence = score.influence * math.sqrt(factor)
    return replace(score, influence=influence, unseen=score.unseen * factor)
