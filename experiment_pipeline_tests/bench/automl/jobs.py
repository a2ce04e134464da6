"""What every tool is given, and the judge of what it returns: the same rows by the same
seed.

In: a table of the bench and a seed. Out: a folder as `runners/contract.py` reads it; a
score.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.table.features import encode_target
from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.automl.runners.contract import GROUP, TARGET
from experiment_pipeline_tests.bench.tables import Table


@dataclass(frozen=True, eq=False)
class Job:
    """A table cut by one seed, typed but not prepared: dates are dates, texts are
    texts.
    """

    table: Table  # of the bench
    seed: int  # of the cut and of the tools
    # set → features and target, with the group where the split goes by one
    parts: Mapping[str, pd.DataFrame]
    # of the target as texts, as the judge codes them; None for regression
    classes: tuple[str, ...] | None
    y_validation: np.ndarray  # (n_validation,) as the judge takes it
    digest: str  # of all rows
    time: str | None = None  # the column that the split goes by, where it goes by time

    def write(self, folder: Path, seconds: float) -> None:
        """Write what a tool is given; validation rows without target."""
        folder.mkdir(parents=True)
        for name, part in self.parts.items():
            hidden = [TARGET] if name == "validation" else []
            part.drop(columns=hidden).to_parquet(folder / f"{name}.parquet")
        kept = self.parts["validation"].columns.intersection([TARGET, GROUP])
        self.parts["validation"][kept].to_parquet(folder / "validation_target.parquet")
        positive = (
            self.classes[1] if self.table.task == "binary" and self.classes else None
        )
        said = {
            "table": self.table.name,
            "task": self.table.task,
            "metric": self.table.metric,
            "greater_is_better": METRICS[self.table.metric].sign > 0,
            "positive_class": positive,
            "seed": self.seed,
            "seconds": seconds,
            "time": self.time,
            "spawned": time.monotonic(),
        }
        (folder / "job.json").write_text(json.dumps(said))

    def score(self, predictions: np.ndarray, classes: list[str] | None) -> float:
        """Score (n,) numbers, or (n, classes) probabilities, of the validation rows."""
        if self.classes is not None and classes is not None:
            # A class that a tool has not seen gets no probability.
            found = pd.DataFrame(predictions, columns=classes)
            predictions = found.reindex(
                columns=list(self.classes), fill_value=0.0
            ).to_numpy()
        if self.table.task == "binary":
            predictions = predictions[:, 1]
        if not np.isfinite(predictions).all():
            raise ValueError("predictions that are not finite")
        return scores.score(self.table.metric, self.y_validation, predictions)


def job_of(table: Table, seed: int) -> Job:
    """Cut a table as its experiment does."""
    cut = tables.cut(table, seed)
    train, test = cut.sets.train, cut.sets.test
    calendar = cut.spec.preparation.calendar
    derived = {f"{name}_{part}" for name, parts in calendar.items() for part in parts}
    split = cut.spec.split
    time = split.column if split.by == "time" else None
    dropped = [*((set(cut.spec.not_features) | derived) & set(train.columns)) - {time}]
    parts = {}
    for name, part in (
        ("train", train),
        ("test", test),
        ("validation", cut.validation),
    ):
        target = part[table.target]
        if cut.sets.classes is not None:
            codes = encode_target(target, cut.sets.classes)
            target = pd.Series(
                [str(cut.sets.classes[code]) for code in codes], part.index
            )
        more = {TARGET: target}
        if split.by == "group":
            more[GROUP] = part[split.column]
        given = part.drop(columns=dropped).assign(**more)
        parts[name] = given if time is None else given.sort_values(time, kind="stable")
    classes = cut.sets.classes and tuple(str(one) for one in cut.sets.classes)
    y_validation = pd.Series(cut.y_validation, cut.validation.index)
    y_validation = y_validation[parts["validation"].index].to_numpy()
    return Job(table, seed, parts, classes, y_validation, _digest(parts, table), time)


def _digest(parts: Mapping[str, pd.DataFrame], table: Table) -> str:
    found = hashlib.sha256(f"{table.task} {table.metric}".encode())
    for name, part in parts.items():
        found.update(f"{name} {list(part.columns)}".encode())
        found.update(pd.util.hash_pandas_object(part).to_numpy().tobytes())
    return found.hexdigest()[:16]
