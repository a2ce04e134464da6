"""Two scores on the same rows: their difference, and its interval.

Their rows are the same, so what varies is the influence of the difference. In: linearised scores
and units. Out: an `Interval`. Many configurations at once are compared in `comparisons.py`.
"""

import math

import numpy as np

from experiment_pipeline.statistics.comparisons import ROUNDING
from experiment_pipeline.statistics.influence import Linearised, gained
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.intervals import layout, quantile, spread_of


def paired_difference(
    metric: str,
    y: np.ndarray,
    first: Linearised,
    second: Linearised,
    units: np.ndarray,
    level: float = LEVEL,
) -> Interval:
    """Return second - first.

    Args:
        metric: of both.
        y: encoded targets (n,).
        first: one score and its influence values (n,).
        second: the other.
        units: (n,) codes of the resampling units.
        level: of the interval; it is infinitely wide for one unit.
    """
    drawn = layout(metric, y, units)
    spread = spread_of(gained(first, second), drawn)
    if math.isnan(spread.estimate):
        return Interval(math.nan, math.nan, math.nan, level)
    if spread.degrees_of_freedom == 0:
        return Interval(spread.estimate, -math.inf, math.inf, level)
    # Two scores that are equal but for rounding differ by no more than that.
    rounding = ROUNDING * math.hypot(
        *(spread_of(one, drawn).standard_error for one in (first, second))
    )
    half = quantile(spread.degrees_of_freedom, level) * max(spread.standard_error, rounding)
    return Interval(spread.estimate, spread.estimate - half, spread.estimate + half, level)
