"""An estimate with its bounds; how wide it is is worked out in `intervals.py`."""

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
