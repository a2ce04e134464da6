"""How well the sets are cut, by simulation with the truth known: coverage, false
alarms, moves.

Tables are drawn from a model that is known, cut as an experiment cuts them, and judged
as an experiment judges them.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.page import check_copies
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline_tests.bench.statistics_rows import (
    COVERED,
    NEARLY_ALWAYS,
    NEVER,
    Aim,
    each,
)
from experiment_pipeline_tests.bench.tables import spec_of
from experiment_pipeline_tests.table.made_rows import cut_rows

TARGET = "bought"
ROWS, TRUE_ROWS = 8_000, 100_000
_SCORES = {"roc_auc": roc_auc_score, "log_loss": log_loss}
_SPLITS = {
    "random": {"by": "random"},
    "id": {"by": "random", "id_columns": ["id"]},
    "time": {"by": "time", "column": "day"},
    "column": {"by": "column", "column": "part"},
}


def _flags(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """People described by 14 skewed flags: most of them equal many others."""
    return _with_target(rng.random((rows, 14)) < np.linspace(0.03, 0.3, 14), rng)


def _measures(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """People described by 5 measures: none equals another."""
    return _with_target(rng.normal(size=(rows, 5)) / 2, rng)


def _jobs(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Employees of whom some share department and title; the title fixes the
    department.
    """
    title = np.minimum(rng.zipf(1.4, rows), 500)
    codes = np.column_stack([title % 20, title, rng.integers(0, 10, rows)])
    frame = _with_target(codes / np.array([20, 500, 10]), rng)
    return frame.assign(f0=codes[:, 0], f1=codes[:, 1])


def _four_times(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Measures whose file was concatenated four times, labels and all."""
    once = _measures(rows // 4, rng)
    return pd.concat([once] * 4, ignore_index=True).rename_axis(index="row_number")


_TABLES = {
    "14 skewed flags": _flags,
    "5 measures": _measures,
    "department and title": _jobs,
    "every row four times": _four_times,
}


def _with_target(values: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Name the features, and draw a target that follows a logistic model of them."""
    n, d = values.shape
    frame = pd.DataFrame(values.astype(float), columns=[f"f{i}" for i in range(d)])
    chance = 1 / (1 + np.exp(-(values @ np.linspace(-1.5, 2, d) - 0.5)))
    return frame.assign(
        **{
            TARGET: (rng.random(n) < chance).astype(int),
            "id": np.arange(n),
            "day": np.arange(n),
            "part": rng.choice(["train", "test", "validation"], n, p=[0.6, 0.2, 0.2]),
        }
    ).rename_axis(index="row_number")


def _experiment(by: str = "random", **more: object) -> ExperimentSpec:
    return spec_of(
        "binary", "roc_auc", TARGET, positive_class=1, split=_SPLITS[by] | more
    )


def _features(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.startswith("f")]


def _generators(tables: int, seed: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng([seed, number]) for number in range(tables))


def coverage_of_score(
    tables: int, seed: int, *, table: str, population: str, metric: str
) -> float:
    """Return how often the interval of a score covers the true one.

    A linear model is fitted on the train rows; its interval is that of the validation
    rows, its true score that of many rows of the population, from which the table
    comes.
    """
    covered = 0
    for rng in _generators(tables, seed):
        frame = _TABLES[table](ROWS, rng)
        # Another cut, too: under one seed the same of many equal rows are taken for
        # every table.
        spec, features = (
            _experiment(seed=int(rng.integers(1_000_000))),
            _features(frame),
        )
        sets = assign_sets(frame, spec, features)
        train, validation = (frame[sets == name] for name in ("train", "validation"))
        model = LogisticRegression(C=1.0).fit(train[features], train[TARGET])
        others = _TABLES[population](TRUE_ROWS, rng)
        true, seen = (
            model.predict_proba(part[features])[:, 1] for part in (others, validation)
        )
        clusters = resampling_clusters(validation, spec, features)
        found = SetPrediction(validation[TARGET].to_numpy(), seen, clusters).interval(
            metric
        )
        covered += found.low <= _SCORES[metric](others[TARGET], true) <= found.high
    return covered / tables


def share_blocked(
    tables: int, seed: int, *, table: str, by: str, leaked: float = 0.0
) -> float:
    """Return how often the check for leaks blocks sets that were split by id, time,
    column or random.

    `leaked` is the share of the rows that copy another row, which may be in another
    set.
    """
    spec, blocked = _experiment(by), 0
    for rng in _generators(tables, seed):
        frame = _TABLES[table](ROWS, rng)
        features = _features(frame)
        copies = rng.choice(ROWS, 2 * int(leaked * ROWS), replace=False).reshape(2, -1)
        columns = [*features, TARGET]
        frame.loc[copies[0], columns] = frame.loc[copies[1], columns].to_numpy()
        blocked += bool(
            check_copies(cut_rows(frame, spec, features), spec, features).problems
        )
    return blocked / tables


def moved_by_adding(tables: int, seed: int, *, table: str) -> float:
    """Return which share of the rows changes its set when some are added, at the worst
    table.

    Rows equal in features and target are one and the same to a model: their numbers in
    each set are compared.
    """
    spec, moved, rows, added = _experiment(), list[int](), 5_000, 2
    for rng in _generators(tables, seed):
        frame = _TABLES[table](rows + added, rng)
        features = _features(frame)
        before, after = (
            part.assign(
                set=assign_sets(part, spec, features).astype("str")
            ).value_counts([*features, TARGET, "set"])
            for part in (frame[:rows], frame)
        )
        fewer = (before - after.reindex(before.index, fill_value=0)).clip(lower=0)
        moved.append(int(fewer.sum()))
    return max(moved) / rows


_COVERED = {
    f"{table}: the interval of {{metric}} holds the truth": {
        "table": table,
        "population": population,
        "metric": [*_SCORES],
    }
    for table, population in (
        ("14 skewed flags",) * 2,
        ("every row four times", "5 measures"),
    )
}
_CLEAN = {
    "table": ["14 skewed flags", "5 measures", "department and title"],
    "by": [*_SPLITS],
}
_LEAKED = {"table": "5 measures", "by": "column", "leaked": [0.05, 0.2]}
_MOVED = "{table}: rows of 5,000 that move when two are added, at the worst"
MEMBERSHIP = (
    *each(COVERED, 500, coverage_of_score, _COVERED),
    *each(NEVER, 50, share_blocked, {"{table}, by {by}: blocked": _CLEAN}),
    *each(
        NEARLY_ALWAYS,
        50,
        share_blocked,
        {
            "a share of {leaked} of the rows copied before sets were named: blocked": _LEAKED
        },
    ),
    *each(Aim(high=0.001), 50, moved_by_adding, {_MOVED: {"table": [*_TABLES]}}),
)
