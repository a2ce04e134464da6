"""What every tool is given and must leave behind; imported by the scripts beside it.

In: a folder with job.json and the tables as Parquet. Out, in the same folder: the
stored model, predictions.npy and result.json. A tool fits and stores, is loaded again,
and predicts.
"""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# Two, or the one that `taskset` has left.
CORES = min(2, len(os.sched_getaffinity(0)))
REPEATS = 3
TARGET, GROUP = "__target__", "__group__"


@dataclass(frozen=True, eq=False)
class Job:
    """One table, one seed."""

    folder: Path  # where everything lies
    said: dict[
        str, Any
    ]  # job.json: table, task, metric, positive_class, seconds, seed, time, …
    train: pd.DataFrame  # (n_train, d) features
    test: pd.DataFrame  # (n_test, d) features
    validation: pd.DataFrame  # (n_validation, d) features
    y_train: pd.Series  # target; texts for classes
    y_test: pd.Series  # target
    groups: (
        np.ndarray | None
    )  # (n_train + n_test,) what must not be torn apart; None = nothing

    @property
    def model(self) -> Path:
        """Where the tool stores its model: a file or a folder."""
        return self.folder / "model"

    @property
    def rows(self) -> pd.DataFrame:
        """Train and test rows, of which a tool may do with as it likes."""
        return pd.concat([self.train, self.test], ignore_index=True)

    @property
    def y(self) -> pd.Series:
        """The target of `rows`."""
        return pd.concat([self.y_train, self.y_test], ignore_index=True)

    @property
    def classification(self) -> bool:
        """Whether probabilities are asked for."""
        return self.said["task"] != "regression"

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """Read what `jobs.py` wrote."""
        said = json.loads((folder / "job.json").read_text())
        tables = {
            p: pd.read_parquet(folder / f"{p}.parquet") for p in ("train", "test")
        }
        ys = {name: table.pop(TARGET) for name, table in tables.items()}
        groups = [table.pop(GROUP) for table in tables.values() if GROUP in table]
        validation = pd.read_parquet(folder / "validation.parquet")
        return cls(
            folder,
            said,
            tables["train"],
            tables["test"],
            validation.drop(columns=GROUP, errors="ignore"),
            ys["train"],
            ys["test"],
            np.concatenate(groups) if groups else None,
        )


@dataclass(frozen=True)
class Claim:
    """What a tool says of the model that it hands out."""

    said: str  # about itself, in a few words
    score: float  # that it expects on new rows, by train and test rows alone
    # bounds of that score, where it tells them
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Loaded:
    """A stored model, loaded again."""

    predict: Callable[
        [pd.DataFrame], Any
    ]  # features → (n,) numbers, or (n, classes) probabilities
    classes: Sequence[Any] | None = None  # of the columns of probabilities


def run(
    fit: Callable[[Job], Claim],
    load: Callable[[Job], Loaded],
    libraries: Sequence[str],
) -> None:
    """Fit and store, load, predict; write what that took and what `fit` claims.

    `libraries` are imported before the clock starts: tools would import them while they
    fit.
    """
    for library in libraries:
        import_module(library)
    job = Job.read(Path(sys.argv[1]))
    started = time.monotonic()
    claim = fit(job)
    ended = time.monotonic()
    cpu = sum(
        _cpu_seconds(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    loaded = load(job)
    predictions = np.asarray(loaded.predict(job.validation), dtype=float)
    predicting = min(_seconds(loaded, job.validation) for _ in range(REPEATS))
    np.save(job.folder / "predictions.npy", predictions)
    found = {
        "start_seconds": started - job.said["spawned"],
        "fit_seconds": ended - started,
        "cpu_seconds": cpu,
        "predict_seconds_per_1000": predicting / len(job.validation) * 1000,
        "model_bytes": _size(job.model),
        "classes": None
        if loaded.classes is None
        else [str(one) for one in loaded.classes],
        "said": claim.said,
        "claimed": claim.score,
        "low": claim.low,
        "high": claim.high,
    }
    (job.folder / "result.json").write_text(json.dumps(found))


def _seconds(loaded: Loaded, rows: pd.DataFrame) -> float:
    started = time.perf_counter()
    loaded.predict(rows)
    return time.perf_counter() - started


def _cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _size(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(file.stat().st_size for file in files if file.is_file())
