"""What a sample cannot show: which intervals are too narrow, and why; how many units a limit needs.

Heavy tails, a rare class and days that resemble their neighbours hold more than a sample shows.
Each rule was held against simulated sets (`make bench`, statistics), for hits and for false
alarms. In: metrics, predictions, units. Out: sentences with their numbers, numbers of units.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiment_pipeline.statistics.codes import unit_codes
from experiment_pipeline.statistics.metric import Errors
from experiment_pipeline.statistics.metrics import METRICS, better, worse_bound
from experiment_pipeline.statistics.outcomes import absolute_errors, relative_errors
from experiment_pipeline.statistics.scores import SetPrediction, interval_of, told_units
from experiment_pipeline.statistics.spread import ConsecutiveUnits, Spread
from experiment_pipeline.statistics.weights import Weights, weighted

# The largest of 100 normal errors make 8 % of the squares, of lognormal ones 25 to 45 %.
_LARGEST, _HEAVY = 0.01, 0.28
# With 3 positives a ROC AUC near 1 is common, and shows hardly any spread.
_FEW_OF_A_CLASS = 6
# An autocorrelation of zero is seldom found beyond so many standard errors, …
_BEYOND_CHANCE = 2.2
# … and one that leaves more degrees of freedom is short beside the set.
_FEW_DEGREES = 8
FEW_UNITS = 10


# In simulations an autocorrelation of .5 is found in 1 of 4 series of 30, in 3 of 4 of 120.
FEW_CONSECUTIVE_UNITS = 30
_MOST = 40  # a power of two: more units than anybody has


def few_units_note(units: np.ndarray, what: str, place: str, weights: Weights = None) -> str | None:
    """Return a warning when the intervals of a set rest on few units; else None.

    Args:
        units: (n,) codes.
        what: one unit in words, such as "group".
        place: the set.
        weights: (n,) of the rows: unequal ones tell as much as fewer units.
    """
    n_units = int(unit_codes(units).max()) + 1
    told = told_units(units, weights)
    if told < FEW_UNITS <= n_units:
        return (
            f"the {place} set has {n_units} resampling units ({what}), but their weights are so "
            f"unequal that they tell as much as {told} of equal weight, fewer than {FEW_UNITS}: "
            "its intervals are wide, and still rough"
        )
    if n_units == 1:
        return f"the {place} set is one {what}: no interval can be computed, only the full range"
    if n_units < FEW_UNITS:
        return (
            f"the {place} set has {n_units} resampling units ({what}), fewer than {FEW_UNITS}: "
            "its intervals are wide, and still rough"
        )
    if isinstance(units, ConsecutiveUnits) and n_units < FEW_CONSECUTIVE_UNITS:
        return (
            f"the {place} set has {n_units} consecutive units ({what}): too few to see whether "
            "they resemble their neighbours, which would make its intervals too narrow"
        )
    return None


def doubts(
    metrics: Sequence[str],
    predicted: SetPrediction,
    unit: str,
    place: str,
    threshold: float = 0.5,
) -> Iterator[str]:
    """Yield why intervals are too narrow, a sentence for each reason; none where they hold.

    Args:
        metrics: whose intervals are shown.
        predicted: what they are computed from.
        unit: one resampling unit in words, such as "group".
        place: the set.
        threshold: of the metrics that need one.
    """
    spreads = {name: predicted.spread(name, threshold) for name in metrics}
    yield from _heavy_tails(metrics, predicted, unit, place)
    yield from _rare_class(spreads, unit, place)
    yield from _neighbours(spreads, int(unit_codes(predicted.units).max()) + 1, unit, place)


def _heavy_tails(
    metrics: Sequence[str], predicted: SetPrediction, unit: str, place: str
) -> Iterator[str]:
    codes = unit_codes(predicted.units)
    n_units = int(codes.max()) + 1
    largest = max(1, round(_LARGEST * n_units))

    def share(errors: Errors) -> float:
        """Which share of the errors the units have that err most."""
        of_rows = errors(predicted.y, predicted.prediction)
        by_unit = np.bincount(codes, weights=weighted(of_rows, predicted.weights))
        by_unit.sort()
        return float(by_unit[-largest:].sum() / max(by_unit.sum(), np.finfo(np.float64).tiny))

    lowest = float(predicted.y.min()) if len(predicted.y) else math.inf
    judged = [METRICS[name] for name in metrics if lowest >= METRICS[name].lowest_target]
    shares = {one.name: share(one.errors) for one in judged if one.errors}
    heavy = {name: found for name, found in shares.items() if found >= _HEAVY}
    # Of fewer units one always makes much, and that they are few is said.
    if n_units < FEW_UNITS or not heavy:
        return
    trusted = "; mae is the metric to trust" if share(absolute_errors) < _HEAVY else ""
    # Where absolute errors are not heavy, small targets make the relative ones so.
    near_zero = {
        name: found
        for name, found in heavy.items()
        if METRICS[name].errors is relative_errors and trusted
    }
    rest = {name: found for name, found in heavy.items() if name not in near_zero}
    few = f"those of {largest:,} of {n_units:,} units ({unit})"
    if rest:
        yield (
            f"{_intervals(rest)} on the {place} set may be too narrow: the largest errors, {few}, "
            f"make {100 * max(rest.values()):.0f} % of all, and larger ones are yet to come. In "
            f"simulations the truth is held in 88 to 93 of 100 such sets, not 95{trusted}"
        )
    if near_zero:
        yield (
            f"{_intervals(near_zero)} on the {place} set is too narrow: targets "
            f"come near zero, where relative errors have no finite mean; the largest, {few}, make "
            f"{100 * max(near_zero.values()):.0f} % of all. In simulations the truth is held in 40 to 60 of "
            f"100 such sets, not 95{trusted}"
        )


def _rare_class(spreads: Mapping[str, Spread], unit: str, place: str) -> Iterator[str]:
    few = {
        name: spread.scarcest
        for name, spread in spreads.items()
        if METRICS[name].by_pairs and 0 < spread.scarcest < _FEW_OF_A_CLASS
    }
    if few:
        yield (
            f"{_intervals(few)} on the {place} set may be too narrow: the rarest class is in "
            f"{min(few.values())} units ({unit}). In simulations the truth is held in 82 to 94 of "
            f"100 such sets, not 95"
        )


def _neighbours(
    spreads: Mapping[str, Spread], n_units: int, unit: str, place: str
) -> Iterator[str]:
    long = {
        name: spread.autocorrelation
        for name, spread in spreads.items()
        if spread.autocorrelation > _BEYOND_CHANCE / math.sqrt(n_units)
        and spread.degrees_of_freedom < _FEW_DEGREES
    }
    if long:
        yield (
            f"{_intervals(long)} on the {place} set may be too narrow, though wider than for "
            f"independent units: what {n_units} consecutive units ({unit}) add resembles what "
            f"their neighbours add (autocorrelation {max(long.values()):.2f}). In simulations the "
            f"truth is held in 80 to 93 of 100 such sets, not 95"
        )


def _intervals(names: Mapping[str, float]) -> str:
    return f"the interval{'s' if len(names) > 1 else ''} of {', '.join(names)}"


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
    """Return the worse bound of a perfect score on so many units."""
    limits = METRICS[metric]
    perfect = limits.highest if limits.greater_is_better else limits.lowest
    certain = Spread(perfect, 0.0, max(units - 1, 1), units)
    return worse_bound(metric, interval_of(metric, certain))
