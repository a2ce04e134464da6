"""How well the sets are cut, by simulation with the truth known: coverage, false
alarms.

Tables are drawn from a model that is known, cut as an experiment cuts them, and judged
as an experiment judges them.
"""

import numpy as np
import pandas as pd
from numpy.random import Generator
from sklearn.linear_model import LogisticRegression

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.page import check_copies
from experiment_pipeline.statistics.scores import SetPrediction, score
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline_tests.bench.simulations import (
    anew,
)
from experiment_pipeline_tests.bench.tables import spec_of
from experiment_pipeline_tests.table.made_rows import cut_rows

TARGET = "bought"
ROWS, TRUE_ROWS = 8_000, 100_000
_SPLITS = {
    "random": {"by": "random"},
    "id": {"by": "random", "id_columns": ["id"]},
    "time": {"by": "time", "column": "day"},
    "column": {"by": "column", "column": "part"},
}


def _flags(rows: int, rng: Generator) -> pd.DataFrame:
    """People described by 14 skewed flags: most of them equal many others."""
    return _with_target(rng.random((rows, 14)) < np.linspace(0.03, 0.3, 14), rng)


def _measures(rows: int, rng: Generator) -> pd.DataFrame:
    """People described by 5 measures: none equals another."""
    return _with_target(rng.normal(size=(rows, 5)) / 2, rng)


def _four_times(rows: int, rng: Generator) -> pd.DataFrame:
    """Measures whose file was concatenated four times, labels and all."""
    once = _measures(rows // 4, rng)
    return pd.concat([once] * 4, ignore_index=True).rename_axis(index="row_number")


_TABLES = {
    "14 skewed flags": _flags,
    "5 measures": _measures,
    "every row four times": _four_times,
}


def _with_target(values: np.ndarray, rng: Generator) -> pd.DataFrame:
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


@anew
def score_is_held(rng: Generator, *, table: str, population: str, metric: str) -> bool:
    """Whether the interval of a score covers the true one.

    A linear model is fitted on the train rows; its interval is that of the validation
    rows, its true score that of many rows of the population, from which the table
    comes.
    """
    frame = _TABLES[table](ROWS, rng)
    # Another cut, too: under one seed the same of many equal rows are taken for every
    # table.
    spec = _experiment(seed=int(rng.integers(1_000_000)))
    features = _features(frame)
    sets = assign_sets(frame, spec, features)
    train, validation = (frame[sets == name] for name in ("train", "validation"))
    model = LogisticRegression(C=1.0).fit(train[features], train[TARGET])
    others = _TABLES[population](TRUE_ROWS, rng)
    true, seen = (
        model.predict_proba(part[features])[:, 1] for part in (others, validation)
    )
    clusters = resampling_clusters(validation, spec, features)
    rows = SetPrediction(validation[TARGET].to_numpy(), seen, clusters)
    interval = rows.interval(metric)
    return (
        interval.low <= score(metric, others[TARGET].to_numpy(), true) <= interval.high
    )


@anew
def is_blocked(rng: Generator, *, table: str, by: str, leaked: int = 0) -> bool:
    """Whether the check for leaks blocks sets that were split by id, time, column or
    random.

    `leaked` is the percentage of the rows that copy another row, which may be in another
    set.
    """
    spec, frame = _experiment(by), _TABLES[table](ROWS, rng)
    features = _features(frame)
    copies = rng.choice(ROWS, 2 * (leaked * ROWS // 100), replace=False).reshape(2, -1)
    columns = [*features, TARGET]
    frame.loc[copies[0], columns] = frame.loc[copies[1], columns].to_numpy()
    cut = cut_rows(frame, spec, features)
    return bool(check_copies(cut, spec, features).problems)
