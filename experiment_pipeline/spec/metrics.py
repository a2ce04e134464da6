"""The metrics that a YAML may name: for which tasks, in which direction and range.

How each is computed, and its interval, belongs to `statistics`.
"""

import math
from dataclasses import dataclass

from experiment_pipeline.errors import allowed_instead


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


def check_name(name: str, task: str, place: str) -> None:
    """Raise ValueError when no metric of that name judges that task."""
    allowed = names_of(task)
    if name not in allowed:
        raise ValueError(
            f"{place}: {name!r} is no metric of task {task}; {allowed_instead(name, allowed)}"
        )


def names_of(task: str) -> tuple[str, ...]:
    """Return the metrics that judge a task."""
    return tuple(metric.name for metric in METRICS.values() if task in metric.tasks)
