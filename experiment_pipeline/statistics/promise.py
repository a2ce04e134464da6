"""Test whether a score has fallen below what it was, at any time and as often as one
likes: 5 % false alarms.

A day is the mean influence of its rows at the reference. For every day, a Bayes factor
compares all days from it on with all days before, reference included, so that the
reference's own uncertainty counts. It only depends on recursive residuals (Brown,
Durbin and Evans 1975), with level and variance unknown: a t-test that is valid at any
time (Pérez-Ortiz et al. 2024; Wang and Ramdas 2025). Averaged over days with weights
that are fixed in advance and sum to 1, the factors are an e-process for changes (Shin,
Ramdas and Rinaldo 2022). If nothing changes, it ever reaches 20 with probability at
most 1/20 (Ville 1939), asymptotically, as spread between days, memory and skewness are
estimated (Waudby-Smith et al. 2024). Days that resemble their neighbours count for
less: `_variance_factors` averages models of memory, short and long, by how well they
explain the spectrum of the days. Constants: `make bench`.

The package confseq compares with a known number, not with an uncertain promise, and
does not look for the start of a change; the drift detectors of river do not bound a
probability over time.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, linearise

ENOUGH = 20.0
_HALF_BEGIN = 100  # a priori, half of all changes begin within so many days
_EFFECT = 0.1  # of a typical drop, in standard deviations of a row's influence
# A priori the variance of a day's mean is twice what its rows show, as if observed on
# four days.
_DAYS_BEFORE, _FACTOR_BEFORE = 4, 2.0
_SHORTEST = 5  # days: a shorter stretch counts as chance, and has no level of its own
# Models of memory: share of the days' variance, and correlation of neighbours or order
# of differencing.
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
_AUTOREGRESSIVE = tuple(product(_SHARES, (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)))
_FRACTIONAL = tuple(product(_SHARES, (0.2, 0.3, 0.4)))
# The prior probability of independent days: at most this. t days make it
# t / (t + _FEW), because few days do not show memory that there is.
_INDEPENDENT, _FEW = 0.5, 200
# Weight of the models' root mean square of the variance, beside their mean.
_CAUTION = 0.6
_MONTH = 30  # days
_FIRST_WAVE = 2  # slower ones are swallowed by the drop that residuals are without
_WIDTH = 2 * 1.96  # of an interval, in standard errors
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Days:
    """t days of a score, of one series or several, in units of the reference's.

    The reference has mean 0 and standard deviation 1.
    """

    levels: np.ndarray  # (…, t) mean influence of a day's rows; greater is better
    sizes: np.ndarray  # (…, t) its rows
    # or (…, 1): independent rows that are as precise as it is
    reference: float | np.ndarray

    @classmethod
    def of(
        cls,
        metric: str,
        promised: Interval,
        reference: SetPrediction,
        rows: SetPrediction,
        threshold: float = 0.5,
    ) -> "Days":
        """Compare rows with the reference, whose score is `promised`.

        The rows' clusters 0 … t-1 are days. The metric must not be a user's own, and
        rows must not be weighted.
        """
        n_reference = len(reference.y)
        # With tiny weights, the new rows get an influence without changing the
        # reference's score.
        weights = np.repeat([1.0, _TINY], [n_reference, len(rows.y)])
        score = linearise(
            metric,
            np.concatenate([reference.y, rows.y]),
            np.concatenate([reference.prediction, rows.prediction]),
            threshold,
            weights,
        )
        influence = score.influence / weights * weights.mean() * metric_of(metric).sign
        error = (promised.high - promised.low) / _WIDTH
        deviation = float(influence[:n_reference].std())
        if not deviation:
            # The rows have no spread, such as when all are right: use the interval's.
            deviation = min(error, 1.0) * n_reference**0.5 or 1.0
        precise = np.clip((deviation / max(error, _TINY)) ** 2, 1, n_reference)
        sizes = np.bincount(rows.clusters)
        sums = np.bincount(rows.clusters, influence[n_reference:])
        return cls(sums / sizes / deviation, sizes, float(precise))


@dataclass(frozen=True, eq=False)
class Fall:
    """The evidence of days for a fall of a score."""

    total: np.ndarray  # (…) e-value: at ENOUGH a fall is shown; 1 is no evidence
    start: np.ndarray  # (…) position of the day on which it most likely began
    # (…) as many independent days would say as much as all; their number without memory
    independent: np.ndarray


def evidence(days: Days) -> Fall:
    """Combine the evidence of all days, as of the last one."""
    from scipy.special import ndtri

    levels, sizes = days.levels, days.sizes
    number = levels.shape[-1]
    first = _factors(days, sizes, np.ones(number)).argmax(-1)
    late = np.arange(number) >= np.minimum(first, max(number - _SHORTEST, 0))[..., None]
    rest = np.zeros(levels.shape)
    for part in (sizes * late, sizes * ~late):
        mean = _sum(part * levels) / np.maximum(_sum(part), _TINY)
        rest = np.where(part > 0, levels - mean, rest)
    # The variance of a day's true score (DerSimonian and Laird 1986) makes large days
    # less precise.
    excess = _sum(sizes * rest**2) - (number - 1 - ~late.all(-1, keepdims=True))
    scale = _sum(sizes) - _sum(sizes**2) / _sum(sizes)
    between_days = np.maximum(excess, 0) / np.maximum(scale, _TINY)
    precision = 1 / (1 / sizes + between_days)
    # Normal scores of the residuals (van der Waerden 1952): a skewed or extreme day
    # proves no change.
    rest = rest * np.sqrt(precision)
    scores = ndtri((rest.argsort(-1).argsort(-1) + 0.5) / number)
    calm = scores * np.sqrt(_sum(rest**2) / np.maximum(_sum(scores**2), _TINY))
    calmed = Days(levels + (calm - rest) / np.sqrt(precision), sizes, days.reference)
    variance = _variance_factors(calm)
    factors = _factors(calmed, precision, variance)
    no_change = _HALF_BEGIN / (_HALF_BEGIN + number)  # so far
    return Fall(
        total=factors.sum(-1) + no_change,
        start=factors.argmax(-1),
        independent=number / variance[..., -1],
    )


def _variance_factors(rest: np.ndarray) -> np.ndarray:
    """Return how much larger memory makes the variance of a mean of 1 … t days, (…, t).

    The mean over models of memory with the likelihood of Whittle (1953) as weights:
    independent days, and independent parts beside an autoregression or beside
    fractional noise. `rest`: residuals, whose slowest wave the removed drop swallows.
    """
    number = rest.shape[-1]
    waves = np.arange(_FIRST_WAVE, number // 2 + 1)
    models = len(_AUTOREGRESSIVE) + len(_FRACTIONAL)
    independent = min(_INDEPENDENT, number / (number + _FEW))
    prior = np.full(1 + models, (1 - independent) / models)
    prior[0] = independent
    spectrum, factors = _models_of_memory(number, 2 * np.pi * waves / number)
    power = np.abs(np.fft.rfft(rest)[..., waves]) ** 2
    scale = np.maximum((power @ (1 / spectrum).T) / max(len(waves), 1), _TINY**2)
    fit = -np.log(spectrum).sum(-1) - len(waves) * np.log(scale) + np.log(prior)
    weights = np.exp(fit - fit.max(-1, keepdims=True))
    weights = weights / _sum(weights)
    mean = weights @ factors
    # The less the models agree, the more caution.
    return np.asarray(mean + _CAUTION * (np.sqrt(weights @ factors**2) - mean))


def _models_of_memory(
    number: int, frequency: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectrum (models, frequencies) of each model of variance 1, and the
    variance factors of its means of 1 … `number` days (models, number).
    """
    from scipy.special import gamma

    days = np.arange(1, number + 1)
    spectra, factors = [np.ones(len(frequency))], [np.ones(number)]

    def add(share: float, spectrum: np.ndarray, factor: np.ndarray) -> None:
        """Add a model with this share of the days' variance."""
        spectra.append(1 - share + share * spectrum)
        factors.append(1 - share + share * factor)

    for share, phi in _AUTOREGRESSIVE:
        distance = 1 - 2 * phi * np.cos(frequency) + phi**2
        falls_short = 2 * phi * (1 - phi**days) / (days * (1 - phi) ** 2)
        add(share, (1 - phi**2) / distance, (1 + phi) / (1 - phi) - falls_short)
    for share, d in _FRACTIONAL:
        variance = gamma(1 - 2 * d) / gamma(1 - d) ** 2
        growth = gamma(1 - d) / ((1 + 2 * d) * gamma(1 + d)) * days ** (2 * d)
        spectrum = (2 * np.sin(frequency / 2)) ** (-2 * d) / variance
        add(share, spectrum, np.maximum(growth, 1))
    return np.array(spectra), np.array(factors)


def _sum(of_days: np.ndarray) -> np.ndarray:
    return np.asarray(of_days.sum(-1, keepdims=True))


def _factors(days: Days, precision: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The weighted Bayes factor of a drop from each day on, (…, t).

    That of a t-test with Zellner's g-prior, times twice the posterior probability that
    the change is a drop. `variance` (…, t) or (t,): the factors of means of 1 … t days.
    """
    from scipy.special import stdtr

    levels = days.levels
    position = np.arange(levels.shape[-1])
    freedom = len(position) + _DAYS_BEFORE
    before = days.reference + np.cumsum(precision + 0 * levels, -1) - precision
    after = days.reference + _sum(precision + 0 * levels) - before
    sums = np.cumsum(precision * levels, -1) - precision * levels
    total = _sum(precision * levels)
    squares = _sum(precision * levels**2) - total**2 / (before + after)
    squares = squares + _DAYS_BEFORE * _FACTOR_BEFORE
    change = (total - sums) / after - sums / before
    # From each day on come t, t-1, …, 1 days; before it were 0, 1, …, t-1.
    variance_before = np.concatenate([variance[..., :1], variance[..., :-1]], -1)
    variance_after = variance[..., ::-1]
    # Long memory that the days so far cannot show would matter for long stretches.
    stretch = np.arange(len(position), 0, -1)
    variance_after = variance_after * np.sqrt(np.maximum(stretch / _MONTH, 1))
    rows = 1 / (variance_before / before + variance_after / after)
    shrink = _EFFECT**2 * rows / (1 + _EFFECT**2 * rows)
    # Memory makes a change explain less, not the rest of the days vary more.
    within = squares - change**2 / (1 / before + 1 / after)
    squares = np.maximum(within, _TINY) + rows * change**2
    explained = shrink * np.minimum(rows * change**2 / squares, 1)
    unexplained = np.maximum(1 - explained, _TINY**2)
    scale = np.sqrt(shrink * rows * freedom / (squares * unexplained))
    drop = stdtr(freedom, -change * scale)
    weights = _HALF_BEGIN / ((_HALF_BEGIN + position) * (_HALF_BEGIN + position + 1))
    return np.asarray(
        weights * 2 * drop * np.sqrt(1 - shrink) * unexplained ** (-freedom / 2)
    )
