"""An estimate with its bounds, and the laws by which a spread becomes bounds.

A score is treated as normal on the scale on which it is closest to normal. Which law belongs to which
metric was chosen by simulation (`make bench`, statistics) and is declared in `metrics.py`: log and logit
take the usual skewness of losses and of ranking scores; the skewness of squares is measured; shares of
rows are binomial but for their clusters.
"""

import math
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics.spread import Spread

LEVEL = 0.95
# Standard errors below it are rounding of sums.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds that hold it with probability `level`."""

    estimate: float  # nan where the metric is undefined, and the bounds with it
    low: float  # lower bound; -infinity where it is unknown
    high: float  # upper bound
    level: float = LEVEL  # the confidence


def difference(first: Spread, second: Spread) -> Interval:
    """Return second - first for scores on sets that share no cluster, with Welch's interval."""
    variances = [first.standard_error**2, second.standard_error**2]
    freedoms = [first.degrees_of_freedom, second.degrees_of_freedom]
    total, freedom = sum(variances), min(freedoms)
    if freedom > 0 and total > 0:
        freedom = total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    estimate, scarcest = second.estimate - first.estimate, min(first.scarcest, second.scarcest)
    return around(Spread(estimate, math.sqrt(total), freedom, scarcest))


def around(spread: Spread, level: float = LEVEL, least_error: float = 0.0) -> Interval:
    """Return the estimate ± t standard errors, at least `least_error`; infinite for one cluster."""
    unknown = math.nan if math.isnan(spread.estimate) else math.inf
    if math.isnan(spread.estimate) or spread.degrees_of_freedom == 0:
        return Interval(spread.estimate, -unknown, unknown, level)
    error = max(spread.standard_error, least_error)
    half = quantile(spread.degrees_of_freedom, level) * error
    return Interval(spread.estimate, spread.estimate - half, spread.estimate + half, level)


def quantile(degrees_of_freedom: float, level: float) -> float:
    """Return how many standard errors a two-sided interval reaches, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def plain(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds t standard errors away, on the scale of the score itself."""
    return spread.estimate - t * spread.standard_error, spread.estimate + t * spread.standard_error


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
    variance = theta * (1 - theta)
    if min(theta, 1 - theta) < _ROUNDING:
        return wilson(spread, t)
    half = t * spread.standard_error / variance
    return float(expit(logit(theta) - half)), float(expit(logit(theta) + half))


def by_squares(spread: Spread, t: float) -> tuple[float, float]:
    """Return the bounds of the root of a mean of squares, corrected for that mean's skewness.

    Hall's monotone cubic transformation (1992, "On the removal of skewness by transformation"):
    for a mean of skewness a, T = (θ̂ - θ)/se is skewed, T + aT²/3 + a²T³/27 + a/6 nearly normal.
    """
    mean, error = spread.estimate**2, 2 * spread.estimate * spread.standard_error
    reached, a = np.array([t, -t]), spread.skewness
    if abs(a) > _ROUNDING:
        reached = 3 / a * (np.cbrt(1 + a * (reached - a / 6)) - 1)
    low, high = np.sqrt(np.maximum(mean - error * reached, 0.0))
    return float(low), float(high)


def wilson(spread: Spread, t: float) -> tuple[float, float]:
    """Return Wilson's bounds (1927) with the effective sample size θ(1-θ)/se².

    They stay inside the range, also of a perfect score (Korn and Graubard 1998; Franco et al. 2019).
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
