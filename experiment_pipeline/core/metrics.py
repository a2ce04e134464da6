"""Metrics by name: for which tasks, in which direction, in which range, and how to score.

Cheap to import, for every YAML needs the names; the formulas live in `influence.py`, the
statistics of an interval in `intervals.py`. In: encoded targets and predictions (regression
(n,); binary (n,), the probability of classes[1]; multiclass (n, k) probabilities).
Out: numbers and `Interval`s.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiment_pipeline.core.names import guessed

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Metric:
    """One metric: its name, its direction, its range and the tasks it is for.

    Attributes:
        name: as the YAML writes it.
        greater_is_better: the direction.
        tasks: what it can judge.
        lowest: no score lies below.
        highest: no score lies above.
        by_threshold: whether a binary score depends on the decision threshold.
    """

    name: str
    greater_is_better: bool
    tasks: frozenset[str]
    lowest: float
    highest: float
    by_threshold: bool = False

    @property
    def sign(self) -> int:
        """1 or -1: multiplied by it, greater scores are better ones."""
        return 1 if self.greater_is_better else -1


_SHARE = (0.0, 1.0)
_LOSS = (0.0, math.inf)
_BINARY, _CLASSES, _NUMBER = ("binary",), ("binary", "multiclass"), ("regression",)

METRICS: dict[str, Metric] = {
    name: Metric(name, greater, frozenset(tasks), *limits, by_threshold=by_threshold)
    for name, greater, tasks, limits, by_threshold in (
        ("roc_auc", True, _BINARY, _SHARE, False),
        ("average_precision", True, _BINARY, _SHARE, False),
        ("brier", False, _BINARY, _SHARE, False),
        ("f1", True, _BINARY, _SHARE, True),
        ("log_loss", False, _CLASSES, _LOSS, False),
        ("accuracy", True, _CLASSES, _SHARE, True),
        ("balanced_accuracy", True, _CLASSES, _SHARE, True),
        ("f1_macro", True, ("multiclass",), _SHARE, False),
        ("roc_auc_ovr", True, ("multiclass",), _SHARE, False),
        ("rmse", False, _NUMBER, _LOSS, False),
        ("mae", False, _NUMBER, _LOSS, False),
        ("r2", True, _NUMBER, (-math.inf, 1.0), False),
        ("mape", False, _NUMBER, _LOSS, False),
    )
}


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


def check_name(name: str, task: str, place: str) -> None:
    """Raise ValueError when no metric of that name judges that task."""
    allowed = names_of(task)
    if name not in allowed:
        raise ValueError(
            f"{place}: {name!r} is no metric of task {task}; {guessed(name, allowed)}"
            f"allowed: {', '.join(allowed)}"
        )


def names_of(task: str) -> tuple[str, ...]:
    """Return the metrics that judge a task."""
    return tuple(metric.name for metric in METRICS.values() if task in metric.tasks)


def score(name: str, y: "np.ndarray", prediction: "np.ndarray", threshold: float = 0.5) -> float:
    """Return the metric; nan where it is undefined (one class only, a prediction not finite).

    Args:
        name: one of METRICS.
        y: encoded targets (n,).
        prediction: see the module docstring.
        threshold: binary f1, accuracy and balanced_accuracy: positive from this probability on.
    """
    from experiment_pipeline.core.influence import linearise

    return linearise(name, y, prediction, threshold).estimate


def better(name: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`; a score that is not finite is better than none."""
    if not math.isfinite(a):
        return False
    return not math.isfinite(b) or (a - b) * METRICS[name].sign > 0


def surely_better(name: str, difference: Interval) -> bool:
    """Whether the worse end of a score minus another is still better than no difference."""
    return METRICS[name].sign * difference.worse_bound(name) > 0


def shown(value: float) -> str:
    """Return a score for people: `0.6912`, `23.46`, `12,346`, `undefined`."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    size = abs(value)
    digits = 4 if size < 10 else 2 if size < 1_000 else 0
    return f"{value:.2g}" if 0 < size < 0.001 else f"{value:,.{digits}f}"
