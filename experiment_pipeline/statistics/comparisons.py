"""Many configurations compared at once: with the best of them, and with the baseline.

Scores on the same rows are correlated, so differences of influence values are compared.
A multiplier bootstrap over the clusters gives the largest deviation from one control
(Dunnett 1955; max-T: Hothorn, Bretz and Westfall 2008; Chernozhukov, Chetverikov and
Kato 2013). The baseline is a fixed control. The best configuration was selected by its
score: with it as a fixed control, intervals miss the truth in half of all searches. So
each one that may be the best is the control in turn (Hsu 1981; Edwards and Hsu 1983;
Hsu 1996, ch. 4). Consecutive clusters are compared by their slow projections
(`interval.py`).
"""

import math
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics import interval

DRAWS = 2_000
# If there are more, clusters are merged into random groups (Wolter 2007), consecutive
# ones with their neighbours: standard errors change by 1 to 2 %, and 1,000
# configurations need 16 MB, not gigabytes.
MOST_CLUSTERS = 2_048
_DRAWS_AT_ONCE = 250
ROUNDING = 3e-7  # of a difference, relative to the scores' own standard errors


@dataclass(frozen=True, eq=False)
class Comparison:
    """C configurations against the best of them."""

    difference: np.ndarray  # (C,) score minus the best's, at most 0 (greater is better)
    # (C,) bounds of the true score minus that of the truly best, for all at once
    low: np.ndarray
    high: np.ndarray  # at most 0; exactly 0 in the tie group
    # (C,) bool: may be the best; the truly best is among them with at least 95 %
    tied: np.ndarray
    # expected selection bias of the best score among the `picked`, by the tie group
    # (shrinkage of their differences: Efron and Morris 1975)
    optimism: float


def comparison_codes(clusters: np.ndarray) -> np.ndarray:
    """Return the codes 0 … G-1 that comparisons resample, (n,), at most 2,048."""
    return np.asarray(interval.drawn_together(clusters, MOST_CLUSTERS))


@dataclass(frozen=True)
class Drawn:
    """How clusters are resampled."""

    seed: int
    # they are in the order of time, and may resemble neighbours
    consecutive: bool = False
    effective: float = math.inf  # their effective number, where row weights are unequal


def compare_with_best(
    scores: np.ndarray,
    contributions: np.ndarray,
    drawn: Drawn,
    picked: np.ndarray | None = None,
) -> Comparison:
    """Compare configurations with the truly best one, which need not be the one that
    scores best.

    With configuration i as the control, |(score i - score j) - truth| ≤ cᵢ·seᵢⱼ for all
    j at once with probability 95 %. The truly best i is then in the tie group {i: score
    i + cᵢ·seᵢⱼ ≥ score j for all j}, and every difference to it lies inside the widest
    of the intervals to members of the group.

    Clusters contribute (G, C) to the scores (C,), of which greater is better. `picked`:
    those among which the best is picked by its score, bool (C,); None: all.
    """
    difference = scores - scores.max()
    if len(contributions) < 2:
        return Comparison(
            difference,
            low=np.full(len(scores), -np.inf),
            high=0 * scores,
            tied=np.full(len(scores), True),
            optimism=math.nan,
        )
    if drawn.consecutive:
        differing = contributions - contributions.mean(axis=1, keepdims=True)
        contributions = interval.independent_projections(contributions, differing)
    draws = _Draws(contributions, drawn)
    ahead = scores[:, None] - scores  # of each configuration (row) over each (column)
    # Only candidates for the tie group need a critical value of their own. For the
    # others Bonferroni's, which is never smaller, already shows that another one is
    # better.
    half = draws.bonferroni * draws.errors
    for control in np.flatnonzero((ahead + half >= 0).all(axis=1)).tolist():
        half[control] = draws.critical_value(control) * draws.errors[control]
    tied = np.all(ahead + half >= 0, axis=1)
    behind = ahead[:, tied]  # each member of the tie group is a column
    candidates = tied if picked is None else tied & picked
    return Comparison(
        difference,
        low=np.minimum((behind - half[tied].T).min(axis=1), 0.0),
        high=np.minimum((behind + half[tied].T).max(axis=1), 0.0),
        tied=tied,
        optimism=draws.optimism(scores, np.flatnonzero(candidates)),
    )


def optimism_of_best(
    scores: np.ndarray, contributions: np.ndarray, drawn: Drawn
) -> float:
    """Return the expected selection bias of the best of scores (C,), of which greater
    is better, by those that may be the best; arguments as for `compare_with_best`.
    """
    if len(contributions) < 2:
        return math.nan
    draws = _Draws(contributions, drawn)
    best = int(scores.argmax())
    may_be_best = scores + draws.bonferroni * draws.errors[best] >= scores[best]
    return draws.optimism(scores, np.flatnonzero(may_be_best))


def compare_with_control(
    leads: np.ndarray,
    contributions: np.ndarray,
    control: np.ndarray,
    drawn: Drawn,
    widening: float = 1.0,
) -> tuple[interval.Interval, ...]:
    """Return `leads` (C,) over a control, with bounds that hold for all C at once.

    Clusters contribute (G, C) to the scores, and (G,) to the control's. `widening`: how
    many times as wide the bounds are, for more scores than these.
    """
    half = np.full(len(leads), np.inf)
    if len(contributions) > 1:
        draws = _draws_beside(contributions, control, drawn)
        half = widening * draws.critical_value(0) * draws.errors[0, 1:]
    return tuple(
        interval.Interval(lead, low, high)
        for lead, low, high in zip(
            leads.tolist(),
            (leads - half).tolist(),
            (leads + half).tolist(),
            strict=True,
        )
    )


def level_for_all(
    contributions: np.ndarray,
    control: np.ndarray,
    drawn: Drawn,
    widening: float = 1.0,
) -> float:
    """Return the level of single intervals that hold for all C leads over a control.

    Arguments as for `compare_with_control`.
    """
    if len(contributions) < 2:
        return interval.LEVEL
    from scipy.special import stdtr

    draws = _draws_beside(contributions, control, drawn)
    freedom = draws.n_clusters - 1
    level = 2 * float(stdtr(freedom, widening * draws.critical_value(0))) - 1
    return max(level, interval.LEVEL)


def _draws_beside(
    contributions: np.ndarray, control: np.ndarray, drawn: Drawn
) -> "_Draws":
    """The control is the first column."""
    with_control = np.column_stack([control, contributions])
    if drawn.consecutive:
        with_control = interval.independent_projections(
            with_control, contributions - control[:, None]
        )
    return _Draws(with_control, drawn)


def simultaneous_reach(contributions: np.ndarray, drawn: Drawn) -> float:
    """Return how many standard errors intervals must reach to hold for all C scores.

    Then the best score's interval holds, too (Berk, Brown, Buja, Zhang and Zhao 2013).
    Clusters contribute (G, C); 0 for one score or one cluster.
    """
    if min(contributions.shape) < 2:
        return 0.0
    with_zero = np.column_stack([np.zeros(len(contributions)), contributions])
    if drawn.consecutive:
        with_zero = interval.independent_projections(with_zero, contributions)
    return _Draws(with_zero, drawn).critical_value(0)


class _Draws:
    """Joint deviations of C scores, their standard errors, and their tails."""

    def __init__(self, contributions: np.ndarray, drawn: Drawn) -> None:
        n, columns = contributions.shape
        generator = np.random.default_rng(drawn.seed)
        # (DRAWS, C): each cluster's part is multiplied by a standard normal.
        blocks = [
            generator.standard_normal((_DRAWS_AT_ONCE, n)) @ contributions
            for _ in range(DRAWS // _DRAWS_AT_ONCE)
        ]
        self.deviations = np.concatenate(blocks)
        # With two clusters the standard error is hardly known.
        self.n_clusters = float(max(min(n, drawn.effective), 2))
        inflation = self.n_clusters / (self.n_clusters - 1)
        products = contributions.T @ contributions
        squares = np.diag(products)
        sums = squares[:, None] + squares
        variances = np.maximum(sums - 2 * products, ROUNDING**2 * sums)
        np.fill_diagonal(variances, 0.0)
        # (C, C) of every paired difference
        self.errors = np.sqrt(inflation * variances)
        # Divisors give normal draws the t distribution's tails. One column serves all
        # differences; consecutive clusters may leave a handful of projections, where
        # each difference has an error of its own standard error: a column for each.
        tails = np.random.default_rng([drawn.seed, 1])
        freedom = self.n_clusters - 1
        own_errors = columns if drawn.consecutive else 1
        chi_squares = tails.chisquare(freedom, (DRAWS, own_errors))
        # Draws vary as contributions do, standard errors as an unbiased variance.
        self.divisors = np.sqrt(chi_squares / freedom / inflation)

    @property
    def bonferroni(self) -> float:
        """How many standard errors reach for the differences from one of all."""
        level = 1 - (1 - interval.LEVEL) / max(len(self.errors) - 1, 1)
        return interval.quantile(self.n_clusters - 1, level)

    def critical_value(self, control: int) -> float:
        """The quantile of the largest |t| of differences from a control, a column."""
        errors = self.errors[control]
        inverse = np.divide(1.0, errors, out=np.zeros_like(errors), where=errors > 0)
        largest = np.empty(DRAWS)
        # In blocks that fit into the processor's cache.
        for start in range(0, DRAWS, _DRAWS_AT_ONCE):
            block = slice(start, start + _DRAWS_AT_ONCE)
            deviations = self.deviations[block] - self.deviations[block, [control]]
            deviations *= inverse
            np.abs(deviations, out=deviations)
            deviations /= self.divisors[block]
            largest[block] = deviations.max(axis=1)
        return float(np.quantile(largest, interval.LEVEL))

    def optimism(self, scores: np.ndarray, tied: np.ndarray) -> float:
        """The mean chance deviation of the best of `tied`.

        Their true scores vary as far as scores do beyond chance.
        """
        if len(tied) < 2:
            return 0.0
        chance = self.deviations[:, tied]
        variance = max(float(scores[tied].var()), ROUNDING**3)
        noise = float((self.errors[np.ix_(tied, tied)] ** 2).mean()) / 2
        shrunk = max(1 - noise / variance, 0.0) * scores[tied]
        best = (chance + shrunk).argmax(axis=1)
        return max(float(chance[np.arange(DRAWS), best].mean()), 0.0)
