"""The tail of errors: how heavy it is, and how large errors may be that a sample
happens to lack.

A generalised Pareto distribution is fitted to the largest errors by
probability-weighted moments (Hosking and Wallis 1987). Its index is 0 for exponential
tails; from 0.5 on the variance is infinite, from 1 on the mean. The errors that count
for it are the upper half of those above the mean, so that zeros (customers without a
claim) do not make a tail heavy.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from experiment_pipeline.statistics.interval import Interval

_FEWEST = 8  # errors in the tail
_HEAVIEST = 0.95  # an index above it has no useful quantiles
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Tail:
    """The errors above a threshold."""

    above_mean: int  # number of errors above the mean
    share: float  # their share of the sum of all errors
    largest: float  # the largest error's share of that sum
    errors: int  # number of errors that the tail was fitted to
    threshold: float
    index: float
    scale: float

    @classmethod
    def of(cls, errors: np.ndarray) -> Self | None:
        """Fit the tail of errors (n,), none negative; None: too few of them, or none
        above the mean.
        """
        large = errors > errors.mean() * (1 + _ROUNDING)
        above = int(large.sum())
        k = max(_FEWEST, above // 2)
        if above == 0 or len(errors) < 2 * _FEWEST:
            return None
        threshold, *excesses = np.sort(np.partition(errors, -k - 1)[-k - 1 :])
        beyond = np.array(excesses) - threshold
        first = float(beyond.mean())
        second = float((1 - (np.arange(1, k + 1) - 0.35) / k) @ beyond / k)
        rest = first - 2 * second
        index, scale = (
            (2 - first / rest, 2 * first * second / rest) if rest > 0 else (0.0, 0.0)
        )
        share, largest = errors[large].sum() / errors.sum(), errors.max() / errors.sum()
        return cls(
            above, float(share), float(largest), k, float(threshold), index, scale
        )

    def exceeded_by(self, times: float) -> float:
        """Return the error that so many errors exceed, on average, in a sample of the
        same size.
        """
        index = (
            min(self.index, _HEAVIEST) or _ROUNDING
        )  # at 0 the limit is the logarithm
        reached = math.expm1(index * math.log(self.errors / times)) / index
        return self.threshold + self.scale * reached


# The best tenth of the scores (at least _FEWEST_BEST) shows how far apart the next best
# would be.
_SHARE_OF_BEST, _FEWEST_BEST = 0.1, 10
_FEWEST_TO_EXPECT = 20


def expected_gain(scores: np.ndarray, more: float) -> Interval:
    """Estimate by how much the best of `more` further draws exceeds the best of these
    scores (n,), with its upper bound (one-sided, 95 %). Not finite: fewer than 20
    scores.

    Above a high score the excesses of most distributions are nearly exponential, with a
    mean that the best scores estimate (Balkema and de Haan 1974, Pickands 1975). Then
    the best of k + m scores exceeds the best of k by that mean times log(1 + m / k)
    (Renyi 1953). This is too much for metrics with a best possible score, which most
    have.
    """
    from scipy.special import chdtri

    best = np.sort(scores[np.isfinite(scores)])[::-1]
    if (count := len(best)) < _FEWEST_TO_EXPECT:
        return Interval(math.inf, 0.0, math.inf)
    few = max(_FEWEST_BEST, round(_SHARE_OF_BEST * count))
    gain = float(np.mean(best[:few]) - best[few]) * math.log1p(more / count)
    return Interval(gain, 0.0, gain * 2 * few / float(chdtri(2 * few, 0.95)))
