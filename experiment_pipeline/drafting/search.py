"""The search of a first experiment: which algorithms, where, and why; sized for the table.

It takes minutes on two cores, up to millions of cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.statistics.metrics import METRICS

TRAIN_SHARE = 0.6
LARGE_CELLS = 20_000_000
# A forest grows by the row; on more rows each of its trees sees a part of them.
FOREST_ROWS = 30_000
MANY_FEATURES = 1_000
# Boosting grows a tree per class in each round, and the rounds go by the learning rate. With more
# classes the rates are those that are worth their time (20,000 rows, 16 features, 26 classes, one
# fit: log loss .380 at a rate of .05, .387 at .1, .421 at .2, .511 at .3).
MANY_CLASSES = 10
DRAWS_OF_A_BUDGET = 200


@dataclass(frozen=True)
class Proposal:
    """One entry of the search and why it is there."""

    entry: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Shape:
    """The facts about a table that decide its search."""

    task: str  # binary, multiclass or regression
    metric: str  # that ranks
    rows: int
    features: int  # columns that reach a model
    classes: int = 1  # of the target; 1 for regression
    texts: int = 0  # how many of the features are categories or texts
    many_texts: int = 0  # how many of these hold more different ones than codes tell apart
    seconds: float | None = None  # for search, refit, report; None: as few draws as take minutes


def propose_search(shape: Shape) -> tuple[Proposal, ...]:
    """Return boosted trees, a forest, a linear model and the baseline, in the order they start."""
    rows, regression = max(1, int(shape.rows * TRAIN_SHARE)), shape.task == "regression"
    many_classes, wide = shape.classes > MANY_CLASSES, shape.features > MANY_FEATURES
    # Cells that one round of boosting reads.
    cells = rows * shape.features * (shape.classes if shape.task == "multiclass" else 1)
    draws = 10 if cells > LARGE_CELLS else 12 if many_classes else 20
    # Where codes do not tell all texts apart, the search chooses among other encoders.
    encoders = {"features": ["ordinal", "target", "text"]} if shape.many_texts else {}
    first = {"algorithm": "lightgbm", "configurations": [{}, {"extra_trees": True}], **encoders}
    drawn = {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": draws if shape.seconds is None else DRAWS_OF_A_BUDGET,
        **encoders,
        "hyperparameters": _lightgbm_space(shape, rows),
    }
    boosted = "boosted trees: on most tables the best"
    if many_classes:
        boosted += (
            f"; each round grows {shape.classes} of them, so few draws, and none that learns slowly"
        )
    forest: dict[str, Any] = {"n_estimators": 200 if cells <= LARGE_CELLS / 20 else 100}
    if regression or wide:
        forest["max_features"] = "sqrt" if wide else 0.33
    if rows > FOREST_ROWS:
        forest["max_samples"] = float(f"{FOREST_ROWS / rows:.2g}")
    forest["min_samples_leaf"] = [1, 3, 10] if rows < FOREST_ROWS else [5, 20]
    strength = {"alpha": [0.1, 1.0, 10.0]} if regression else {"C": [0.01, 0.1, 1.0]}
    return (
        Proposal(first, "boosted trees by their defaults, and with random splits: fitted first"),
        Proposal(drawn, boosted),
        Proposal(
            {"algorithm": "random_forest", "hyperparameters": forest},
            "many trees on random parts of the table: robust",
        ),
        Proposal(
            {"algorithm": "linear", "hyperparameters": strength},
            "if it comes close to the trees, prefer it: it can be explained",
        ),
        Proposal({"algorithm": "dummy"}, "ignores the features: what all must beat"),
    )


def _lightgbm_space(shape: Shape, rows: int) -> dict[str, Any]:
    space: dict[str, Any] = {
        "learning_rate": _log(0.05, 0.12) if shape.classes > MANY_CLASSES else _log(0.02, 0.2),
        "num_leaves": _log(4, 127 if rows >= 50_000 else 63 if rows >= 2_000 else 15),
        "min_data_in_leaf": _log(2, min(200, max(10, rows // 20))),
        "feature_fraction": {"low": 0.4, "high": 1.0},
        "bagging_fraction": {"low": 0.6, "high": 1.0},
        "extra_trees": [False, True],
        "lambda_l2": _log(0.01, 10.0),
    }
    if shape.texts:  # how far the rows of a category are trusted
        space |= {"cat_smooth": _log(1.0, 100.0), "cat_l2": _log(0.3, 30.0)}
        space["min_data_per_group"] = _log(2, 100)
    # Both ways to boost towards a median: which is better depends on the table.
    if METRICS[shape.metric].objective.get("objective") == "regression_l1":
        space["objective"] = ["regression_l1", "regression"]
    return space


def _log(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": "log"}
