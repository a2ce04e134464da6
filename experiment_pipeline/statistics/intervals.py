"""The spread of a score when the units of the split are drawn anew, and its interval.

Rows of one unit (a row, a group, a day) move together, so influence values are summed over
units first: the cluster-robust variance, with the factor G/(G-1) for G units (Liang and
Zeger 1986; Cameron and Miller 2015). Units in the order of time may resemble their
neighbours: `moments.py`. Comparing configurations lives in `comparisons.py`, what is still
too narrow is said by `interval_doubts.py`.
In: a metric, targets, predictions, units. Out: `Spread`, `Interval`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.special import expit, logit, stdtrit

from experiment_pipeline.spec.metrics import METRICS
from experiment_pipeline.statistics.influence import Linearised, linearise
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.moments import moments

FEW_UNITS = 10
# In simulations an autocorrelation of .5 is found in 1 of 4 series of 30, in 3 of 4 of 120.
FEW_CONSECUTIVE_UNITS = 30
# Scores that compare classes: the rarest one decides how much is known. The others are means.
_BY_CLASS = frozenset(
    {"roc_auc", "average_precision", "f1", "balanced_accuracy", "f1_macro", "roc_auc_ovr"}
)
# A standard error below is zero but for the rounding of sums.
_ROUNDING = 1e-12


class ConsecutiveUnits(np.ndarray):
    """Codes of resampling units in the order of time: `codes.view(ConsecutiveUnits)`.

    Neighbours may resemble one another, which the spread of a score then allows for. Parts
    and permutations of the rows stay consecutive units.
    """


@dataclass(frozen=True)
class Spread:
    """A score and how much it varies between draws of the units.

    Attributes:
        estimate: the score.
        standard_error: nan when there is one unit only, or no score.
        degrees_of_freedom: how well the standard error itself is known; 0 = not at all.
        scarcest: units that hold the rarest class, where classes are compared; else all.
        skewness: of the score between draws: 0 = as often above as below.
        autocorrelation: of what consecutive units add to the score; 0 for other units.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    scarcest: int
    skewness: float = 0.0
    autocorrelation: float = 0.0


def spread(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    units: np.ndarray,
    threshold: float = 0.5,
) -> Spread:
    """Return a score and its spread when units (n,) are drawn anew; else as `metrics.score`."""
    return spread_of(linearise(name, y, prediction, threshold), layout(name, y, units))


@dataclass(frozen=True, eq=False)
class Layout:
    """Which rows are drawn together, and which of them are one sample; the same for all fits.

    Attributes:
        unit: (n,) code of each row's unit, 0 … G-1.
        cell: (n,) code of each row's unit within its class, 0 … K-1.
        cell_class: (K,) class of each cell.
        units_per_class: (classes,) number of units that hold each class.
        consecutive: whether the codes are in the order of time.
    """

    unit: np.ndarray
    cell: np.ndarray
    cell_class: np.ndarray
    units_per_class: np.ndarray
    consecutive: bool = False

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
    return Layout(
        unit,
        cell,
        cells % n_classes,
        np.bincount(cells % n_classes),
        isinstance(units, ConsecutiveUnits),
    )


def unit_codes(units: np.ndarray) -> np.ndarray:
    """Return units as codes 0 … G-1, (n,)."""
    return np.unique(np.asarray(units), return_inverse=True)[1]


def with_own_units(units: np.ndarray, more: int) -> np.ndarray:
    """Return the units of rows (n,) that are followed by more, each a unit of its own.

    Consecutive ones stay so: the added ones come last.
    """
    codes = unit_codes(units)
    return np.concatenate([codes, codes.max() + 1 + np.arange(more)]).view(type(units))


def unit_sums(influence: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return what each unit adds to the score's deviation, (G,): its rows' ψ, divided by n."""
    return np.bincount(codes, weights=influence) / len(influence)


def spread_of(linearised: Linearised, layout: Layout) -> Spread:
    """Return the spread of a linearised score.

    The standard error is as well known as its units' contributions and its classes allow.
    """
    if not math.isfinite(linearised.estimate):
        return Spread(math.nan, math.nan, 0.0, 0)
    sums = unit_sums(linearised.influence, layout.unit)
    if len(sums) < 2:
        return Spread(linearised.estimate, math.nan, 0.0, layout.scarcest)
    of_sum = moments(sums, consecutive=layout.consecutive)
    hidden, freedom_by_class = _by_class(linearised, layout, len(sums))
    freedom = min(of_sum.degrees_of_freedom, freedom_by_class)
    return Spread(
        linearised.estimate,
        math.sqrt(of_sum.variance + hidden + linearised.unseen),
        float(np.clip(freedom, 1, len(sums) - 1)),
        layout.scarcest,
        of_sum.skewness,
        of_sum.autocorrelation,
    )


def interval_of(name: str, spread: Spread, level: float = LEVEL) -> Interval:
    """Return the interval of a metric's score, inside the metric's range.

    A score is taken for normal on the scale where it is nearest to it: see `_BOUNDS`.
    One unit says nothing: the interval is the metric's whole range.
    """
    limits, estimate = METRICS[name], spread.estimate
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan, level)
    if spread.degrees_of_freedom == 0:
        return Interval(estimate, limits.lowest, limits.highest, level)
    low, high = _BOUNDS[name](spread, quantile(spread.degrees_of_freedom, level))
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


def _by_class(linearised: Linearised, layout: Layout, n_units: int) -> tuple[float, float]:
    """Return what the variance lacks with the classes as samples, and its degrees of freedom.

    Of 12,000 rows with 8 positives, an AUC knows its variance from 8 rows, not from 12,000:
    their part of it needs the factor 8/7 (DeLong, DeLong and Clarke-Pearson 1988), and Welch
    and Satterthwaite's degrees of freedom are about 7.
    """
    parts = np.bincount(layout.cell_class, unit_sums(linearised.influence, layout.cell) ** 2)
    freedoms = np.maximum(layout.units_per_class - 1, 1)
    lacking = float(parts @ (1 / freedoms - 1 / (n_units - 1)))
    known = float((parts**2 / freedoms).sum())
    freedom = float(parts.sum()) ** 2 / known if known > 0 else layout.scarcest - 1.0
    return max(lacking, 0.0), freedom


def _plain(spread: Spread, t: float) -> tuple[float, float]:
    return spread.estimate - t * spread.standard_error, spread.estimate + t * spread.standard_error


def _by_log(spread: Spread, t: float) -> tuple[float, float]:
    """Losses are positive: half of one is as far away as twice it."""
    if spread.estimate <= 0:
        return _plain(spread, t)
    with np.errstate(over="ignore"):
        factor = float(np.exp(t * spread.standard_error / spread.estimate))
    return spread.estimate / factor, spread.estimate * factor


def _by_logit(spread: Spread, t: float) -> tuple[float, float]:
    theta = spread.estimate
    variance = theta * (1 - theta)
    if min(theta, 1 - theta) < _ROUNDING:
        return _wilson(spread, t)
    half = t * spread.standard_error / variance
    return float(expit(logit(theta) - half)), float(expit(logit(theta) + half))


def _by_squares(spread: Spread, t: float) -> tuple[float, float]:
    """The mean of the squares, of which the score is the root, freed of its skewness.

    Hall's monotone cubic transformation (1992, "On the removal of skewness by transformation"):
    for a mean of skewness a, T = (θ̂ - θ)/se is skewed, T + aT²/3 + a²T³/27 + a/6 nearly normal.
    """
    mean, error = spread.estimate**2, 2 * spread.estimate * spread.standard_error
    reached, a = np.array([t, -t]), spread.skewness
    if abs(a) > _ROUNDING:
        reached = 3 / a * (np.cbrt(1 + a * (reached - a / 6)) - 1)
    low, high = np.sqrt(np.maximum(mean - error * reached, 0.0))
    return float(low), float(high)


def _wilson(spread: Spread, t: float) -> tuple[float, float]:
    """Wilson's interval (1927) with the effective sample size θ(1-θ)/se².

    Korn and Graubard 1998; Franco et al. 2019: it stays inside the range, and a perfect score
    on 30 units does not become a certainty.
    """
    theta, error = spread.estimate, spread.standard_error
    if min(theta, 1 - theta) < _ROUNDING:
        n = float(spread.scarcest)
    elif error > _ROUNDING:
        n = theta * (1 - theta) / error**2
    else:
        return theta, theta  # known for certain: constant predictions have an AUC of 1/2
    centre = (theta + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(theta * (1 - theta) / n + (t / (2 * n)) ** 2)
    return centre - half, centre + half


# Chosen by simulation (`make bench`, statistics): the log and the logit take the usual skewness
# of losses and of ranking scores; squares may be skewed by far more, so theirs is measured;
# shares of rows are binomial but for their units.
_BOUNDS: Mapping[str, Callable[[Spread, float], tuple[float, float]]] = MappingProxyType(
    {
        "roc_auc": _by_logit,
        "average_precision": _by_logit,
        "roc_auc_ovr": _by_logit,
        "log_loss": _by_log,
        "brier": _wilson,
        "accuracy": _wilson,
        "balanced_accuracy": _wilson,
        "f1": _wilson,
        "f1_macro": _wilson,
        "rmse": _by_squares,
        "mae": _by_log,
        "mape": _by_log,
        "r2": _plain,
    }
)
