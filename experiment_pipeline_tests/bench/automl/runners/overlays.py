"""Ours without one of its capabilities: what is laid over the scaffold's YAML, by name.

`attributes` are keys of the YAML, `entries` keys of all entries of its search (None drops a key),
`replaced` are an algorithm's entries instead of those written, none: it is not tried. In: the draft's
keys. Out: the same, changed.
"""

from collections.abc import Mapping
from typing import Any

# As the scaffold wrote it for 2,000 rows and more, before there were anchors and a wider space.
_SPACE_OF_BEFORE = {
    "algorithm": "lightgbm",
    "method": "random",
    "draws": 20,
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
    "features": {"entries": {"features": None}},
    "folds": {"attributes": {"evaluation": None}},
    "calibration": {"attributes": {"calibrate": None}, "entries": {"calibrate": None}},
    "space": {"replaced": {"lightgbm": [_SPACE_OF_BEFORE]}},
    "extras": {"replaced": {"catboost": [], "xgboost": []}},
    "forest": {"replaced": {"random_forest": []}},
    "halving": {"attributes": {"halving": "off"}},
}


def lay_over(written: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Change what the scaffold has written, as an overlay says."""
    _merge(written, overlay.get("attributes", {}))
    for entry in written["search"]:
        _merge(entry, overlay.get("entries", {}))
    replaced = overlay.get("replaced", {})
    kept = [entry for entry in written["search"] if entry["algorithm"] not in replaced]
    written["search"] = [*(dict(one) for others in replaced.values() for one in others), *kept]


def _merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
