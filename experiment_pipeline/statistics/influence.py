"""Scores as sums over rows: a score, and the influence of each row on it.

A score θ is a function of the rows' weights w (all 1). Its influence values ψ are the
derivatives n·∂θ/∂w_i: when rows are drawn anew with weights w, the score moves to about
θ + mean((w - 1)·ψ), and ψ has mean zero. One pass over the rows thus gives what a bootstrap
gives, for every configuration and every unit of resampling (infinitesimal jackknife:
Efron 1982, ch. 6; Hampel 1974). Here are the parts that formulas are put together from; the
formulas are `metrics.py`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Linearised:
    """A score and its linear approximation.

    Attributes:
        estimate: the score; nan where it is undefined.
        influence: (n,) of mean zero; nan where the score is.
        unseen: variance that no row shows: of a mean over classes, the part of those classes
            that are all right or all wrong in this sample.
    """

    estimate: float
    influence: np.ndarray
    unseen: float = 0.0


def undefined(n: int) -> Linearised:
    """Return what n rows say where there is no score."""
    return Linearised(float("nan"), np.full(n, np.nan))


def mean(values: np.ndarray) -> Linearised:
    """Return the mean of (n,) values."""
    estimate = float(values.mean())
    return Linearised(estimate, values - estimate)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Linearised:
    """Return Σa / Σb, by the delta method: ψ = (a - θb) / mean(b)."""
    size = denominator.mean()
    if size == 0:
        return undefined(len(denominator))
    estimate = float(numerator.mean() / size)
    return Linearised(estimate, (numerator - estimate * denominator) / size)


def gained(first: Linearised, second: Linearised) -> Linearised:
    """Return second - first, of scores of the same rows."""
    return Linearised(second.estimate - first.estimate, second.influence - first.influence)


def average(parts: Sequence[Linearised]) -> Linearised:
    """Return the mean of scores of the same rows."""
    return Linearised(
        float(np.mean([part.estimate for part in parts])),
        np.mean([part.influence for part in parts], axis=0),
        sum(part.unseen for part in parts) / len(parts) ** 2,
    )


def found(truth: np.ndarray, said: np.ndarray) -> Linearised:
    """Return which share of the true rows are said to be so: bool (n,) each."""
    return _with_unseen(ratio(truth & said, truth), int(truth.sum()), 1.0)


def found_and_right(truth: np.ndarray, said: np.ndarray) -> Linearised:
    """Return the harmonic mean (F1) of that share and of the share of the said that are true."""
    f1 = ratio(2.0 * (truth & said), truth.astype(np.float64) + said)
    # With the number of rows that are said to be of the class, f1 goes as the share found.
    return _with_unseen(f1, int(truth.sum()), 2 * truth.sum() / max(truth.sum() + said.sum(), 1))


def in_order(positive: np.ndarray, prediction: np.ndarray) -> Linearised:
    """Return the share of pairs, a positive and a negative row, in which the positive is ahead.

    The placement values of DeLong, DeLong and Clarke-Pearson (1988), ties counted half: a
    positive's placement is the share of negatives it beats, a negative's the share of
    positives that beat it. One sort serves both (Sun and Xu 2014).
    """
    n = len(positive)
    n_positive = int(positive.sum())
    if n_positive in (0, n):
        return undefined(n)
    code = np.unique(prediction, return_inverse=True)[1]
    ones = np.bincount(code, weights=positive)
    zeros = np.bincount(code) - ones
    beaten = (np.cumsum(zeros) - zeros / 2) / (n - n_positive)
    beating = 1 - (np.cumsum(ones) - ones / 2) / n_positive
    placement = np.where(positive, beaten[code], beating[code])
    estimate = float(placement[positive].mean())
    class_share = np.where(positive, n_positive, n - n_positive) / n
    return Linearised(estimate, (placement - estimate) / class_share)


def _with_unseen(part: Linearised, n: int, slope: float) -> Linearised:
    """Give a share of n rows that is 0 or 1 the variance of Agresti and Coull (1998).

    Two successes and two failures are added: 0 of 10 is no certainty.

    Args:
        part: the score of one class.
        n: its rows.
        slope: by how much the score moves with the share.
    """
    if n == 0 or 0 < part.estimate < 1:
        return part
    return replace(part, unseen=slope**2 * 2 * (n + 2) / (n + 4) ** 3)
