"""How well the sets are cut, by simulation with the truth known: coverage, false alarms, moves.

Tables are drawn from a model that is known, cut as an experiment cuts them, and judged as an
experiment judges them. In: how many draws. Out: shares and counts. How they are shown, and
which are good enough, belongs to the benchmark.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from experiment_pipeline.core.intervals import interval_of, spread
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.split_sets import (
    assign_sets,
    check_leaks,
    resampling_units,
    split,
)

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


def repeated(table: Table, times: int) -> Table:
    """Return a maker of tables whose file was concatenated some times, labels and all."""

    def made(rows: int, rng: np.random.Generator) -> pd.DataFrame:
        once = table(rows // times, rng)
        return pd.concat([once] * times, ignore_index=True).rename_axis(index="row_number")

    return made


def experiment(by: str = "random") -> ExperimentSpec:
    """Return an experiment on such rows that splits them in one of the ways, or by their id."""
    split: dict[str, object] = {
        "random": {"by": "random"},
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


def coverage_of_score(table: Table, population: Table, metric: str, draws: int, rows: int) -> float:
    """Return in which share of the draws the interval of a score covers the true one.

    A linear model is fitted on the train rows; its interval is that of the validation rows, its
    true score that of many rows that were never drawn.

    Args:
        table: what is delivered, such as copies.
        population: where its rows come from.
        metric: roc_auc or log_loss.
        draws: of the table.
        rows: of each table.
    """
    covered = [_covers(table, population, metric, rows, seed) for seed in range(draws)]
    return float(np.mean(covered))


def share_blocked(table: Table, by: str, draws: int, rows: int, leaked: float = 0.0) -> float:
    """Return in which share of the draws the check for leaks blocks the sets.

    Args:
        table: what is delivered.
        by: id, time, column or random.
        draws: of the table.
        rows: of each table.
        leaked: share of the rows that copy another row, which may be in another set.
    """
    spec = experiment(by)
    return float(np.mean([_blocked(table, spec, rows, leaked, seed) for seed in range(draws)]))


def moved_by_adding(table: Table, added: int, rows: int, seed: int) -> int:
    """Return how many of the rows change their set when some are added to them.

    Rows equal in features and target are one and the same to a model: their numbers in each set
    are compared.
    """
    frame = table(rows + added, np.random.default_rng(seed))
    spec, features = experiment(), features_of(frame)
    before, after = (
        part.assign(set=assign_sets(part, spec, features)).value_counts([*features, TARGET, "set"])
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


def _covers(table: Table, population: Table, metric: str, rows: int, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    frame, spec = table(rows, rng), experiment()
    features = features_of(frame)
    sets = assign_sets(frame, spec, features)
    train, validation = (frame[sets == name] for name in ("train", "validation"))
    model = LogisticRegression(C=1.0).fit(train[features], train[TARGET])
    others = population(TRUE_ROWS, rng)
    true, predicted = (model.predict_proba(part[features])[:, 1] for part in (others, validation))
    units = resampling_units(validation, spec, features)
    found = interval_of(metric, spread(metric, validation[TARGET].to_numpy(), predicted, units))
    return bool(found.low <= _SCORES[metric](others[TARGET], true) <= found.high)


def _blocked(table: Table, spec: ExperimentSpec, rows: int, leaked: float, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    frame = table(rows, rng)
    features = features_of(frame)
    copies = rng.choice(rows, 2 * int(leaked * rows), replace=False).reshape(2, -1)
    columns = [*features, TARGET]
    frame.loc[copies[0], columns] = frame.loc[copies[1], columns].to_numpy()
    return bool(check_leaks(split(frame, spec, features), spec, features))
