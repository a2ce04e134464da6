"""Configurations against the best one: paired, and corrected for how many there are.

Scores on the same rows rise and fall together, so what is compared is the difference, by the
difference of the influence values. With the best of many as the yardstick, single 95 %
intervals are too narrow: a multiplier bootstrap over the units gives the largest deviation
of all differences at once (max-T: Hothorn, Bretz and Westfall 2008; Chernozhukov, Chetverikov
and Kato 2013), which makes these multiple comparisons with the best (Hsu 1996).
In: scores where greater is better, and what each unit adds to them. Out: `Comparison`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.core.intervals import unit_codes
from experiment_pipeline.core.metrics import LEVEL

DRAWS = 2_000
# More units are put together, k-th with k-th, whatever their rows say (random groups, Wolter
# 2007): a standard error moves by 1 to 2 %, and 1,000 configurations need 16 MB, not gigabytes.
MOST_UNITS = 2_048
_DRAWS_AT_ONCE = 250


@dataclass(frozen=True, eq=False)
class Comparison:
    """C configurations against the best of them.

    Attributes:
        difference: (C,) score minus the best's, at most 0 (greater is better).
        low: (C,) lower bound of the difference, for all at once; 0 for the best itself.
        high: (C,) upper bound.
        tied: (C,) bool: the best's lead may be chance.
        optimism: by how much the best's score is expected to flatter it, in units of the
            score: the mean of the largest chance deviation in the tie group, taken as equals.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tied: np.ndarray
    optimism: float


def comparison_codes(units: np.ndarray) -> np.ndarray:
    """Return the codes 0 … G-1 that comparisons resample, (n,): the units, at most 2,048."""
    codes = unit_codes(units)
    return codes % MOST_UNITS if codes.max() >= MOST_UNITS else codes


def compare_with_best(
    scores: np.ndarray, contributions: np.ndarray, best: int, seed: int
) -> Comparison:
    """Compare configurations with the best one.

    Args:
        scores: (C,) finite, greater is better.
        contributions: (G, C) what each unit adds to each score, for greater is better.
        best: position of the best score.
        seed: of the draws.
    """
    n_units = len(contributions)
    difference = scores - scores[best]
    if n_units < 2:
        unknown = np.full(len(scores), np.inf)
        return Comparison(difference, -unknown, unknown, np.full(len(scores), True), math.nan)
    deviations = contributions - contributions[:, [best]]
    errors = np.sqrt(n_units / (n_units - 1) * np.einsum("gc,gc->c", deviations, deviations))
    half = _critical_value(deviations, errors, seed) * errors
    tied = difference + half >= 0
    return Comparison(
        difference,
        difference - half,
        difference + half,
        tied,
        _expected_maximum(contributions[:, tied], seed),
    )


def _critical_value(deviations: np.ndarray, errors: np.ndarray, seed: int) -> float:
    """The quantile of the largest |t|, with the t distribution's tails for few units."""
    n_units = len(deviations)
    differing = errors > 0
    if not differing.any():
        return 0.0
    scaled = deviations[:, differing] * (math.sqrt(n_units / (n_units - 1)) / errors[differing])
    largest = np.concatenate([np.abs(d).max(axis=1) for d in _draws(scaled, seed)])
    generator = np.random.default_rng([seed, 1])
    tails = np.sqrt(generator.chisquare(n_units - 1, DRAWS) / (n_units - 1))
    return float(np.quantile(largest / tails, LEVEL))


def _expected_maximum(contributions: np.ndarray, seed: int) -> float:
    if contributions.shape[1] < 2:
        return 0.0
    means = [draws.max(axis=1).mean() for draws in _draws(contributions, seed)]
    return max(float(np.mean(means)), 0.0)


def _draws(contributions: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield (250, C) joint deviations, each unit's part multiplied by a standard normal."""
    generator = np.random.default_rng(seed)
    for _ in range(DRAWS // _DRAWS_AT_ONCE):
        yield generator.standard_normal((_DRAWS_AT_ONCE, len(contributions))) @ contributions
