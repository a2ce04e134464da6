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
# Standard errors of the index that a sample may hide: without its largest errors a tail
# looks lighter (`make bench`, statistics).
_HIDDEN = 3.0
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
        """Fit the tail of errors (n,), none negative.

        None: too few of them, or none above the mean.
        """
        large = errors > errors.mean() * (1 + _ROUNDING)
        above_mean = int(large.sum())
        if above_mean == 0 or len(errors) < 2 * _FEWEST:
            return None
        k = max(_FEWEST, above_mean // 2)
        largest = np.sort(np.partition(errors, -k - 1)[-k - 1 :])
        threshold = largest[0]
        excesses = largest[1:] - threshold
        first = float(excesses.mean())
        second = float((1 - (np.arange(1, k + 1) - 0.35) / k) @ excesses / k)
        rest = first - 2 * second
        index = 0.0
        scale = 0.0
        if rest > 0:
            index = 2 - first / rest
            scale = 2 * first * second / rest
        total = errors.sum()
        return cls(
            above_mean,
            share=float(errors[large].sum() / total),
            largest=float(errors.max() / total),
            errors=k,
            threshold=float(threshold),
            index=index,
            scale=scale,
        )

    def exceeded_by(self, times: float) -> float:
        """Return the error that so many exceed, on average, in a sample as large."""
        # At 0 the limit is the logarithm.
        index = min(self.index, _HEAVIEST) or _ROUNDING
        reached = math.expm1(index * math.log(self.errors / times)) / index
        return self.threshold + self.scale * reached

    def lacking(self) -> float:
        """Return an error that the sample may lack.

        Every second sample has one as large if the tail is light, and the fewer, the
        heavier it may be: in the others mean and index are too low.
        """
        heavier = max(self.index, 0) * (1 + _HIDDEN / math.sqrt(self.errors))
        return self.exceeded_by(0.5 * (1 - min(heavier, _HEAVIEST)))


# The best tenth of the scores (at least _FEWEST_BEST) shows how far apart the next best
# would be.
_SHARE_OF_BEST = 0.1
_FEWEST_BEST = 10
_FEWEST_TO_EXPECT = 20


def expected_gain(scores: np.ndarray, draws: float) -> Interval:
    """Estimate by how much the best of further draws exceeds the best of scores (n,).

    The upper bound is one-sided, 95 %. Not finite: fewer than 20 scores. Above a high
    score the excesses of most distributions are nearly exponential, with a mean that
    the best scores estimate (Balkema and de Haan 1974, Pickands 1975). Then the best of
    k + m scores exceeds the best of k by that mean times log(1 + m / k) (Renyi 1953).
    This is too much for metrics with a best possible score, which most have.
    """
    from scipy.special import chdtri

    falling = np.sort(scores[np.isfinite(scores)])[::-1]
    count = len(falling)
    if count < _FEWEST_TO_EXPECT:
        return Interval(math.inf, 0.0, math.inf)
    few = max(_FEWEST_BEST, round(_SHARE_OF_BEST * count))
    mean_excess = float(np.mean(falling[:few]) - falling[few])
    gain = mean_excess * math.log1p(draws / count)
    return Interval(gain, 0.0, gain * 2 * few / float(chdtri(2 * few, 0.95)))
