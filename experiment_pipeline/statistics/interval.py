"""How much a score varies between samples of the resampling clusters, and its interval.

Infinitesimal jackknife (Efron 1982, ch. 6; Hampel 1974): the influence values ψ of a
score θ are the derivatives n·∂θ/∂m_i by how often each row is drawn. They have mean
zero and include the row's weight. Summed over clusters (a row, a group, a day) they
give the cluster-robust variance with the factor G/(G-1) for G clusters (Liang and Zeger
1986; Cameron and Miller 2015). Consecutive clusters may resemble their neighbours:
their long-run variance is that of equal-weighted slow cosines (Müller 2007; Lazarus,
Lewis, Stock and Watson 2018), whose projections are nearly independent. A factor for
what these miss is averaged over spectra of autoregressive series in noise, by their
likelihood (Whittle 1953).

Row weights are scaled to a mean of 1. A row of weight 2 scores as two equal rows of
weight 1 do (scikit-learn's `sample_weight`); for uncertainty it is one row, drawn once.

A score is treated as normal on the scale on which it is closest to normal. Which law of
bounds belongs to which metric was chosen by simulation (`make bench`, statistics) and
is declared in `metrics.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Self

import numpy as np

Weights = np.ndarray | None
LEVEL = 0.95
_ROUNDING = 1e-12  # smaller standard errors are rounding errors of sums
_ROUNDING_OF_WEIGHTS = 1e-9  # tolerance for sums of weights
_COSINES = 8
_FEWEST_COSINES = 4  # with fewer, Student's t is very wide (4: ±2.8, 2: ±4.3)
_FALLS_SHORT = (
    1.1  # most that the long-run variance may exceed the cosines'; if more, take fewer
)
# Together as likely a priori as no memory: correlations of neighbours, and their shares
# of the variance.
_MEMORIES, _SHARES = (0.5, 0.8, 0.95), np.arange(1, 11) / 10
_MOST_FREQUENCIES = 2_048  # the slowest; the others say little about a long memory
# With fewer, later rows are of the same entities: of the same five shops, not of new
# ones.
FEWEST_ENTITIES = 30
# A bootstrap draws clusters or random groups of them (Wolter 2007): 50 to 200 gave
# equal intervals.
MOST_DRAWN = 150


def relative_weights(weights: Weights) -> Weights:
    """Return weights (n,) with a mean of 1; None if there are none, or all
    are equal.
    """
    if weights is None or not len(weights) or (weights == weights[0]).all():
        return None
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def weighted(values: np.ndarray, weights: Weights) -> np.ndarray:
    """Return values (n,) multiplied by the weights."""
    return values if weights is None else values * weights


def effective_number(weights: np.ndarray) -> float:
    """Return the number of equal rows with the same variance of a mean: (Σw)² / Σw²
    (Kish 1965).
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def weighted_mean(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the mean, ()."""
    return np.asarray(np.mean(y) if weights is None else np.average(y, weights=weights))


def weighted_median(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the median, (): the mean of both neighbours where exactly half the weight
    lies below.
    """
    if weights is None:
        return np.asarray(np.median(y))
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(weights[order])
    half, rounding = reached[-1] / 2, _ROUNDING_OF_WEIGHTS
    ends = np.searchsorted(reached, [half * (1 - rounding), half * (1 + rounding)])
    return np.asarray(y[order][ends].mean())


def weighted_quantile(
    y: np.ndarray, weights: Weights, level: float | np.ndarray
) -> np.ndarray:
    """Return, for each level, the smallest value up to which that share of the weight
    is reached.
    """
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(np.ones(len(y)) if weights is None else weights[order])
    place = np.searchsorted(reached, level * reached[-1] * (1 - _ROUNDING_OF_WEIGHTS))
    return np.asarray(y[order][place])


def cluster_codes(clusters: np.ndarray) -> np.ndarray:
    """Return clusters as codes 0 … G-1, (n,); of (n, 2), those of the first column."""
    known = np.asarray(clusters)
    return np.unique(known if known.ndim == 1 else known[:, 0], return_inverse=True)[1]


class ConsecutiveClusters(np.ndarray):
    """Codes of resampling clusters in the order of time:
    `codes.view(ConsecutiveClusters)`.

    They are (n,), or (n, 2) with a second clustering: the entity of each row. Their
    spread allows for similar neighbours. Parts and permutations of the rows keep the
    type.
    """


@dataclass(frozen=True, eq=False)
class Linearised:
    """A score and its linear approximation."""

    estimate: float  # the score; nan where it is undefined
    influence: np.ndarray  # (n,) of mean zero; nan where the score is
    # variance that the rows do not show: in a mean over classes, that of classes that
    # are all right or all wrong in this sample
    unseen: float = 0.0


def undefined(n: int) -> Linearised:
    """Return an undefined score of n rows."""
    return Linearised(float("nan"), np.full(n, np.nan))


def mean(values: np.ndarray, weights: Weights = None) -> Linearised:
    """Return the mean of (n,) values; weights (n,) have a mean of 1."""
    estimate = float(weighted(values, weights).mean())
    return Linearised(estimate, weighted(values - estimate, weights))


def drawn_together(clusters: np.ndarray, most: int = MOST_DRAWN) -> np.ndarray:
    """Return at most so many clusters (n,): more are merged, consecutive ones with
    neighbours.
    """
    codes = cluster_codes(clusters)
    if (number := int(codes.max(initial=0)) + 1) > most:
        consecutive = isinstance(clusters, ConsecutiveClusters)
        codes = codes * most // number if consecutive else codes % most
    return codes.view(type(clusters))


def bootstrapped(
    score: Callable[[np.ndarray], float], clusters: np.ndarray
) -> Linearised:
    """Return a score, given positions of rows, with the influence of each row, where no
    formula is known.

    G clusters (n,) are drawn 2G + 1 times with replacement (Efron and Tibshirani 1993),
    the same way in every call. Least squares of the scores on how often each cluster
    was drawn gives its contribution; a score that is not linear (a median) adds
    variance. Draws without a score are left out.
    """
    codes = cluster_codes(drawn_together(clusters))
    order, sizes, estimate = (
        np.argsort(codes),
        np.bincount(codes),
        score(np.arange(len(codes))),
    )
    drawn, least_squares = _draws_of(len(sizes))
    found = np.array([score(np.repeat(order, times[codes[order]])) for times in drawn])
    known = np.isfinite(found)
    if known.mean() < 0.5:  # draws without a class may have no score
        return undefined(len(codes))
    deviations = np.where(known, found - found[known].mean(), 0.0) / known.mean()
    added = (least_squares @ deviations)[1:]
    return Linearised(estimate, (len(codes) * added / sizes)[codes])


@cache
def _draws_of(clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of G clusters is drawn (2G + 1, G), and the pseudo-inverse of that
    and a constant (G + 1, 2G + 1).
    """
    number, chances = 2 * clusters + 1, np.full(clusters, 1 / clusters)
    drawn = np.random.default_rng(0).multinomial(clusters, chances, number)
    return drawn, np.linalg.pinv(np.column_stack([np.ones(number), drawn - 1.0]))


def variance_factor(
    fitted: Sequence[int], predicted: Sequence[int], repeats: int
) -> float:
    """Return the factor on the variance of a cross-validated score; `fitted`,
    `predicted`: rows of each fold.

    The models share rows (Nadeau and Bengio 2003): relative to S²/K of one repeat's K
    folds, the factor is (1 + Σ predicted/fitted) / R for the sum over the folds of all
    R repeats.
    """
    ratios = np.asarray(predicted) / np.asarray(fitted)
    return float(1 + ratios.sum()) / repeats


@dataclass(frozen=True)
class Spread:
    """A score and how much it varies between draws of the clusters."""

    estimate: float
    standard_error: float  # nan when there is one cluster only, or no score
    degrees_of_freedom: float  # of the standard error; 0: unknown
    scarcest: (
        int  # clusters that hold the rarest class, where classes are compared; else all
    )
    skewness: float = 0.0  # of the score between draws
    persistence: float = (
        0.0  # probability that consecutive clusters resemble their neighbours
    )
    # of a mean error: the spread with one more cluster, with a larger error than any in
    # the sample
    one_more: "Spread | None" = None


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows are drawn together, and which of them are one sample; the same for all
    fits.
    """

    cluster: np.ndarray  # (n,) code of each row's cluster, 0 … G-1
    cell: np.ndarray  # (n,) code of each row's cluster within its class, 0 … K-1
    cell_class: np.ndarray  # (K,) class of each cell
    # (classes,) clusters that hold each class; with row weights, the effective number
    # of them
    clusters_per_class: np.ndarray
    consecutive: bool = False  # whether the codes are in the order of time
    entity: np.ndarray | None = (
        None  # (n,) codes of a second clustering: customers beside days
    )

    @classmethod
    def of(
        cls, clusters: np.ndarray, classes: np.ndarray, weights: Weights = None
    ) -> Self:
        """Lay rows out by their clusters and by class codes (n,), all 0 for
        one sample.
        """
        cluster = cluster_codes(clusters)
        n_classes = int(classes.max(initial=0)) + 1
        # With one class the cells are the clusters: share the array.
        cells, cell = np.arange(cluster.max(initial=-1) + 1), cluster
        if n_classes > 1:
            cells, cell = np.unique(cluster * n_classes + classes, return_inverse=True)
        cell_class = cells % n_classes
        number = np.bincount(cell_class)

        def effective(of_cells: np.ndarray) -> np.ndarray:
            """`effective_number` of the cells of each class, (classes,)."""
            squares = np.bincount(cell_class, of_cells * of_cells)
            tiny = np.finfo(np.float64).tiny
            return np.asarray(
                np.bincount(cell_class, of_cells) ** 2 / np.maximum(squares, tiny)
            )

        if weights is not None:
            # How much less even the weights make clusters than their numbers of rows
            # do.
            less_even = effective(np.bincount(cell, weights)) / effective(
                np.bincount(cell)
            )
            number = number * np.minimum(less_even, 1.0)
        entity = cluster_codes(clusters[:, 1]) if clusters.ndim == 2 else np.zeros(1)
        if entity.max(initial=0) + 1 < FEWEST_ENTITIES:
            entity = None
        consecutive = isinstance(clusters, ConsecutiveClusters)
        return cls(cluster, cell, cell_class, number, consecutive, entity)

    @property
    def scarcest(self) -> int:
        """Clusters that hold the rarest class."""
        number = self.clusters_per_class
        return int(number[number > 0].min() + _ROUNDING_OF_WEIGHTS)


def cluster_sums(influence: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return what each cluster adds to the score's deviation, (G,): its rows' ψ,
    divided by n.
    """
    return np.bincount(codes, weights=influence) / len(influence)


def spread_of(linearised: Linearised, layout: Layout) -> Spread:
    """Return the spread of a linearised score.

    Where classes are samples, each one's part of the variance has its own factor
    (DeLong, DeLong and Clarke-Pearson 1988) and degrees of freedom (Welch and
    Satterthwaite).
    """
    if not math.isfinite(linearised.estimate):
        return Spread(math.nan, math.nan, 0.0, 0)
    sums = cluster_sums(linearised.influence, layout.cluster)
    n_clusters, squares, total = len(sums), sums * sums, float(sums @ sums)
    if n_clusters < 2:
        return Spread(linearised.estimate, math.nan, 0.0, layout.scarcest)
    # At most so many cosines, even if no memory shows (Lazarus et al. 2018): a slow one
    # may hide.
    most = 1 + max(_COSINES, int(0.4 * n_clusters ** (2 / 3)))
    independent = (
        independent_projections(sums, most=most) if layout.consecutive else sums
    )
    n = len(independent)
    parts = np.bincount(
        layout.cell_class, cluster_sums(linearised.influence, layout.cell) ** 2
    )
    freedoms = np.maximum(layout.clusters_per_class - 1, 1)
    lacking = max(float(parts @ (1 / freedoms - 1 / (n_clusters - 1))), 0.0)
    known = float((parts**2 / freedoms).sum())
    by_class = float(parts.sum()) ** 2 / known if known > 0 else layout.scarcest - 1.0
    variance = (
        n / (n - 1) * float(independent @ independent) + lacking + linearised.unseen
    )
    # Satterthwaite's degrees of freedom 2·V²/Var(V), by the kurtosis κ of the sample:
    # Var(V)/V² = (κ - (n-3)/(n-1)) / n. About 2k where k clusters of many add nearly
    # all.
    by_tails, all_squares = n_clusters - 1.0, float(squares.sum())
    if all_squares > 0:
        kurtosis = n_clusters * float(squares @ squares) / all_squares**2
        by_tails = 2 * n_clusters / (kurtosis - (n_clusters - 3) / (n_clusters - 1))
    freedom = float(
        np.clip(min(n - 1.0, max(by_tails, 1.0), by_class), 1, n_clusters - 1)
    )
    if layout.entity is not None:
        # Two ways of clustering (Cameron, Gelbach and Miller 2011): what rows of one
        # entity share comes on top of what rows of one cluster share, with degrees of
        # freedom of its own.
        both = cluster_codes(layout.entity * n_clusters + layout.cluster)
        ways = (
            cluster_sums(linearised.influence, codes) for codes in (layout.entity, both)
        )
        by_entity, by_both = (
            len(one) / (len(one) - 1) * float(one @ one) for one in ways
        )
        shared, others = by_entity - by_both, float(layout.entity.max())
        if shared > 0:
            freedom = (variance + shared) ** 2 / (
                variance**2 / freedom + shared**2 / others
            )
            variance += shared
    skewness = 0.0
    if (
        n_clusters >= 3 and total > 0
    ):  # adjusted for few clusters (Joanes and Gill 1998)
        adjusted = math.sqrt(n_clusters * (n_clusters - 1)) / (n_clusters - 2)
        skewness = float(squares @ sums / total**1.5) * adjusted
    return Spread(
        linearised.estimate,
        math.sqrt(variance),
        freedom,
        layout.scarcest,
        skewness,
        1 - float(_chances(sums)[0]) if layout.consecutive else 0.0,
    )


def independent_projections(
    sums: np.ndarray, differing: np.ndarray | None = None, most: int | None = None
) -> np.ndarray:
    """Return the slow projections of consecutive clusters: K + 1 nearly independent
    contributions.

    `sums`: contributions (G,) or (G, C) of mean zero, in the order of time. The sum of
    projections varies as that of the G clusters; the `differing` series (G, …) decide
    the memory. K + 1 is at most `most`.
    """
    from scipy.fft import dct

    n = min(len(sums), most or len(sums), _MOST_FREQUENCIES)
    spectra = _spectra(len(sums))
    means = np.cumsum(spectra[:, 1:n], axis=1) / np.arange(1, n)
    factors = _chances(sums if differing is None else differing) @ (
        spectra[:, :1] / means
    )
    k = max(min(_FEWEST_COSINES, n - 1), int((factors <= _FALLS_SHORT).sum()))
    slow = dct(sums, type=2, norm="ortho", axis=0)[: k + 1]
    return np.asarray(math.sqrt(factors[k - 1] * len(sums) / (k + 1)) * slow)


@lru_cache(4)
def _spectra(clusters: int) -> np.ndarray:
    """Spectra of series of variance 1 at the frequencies πj/G, j = 0, 1, …; the first
    is white noise.
    """
    cosines = np.cos(np.pi * np.arange(min(clusters, _MOST_FREQUENCIES)) / clusters)
    # A memory over more than an eighth of the series can hardly be told from a shift in
    # level.
    memories = np.clip(_MEMORIES, 0, max(1 - 8 / clusters, 0))
    slow = [(1 - m * m) / (1 - 2 * m * cosines + m * m) for m in memories]
    return np.array(
        [0 * cosines + 1, *(1 + share * (one - 1) for one in slow for share in _SHARES)]
    )


def _chances(series: np.ndarray) -> np.ndarray:
    """The probability of each of the `_spectra`, given a series (G,) or several alike
    (G, C).
    """
    from scipy.fft import dct

    spectra = _spectra(len(series))[:, 1:]
    prior = np.repeat([1 / 2, 1 / 2 / (len(spectra) - 1)], [1, len(spectra) - 1])
    power = dct(series, type=2, norm="ortho", axis=0)[1 : spectra.shape[1] + 1] ** 2
    power = power.reshape(len(power), -1).sum(axis=1)
    if not power.sum():
        return prior
    # The level of the spectrum is the likeliest one.
    fit = np.log(spectra).sum(axis=1) + len(power) * np.log((1 / spectra) @ power)
    likely = prior * np.exp((fit.min() - fit) / 2)
    return np.asarray(likely / likely.sum())


@dataclass(frozen=True)
class Interval:
    """An estimate and bounds that contain the true value with probability `level`."""

    estimate: float  # nan where the metric is undefined, and the bounds with it
    low: float  # lower bound; -infinity where it is unknown
    high: float  # upper bound
    level: float = LEVEL


def difference(first: Spread, second: Spread, level: float = LEVEL) -> Interval:
    """Return second - first for scores on sets that share no cluster, with Welch's
    interval.
    """
    variances = [first.standard_error**2, second.standard_error**2]
    freedoms = [first.degrees_of_freedom, second.degrees_of_freedom]
    total, freedom = sum(variances), min(freedoms)
    if freedom > 0 and total > 0:
        freedom = total**2 / sum(
            v**2 / f for v, f in zip(variances, freedoms, strict=True)
        )
    estimate, scarcest = (
        second.estimate - first.estimate,
        min(first.scarcest, second.scarcest),
    )
    return around(Spread(estimate, math.sqrt(total), freedom, scarcest), level)


def around(spread: Spread, level: float = LEVEL, least_error: float = 0.0) -> Interval:
    """Return the estimate ± t standard errors, at least `least_error`; infinite for one
    cluster.
    """
    unknown = math.nan if math.isnan(spread.estimate) else math.inf
    if math.isnan(spread.estimate) or spread.degrees_of_freedom == 0:
        return Interval(spread.estimate, -unknown, unknown, level)
    half = quantile(spread.degrees_of_freedom, level) * max(
        spread.standard_error, least_error
    )
    return Interval(
        spread.estimate, spread.estimate - half, spread.estimate + half, level
    )


def quantile(degrees_of_freedom: float, level: float) -> float:
    """Return how many standard errors a two-sided interval reaches, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def plain(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds t standard errors away, on the scale of the score itself."""
    return (
        spread.estimate - t * spread.standard_error,
        spread.estimate + t * spread.standard_error,
    )


def by_log(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of a positive loss, symmetric on the log scale."""
    if spread.estimate <= 0:
        return plain(spread, t)
    with np.errstate(over="ignore"):
        factor = float(np.exp(t * spread.standard_error / spread.estimate))
    return spread.estimate / factor, spread.estimate * factor


def by_logit(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of a score between 0 and 1 that is not a share of rows."""
    from scipy.special import expit, logit

    theta = spread.estimate
    if min(theta, 1 - theta) < _ROUNDING:
        return wilson(spread, t)
    half = t * spread.standard_error / (theta * (1 - theta))
    return float(expit(logit(theta) - half)), float(expit(logit(theta) + half))


def by_skewness(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of a mean, corrected for its skewness a.

    Hall (1992): T = (θ̂ - θ)/se is skewed, T + aT²/3 + a²T³/27 + a/6 nearly normal.
    """
    reached, a = np.array([t, -t]), spread.skewness
    if abs(a) > _ROUNDING:
        reached = 3 / a * (np.cbrt(1 + a * (reached - a / 6)) - 1)
    low, high = (spread.estimate - spread.standard_error * reached).tolist()
    return low, high


def by_squares(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of the root of a mean of squares: the roots of that mean's, by
    its skewness.
    """
    error = 2 * spread.estimate * spread.standard_error
    mean = replace(spread, estimate=spread.estimate**2, standard_error=error)
    low, high = np.sqrt(np.maximum(by_skewness(mean, t), 0.0)).tolist()
    return low, high


def wilson(spread: Spread, t: float) -> tuple[float, float]:
    """Return Wilson's bounds (1927) with the effective sample size θ(1-θ)/se² (Korn and
    Graubard 1998).
    """
    theta, error = spread.estimate, spread.standard_error
    if min(theta, 1 - theta) < _ROUNDING:
        n = float(spread.scarcest)
    elif error > _ROUNDING:
        n = theta * (1 - theta) / error**2
    else:
        return theta, theta  # exactly known: constant predictions have an AUC of 1/2
    centre = (theta + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(theta * (1 - theta) / n + (t / (2 * n)) ** 2)
    return centre - half, centre + half
