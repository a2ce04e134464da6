"""How many units a limit needs before any model can reach it by its bound.

Computed from the intervals themselves, so it holds for whatever their width law is. In: a metric
and a limit. Out: a number of units.
"""

from bisect import bisect_left

from experiment_pipeline.spec.metrics import METRICS
from experiment_pipeline.statistics.intervals import Spread, interval_of
from experiment_pipeline.statistics.metrics import better

_MOST = 40  # a power of two: more units than anybody has


def fewest_units(metric: str, limit: float) -> int | None:
    """Return how many units a perfect score needs for its worse bound to reach a limit.

    By the width law of the intervals themselves: losses without an upper end reach any limit
    with one unit; None: no number does.
    """

    def reaches(n: int) -> bool:
        return not better(metric, limit, perfect_bound(metric, n))

    most = next((2**power for power in range(_MOST) if reaches(2**power)), None)
    if most is None:
        return None
    return 1 + bisect_left(range(1, most), True, key=reaches)


def perfect_bound(metric: str, units: int) -> float:
    """The worse bound of a perfect score on so many units."""
    limits = METRICS[metric]
    perfect = limits.highest if limits.greater_is_better else limits.lowest
    return interval_of(metric, Spread(perfect, 0.0, max(units - 1, 1), units)).worse_bound(metric)
