"""How far two samples are apart: an effect size beside its noise, and distances from 0
to 1.

With many rows any difference is significant, so there are no p-values. The population
stability index and its threshold (0.25: large) are from Siddiqi, Credit Risk Scorecards
(2006); its noise is that of Yurdakul and Naranjo, Journal of Risk Model Validation
14(4) (2020).
"""

from dataclasses import dataclass

import numpy as np

STATISTIC = "population stability index"
LARGE = 0.25
# Per column, for two samples of the same source.
FALSE_ALARM_RATE = 0.001


@dataclass(frozen=True)
class Difference:
    """How far a sample is from its reference."""

    # population stability index above its expectation without a difference, at least 0
    effect_size: float
    noise: float  # the effect size that chance exceeds in one of 1,000 comparisons
    alarming: bool  # the effect is large and more than noise


def difference(reference: np.ndarray, sample: np.ndarray) -> Difference:
    """Compare two samples that were counted over the same bins: int64 (B,) each."""
    from scipy.special import chdtri

    used = (reference + sample) > 0
    freedom = int(used.sum()) - 1
    if min(reference.sum(), sample.sum()) == 0 or freedom == 0:
        return Difference(0.0, 0.0, alarming=False)
    scale = 1 / reference.sum() + 1 / sample.sum()
    # Half a row more in every bin keeps the index finite for empty bins.
    p = reference[used] + 0.5
    p = p / p.sum()
    q = sample[used] + 0.5
    q = q / q.sum()
    index = float(((q - p) * np.log(q / p)).sum())
    effect = max(0.0, index - freedom * scale)
    noise = float(chdtri(freedom, FALSE_ALARM_RATE) - freedom) * scale
    return Difference(effect, noise, alarming=effect >= LARGE and effect > noise)


def number_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance, 0 … 1, of floats; nan is the largest."""
    places = np.unique(np.concatenate([first, second]))

    def share_up_to_places(values: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.sort(values), places, side="right") / len(values)

    return float(np.max(np.abs(share_up_to_places(first) - share_up_to_places(second))))


def share_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the total variation distance, 0 … 1, of counts (k,) of categories."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)
