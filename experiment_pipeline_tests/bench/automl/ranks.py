"""Many tools on many tables: mean ranks, and how far apart they must be (Demšar 2006).

In: scores, (pairs, tools). Out: numbers. Nothing is run here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Ranks:
    """Tools compared by their ranks, 1 the best."""

    means: np.ndarray  # mean rank of each over all (table, seed)
    critical: float  # two mean ranks that differ by less cannot be told apart (Nemenyi)
    p_value: float  # of Friedman's test, that all are alike


def ranks(tables: Sequence[str], merits: np.ndarray) -> Ranks:
    """Rank k tools on n (table, seed) by merits (n, k) and take means; NaN is worse
    than any score.

    Seeds of one table are no new tables: tables are counted, not pairs.
    """
    ranked = pd.DataFrame(merits).fillna(-np.inf).rank(axis="columns", ascending=False)
    by_table = ranked.groupby(np.asarray(tables)).mean()
    (n, k), means = by_table.shape, by_table.mean().to_numpy()
    if k == 1:
        return Ranks(means, critical=0.0, p_value=1.0)
    # The chi-squared test of equal mean ranks: section 3.2.2.
    statistic = 12 * n / (k * (k + 1)) * (np.sum(means**2) - k * (k + 1) ** 2 / 4)
    return Ranks(
        means, critical_difference(k, n), float(stats.chi2.sf(statistic, k - 1))
    )


def critical_difference(tools: int, tables: int) -> float:
    """Nemenyi's: q(0.05, k) √(k (k + 1) / 6N), q the studentized range's quantile / √2
    (Demšar 2006).
    """
    q = stats.studentized_range.ppf(1 - LEVEL, tools, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(tools * (tools + 1) / (6 * tables)))
