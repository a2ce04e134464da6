"""Has a score fallen below what it was, asked as often as one likes: at most 5 % false alarms in all time.

Days are compared as means of their rows' influence at the reference, which are nearly normal. For every
day from which on the score may be lower, a Bayes factor holds all later days against all before, the
reference included, so that its own uncertainty counts. They depend on recursive residuals alone (Brown,
Durbin and Evans 1975), with day means of unknown level and variance (the t-test that is valid at any time:
Wang and Ramdas 2025; Pérez-Ortiz et al. 2024). Averaged with weights of sum 1 that were fixed before, they
are an e-process for changes (Shin, Ramdas and Rinaldo 2022): it ever reaches 20 with a probability of at
most 1/20 where nothing changes (Ville 1939). Spread between days, its memory and skewness are estimated,
so this holds asymptotically (Waudby-Smith et al. 2024), and was chosen by simulation (`make bench`).

The package confseq compares with a known number instead of an uncertain promise, and does not look for a
start; the drift detectors of river bound no probability over time.
"""

from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics.interval import Interval, relative_weights
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, linearise

ENOUGH = 20.0
_HALF_BEGIN = 100  # of all changes half begin within so many days
_EFFECT = 0.1  # a typical drop, in standard deviations of a row's influence
# Beforehand the variance of a day's mean is about twice that of its rows, as if seen on so many days.
_DAYS_BEFORE, _FACTOR_BEFORE = 4, 2.0
_SHORTEST = 5  # days: a shorter stretch is taken for chance, and has no level of its own
_WIDTH = 2 * 1.96  # of an interval, in standard errors
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Evidence:
    """What days say of a score that may have fallen."""

    total: np.ndarray  # (…) from 0 on; at ENOUGH it is shown
    start: (
        np.ndarray
    )  # (…) position of the day from which on it most likely has, whatever the total
    memory: np.ndarray  # (…) correlation of neighbouring days, 0 where it is none that counts


def evidence(levels: np.ndarray, sizes: np.ndarray, reference: float | np.ndarray) -> Evidence:
    """Weigh the evidence of t days, of one series or several: levels and rows of each day, (…, t).

    Levels are means of influence, the reference's standard deviation being 1 and its mean 0; greater is
    better. The `reference`, (…, 1), is as precise as so many independent rows.
    """
    from scipy.special import ndtri

    days = levels.shape[-1]
    factors = _factors(levels, sizes, reference, 1.0)
    late = np.arange(days) >= np.minimum(factors.argmax(-1), max(days - _SHORTEST, 0))[..., None]
    rest = sum(_centred(levels, sizes * part) * part for part in (late, ~late))
    # The variance of a day's true score (DerSimonian and Laird 1986) makes large days less precise.
    freedom = days - 1 - ~late.all(-1, keepdims=True)
    excess = np.maximum((sizes * rest**2).sum(-1, keepdims=True) - freedom, 0)
    number, squares = (one.sum(-1, keepdims=True) for one in (sizes, sizes**2))
    between = excess / np.maximum(number - squares / number, _TINY)
    precision = 1 / (1 / sizes + between)
    # Normal scores of the rest (van der Waerden 1952): a skewed or wild day proves no change.
    rest = rest * np.sqrt(precision)
    scores = ndtri((rest.argsort(-1).argsort(-1) + 0.5) / days)
    size, square = (np.sqrt((one**2).mean(-1, keepdims=True)) for one in (scores, rest))
    calm = scores * square / np.maximum(size, _TINY)
    squares = np.maximum((calm**2).sum(-1, keepdims=True), _TINY)
    memory = (calm[..., 1:] * calm[..., :-1]).sum(-1, keepdims=True) / squares
    memory = np.where(memory > 1 / np.sqrt(days), memory, 0.0)
    levels = levels + (calm - rest) / np.sqrt(precision)
    factors = _factors(levels, precision, reference, (1 - memory) / (1 + memory))
    return Evidence(
        factors.sum(-1) + _HALF_BEGIN / (_HALF_BEGIN + days), factors.argmax(-1), memory[..., 0]
    )


def _centred(levels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = np.maximum(weights.sum(-1, keepdims=True), _TINY)
    return levels - (weights * levels).sum(-1, keepdims=True) / total


def _factors(
    levels: np.ndarray,
    precision: np.ndarray,
    reference: float | np.ndarray,
    independent: np.ndarray | float,
) -> np.ndarray:
    """The weighted Bayes factor of a drop from each day on, (…, t).

    The drop is half-normal in units of the unknown standard deviation; `independent` is the share of the
    information that is left by memory. A t-test's Bayes factor (Zellner's g-prior), times twice the
    posterior probability that the change is a drop.
    """
    from scipy.special import stdtr

    days = levels.shape[-1]
    freedom = days + _DAYS_BEFORE
    known, sums = np.cumsum(precision + 0 * levels, -1), np.cumsum(precision * levels, -1)
    every, total = reference + known[..., -1:], sums[..., -1:]
    squares = (precision * levels**2).sum(-1, keepdims=True) - total**2 / every
    squares = squares + _DAYS_BEFORE * _FACTOR_BEFORE
    before = reference + known - precision
    mean_before = (sums - precision * levels) / before
    change = (total - before * mean_before) / (every - before) - mean_before
    rows = before * (every - before) / every * independent
    shrink = _EFFECT**2 * rows / (1 + _EFFECT**2 * rows)
    unexplained = np.maximum(1 - shrink * np.minimum(rows * change**2 / squares, 1), _TINY**2)
    drop = stdtr(freedom, -change * np.sqrt(shrink * rows * freedom / (squares * unexplained)))
    begin = _HALF_BEGIN + np.arange(days)
    weights = _HALF_BEGIN / (begin * (begin + 1))  # 1/2 of it up to _HALF_BEGIN; the sum is 1
    found = weights * 2 * drop * np.sqrt(1 - shrink) * unexplained ** (-freedom / 2)
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Days:
    """What rows say of a score, by day; as of `evidence`."""

    levels: np.ndarray  # (t,)
    sizes: np.ndarray  # (t,)
    reference: float


def by_day(
    metric: str,
    promised: Interval,
    reference: SetPrediction,
    rows: SetPrediction,
    threshold: float = 0.5,
) -> Days:
    """Return the influence that rows have on the score of the reference, by day: their clusters 0 … t-1.

    `promised` is that score with its interval. The metric is none of a user's own.
    """
    known, own = len(reference.y), [relative_weights(one.weights) for one in (reference, rows)]
    first, second = (
        np.ones(len(of.y)) if weights is None else weights
        for of, weights in zip((reference, rows), own, strict=True)
    )
    # With next to no weight, rows have an influence and do not change where it is measured.
    weights = np.concatenate([first, _TINY * second])
    y, prediction = (
        np.concatenate([getattr(reference, name), getattr(rows, name)])
        for name in ("y", "prediction")
    )
    found = linearise(metric, y, prediction, threshold, weights).influence
    influence = found / weights * weights.mean() * metric_of(metric).sign
    error = (promised.high - promised.low) / _WIDTH
    # Without any spread of the rows, as where all are right, that of the interval.
    deviation = float(influence[:known].std()) or min(error, 1.0) * known**0.5 or 1.0
    precise = min(max((deviation / error) ** 2, 1.0), known) if error > 0 else known
    counts, squares, sums = (
        np.bincount(rows.clusters, one) for one in (second, second**2, second * influence[known:])
    )
    return Days(sums / counts / deviation, counts**2 / squares, precise)
