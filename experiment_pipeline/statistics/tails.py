"""The tail of errors: how heavy it is, and which larger ones a sample did not happen to hold.

A generalised Pareto distribution is fitted to the largest errors by probability-weighted moments
(Hosking and Wallis 1987). Its index is 0 for exponential tails; from 0.5 on the variance is infinite, from
1 on the mean. The errors that count for it are the upper half of those above the mean, so that zeros
(customers without a claim) do not make a tail heavy.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

_FEWEST = 8  # errors in the tail
_HEAVIEST = 0.95  # an index above it has no useful quantiles
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Tail:
    """The errors above a threshold."""

    above_mean: int  # errors above the mean
    share: float  # how much of the sum they are
    largest: float  # how much of it the largest one is
    errors: int  # that the fit rests on
    threshold: float
    index: float
    scale: float

    @classmethod
    def of(cls, errors: np.ndarray) -> Self | None:
        """Fit the tail of errors (n,), none negative; None for too few of them, or no error at all."""
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
        index, scale = (2 - first / rest, 2 * first * second / rest) if rest > 0 else (0.0, 0.0)
        share, largest = errors[large].sum() / errors.sum(), errors.max() / errors.sum()
        return cls(above, float(share), float(largest), k, float(threshold), index, scale)

    def exceeded_by(self, times: float) -> float:
        """Return the error that is exceeded so many times, on average, in as many errors."""
        index = min(self.index, _HEAVIEST) or _ROUNDING  # at 0 the limit is the logarithm
        reached = math.expm1(index * math.log(self.errors / times)) / index
        return self.threshold + self.scale * reached
