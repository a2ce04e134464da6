"""Where built-in algorithms are worth searching, by how flexible the models should be.

What to search in an experiment is `stages/validation_report/next_search.py`'s answer. In: an algorithm, a task, a
direction. Out: hyperparameter → range, under the names that the YAML uses.
"""

from collections.abc import Iterable
from typing import Literal

from experiment_pipeline.spec import Range
from experiment_pipeline.stages.search.lightgbm_parameters import ACCEPTED

Direction = Literal["stiffer", "as_is", "more_flexible"]
FAMILIES = ("lightgbm", "random_forest", "linear")
_LOG: Literal["log"] = "log"
_LINEAR: Literal["linear"] = "linear"


def _range(low: float, high: float, scale: Literal["linear", "log"] = _LOG) -> Range:
    return Range(low=low, high=high, scale=scale)


_SPACES: dict[str, dict[Direction, dict[str, Range]]] = {
    "lightgbm": {
        "stiffer": {
            "learning_rate": _range(0.01, 0.1),
            "num_leaves": _range(4, 31),
            "min_data_in_leaf": _range(50, 500),
            "lambda_l2": _range(0.1, 100.0),
            "feature_fraction": _range(0.4, 0.9, _LINEAR),
        },
        "as_is": {
            "learning_rate": _range(0.02, 0.2),
            "num_leaves": _range(8, 127),
            "min_data_in_leaf": _range(10, 200),
            "feature_fraction": _range(0.5, 1.0, _LINEAR),
        },
        "more_flexible": {
            "learning_rate": _range(0.03, 0.3),
            "num_leaves": _range(31, 511),
            "min_data_in_leaf": _range(3, 50),
        },
    },
    "random_forest": {
        "stiffer": {
            "min_samples_leaf": _range(5, 100),
            "max_features": _range(0.1, 0.6, _LINEAR),
        },
        "as_is": {
            "min_samples_leaf": _range(1, 50),
            "max_features": _range(0.2, 1.0, _LINEAR),
        },
        "more_flexible": {
            "min_samples_leaf": _range(1, 5),
            "max_features": _range(0.3, 1.0, _LINEAR),
        },
    },
    "logistic": {
        "stiffer": {"C": _range(0.0001, 0.1)},
        "as_is": {"C": _range(0.001, 100.0)},
        "more_flexible": {"C": _range(1.0, 10000.0)},
    },
    "ridge": {
        "stiffer": {"alpha": _range(10.0, 10000.0)},
        "as_is": {"alpha": _range(0.01, 100.0)},
        "more_flexible": {"alpha": _range(0.0001, 1.0)},
    },
}


def space(
    algorithm: str, task: str, direction: Direction, used: Iterable[str] = ()
) -> dict[str, Range]:
    """Return where to search an algorithm; empty for an import path and for dummy.

    Args:
        algorithm: a built-in algorithm's name, or an import path.
        task: decides what `linear` is.
        direction: towards which models.
        used: names the YAML uses already; a parameter of lightgbm keeps the alias it has there.
    """
    if algorithm == "linear":
        algorithm = "ridge" if task == "regression" else "logistic"
    ranges = _SPACES.get(algorithm, {}).get(direction, {})
    if algorithm != "lightgbm":
        return dict(ranges)
    names = set(used)
    return {
        next((alias for alias in ACCEPTED[own] if alias in names), own): given
        for own, given in ranges.items()
    }
