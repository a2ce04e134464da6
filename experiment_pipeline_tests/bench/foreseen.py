"""The memory that a training step was foreseen to take, against its peak.

Each search runs in a process of its own on the made-up table of `data.py`; what it adds is the most
above what table and libraries held before it, by the system's count.

    python -m experiment_pipeline_tests.bench.foreseen
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.foreseen import SURE
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.memory_needs import training_need
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.bench.data import Measured, resident_bytes, wide_spec, wide_table

WORKERS = 2
_BOOSTED = {"n_estimators": 20, "num_leaves": [15, 63]}
SEARCHES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "lightgbm": [{"algorithm": "lightgbm", "hyperparameters": _BOOSTED}],
    "lightgbm, letters": [
        {"algorithm": "lightgbm", "features": "text", "hyperparameters": _BOOSTED}
    ],
    "lightgbm, one-hot": [
        {"algorithm": "lightgbm", "features": "onehot", "hyperparameters": _BOOSTED}
    ],
    "linear": [{"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}}],
    "random_forest": [
        {
            "algorithm": "random_forest",
            "hyperparameters": {"n_estimators": 4, "min_samples_leaf": [100, 1_000]},
        }
    ],
    "xgboost": [
        {"algorithm": "xgboost", "hyperparameters": {"n_estimators": 20, "max_depth": [4, 6]}}
    ],
    "catboost": [
        {"algorithm": "catboost", "hyperparameters": {"n_estimators": 20, "depth": [4, 6]}}
    ],
}
SIZES = [(100_000, 15), (400_000, 15), (400_000, 40), (1_600_000, 15)]


def measurements(scale: float = 1.0) -> list[Measured]:
    """Peak ÷ estimate of every search on every size; 1 is right, below SURE stops who would fit."""
    return [
        _in_own_process(name, round(rows * scale), columns)
        for rows, columns in SIZES
        for name in SEARCHES
    ]


def experiment(name: str) -> ExperimentSpec:
    """An experiment with this search."""
    return wide_spec(SEARCHES[name])


def _sets(rows: int, columns: int, spec: ExperimentSpec) -> TrainingSets:
    frame = wide_table(rows, columns + 3)
    trains = np.random.default_rng(1).random(len(frame)) < 0.75
    return scenario.to_train_on(frame[trains], frame[~trains], spec)


def one_search(name: str, rows: int, columns: int) -> Measured:
    """Search in this process, and measure."""
    spec = experiment(name)
    sets, wanted = _sets(rows, columns, spec), configurations(spec)
    need = training_need(wanted, sets).of(WORKERS)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident_bytes()
    # Since now the system counts the peak anew; see proc(5).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    outcomes = list(train_configurations(wanted, sets, spec, WORKERS))
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    added = (1024 * int(peak[1]) if peak else 0) - before
    label = (
        f"{name}, {rows:,} x {columns}: {added / 1e6:,.0f} MB of {need / 1e6:,.0f} MB foreseen, "
        f"{len(outcomes)} configurations, peak / foreseen"
    )
    return Measured(label, added / need, "x", None)


def _in_own_process(name: str, rows: int, columns: int) -> Measured:
    command = [sys.executable, "-m", __spec__.name, name, str(rows), str(columns)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    label, ratio = json.loads(done.stdout.splitlines()[-1])
    print(f"  {label}: {ratio:.2f}", flush=True)
    return Measured(label, ratio, "x", None)


def main(given: Sequence[str]) -> None:
    """Measure one search in this process, or all in their own."""
    if given:
        found = one_search(given[0], int(given[1]), int(given[2]))
        print(json.dumps([found.name, found.value]))
        return
    ratios = [one.value for one in measurements()]
    print(f"from {min(ratios):.2f} to {max(ratios):.2f}; nobody is stopped above {SURE}")


if __name__ == "__main__":
    main(sys.argv[1:])
