"""What the next run needs, predicted from a run and measured on other rows of the same
table: CPU seconds, seconds by the clock and memory, each run in a process and a storage
of its own.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

import experiment_pipeline as ep
from experiment_pipeline.tracking import terminal
from experiment_pipeline_tests.bench import data
from experiment_pipeline_tests.bench.places import own_places
from experiment_pipeline_tests.bench.sections import markdown

WITHIN = 1.5
_SHARE = 0.7  # of a table's rows, drawn anew for each run
_PREDICTED = ("CPU seconds", "seconds by the clock", "GB")
_SEARCH = [
    {"algorithm": "linear"},
    {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": [7, 31]}},
]
# Of flights, known only after landing: the data analysis stops a run with them.
_LEAKS = ["air_time", "arr_delay", "arr_time", "dep_delay", "dep_time"]


def _bundled(name: str, target: str) -> pd.DataFrame:
    frame = pd.read_csv(f"data/{name}.csv.gz").drop(columns=_LEAKS, errors="ignore")
    return frame.rename(columns={target: "target"})


def _generated(make: Callable[..., Any], rows: int, columns: int, **more: Any) -> Any:
    x, y = make(n_samples=rows, n_features=columns, random_state=1, **more)
    return pd.DataFrame(x).add_prefix("x").assign(target=y)


TABLES: Mapping[str, Callable[[], pd.DataFrame]] = {
    "breast cancer": lambda: datasets.load_breast_cancer(as_frame=True).frame,
    "diabetes": lambda: datasets.load_diabetes(as_frame=True).frame,
    "digits": lambda: datasets.load_digits(as_frame=True).frame,
    "wine": lambda: datasets.load_wine(as_frame=True).frame,
    "countries": partial(_bundled, "countries", "lifeExp"),
    "hotel": partial(_bundled, "hotel", "avg_price_per_room"),
    "flights": partial(_bundled, "flights", "late"),
    "rodents": partial(_bundled, "rodents", "species"),
    "20,000 x 20, classes": partial(
        _generated, datasets.make_classification, 20_000, 20
    ),
    "5,000 x 40, numbers": partial(
        _generated, datasets.make_regression, 5_000, 40, noise=20.0
    ),
}


def section(tables: Mapping[str, Callable[[], pd.DataFrame]] = TABLES) -> str:
    """Return the page's section."""
    rows, within = [], 0
    for name in tables:
        predicted, measured = _compared(name)
        ratios = [one / two for one, two in zip(predicted, measured, strict=True)]
        within += all(1 / WITHIN <= ratio <= WITHIN for ratio in ratios)
        cells = np.column_stack([predicted, measured, ratios]).ravel()
        rows.append([name, *(f"{cell:.2f}" for cell in cells)])
    columns = [cell for what in _PREDICTED for cell in (what, "measured", "ratio")]
    return f"""Ten tables, two runs each on {_SHARE:.0%} of the rows, drawn twice: the first run predicts CPU \
seconds, seconds by the clock and memory of the second. Memory is compared with the prediction before its headroom of a quarter.

{markdown(["table", *columns], rows)}

Within {WITHIN} times: **{within} of {len(rows)}** (to reach: 9)."""


def _compared(name: str) -> tuple[list[float], list[float]]:
    """What the first run predicts, and what the second took."""
    runs = []
    for seed in (1, 2):
        with own_places(OMP_NUM_THREADS="1"):
            runs.append(data.in_own_process(_run, name, seed))
    first, second = runs
    following = first["next_run"]
    memory = [run["peak_memory_bytes"] / 1e9 for run in runs]
    predicted = [following["cpu_seconds"], following["wall_seconds"], memory[0]]
    measured = [second["cpu_seconds"], second["wall_seconds"], memory[1]]
    print(name, predicted, measured, flush=True)
    return predicted, measured


def _run(name: str, seed: int) -> dict[str, Any]:
    """Run in this process; return what was recorded."""
    table = TABLES[name]()
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(len(table)) < _SHARE)
    table = table.iloc[rows].dropna(subset="target").reset_index(drop=True)
    result = ep.run(table, "target", name="sized", progress=False, search=_SEARCH)
    return json.loads(terminal.run_json(result.facts))
