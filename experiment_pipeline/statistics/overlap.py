"""What scores of folds vary by beyond what their rows show: their models share rows.

Predictions of rows that were left out come from models that were fitted on each other's rows. Their
errors rise and fall together, so that an interval which takes them for independent is too narrow
(Bates, Hastie and Tibshirani 2021, "Cross-validation: what does it estimate and how well does it do
it?"), and no unbiased estimate of the variance exists (Bengio and Grandvalet 2004). The correction
is Nadeau and Bengio's (2003, "Inference for the generalization error"): the scores of J folds with
variance S² have a mean whose variance is (1/J + predicted/fitted)·S² instead of S²/J. In: sizes of
folds. Out: a factor, and scores with it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiment_pipeline.statistics.spread import Linearised


def variance_factor(fitted: Sequence[int], predicted: Sequence[int], repeats: int) -> float:
    """Return how many times the variance is what the rows show.

    Relative to S²/K of the K folds of one repeat, (1/J + predicted/fitted)·S² is
    1/R + Σ predicted/fitted over these K for R repeats: 2.25 for five folds once, 1.58 for
    three times five.

    Args:
        fitted: rows that each fold is fitted on, of all repeats.
        predicted: rows that it predicts.
        repeats: how often the rows were cut anew.
    """
    ratios = np.asarray(predicted) / np.asarray(fitted)
    return float(1 + ratios.sum()) / repeats


def widened(score: Linearised, factor: float) -> Linearised:
    """Return a score whose variance is so many times what its rows show."""
    influence = score.influence * math.sqrt(factor)
    return replace(score, influence=influence, unseen=score.unseen * factor)
