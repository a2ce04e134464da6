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

from experiment_pipeline.statistics.tails import Tail

Weights = np.ndarray | None
LEVEL = 0.95
_ROUNDING = 1e-12  # smaller standard errors are rounding errors of sums
_ROUNDING_OF_WEIGHTS = 1e-9  # tolerance for sums of weights
_COSINES = 8
_FEWEST_COSINES = 4  # with fewer, Student's t is very wide (4: ±2.8, 2: ±4.3)
# Most that the long-run variance may exceed the cosines'; if more, take fewer.
_FALLS_SHORT = 1.1
# Together as likely a priori as no memory: correlations of neighbours, and their shares
# of the variance.
_MEMORIES = (0.5, 0.8, 0.95)
_SHARES = np.arange(1, 11) / 10
_MOST_FREQUENCIES = 2_048  # the slowest; the others say little about a long memory
# With fewer, later rows are of the same entities: of the same five shops, not of new
# ones.
FEWEST_ENTITIES = 30
# A bootstrap draws clusters or random groups of them (Wolter 2007): 50 to 200 gave
# equal intervals.
MOST_DRAWN = 150


def relative_weights(weights: Weights) -> Weights:
    """Return weights (n,) with a mean of 1; None: without weights, or all equal."""
    if weights is None or not len(weights) or (weights == weights[0]).all():
        return None
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def weighted(values: np.ndarray, weights: Weights) -> np.ndarray:
    """Return values (n,) multiplied by the weights."""
    return values if weights is None else values * weights


def effective_number(weights: np.ndarray) -> float:
    """Return how many equal rows vary as much: (Σw)² / Σw² (Kish 1965)."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def weighted_mean(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the mean, ()."""
    return np.asarray(np.mean(y) if weights is None else np.average(y, weights=weights))


def weighted_median(y: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the median, (); where half the weight lies below, of both neighbours."""
    if weights is None:
        return np.asarray(np.median(y))
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(weights[order])
    half = reached[-1] / 2
    tolerance = np.array([1 - _ROUNDING_OF_WEIGHTS, 1 + _ROUNDING_OF_WEIGHTS])
    ends = np.searchsorted(reached, half * tolerance)
    return np.asarray(y[order][ends].mean())


def weighted_quantile(
    y: np.ndarray, weights: Weights, level: float | np.ndarray
) -> np.ndarray:
    """Return the smallest value that a share of the weight is up to, for each level."""
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(np.ones(len(y)) if weights is None else weights[order])
    place = np.searchsorted(reached, level * reached[-1] * (1 - _ROUNDING_OF_WEIGHTS))
    return np.asarray(y[order][place])


def cluster_codes(clusters: np.ndarray) -> np.ndarray:
    """Return clusters as codes 0 … G-1, (n,); of (n, 2), those of the first column."""
    codes = np.asarray(clusters)
    first = codes if codes.ndim == 1 else codes[:, 0]
    return np.unique(first, return_inverse=True)[1]


def number_of_clusters(clusters: np.ndarray) -> int:
    """Return how many different clusters rows belong to."""
    return int(cluster_codes(clusters).max(initial=0)) + 1


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
    # (n,) of mean zero, multiplied by the weights of the rows; nan where the score is
    influence: np.ndarray
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
    """Return the clusters (n,), merged into `most`; consecutive ones with
    neighbours.
    """
    codes = cluster_codes(clusters)
    n_clusters = int(codes.max(initial=0)) + 1
    if n_clusters > most and isinstance(clusters, ConsecutiveClusters):
        codes = codes * most // n_clusters
    elif n_clusters > most:
        codes = codes % most
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
    order = np.argsort(codes)
    sizes = np.bincount(codes)
    estimate = score(np.arange(len(codes)))
    draws, least_squares = _draws_of(len(sizes))
    scores = np.array([score(np.repeat(order, times[codes[order]])) for times in draws])
    defined = np.isfinite(scores)
    if defined.mean() < 0.5:  # draws without a class may have no score
        return undefined(len(codes))
    deviations = np.where(defined, scores - scores[defined].mean(), 0.0)
    contributions = (least_squares @ (deviations / defined.mean()))[1:]
    return Linearised(estimate, (len(codes) * contributions / sizes)[codes])


@cache
def _draws_of(clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of G clusters is drawn, (2G + 1, G), and least squares by it.

    The latter is the pseudo-inverse of a constant and the draws, (G + 1, 2G + 1).
    """
    n_draws = 2 * clusters + 1
    chances = np.full(clusters, 1 / clusters)
    draws = np.random.default_rng(0).multinomial(clusters, chances, n_draws)
    return draws, np.linalg.pinv(np.column_stack([np.ones(n_draws), draws - 1.0]))


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
    # clusters that hold the rarest class, where classes are compared; else all
    scarcest: int
    skewness: float = 0.0  # of the score between draws
    # probability that consecutive clusters resemble their neighbours
    persistence: float = 0.0
    independent: int = 0  # clusters, or slow projections of consecutive ones
    tail: Tail | None = None  # of a mean error: what its largest ones may hide


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows are drawn together, and which are one sample; alike for all fits."""

    cluster: np.ndarray  # (n,) code of each row's cluster, 0 … G-1
    cell: np.ndarray  # (n,) code of each row's cluster within its class, 0 … K-1
    cell_class: np.ndarray  # (K,) class of each cell
    # (classes,) clusters that hold each class; with row weights, the effective number
    # of them
    clusters_per_class: np.ndarray
    consecutive: bool = False  # whether the codes are in the order of time
    # (n,) codes of a second clustering: customers beside days
    entity: np.ndarray | None = None

    @classmethod
    def of(
        cls, clusters: np.ndarray, classes: np.ndarray, weights: Weights = None
    ) -> Self:
        """Lay rows out by clusters and class codes (n,), all 0 for one sample."""
        cluster = cluster_codes(clusters)
        n_classes = int(classes.max(initial=0)) + 1
        # With one class the cells are the clusters: share the array.
        cells = np.arange(cluster.max(initial=-1) + 1)
        cell = cluster
        if n_classes > 1:
            cells, cell = np.unique(cluster * n_classes + classes, return_inverse=True)
        cell_class = cells % n_classes
        number = np.bincount(cell_class)

        def effective(of_cells: np.ndarray) -> np.ndarray:
            """`effective_number` of the cells of each class, (classes,)."""
            sums = np.bincount(cell_class, of_cells)
            squares = np.bincount(cell_class, of_cells * of_cells)
            tiny = np.finfo(np.float64).tiny
            return sums**2 / np.maximum(squares, tiny)

        if weights is not None:
            # How much less even the weights make clusters than their numbers of rows.
            by_rows = effective(np.bincount(cell))
            by_weights = effective(np.bincount(cell, weights))
            number = number * np.minimum(by_weights / by_rows, 1.0)
        entity = None
        if clusters.ndim == 2:
            codes = cluster_codes(clusters[:, 1])
            if codes.max(initial=0) + 1 >= FEWEST_ENTITIES:
                entity = codes
        return cls(
            cluster,
            cell,
            cell_class,
            clusters_per_class=number,
            consecutive=isinstance(clusters, ConsecutiveClusters),
            entity=entity,
        )

    @property
    def scarcest(self) -> int:
        """Clusters that hold the rarest class."""
        number = self.clusters_per_class
        return int(number[number > 0].min() + _ROUNDING_OF_WEIGHTS)


def cluster_sums(influence: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return what each cluster adds to the deviation, (G,): its rows' ψ, over n."""
    return np.bincount(codes, weights=influence) / len(influence)


def spread_of(linearised: Linearised, layout: Layout) -> Spread:
    """Return the spread of a linearised score.

    Where classes are samples, each one's part of the variance has its own factor
    (DeLong, DeLong and Clarke-Pearson 1988) and degrees of freedom (Welch and
    Satterthwaite).
    """
    if not math.isfinite(linearised.estimate):
        return Spread(math.nan, math.nan, 0.0, 0)
    influence = linearised.influence
    sums = cluster_sums(influence, layout.cluster)
    n_clusters = len(sums)
    if n_clusters < 2:
        return Spread(linearised.estimate, math.nan, 0.0, layout.scarcest)
    independent = sums
    persistence = 0.0
    if layout.consecutive:
        independent = independent_projections(sums, most=_most_projections(n_clusters))
        persistence = 1 - float(_chances(sums)[0])
    n = len(independent)
    of_classes, class_freedom = _class_variance(influence, layout, n_clusters)
    variance = n / (n - 1) * float(independent @ independent)
    variance = variance + of_classes + linearised.unseen
    tail_freedom = max(_tail_freedom(sums), 1.0)
    freedom = min(n - 1.0, tail_freedom, class_freedom)
    freedom = float(np.clip(freedom, 1, n_clusters - 1))
    if layout.entity is not None:
        shared, _ = shared_by_entities(influence, layout.entity, layout.cluster)
        if layout.consecutive:
            shared -= _shared_nearby(influence, layout, sums)
        variance, freedom = _with_entities(variance, freedom, shared, layout.entity)
    return Spread(
        estimate=linearised.estimate,
        standard_error=math.sqrt(variance),
        degrees_of_freedom=freedom,
        scarcest=layout.scarcest,
        skewness=_skewness(sums),
        persistence=persistence,
        independent=n,
    )


def _most_projections(clusters: int) -> int:
    """How many there may be even if no memory shows (Lazarus et al. 2018): a slow one
    may hide.
    """
    return 1 + max(_COSINES, int(0.4 * clusters ** (2 / 3)))


def _with_entities(
    variance: float, freedom: float, shared: float, entity: np.ndarray
) -> tuple[float, float]:
    """The variance with what rows of one entity share on top, and its degrees of
    freedom (Cameron, Gelbach and Miller 2011).
    """
    if shared <= 0:
        return variance, freedom
    by_part = variance**2 / freedom + shared**2 / float(entity.max())
    return variance + shared, (variance + shared) ** 2 / by_part


def _class_variance(
    influence: np.ndarray, layout: Layout, n_clusters: int
) -> tuple[float, float]:
    """What the variance lacks as each class is a sample, and the degrees of freedom."""
    cells = cluster_sums(influence, layout.cell)
    parts = np.bincount(layout.cell_class, cells**2)
    freedoms = np.maximum(layout.clusters_per_class - 1, 1)
    lacking = max(float(parts @ (1 / freedoms - 1 / (n_clusters - 1))), 0.0)
    by_part = float((parts**2 / freedoms).sum())
    if by_part > 0:
        return lacking, float(parts.sum()) ** 2 / by_part
    return lacking, layout.scarcest - 1.0


def _tail_freedom(sums: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom 2·V²/Var(V), by the kurtosis κ of the sample.

    Var(V)/V² = (κ - (n-3)/(n-1)) / n. About 2k where k clusters of many add nearly all.
    """
    n = len(sums)
    squares = sums * sums
    total = float(squares.sum())
    if total == 0:
        return n - 1.0
    kurtosis = n * float(squares @ squares) / total**2
    return 2 * n / (kurtosis - (n - 3) / (n - 1))


def shared_by_entities(
    influence: np.ndarray, entity: np.ndarray, cluster: np.ndarray
) -> tuple[float, float]:
    """Return the variance that rows of one entity add to that of rows of one cluster,
    and the variance without what entities and clusters share.
    """

    def variance(codes: np.ndarray) -> float:
        sums = cluster_sums(influence, codes)
        return len(sums) / (len(sums) - 1) * float(sums @ sums)

    intersection = cluster_codes(entity * (int(cluster.max()) + 1) + cluster)
    alone = variance(intersection)
    return variance(entity) - alone, alone


def _skewness(sums: np.ndarray) -> float:
    """The skewness between draws, adjusted for few clusters (Joanes and Gill 1998)."""
    n = len(sums)
    total = float(sums @ sums)
    if n < 3 or total == 0:
        return 0.0
    adjusted = math.sqrt(n * (n - 1)) / (n - 2)
    return float((sums * sums) @ sums / total**1.5) * adjusted


def independent_projections(
    sums: np.ndarray, differing: np.ndarray | None = None, most: int | None = None
) -> np.ndarray:
    """Return slow projections of consecutive clusters, nearly independent, K + 1.

    `sums`: contributions (G,) or (G, C) of mean zero, in the order of time. The sum of
    projections varies as that of the G clusters; the `differing` series (G, …) decide
    the memory. K + 1 is at most `most`.
    """
    from scipy.fft import dct

    k, factor = _cosines(sums if differing is None else differing, most)
    slow = dct(sums, type=2, norm="ortho", axis=0)[: k + 1]
    return math.sqrt(factor * len(sums) / (k + 1)) * slow


def _cosines(series: np.ndarray, most: int | None) -> tuple[int, float]:
    """How many cosines K are slow beside the memory of series, and by which factor
    the long-run variance exceeds their mean square.
    """
    n = min(len(series), most or len(series), _MOST_FREQUENCIES)
    spectra = _spectra(len(series))
    means = np.cumsum(spectra[:, 1:n], axis=1) / np.arange(1, n)
    factors = _chances(series) @ (spectra[:, :1] / means)
    k = max(min(_FEWEST_COSINES, n - 1), int((factors <= _FALLS_SHORT).sum()))
    return k, float(factors[k - 1])


def _shared_nearby(influence: np.ndarray, layout: Layout, by_day: np.ndarray) -> float:
    """The variance that cosines of consecutive clusters hold already of what rows of
    one entity share across clusters (Thompson 2011); `by_day`: their sums (G,).
    """
    assert layout.entity is not None
    days = len(by_day)
    cells, cell = np.unique(layout.entity * days + layout.cluster, return_inverse=True)
    sums = cluster_sums(influence, cell)
    entity, day = np.divmod(cells, days)
    k, factor = _cosines(by_day, _most_projections(days))
    shared = 0.0
    for frequency in range(1, k + 1):
        waves = sums * np.cos(np.pi * frequency * (day + 0.5) / days)
        by_entity = np.bincount(entity, waves)
        shared += float(by_entity @ by_entity - waves @ waves)
    return 2 * factor / k * shared


@lru_cache(4)
def _spectra(clusters: int) -> np.ndarray:
    """Spectra of series of variance 1 at frequencies πj/G; the first: white noise."""
    cosines = np.cos(np.pi * np.arange(min(clusters, _MOST_FREQUENCIES)) / clusters)
    # A memory over more than an eighth of the series can hardly be told from a shift in
    # level.
    memories = np.clip(_MEMORIES, 0, max(1 - 8 / clusters, 0))
    spectra = [0 * cosines + 1]
    for memory in memories:
        slow = (1 - memory * memory) / (1 - 2 * memory * cosines + memory * memory)
        spectra += [1 + share * (slow - 1) for share in _SHARES]
    return np.array(spectra)


def _chances(series: np.ndarray) -> np.ndarray:
    """The probability of each spectrum, given series (G,), or several alike (G, C)."""
    from scipy.fft import dct

    spectra = _spectra(len(series))[:, 1:]
    slow = len(spectra) - 1
    prior = np.repeat([1 / 2, 1 / 2 / slow], [1, slow])
    power = dct(series, type=2, norm="ortho", axis=0)[1 : spectra.shape[1] + 1] ** 2
    power = power.reshape(len(power), -1).sum(axis=1)
    if not power.sum():
        return prior
    # The level of the spectrum is the likeliest one.
    fit = np.log(spectra).sum(axis=1) + len(power) * np.log((1 / spectra) @ power)
    likely = prior * np.exp((fit.min() - fit) / 2)
    return likely / likely.sum()


@dataclass(frozen=True)
class Interval:
    """An estimate and bounds that contain the true value with probability `level`."""

    estimate: float  # nan where the metric is undefined, and the bounds with it
    low: float  # lower bound; -infinity where it is unknown
    high: float  # upper bound
    level: float = LEVEL


def difference(first: Spread, second: Spread, level: float = LEVEL) -> Interval:
    """Return second - first, on sets that share no cluster, with Welch's interval."""
    first_variance = first.standard_error**2
    second_variance = second.standard_error**2
    total = first_variance + second_variance
    freedom = min(first.degrees_of_freedom, second.degrees_of_freedom)
    if freedom > 0 and total > 0:
        of_first = first_variance**2 / first.degrees_of_freedom
        of_second = second_variance**2 / second.degrees_of_freedom
        freedom = total**2 / (of_first + of_second)
    gap = Spread(
        second.estimate - first.estimate,
        math.sqrt(total),
        freedom,
        min(first.scarcest, second.scarcest),
    )
    return around(gap, level)


def around(spread: Spread, level: float = LEVEL, least_error: float = 0.0) -> Interval:
    """Return the estimate ± t standard errors, each at least `least_error`.

    The bounds are infinite for one cluster, nan without a score.
    """
    estimate = spread.estimate
    if math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan, level)
    if spread.degrees_of_freedom == 0:
        return Interval(estimate, -math.inf, math.inf, level)
    error = max(spread.standard_error, least_error)
    half = quantile(spread.degrees_of_freedom, level) * error
    return Interval(estimate, estimate - half, estimate + half, level)


def level_of_each(differences: int) -> float:
    """Return the level at which so many differences hold together (Bonferroni)."""
    return 1 - (1 - LEVEL) / differences


def level_of_comparison(number: int) -> float:
    """Return the level of comparison 1, 2, … of a sequence whose end is not known.

    Number k may err with probability 5 %/(k (k + 1)); these sum to 5 %.
    """
    return level_of_each(number * (number + 1))


def quantile(degrees_of_freedom: float, level: float) -> float:
    """Return how many standard errors a two-sided interval reaches, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def plain(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds t standard errors away, on the scale of the score itself."""
    half = t * spread.standard_error
    return spread.estimate - half, spread.estimate + half


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


def by_tail(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of a mean error, by its tail; those of a loss without one."""
    return by_log(spread, t) if spread.tail is None else by_skewness(spread, t)


def by_skewness(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of a mean, corrected for its skewness a; of a mean error, by
    its tail, if they are farther than t standard errors or those by skewness.

    Hall (1992): T = (θ̂ - θ)/se is skewed, T + aT²/3 + a²T³/27 + a/6 nearly normal.
    """
    from scipy.special import stdtr

    reached = np.array([t, -t])
    a = spread.skewness
    if abs(a) > _ROUNDING:
        reached = 3 / a * (np.cbrt(1 + a * (reached - a / 6)) - 1)
    low, high = -reached
    if spread.tail is not None:
        chance = float(stdtr(spread.degrees_of_freedom, t))
        freedom = spread.independent - 1
        low = min(max(low, -t), spread.tail.quantile(1 - chance, freedom))
        high = max(min(high, t), spread.tail.quantile(chance, freedom))
    error = spread.standard_error
    return spread.estimate + error * float(low), spread.estimate + error * float(high)


def by_squares(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of the root of a mean of squares: the roots of that mean's."""
    error = 2 * spread.estimate * spread.standard_error
    mean = replace(spread, estimate=spread.estimate**2, standard_error=error)
    low, high = np.sqrt(np.maximum(by_skewness(mean, t), 0.0)).tolist()
    return low, high


def wilson(spread: Spread, t: float) -> tuple[float, float]:
    """Return Wilson's bounds (1927).

    The effective sample size is θ(1-θ)/se² (Korn and Graubard 1998).
    """
    theta = spread.estimate
    error = spread.standard_error
    if min(theta, 1 - theta) < _ROUNDING:
        n = float(spread.scarcest)
    elif error > _ROUNDING:
        n = theta * (1 - theta) / error**2
    else:
        return theta, theta  # exactly known: constant predictions have an AUC of 1/2
    centre = (theta + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(theta * (1 - theta) / n + (t / (2 * n)) ** 2)
    return centre - half, centre + half
