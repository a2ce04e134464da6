"""Two scores on the same rows: their difference, and its interval.

Their rows are the same, so what varies is the influence of the difference. In: linearised scores
and units. Out: an `Interval`. Many configurations at once are compared in `comparisons.py`.
"""

import math

import numpy as np

from experiment_pipeline.core.influence import Linearised
from experiment_pipeline.core.intervals import layout, quantile, spread_of
from experiment_pipeline.core.metrics import LEVEL, Interval


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
    gained = Linearised(second.estimate - first.estimate, second.influence - first.influence)
    spread = spread_of(gained, layout(metric, y, units))
    if math.isnan(spread.estimate):
        return Interval(math.nan, math.nan, math.nan, level)
    if not math.isfinite(spread.standard_error):
        return Interval(spread.estimate, -math.inf, math.inf, level)
    half = quantile(spread.degrees_of_freedom, level) * spread.standard_error
    return Interval(spread.estimate, spread.estimate - half, spread.estimate + half, level)
