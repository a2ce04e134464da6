"""Ours without one of its capabilities: what is laid over the scaffold's YAML, by name.

`attributes` are keys of the YAML, `entries` keys of all entries of its search (None drops a key), and
what is in `without` is not tried. In: the draft's keys. Out: the same, changed.
"""

from collections.abc import Mapping
from typing import Any

OVERLAYS: Mapping[str, Mapping[str, Any]] = {
    "ensemble": {"attributes": {"ensemble": "off"}},
    "features": {"entries": {"features": None}},
    "folds": {"attributes": {"evaluation": None}},
    "calibration": {"attributes": {"calibrate": None}, "entries": {"calibrate": None}},
    "extras": {"without": ["catboost", "xgboost"]},
    "forest": {"without": ["random_forest"]},
    "halving": {"attributes": {"halving": "off"}},
}


def lay_over(written: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Change what the scaffold has written, as an overlay says."""
    _merge(written, overlay.get("attributes", {}))
    for entry in written["search"]:
        _merge(entry, overlay.get("entries", {}))
    without = overlay.get("without", [])
    written["search"] = [one for one in written["search"] if one["algorithm"] not in without]


def _merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
