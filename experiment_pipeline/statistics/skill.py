"""The share of the baseline's loss that a model explains, 1 - Σ model / Σ baseline,
with an interval.

Model and baseline share their large losses: of a heavy tail, or of the later days of a
trend. A difference of two losses then varies far more than the model's lead does. On
this scale they cancel, and no bound exceeds 1.

The lower bound is the best of several that all hold. A cluster's gain may be counted as
at most M a row: less is explained then than truly is, so a bound of it is also one of
the whole. With a small M no cluster decides alone: a model that is better on nearly all
days is better, whatever the other days add. Losses against the baseline always count in
full. Which bounds are tried was chosen by simulation (`make bench`, statistics).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from experiment_pipeline.statistics.comparisons import ROUNDING
from experiment_pipeline.statistics.interval import (
    Interval,
    Layout,
    Linearised,
    Spread,
    by_skewness,
    effective_number,
    plain,
    quantile,
    spread_of,
)

# Gains are counted at most as these quantiles of the clusters' gains a row.
_COUNTED = (0.5, 0.75, 0.9, 0.98)
_ROUNDING_OF_SHARES = 1e-9
# With fewer clusters all may gain by chance.
_FEWEST_TO_COUNT_LESS = 10


@dataclass(frozen=True, eq=False)
class PairedLosses:
    """The losses of baseline and model on the same rows."""

    baseline: np.ndarray  # (n,) none negative, with the rows' weights
    model: np.ndarray  # (n,) the same
    layout: Layout  # of the rows, which are one sample
    variance_factor: float = 1.0  # as of `SetPrediction`

    def explained(self, level: float) -> Interval:
        """Return the share of the baseline's loss that the model explains, at most 1.

        The lower bound is -infinity for one cluster.
        """
        share = 1 - float(self.model.mean()) / float(self.baseline.mean())
        whole = self._share(self.baseline)
        if whole.degrees_of_freedom == 0:
            return Interval(share, -math.inf, 1.0, level)
        low = max(self._low(spread, level) for spread in self._spreads())
        high = plain(whole, quantile(whole.degrees_of_freedom, level))[1]
        return Interval(share, min(low, share), min(max(high, share), 1.0), level)

    def _spreads(self) -> Iterator[Spread]:
        """Shares that are not larger than the true one, each in two ways."""
        for counted in self._counted():
            yield self._share(counted)
            yield self._gain(counted)

    def _counted(self) -> Iterator[np.ndarray]:
        """The baseline's losses, (n,), with all of the gains, then with less of
        them.
        """
        yield self.baseline
        cluster = self.layout.cluster
        rows = np.bincount(cluster)
        gains = np.bincount(cluster, self.baseline - self.model) / rows
        if len(gains) < _FEWEST_TO_COUNT_LESS:
            return
        for most in np.quantile(gains, _COUNTED):
            if most > 0:
                yield self.baseline - np.maximum(gains - most, 0)[cluster]

    def _share(self, baseline: np.ndarray) -> Spread:
        """The explained share of these losses.

        A cluster that has nearly all of the losses shows its own share, and hardly an
        error. So influence is that of leaving a cluster out (jackknife), and the
        degrees of freedom are those of as many clusters of equal losses.
        """
        size = float(baseline.mean())
        ratio = float(self.model.mean()) / size
        influence = (ratio * baseline - self.model) / size
        sums = np.bincount(self.layout.cluster, baseline)
        others = np.maximum(1 - sums / sums.sum(), _ROUNDING_OF_SHARES)
        spread = self._spread(1 - ratio, influence / others[self.layout.cluster])
        deciding = max(effective_number(sums) - 1, 1.0)
        freedom = min(spread.degrees_of_freedom, deciding)
        return replace(spread, degrees_of_freedom=freedom)

    def _gain(self, baseline: np.ndarray) -> Spread:
        """The gain against these losses, as a share of the baseline's."""
        gains = (baseline - self.model) / float(self.baseline.mean())
        gain = float(gains.mean())
        return self._spread(gain, gains - gain)

    def _spread(self, estimate: float, influence: np.ndarray) -> Spread:
        scaled = influence * math.sqrt(self.variance_factor)
        spread = spread_of(Linearised(estimate, scaled), self.layout)
        error = max(spread.standard_error, self._rounding)
        return replace(spread, standard_error=error)

    @cached_property
    def _rounding(self) -> float:
        """Equal losses may differ by so much, as a share of the baseline's."""
        size = float(self.baseline.mean())
        losses = Linearised(1.0, self.baseline / size - 1)
        return ROUNDING * spread_of(losses, self.layout).standard_error

    def _low(self, spread: Spread, level: float) -> float:
        """The lower bound; corrected for skewness where rare rows lose much, and the
        sample may lack them.
        """
        reach = quantile(spread.degrees_of_freedom, level)
        if spread.skewness < 0 and not self.layout.consecutive:
            return by_skewness(spread, reach)[0]
        return plain(spread, reach)[0]
