"""Many configurations compared at once: with the best of them, and with the baseline.

Scores on the same rows rise and fall together, so what is compared is the difference, by the
difference of the influence values. Single 95 % intervals are too narrow for many: a multiplier
bootstrap over the clusters gives the largest deviation of all differences from one control at once
(many-to-one comparisons: Dunnett 1955; max-T: Hothorn, Bretz and Westfall 2008; Chernozhukov,
Chetverikov and Kato 2013). The baseline is a control that nobody chose. The best is not: with
the best score as the yardstick, such intervals cover the truth in half of all searches, because
it was chosen for its luck. So each configuration that may be the best is a control in turn
(multiple comparisons with the best: Hsu 1981; Edwards and Hsu 1983; Hsu 1996, ch. 4).
Consecutive clusters that resemble their neighbours are compared by their slow projections
(`spread.py`), which are fewer and nearly independent.
In: scores where greater is better, and what each cluster adds to them. Out: `Comparison`, bounds.
"""

import math
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics.interval import LEVEL, quantile
from experiment_pipeline.statistics.spread import (
    ConsecutiveClusters,
    cluster_codes,
    independent_projections,
)

DRAWS = 2_000
# More clusters are put together, k-th with k-th, whatever their rows say (random groups, Wolter
# 2007): a standard error moves by 1 to 2 %, and 1,000 configurations need 16 MB, not gigabytes.
MOST_CLUSTERS = 2_048
_DRAWS_AT_ONCE = 250
# Relative to the scores' own standard errors, less than this is rounding, not a difference.
ROUNDING = 3e-7


@dataclass(frozen=True, eq=False)
class Comparison:
    """C configurations against the best of them.

    Attributes:
        difference: (C,) score minus the best's, at most 0 (greater is better).
        low: (C,) lower bound of the true score minus that of the truly best, for all at once.
        high: (C,) upper bound, at most 0; exactly 0 in the tie group.
        tied: (C,) bool: may be the best; holds the truly best with probability 95 % at least.
        optimism: by how much the best's score is expected to flatter it, in units of the
            score: the mean of the largest chance deviation in the tie group, taken as equals.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tied: np.ndarray
    optimism: float


@dataclass(frozen=True, eq=False)
class Bounds:
    """C differences from a control, bounded for all at once: low and high, (C,) each."""

    low: np.ndarray
    high: np.ndarray


def comparison_codes(clusters: np.ndarray) -> np.ndarray:
    """Return the codes 0 … G-1 that comparisons resample, (n,): the clusters, at most 2,048.

    Of more consecutive ones neighbours are put together, so that they stay in order.
    """
    codes = cluster_codes(clusters)
    n_clusters = int(codes.max()) + 1
    if n_clusters <= MOST_CLUSTERS:
        return codes
    consecutive = isinstance(clusters, ConsecutiveClusters)
    return codes * MOST_CLUSTERS // n_clusters if consecutive else codes % MOST_CLUSTERS


def compare_with_best(
    scores: np.ndarray,
    contributions: np.ndarray,
    seed: int,
    *,
    consecutive: bool = False,
    told: float = math.inf,
) -> Comparison:
    """Compare configurations with the best one, whoever that truly is.

    With configuration i as the control, |(score i - score j) - truth| ≤ cᵢ·seᵢⱼ for all j at
    once with probability 95 %. For the truly best i nobody is then surely better, so it is in
    the tie group {i: score i + cᵢ·seᵢⱼ ≥ score j for all j}, and every difference to it lies
    inside the widest of the intervals to members of the group.

    Args:
        scores: (C,) finite, greater is better.
        contributions: (G, C) what each cluster adds to each score, for greater is better.
        seed: of the draws.
        consecutive: whether the clusters are in the order of time, and may resemble neighbours.
        told: of how many equal clusters they tell as much as, where weights are unequal.
    """
    difference = scores - scores.max()
    if len(contributions) < 2:
        unknown = np.full(len(scores), np.inf)
        return Comparison(difference, -unknown, 0 * scores, np.full(len(scores), True), math.nan)
    if consecutive:
        shared = contributions.mean(axis=1, keepdims=True)
        contributions = independent_projections(contributions, contributions - shared)
    ahead = scores[:, None] - scores  # of each configuration (row) over each (column)
    draws = _draws(contributions, seed)
    told = _told(contributions, told)
    tails = _tails(told, len(scores) if consecutive else 1, seed)
    half = _half_widths(ahead, contributions, draws, tails, told)
    tied = (ahead + half >= 0).all(axis=1)
    # To each member of the tie group, in a column each.
    behind = ahead[:, tied]
    return Comparison(
        difference,
        np.minimum((behind - half[tied].T).min(axis=1), 0.0),
        np.minimum((behind + half[tied].T).max(axis=1), 0.0),
        tied,
        max(float(draws[:, tied].max(axis=1).mean()), 0.0) if tied.sum() > 1 else 0.0,
    )


def compare_with_control(
    leads: np.ndarray,
    contributions: np.ndarray,
    control: np.ndarray,
    seed: int,
    *,
    consecutive: bool = False,
    told: float = math.inf,
) -> Bounds:
    """Bound the differences from a control that was not chosen by its score.

    Args:
        leads: (C,) score minus the control's.
        contributions: (G, C) what each cluster adds to each score.
        control: (G,) what it adds to the control's.
        seed: of the draws.
        consecutive: whether the clusters are in the order of time, and may resemble neighbours.
        told: as of `compare_with_best`.
    """
    if len(contributions) < 2:
        unknown = np.full(len(leads), np.inf)
        return Bounds(-unknown, unknown)
    every = np.column_stack([control, contributions])
    if consecutive:
        every = independent_projections(every, contributions - control[:, None])
    told = _told(every, told)
    errors = _pair_errors(every, told)[0]
    tails = _tails(told, every.shape[1] if consecutive else 1, seed)
    half = _critical_value(_draws(every, seed), 0, errors, tails) * errors[1:]
    return Bounds(leads - half, leads + half)


def _told(contributions: np.ndarray, told: float) -> float:
    """How many clusters there are, or seem to be; two, whose error is hardly known, at the least."""
    return float(max(min(len(contributions), told), 2))


def _half_widths(
    ahead: np.ndarray,
    contributions: np.ndarray,
    draws: np.ndarray,
    tails: np.ndarray,
    told: float,
) -> np.ndarray:
    """Return cᵢ·seᵢⱼ of each control i (row) and configuration j (column), (C, C).

    Only who may be in the tie group needs its own cᵢ; for the others Bonferroni's, which is never
    smaller, tells that somebody is surely better.
    """
    n = contributions.shape[1]
    errors = _pair_errors(contributions, told)
    bonferroni = quantile(told - 1, 1 - (1 - LEVEL) / max(n - 1, 1))
    half = bonferroni * errors
    for control in np.flatnonzero((ahead + half >= 0).all(axis=1)).tolist():
        critical = _critical_value(draws, control, errors[control], tails)
        half[control] = critical * errors[control]
    return half


def _pair_errors(contributions: np.ndarray, told: float) -> np.ndarray:
    """Standard error of every paired difference, (C, C); equals differ by rounding at the least."""
    products = contributions.T @ contributions
    squares = np.diag(products)
    sums = squares[:, None] + squares
    variances = np.maximum(sums - 2 * products, ROUNDING**2 * sums)
    np.fill_diagonal(variances, 0.0)
    return np.asarray(np.sqrt(_inflation(told) * variances))


def _critical_value(
    draws: np.ndarray, control: int, errors: np.ndarray, tails: np.ndarray
) -> float:
    """The quantile of the largest |t| of the differences from a control.

    Args:
        draws: (DRAWS, C) joint deviations.
        control: its column.
        errors: (C,) standard errors of the differences from it.
        tails: (DRAWS, 1) or (DRAWS, C) divisors.
    """
    inverse = np.divide(1.0, errors, out=np.zeros_like(errors), where=errors > 0)
    largest = np.empty(len(draws))
    # By blocks that stay in the cache.
    for start in range(0, len(draws), _DRAWS_AT_ONCE):
        some = draws[start : start + _DRAWS_AT_ONCE]
        deviations = some - some[:, [control]]
        deviations *= inverse
        np.abs(deviations, out=deviations)
        deviations /= tails[start : start + len(some)]
        largest[start : start + len(some)] = deviations.max(axis=1)
    return float(np.quantile(largest, LEVEL))


def _tails(n_clusters: float, columns: int, seed: int) -> np.ndarray:
    """Divisors (DRAWS, columns) that give normal draws the t distribution's tails for few clusters.

    One column serves all differences where clusters are rows. Of consecutive clusters a handful may be
    left, and each difference errs about its own error: a column for each.
    """
    generator = np.random.default_rng([seed, 1])
    freedom = n_clusters - 1
    squares = generator.chisquare(freedom, (DRAWS, columns))
    # Draws vary as contributions do, standard errors as an unbiased variance.
    return np.asarray(np.sqrt(squares / freedom / _inflation(n_clusters)))


def _inflation(n_clusters: float) -> float:
    return n_clusters / (n_clusters - 1)


def _draws(contributions: np.ndarray, seed: int) -> np.ndarray:
    """Return (DRAWS, C) joint deviations, each cluster's part multiplied by a standard normal."""
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [
            generator.standard_normal((_DRAWS_AT_ONCE, len(contributions))) @ contributions
            for _ in range(DRAWS // _DRAWS_AT_ONCE)
        ]
    )
