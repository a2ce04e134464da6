"""A first search: enough to see what the table holds, small enough to run over a coffee.

In: task and size of the table. Out: entries of `spec.search`, each with its reason. Sizes are
chosen so that the whole search stays within minutes on two cores up to millions of cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRAIN_SHARE = 0.6
LARGE_CELLS = 20_000_000
# A forest grows by the row; on more rows each of its trees sees a part of them.
FOREST_ROWS = 30_000
MANY_FEATURES = 1_000
# Boosting grows a tree per class in each round, and the rounds go by the learning rate. With more
# classes the rates are those that are worth their time (20,000 rows, 16 features, 26 classes, one
# fit: log loss .380 at a rate of .05, .387 at .1, .421 at .2, .511 at .3).
MANY_CLASSES = 10


@dataclass(frozen=True)
class Proposal:
    """One entry of the search and why it is there."""

    entry: Mapping[str, Any]
    why: str


def propose_search(task: str, rows: int, features: int, classes: int) -> tuple[Proposal, ...]:
    """Return boosted trees, a forest, a linear model and the baseline, sized for the table.

    Args:
        task: binary, multiclass or regression.
        rows: of the table.
        features: columns that reach a model.
        classes: of the target; 1 for regression.
    """
    train_rows = max(1, int(rows * TRAIN_SHARE))
    cells = train_rows * features * (classes if task == "multiclass" else 1)
    boosted = "boosted trees: on most tables the best"
    if classes > MANY_CLASSES:
        boosted += (
            f"; each round grows {classes} of them, so few draws, and none that learns slowly"
        )
    return (
        Proposal(_lightgbm(train_rows, cells, classes), boosted),
        Proposal(
            _forest(train_rows, features, task, cells),
            "many trees on random parts of the table: hard to get wrong",
        ),
        Proposal(_linear(task), "if it comes close to the trees, prefer it: it can be explained"),
        Proposal({"algorithm": "dummy"}, "knows nothing of the features: what all must beat"),
    )


def _lightgbm(train_rows: int, cells: int, classes: int) -> dict[str, Any]:
    leaves = 127 if train_rows >= 50_000 else 63 if train_rows >= 2_000 else 15
    many_classes = classes > MANY_CLASSES
    largest_leaf = min(200, max(10, train_rows // 20))
    return {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": 10 if cells > LARGE_CELLS else 12 if many_classes else 20,
        "hyperparameters": {
            "learning_rate": {
                "low": 0.05 if many_classes else 0.02,
                "high": 0.12 if many_classes else 0.2,
                "scale": "log",
            },
            "num_leaves": {"low": 4, "high": leaves, "scale": "log"},
            "min_data_in_leaf": {"low": 3, "high": largest_leaf, "scale": "log"},
            "feature_fraction": {"low": 0.5, "high": 1.0},
            "lambda_l2": {"low": 0.01, "high": 10.0, "scale": "log"},
        },
    }


def _forest(train_rows: int, features: int, task: str, cells: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"n_estimators": 200 if cells <= LARGE_CELLS / 20 else 100}
    if task == "regression" or features > MANY_FEATURES:
        settings["max_features"] = "sqrt" if features > MANY_FEATURES else 0.33
    if train_rows > FOREST_ROWS:
        settings["max_samples"] = float(f"{FOREST_ROWS / train_rows:.2g}")
    leaves = [1, 3, 10] if train_rows < FOREST_ROWS else [5, 20]
    return {
        "algorithm": "random_forest",
        "hyperparameters": {**settings, "min_samples_leaf": leaves},
    }


def _linear(task: str) -> dict[str, Any]:
    strength = {"alpha": [0.1, 1.0, 10.0]} if task == "regression" else {"C": [0.01, 0.1, 1.0]}
    return {"algorithm": "linear", "hyperparameters": strength}
