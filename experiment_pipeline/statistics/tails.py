"""The tail of errors: how heavy it is, and what the mean may be that it hides.

A sample of heavy-tailed errors seldom holds the largest ones, and then its mean and its
standard error are both too small. So the errors above a threshold are a generalised
Pareto distribution (Pickands 1975) whose index and scale are averaged over by their
likelihood (Zhang and Stephens 2009), with a prior of the index that was chosen by
simulation (`make bench`, statistics). An index of 0 is that of exponential tails; from
0.5 on the variance is infinite, from 1 on the mean.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

# Errors in the tail: at most so many (Vehtari, Simpson, Gelman, Yao and Gabry 2024); as
# few as half of them, if those make nearly all of the sum (customers with a claim).
_FEWEST = 8
_SHARE_OF_ERRORS = 0.2
_TIMES_THE_ROOT = 3.0
_SHARE_OF_SUM = 0.9
_ROUNDING = 1e-9
_INDICES = (np.arange(40) + 0.5) / 40
# Index over scale, times the mean excess.
_RATIOS = np.geomspace(0.003, 60, 60)
_UNLIKELY = 1e-6


@dataclass(frozen=True, eq=False)
class Tail:
    """The largest errors of a sample, as a distribution of the score's true value.

    It is a mixture over the tail's index and scale, in standard errors of the score.
    """

    above_mean: int  # number of errors above the mean
    share: float  # their share of the sum of all errors
    index: float  # its posterior mean
    chances: np.ndarray  # (J,) of the tails
    centres: np.ndarray  # (J,) the true score less the estimate
    deviations: np.ndarray  # (J,) of the true score

    @classmethod
    def of(
        cls, errors: np.ndarray, adds: np.ndarray, sign: int, prior: float
    ) -> Self | None:
        """Fit the tail of errors (n,), none negative, that add (n,) to a score, with a
        mean of zero; `sign` -1: they raise it. The prior density of the index x is
        (1 - x) to the power of `prior`.

        None: too few of them, or the largest ones are equal.
        """
        n = len(errors)
        deviation = float(adds.std())
        if n < 2 * _FEWEST or deviation == 0:
            return None
        k = _size(errors)
        worsens = -sign * adds / deviation
        threshold, excesses = _above(worsens, k)
        of_errors = _above(errors, k)[1]
        if excesses.max() < _ROUNDING or of_errors.max() < _ROUNDING * errors.mean():
            return None
        indices, factors, chances = _posterior(of_errors / of_errors.mean(), prior)
        mean_excesses = factors * excesses.mean()
        rate = k / n
        below = np.minimum(worsens, threshold)
        centres = below.mean() + rate * mean_excesses
        spread_above = (1 - rate) * mean_excesses + 2 * (threshold - below.mean())
        variances = below.var() + rate * mean_excesses * spread_above
        large = errors > errors.mean() * (1 + _ROUNDING)
        return cls(
            above_mean=int(large.sum()),
            share=float(errors[large].sum() / errors.sum()),
            index=float(chances @ indices),
            chances=chances,
            centres=-sign * math.sqrt(n) * centres,
            deviations=np.sqrt(variances),
        )

    def quantile(self, chance: float, freedom: float) -> float:
        """Return how many standard errors above the estimate the true score is at most,
        with this probability.
        """
        from scipy.optimize import brentq
        from scipy.special import stdtr, stdtrit

        def lacking(score: float) -> float:
            reached = stdtr(freedom, (score - self.centres) / self.deviations)
            return float(self.chances @ reached) - chance

        of_each = self.centres + stdtrit(freedom, chance) * self.deviations
        return float(brentq(lacking, of_each.min() - 1, of_each.max() + 1))


def _size(errors: np.ndarray) -> int:
    """Return how many of the largest errors are the tail."""
    n = len(errors)
    most = int(min(_SHARE_OF_ERRORS * n, _TIMES_THE_ROOT * math.sqrt(n)))
    falling = np.sort(np.partition(errors, -most)[-most:])[::-1]
    deciding = int((falling.cumsum() < _SHARE_OF_SUM * errors.sum()).sum())
    return max(_FEWEST, most // 2, deciding)


def _above(values: np.ndarray, k: int) -> tuple[float, np.ndarray]:
    """Return the value that k exceed, and by how much each does."""
    largest = np.partition(values, -k - 1)[-k - 1 :]
    return float(largest[0]), largest[1:] - largest[0]


def _posterior(
    excesses: np.ndarray, prior: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The index, mean excess and probability of the likely tails, each (J,), of
    excesses of mean 1.
    """
    k = len(excesses)
    logs = np.log1p(np.outer(_RATIOS, excesses)).sum(axis=1)
    indices = _INDICES[:, None]
    likelihood = k * np.log(_RATIOS / indices) - (1 + 1 / indices) * logs
    likelihood += prior * np.log1p(-indices)
    chances = np.exp(likelihood - likelihood.max())
    likely = chances > _UNLIKELY
    mean_excesses = indices / (1 - indices) / _RATIOS
    return (
        np.broadcast_to(indices, chances.shape)[likely],
        mean_excesses[likely],
        chances[likely] / chances[likely].sum(),
    )
