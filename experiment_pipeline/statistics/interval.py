"""An estimate with its bounds, and how it reads; how wide it is is worked out in `intervals.py`."""

import math
from dataclasses import dataclass

from experiment_pipeline.spec.metrics import METRICS

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds that hold it with probability `level`.

    Attributes:
        estimate: nan where the metric is undefined, and the bounds with it.
        low: lower bound; -infinity where nothing is known.
        high: upper bound.
        level: 0.95 unless told.
    """

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    def worse_bound(self, metric: str) -> float:
        """Return the end that a careful reader judges: the low one where greater is better."""
        return self.low if METRICS[metric].greater_is_better else self.high

    def better_bound(self, metric: str) -> float:
        """Return the other end, the high one where greater is better."""
        return self.high if METRICS[metric].greater_is_better else self.low

    def in_words(self) -> str:
        """`0.6912 (0.6803 to 0.7021)`."""
        return f"{shown(self.estimate)} ({shown(self.low)} to {shown(self.high)})"


def shown(value: float) -> str:
    """Return a score for people: `0.6912`, `23.46`, `12,346`, `undefined`."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    size = abs(value)
    digits = 4 if size < 10 else 2 if size < 1_000 else 0
    return f"{value:.2g}" if 0 < size < 0.001 else f"{value:,.{digits}f}"
