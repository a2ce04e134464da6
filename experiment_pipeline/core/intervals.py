"""The spread of a score when the units of the split are drawn anew, and its interval.

Rows of one unit (a row, a group, a day) move together, so influence values are summed over
units first: the cluster-robust variance, with the factor G/(G-1) for G units (Liang and
Zeger 1986; Cameron and Miller 2015). Comparing configurations lives in `comparisons.py`.
In: a metric, targets, predictions, units. Out: `Spread`, `Interval`.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from experiment_pipeline.core.influence import Linearised, linearise
from experiment_pipeline.core.metrics import LEVEL, METRICS, Interval

FEW_UNITS = 10
# Scores that compare classes: the rarest one decides how much is known. The others are means.
_BY_CLASS = frozenset(
    {"roc_auc", "average_precision", "f1", "balanced_accuracy", "f1_macro", "roc_auc_ovr"}
)
# A standard error below is zero but for the rounding of sums.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Spread:
    """A score and how much it varies between draws of the units.

    Attributes:
        estimate: the score.
        standard_error: nan when there is one unit only, or no score.
        degrees_of_freedom: how well the standard error itself is known; 0 = not at all.
        scarcest: units that hold the rarest class, where classes are compared; else all.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    scarcest: int


def spread(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    units: np.ndarray,
    threshold: float = 0.5,
) -> Spread:
    """Return a metric's score and spread; arguments as for `metrics.interval`."""
    return spread_of(linearise(name, y, prediction, threshold), layout(name, y, units))


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows are drawn together, and which of them are one sample; the same for all fits.

    Attributes:
        unit: (n,) code of each row's unit, 0 … G-1.
        cell: (n,) code of each row's unit within its class, 0 … K-1.
        cell_class: (K,) class of each cell.
        units_per_class: (classes,) number of units that hold each class.
    """

    unit: np.ndarray
    cell: np.ndarray
    cell_class: np.ndarray
    units_per_class: np.ndarray

    @property
    def scarcest(self) -> int:
        """Units that hold the rarest class."""
        return int(self.units_per_class[self.units_per_class > 0].min())


def layout(name: str, y: np.ndarray, units: np.ndarray) -> Layout:
    """Return the layout of a set for a metric: where it compares classes, each is a sample."""
    unit = unit_codes(units)
    classes = y.astype(np.int64) if name in _BY_CLASS else np.zeros(len(y), dtype=np.int64)
    n_classes = int(classes.max(initial=0)) + 1
    cells, cell = np.unique(unit * n_classes + classes, return_inverse=True)
    return Layout(unit, cell, cells % n_classes, np.bincount(cells % n_classes))


def unit_codes(units: np.ndarray) -> np.ndarray:
    """Return units as codes 0 … G-1, (n,)."""
    return np.unique(units, return_inverse=True)[1]


def unit_sums(influence: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return what each unit adds to the score's deviation, (G,): its rows' ψ, divided by n."""
    return np.bincount(codes, weights=influence) / len(influence)


def spread_of(linearised: Linearised, layout: Layout) -> Spread:
    """Return the spread of a linearised score.

    The degrees of freedom are Welch and Satterthwaite's, with the classes as samples: of
    12,000 rows with 8 positives, an AUC knows its variance from 8 rows, not from 12,000.
    """
    if not math.isfinite(linearised.estimate):
        return Spread(math.nan, math.nan, 0.0, 0)
    scarcest = layout.scarcest
    sums = unit_sums(linearised.influence, layout.unit)
    n_units = len(sums)
    if n_units < 2:
        return Spread(linearised.estimate, math.nan, 0.0, scarcest)
    error = math.sqrt(n_units / (n_units - 1) * float((sums**2).sum()))
    parts = np.bincount(layout.cell_class, unit_sums(linearised.influence, layout.cell) ** 2)
    known = float((parts**2 / np.maximum(layout.units_per_class - 1, 1)).sum())
    freedom = float(parts.sum()) ** 2 / known if known > 0 else scarcest - 1.0
    return Spread(linearised.estimate, error, float(np.clip(freedom, 1, n_units - 1)), scarcest)


def interval_of(name: str, spread: Spread, level: float = LEVEL) -> Interval:
    """Return the interval of a metric's score, inside the metric's range.

    Scores between 0 and 1 get Wilson's interval (1927) with the effective sample size
    θ(1-θ)/se² (Korn and Graubard 1998; Franco et al. 2019): it stays inside the range, and
    a perfect score on 30 units does not become a certainty. The others get θ ± t·se.
    One unit says nothing: the interval is the metric's whole range.
    """
    limits, estimate = METRICS[name], spread.estimate
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan, level)
    if spread.degrees_of_freedom == 0:
        return Interval(estimate, limits.lowest, limits.highest, level)
    t = quantile(spread.degrees_of_freedom, level)
    if (limits.lowest, limits.highest) == (0, 1):
        low, high = _wilson(spread, t)
    else:
        low, high = estimate - t * spread.standard_error, estimate + t * spread.standard_error
    return Interval(
        estimate,
        float(np.clip(low, limits.lowest, estimate)),
        float(np.clip(high, estimate, limits.highest)),
        level,
    )


def difference(first: Spread, second: Spread, level: float = LEVEL) -> Interval:
    """Return second - first for scores on sets that share no unit, with Welch's interval."""
    estimate = second.estimate - first.estimate
    variances = [first.standard_error**2, second.standard_error**2]
    freedoms = [first.degrees_of_freedom, second.degrees_of_freedom]
    if math.isnan(estimate) or 0 in freedoms:
        unknown = math.nan if math.isnan(estimate) else math.inf
        return Interval(estimate, -unknown, unknown, level)
    total = sum(variances)
    known = sum(v**2 / freedom for v, freedom in zip(variances, freedoms, strict=True))
    t = quantile(total**2 / known if known > 0 else min(freedoms), level)
    half = t * math.sqrt(total)
    return Interval(estimate, estimate - half, estimate + half, level)


def quantile(degrees_of_freedom: float, level: float) -> float:
    """Return how many standard errors a two-sided interval reaches, by Student's t."""
    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def few_units_note(units: np.ndarray, what: str, place: str) -> str | None:
    """Return a warning when the intervals of a set rest on few units; else None.

    Args:
        units: (n,) codes.
        what: one unit in words, such as "group".
        place: the set.
    """
    n_units = len(np.unique(units))
    if n_units >= FEW_UNITS:
        return None
    if n_units == 1:
        return f"the {place} set is one {what}: no interval can be computed, only the full range"
    return (
        f"the {place} set has {n_units} resampling units ({what}), fewer than {FEW_UNITS}: "
        "its intervals are wide, and still rough"
    )


def _wilson(spread: Spread, t: float) -> tuple[float, float]:
    theta, error = spread.estimate, spread.standard_error
    if error > _ROUNDING:
        n = theta * (1 - theta) / error**2
    elif min(theta, 1 - theta) < _ROUNDING:
        n = spread.scarcest
    else:
        return theta, theta  # known for certain: constant predictions have an AUC of 1/2
    centre = (theta + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(theta * (1 - theta) / n + (t / (2 * n)) ** 2)
    return centre - half, centre + half
