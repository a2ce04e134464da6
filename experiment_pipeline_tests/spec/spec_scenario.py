"""A small valid experiment as YAML gives it, and what a changed one is told."""

import copy
from collections.abc import Mapping
from typing import Any

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from

VALID: Mapping[str, Any] = {
    "data": {"url": "data/visits.csv"},
    "target": "late",
    "task": "binary",
    "exclude": {"arrival": "known only afterwards"},
    "split": {"by": "random", "id_columns": ["visit"]},
    "search": [
        {
            "algorithm": "lightgbm",
            "method": "random",
            "draws": 5,
            "hyperparameters": {
                "learning_rate": {"low": 0.01, "high": 0.3, "scale": "log"}
            },
        },
        {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}},
    ],
    "metric": "roc_auc",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The valid experiment with one value replaced, or added; numbers in the path are
    positions.
    """
    raw: dict[str, Any] = copy.deepcopy(dict(VALID))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = raw
    for part in parents:
        place = place.setdefault(part, {}) if isinstance(part, str) else place[part]
    place[last] = value
    return raw


def spec_of(raw: Mapping[str, Any]) -> ExperimentSpec:
    """The spec, with the depth of a key as its line."""
    return spec_from(
        "visits", raw, lambda location: f"defs.yaml:{len(location)}", needs_data=True
    )


def told(raw: Mapping[str, Any]) -> list[str]:
    """What the user is told, a line per problem; empty for a valid experiment."""
    try:
        spec_of(raw)
    except InvalidExperiment as error:
        first, *others = error.rule.splitlines()
        return [f"{error.culprit}: {first}", *others]
    return []
