"""How well the sets are cut, by simulation with the truth known: coverage, false alarms, moves.

Tables are drawn from a model that is known, cut as an experiment cuts them, and judged as an
experiment judges them. In: how many tables, a seed. Out: shares between 0 and 1. How they are
shown, and which are good enough, belongs to the benchmark.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.page import check_copies
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline_tests.table.made_rows import cut_rows

TARGET = "bought"
TRUE_ROWS = 100_000
N_FLAGS = 14
Table = Callable[[int, np.random.Generator], pd.DataFrame]
_SCORES = {"roc_auc": roc_auc_score, "log_loss": log_loss}


def flags(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return people described by 14 skewed flags: most of them equal many others."""
    shares = np.linspace(0.03, 0.3, N_FLAGS)
    return _with_target(rng.random((rows, N_FLAGS)) < shares, rng)


def measures(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return people described by 5 measures: none equals another."""
    return _with_target(rng.normal(size=(rows, 5)) / 2, rng)


def jobs(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return employees of whom some share department and title; the title fixes the department."""
    title = np.minimum(rng.zipf(1.4, rows), 500)
    codes = np.column_stack([title % 20, title, rng.integers(0, 10, rows)])
    frame = _with_target(codes / np.array([20, 500, 10]), rng)
    return frame.assign(f0=codes[:, 0], f1=codes[:, 1])


def four_times(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return measures whose file was concatenated four times, labels and all."""
    once = measures(rows // 4, rng)
    return pd.concat([once] * 4, ignore_index=True).rename_axis(index="row_number")


def experiment(by: str = "random", seed: int = 0) -> ExperimentSpec:
    """Return an experiment on such rows that splits them in one of the ways, or by their id."""
    split: dict[str, object] = {
        "random": {"by": "random", "seed": seed},
        "id": {"by": "random", "id_columns": ["id"]},
        "time": {"by": "time", "column": "day"},
        "column": {"by": "column", "column": "part"},
    }[by]
    return ExperimentSpec.model_validate(
        {
            "name": "simulated",
            "data": "simulated.csv",
            "target": TARGET,
            "task": "binary",
            "metric": "roc_auc",
            "positive_class": 1,
            "split": split,
            "search": [{"algorithm": "linear"}],
        }
    )


def features_of(frame: pd.DataFrame) -> list[str]:
    """Return the feature columns of such a table."""
    return [name for name in frame.columns if name.startswith("f")]


def coverage_of_score(
    tables: int, seed: int, *, table: Table, population: Table, metric: str, rows: int = 8_000
) -> float:
    """Return how often the interval of a score covers the true one.

    A linear model is fitted on the train rows; its interval is that of the validation rows, its
    true score that of many rows of the population, from which the table comes.
    """
    draws = _draws(tables, seed)
    return float(np.mean([_covers(table, population, metric, rows, draw) for draw in draws]))


def share_blocked(
    tables: int, seed: int, *, table: Table, by: str, rows: int = 8_000, leaked: float = 0.0
) -> float:
    """Return how often the check for leaks blocks sets that were split by id, time, column or random.

    `leaked` is the share of the rows that copy another row, which may be in another set.
    """
    spec, draws = experiment(by), _draws(tables, seed)
    return float(np.mean([_blocked(table, spec, rows, leaked, draw) for draw in draws]))


def moved_by_adding(
    tables: int, seed: int, *, table: Table, added: int = 2, rows: int = 5_000
) -> float:
    """Return which share of the rows changes its set when some are added, at the worst table.

    Rows equal in features and target are one and the same to a model: their numbers in each set
    are compared.
    """
    return max(_moved(table, added, rows, draw) for draw in _draws(tables, seed)) / rows


def _draws(tables: int, seed: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng([seed, number]) for number in range(tables))


def _moved(table: Table, added: int, rows: int, rng: np.random.Generator) -> int:
    frame = table(rows + added, rng)
    spec, features = experiment(), features_of(frame)
    before, after = (
        part.assign(set=assign_sets(part, spec, features).astype("str")).value_counts(
            [*features, TARGET, "set"]
        )
        for part in (frame[:rows], frame)
    )
    return int((before - after.reindex(before.index, fill_value=0)).clip(lower=0).sum())


def _with_target(values: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Name the features, and draw a target that follows a logistic model of them."""
    n, d = values.shape
    frame = pd.DataFrame(values.astype(float), columns=[f"f{i}" for i in range(d)])
    effects = np.linspace(-1.5, 2, d)
    chance = 1 / (1 + np.exp(-(values @ effects - 0.5)))
    return frame.assign(
        **{
            TARGET: (rng.random(n) < chance).astype(int),
            "id": np.arange(n),
            "day": np.arange(n),
            "part": rng.choice(["train", "test", "validation"], n, p=[0.6, 0.2, 0.2]),
        }
    ).rename_axis(index="row_number")


def _covers(
    table: Table, population: Table, metric: str, rows: int, rng: np.random.Generator
) -> bool:
    frame = table(rows, rng)
    # Another cut, too: under one seed the same of many equal rows are taken for every table.
    spec, features = experiment(seed=int(rng.integers(1_000_000))), features_of(frame)
    sets = assign_sets(frame, spec, features)
    train, validation = (frame[sets == name] for name in ("train", "validation"))
    model = LogisticRegression(C=1.0).fit(train[features], train[TARGET])
    others = population(TRUE_ROWS, rng)
    true, predicted = (model.predict_proba(part[features])[:, 1] for part in (others, validation))
    clusters = resampling_clusters(validation, spec, features)
    found = SetPrediction(validation[TARGET].to_numpy(), predicted, clusters).interval(metric)
    return bool(found.low <= _SCORES[metric](others[TARGET], true) <= found.high)


def _blocked(
    table: Table, spec: ExperimentSpec, rows: int, leaked: float, rng: np.random.Generator
) -> bool:
    frame = table(rows, rng)
    features = features_of(frame)
    copies = rng.choice(rows, 2 * int(leaked * rows), replace=False).reshape(2, -1)
    columns = [*features, TARGET]
    frame.loc[copies[0], columns] = frame.loc[copies[1], columns].to_numpy()
    sets = cut_rows(frame, spec, features)
    return bool(check_copies(sets, spec, features)[0])
