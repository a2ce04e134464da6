"""Metrics by name: for which tasks, in which direction, and how they are computed."""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric: its name, its direction and the tasks it is for."""

    name: str
    greater_is_better: bool
    tasks: frozenset[str]


def _metric(name: str, *tasks: str, greater_is_better: bool) -> tuple[str, Metric]:
    return name, Metric(name, greater_is_better, frozenset(tasks))


METRICS: dict[str, Metric] = dict(
    [
        _metric("roc_auc", "binary", greater_is_better=True),
        _metric("average_precision", "binary", greater_is_better=True),
        _metric("brier", "binary", greater_is_better=False),
        _metric("f1", "binary", greater_is_better=True),
        _metric("log_loss", "binary", "multiclass", greater_is_better=False),
        _metric("accuracy", "binary", "multiclass", greater_is_better=True),
        _metric("balanced_accuracy", "binary", "multiclass", greater_is_better=True),
        _metric("f1_macro", "multiclass", greater_is_better=True),
        _metric("roc_auc_ovr", "multiclass", greater_is_better=True),
        _metric("rmse", "regression", greater_is_better=False),
        _metric("mae", "regression", greater_is_better=False),
        _metric("r2", "regression", greater_is_better=True),
        _metric("mape", "regression", greater_is_better=False),
    ]
)


def check_name(name: str, task: str, place: str) -> None:
    """Raise ValueError when no metric of that name judges that task."""
    allowed = [metric.name for metric in METRICS.values() if task in metric.tasks]
    if name not in allowed:
        close = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"{place}: {name!r} is no metric of task {task}; {hint}allowed: {', '.join(allowed)}"
        )
