"""Many tools on many tables: mean ranks, and how far apart they must be (Demšar 2006).

In: scores, (pairs, tools). Out: numbers, and a figure as text. Nothing is run here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05
_WIDTH = 60


@dataclass(frozen=True)
class Ranks:
    """Tools compared by their ranks, 1 the best."""

    tools: tuple[str, ...]
    means: np.ndarray  # mean rank of each over all (table, seed)
    tables: int  # how many there were
    critical: float  # two mean ranks that differ by less cannot be told apart (Nemenyi)
    p_value: float  # of Friedman's test, that all are alike

    def figure(self) -> str:
        """Each tool's mean rank as a point, and the reach of the critical difference from it."""
        k = len(self.tools)
        lines = [f"{'mean rank':<22}       1{' ' * (_WIDTH - 2)}{k}"]
        for place in np.argsort(self.means, kind="stable"):
            mean = self.means[place]
            low, high = (self._column(mean + side * self.critical / 2) for side in (-1, 1))
            bar = [" "] * _WIDTH
            bar[low : high + 1] = "─" * (high - low + 1)
            bar[self._column(mean)] = "●"
            lines.append(f"{self.tools[place]:<22} {mean:5.2f} {''.join(bar)}".rstrip())
        return "\n".join(lines)

    def _column(self, rank: float) -> int:
        share = (rank - 1) / max(1, len(self.tools) - 1)
        return int(np.clip(round(share * (_WIDTH - 1)), 0, _WIDTH - 1))


def ranks(tools: Sequence[str], tables: Sequence[str], merits: np.ndarray) -> Ranks:
    """Rank k tools on n (table, seed) by merits (n, k) and take means; NaN is worse than any score.

    Seeds of one table are no new tables: tables are counted, not pairs.
    """
    ranked = stats.rankdata(-np.nan_to_num(merits, nan=-np.inf), axis=1)
    names = sorted(set(tables))
    by_table = np.array([ranked[[one == name for one in tables]].mean(axis=0) for name in names])
    n, k = by_table.shape
    means = by_table.mean(axis=0)
    if k == 1:
        return Ranks(tuple(tools), means, n, critical=0.0, p_value=1.0)
    return Ranks(tuple(tools), means, n, critical_difference(k, n), _friedman(means, n))


def critical_difference(tools: int, tables: int) -> float:
    """Nemenyi's: q(0.05, k) √(k (k + 1) / 6N), q the studentized range's quantile / √2 (Demšar 2006)."""
    q = stats.studentized_range.ppf(1 - LEVEL, tools, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(tools * (tools + 1) / (6 * tables)))


def _friedman(means: np.ndarray, n: int) -> float:
    """The chi-squared test of equal mean ranks, (k,) over n tables (Demšar 2006, section 3.2.2)."""
    k = len(means)
    statistic = 12 * n / (k * (k + 1)) * (np.sum(means**2) - k * (k + 1) ** 2 / 4)
    return float(stats.chi2.sf(statistic, k - 1))
