"""Large searches: memory of two workers against one, a thousand configurations,
millions of rows.

Each search runs in a process of its own, whose peak of anonymous memory counts the
libraries, the making of the table, and what is held of the sets; their columns lie on
maps of files. The search is called as a function; three quarters of the rows train, one
quarter is the test set.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import Conclusion
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.table.table import spilled
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.bench import data
from experiment_pipeline_tests.results import events_of

GIGABYTE = 1e9
MEMORY_OF_TWO_WORKERS = 1.3
# What 40 configurations on 3 million rows took before large tables were mapped, and may
# hold now.
MANY_ROWS_SECONDS, MANY_ROWS_GIGABYTES = 185.0, 1.5
# Besides the features: an id, a day, the target.
OTHER_COLUMNS = 3
BOOSTED = {
    "algorithm": "lightgbm",
    "method": "random",
    "hyperparameters": {
        "n_estimators": 200,
        "learning_rate": {"low": 0.03, "high": 0.3, "scale": "log"},
        "num_leaves": {"low": 7, "high": 127, "scale": "log"},
        "min_child_samples": {"low": 20, "high": 400, "scale": "log"},
    },
}
OTHERS = [
    {
        "algorithm": "random_forest",
        "hyperparameters": {"n_estimators": 20, "min_samples_leaf": [50, 200, 800]},
    },
    {"algorithm": "linear", "hyperparameters": {"C": [0.01, 0.1, 1.0]}},
]


@dataclass(frozen=True)
class Asked:
    """What to search in: a made-up table, how many configurations, how."""

    rows: int  # of train and test set together
    columns: int  # features
    configurations: (
        int  # how many, six of them forests and linear models when there are 14 or more
    )
    workers: int  # fits at a time
    halving: bool  # whether bad ones are stopped early

    def __str__(self) -> str:
        return (
            f"{self.configurations:,} configurations on {self.rows:,} x {self.columns}"
        )

    def spec(self) -> ExperimentSpec:
        """The experiment."""
        others = OTHERS if self.configurations >= 14 else []
        draws = self.configurations - 6 * bool(others)
        return data.wide_spec(
            [{**BOOSTED, "draws": draws}, *others], halving=self.halving
        )

    def sets(self) -> TrainingSets:
        """Train and test set, as a large stored table gives them: a mapped file for
        each column.
        """
        trains = np.random.default_rng(1).random(self.rows) < 0.75
        with tempfile.TemporaryDirectory() as folder:
            path = data.wide_file(Path(folder), self.rows, self.columns + OTHER_COLUMNS)
            train, test = (
                pd.DataFrame(
                    {
                        name: spilled(pd.read_parquet(path, columns=[name])[name][rows])
                        for name in pq.read_schema(path).names
                    },
                    copy=False,
                )
                for rows in (trains, ~trains)
            )
        return scenario.to_train_on(train, test, self.spec())


@dataclass(frozen=True)
class Searched:
    """What a search came to."""

    seconds: float  # of the search
    peak_bytes: int  # of anonymous memory since the process began
    accounts: Mapping[str, int]  # status → how many configurations

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {status}" for status, count in sorted(self.accounts.items())
        )


def searched(asked: Asked) -> Searched:
    """Search in this process, and measure."""
    with data.PeakMemory(0) as memory:
        sets, spec = asked.sets(), asked.spec()
        started = time.perf_counter()
        events = events_of(spec, sets, asked.workers)
        statuses = Counter(
            event.status for event in events if isinstance(event, Conclusion)
        )
        seconds = time.perf_counter() - started
    return Searched(seconds, memory.peak, statuses)


def measurements() -> list[data.Measured]:
    """Measure every part."""
    return [
        *memory_of_two_workers(300_000, 15),
        *one_search("many configurations", 50_000, 1_000),
        *one_search("many rows", 3_000_000, 40, MANY_ROWS_SECONDS, MANY_ROWS_GIGABYTES),
    ]


def memory_of_two_workers(rows: int, columns: int) -> list[data.Measured]:
    """The same configurations, none stopped early, by one worker and by two."""
    one, two = (
        data.in_own_process(searched, Asked(rows, columns, 18, workers, halving=False))
        for workers in (1, 2)
    )
    name = f"2 workers / 1, 18 configurations on {rows:,} x {columns}"
    ratio = two.peak_bytes / one.peak_bytes
    return data.shown(
        [data.Measured(f"peak memory, {name}", ratio, "x", MEMORY_OF_TWO_WORKERS)]
    )


def one_search(
    name: str,
    rows: int,
    count: int,
    most_seconds: float | None = None,
    most_gigabytes: float | None = None,
) -> list[data.Measured]:
    """A search with halving and as many workers as cores."""
    asked = Asked(rows, 15, count, joblib.cpu_count(), halving=True)
    found = data.in_own_process(searched, asked)
    peak = data.Measured(
        f"{name}: peak memory", found.peak_bytes / GIGABYTE, "GB", most_gigabytes
    )
    return data.shown(
        [
            data.Measured(
                f"{name}: {asked} ({found})", found.seconds, "s", most_seconds
            ),
            peak,
        ]
    )
