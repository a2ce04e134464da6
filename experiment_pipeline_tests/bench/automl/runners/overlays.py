"""Ours without one of its capabilities: what is laid over the scaffold's YAML, by name.

`attributes` are keys of the YAML, `entries` keys of the entries of its search (by algorithm; `*`: of
all), None drops a key, `dropped` are algorithms whose entries go. In: the draft's
keys. Out: the same, changed.
"""

from collections.abc import Mapping
from typing import Any

# The space of before the anchors and the wider one, on tables of 2,000 rows and more.
_SPACE_OF_BEFORE = {
    "method": "random",
    "draws": 20,
    "configurations": None,
    "hyperparameters": {
        "learning_rate": {"low": 0.02, "high": 0.2, "scale": "log"},
        "num_leaves": {"low": 4, "high": 63, "scale": "log"},
        "min_data_in_leaf": {"low": 3, "high": 200, "scale": "log"},
        "feature_fraction": {"low": 0.5, "high": 1.0},
        "lambda_l2": {"low": 0.01, "high": 10.0, "scale": "log"},
    },
}
OVERLAYS: Mapping[str, Mapping[str, Any]] = {
    "ensemble": {"attributes": {"ensemble": "off"}},
    "features": {"entries": {"lightgbm": {"features": "ordinal"}}},
    "folds": {"attributes": {"evaluation": None}},
    "space": {"entries": {"lightgbm": _SPACE_OF_BEFORE}},
    "halving": {"attributes": {"halving": "off"}},
    "extras": {"dropped": ["catboost", "xgboost"]},
    "forest": {"dropped": ["random_forest"]},
}


def lay_over(written: dict[str, Any], overlay: dict[str, Any]) -> None:
    """Change what the scaffold has written, as an overlay says."""
    _merge(written, overlay.get("attributes", {}))
    changes = overlay.get("entries", {})
    for entry in written["search"]:
        _merge(entry, changes.get(entry["algorithm"], {}))
        _merge(entry, changes.get("*", {}))
    dropped = overlay.get("dropped", [])
    written["search"] = [one for one in written["search"] if one["algorithm"] not in dropped]


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
