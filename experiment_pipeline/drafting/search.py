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


# How far the rows of a category are trusted.
_CATEGORIES: Mapping[str, Any] = {
    "cat_smooth": {"low": 1.0, "high": 100.0, "scale": "log"},
    "cat_l2": {"low": 0.3, "high": 30.0, "scale": "log"},
    "min_data_per_group": {"low": 2, "high": 100, "scale": "log"},
}


@dataclass(frozen=True)
class Proposal:
    """One entry of the search and why it is there."""

    entry: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Shape:
    """The facts about a table that decide its search.

    Attributes:
        task: binary, multiclass or regression.
        metric: that ranks.
        rows: of the table.
        features: columns that reach a model.
        classes: of the target; 1 for regression.
        texts: how many of the features are categories or texts.
        many_texts: how many of these hold more different ones than codes tell apart.
        seconds: for search, refit and report; None: as few draws as take minutes.
    """

    task: str
    metric: str
    rows: int
    features: int
    classes: int = 1
    texts: int = 0
    many_texts: int = 0
    seconds: float | None = None

    @property
    def train_rows(self) -> int:
        """Rows to fit on, roughly."""
        return max(1, int(self.rows * TRAIN_SHARE))

    @property
    def cells(self) -> int:
        """Cells that one round of boosting reads."""
        trees = self.classes if self.task == "multiclass" else 1
        return self.train_rows * self.features * trees


def propose_search(shape: Shape) -> tuple[Proposal, ...]:
    """Return boosted trees, a forest, a linear model and the baseline, sized for the table.

    They start in this order where the time does not suffice for all: LightGBM's defaults, and the
    same with extremely random trees, before the draws.
    """
    boosted = "boosted trees: on most tables the best"
    if shape.classes > MANY_CLASSES:
        boosted += (
            f"; each round grows {shape.classes} of them, so few draws, and none that learns slowly"
        )
    # Where codes do not tell all texts apart, the search chooses among other encoders.
    encoders = {"features": ["ordinal", "target", "text"]} if shape.many_texts else {}
    first = {"algorithm": "lightgbm", "configurations": [{}, {"extra_trees": True}], **encoders}
    strength = {"C": [0.01, 0.1, 1.0]}
    if shape.task == "regression":
        strength = {"alpha": [0.1, 1.0, 10.0]}
    return (
        Proposal(first, "boosted trees by their defaults, and with random splits: fitted first"),
        Proposal(_lightgbm(shape, encoders), boosted),
        Proposal(_forest(shape), "many trees on random parts of the table: robust"),
        Proposal(
            {"algorithm": "linear", "hyperparameters": strength},
            "if it comes close to the trees, prefer it: it can be explained",
        ),
        Proposal({"algorithm": "dummy"}, "ignores the features: what all must beat"),
    )


def _lightgbm(shape: Shape, encoders: Mapping[str, Any]) -> dict[str, Any]:
    rows, many_classes = shape.train_rows, shape.classes > MANY_CLASSES
    leaves = 127 if rows >= 50_000 else 63 if rows >= 2_000 else 15
    slowest, fastest = (0.05, 0.12) if many_classes else (0.02, 0.2)
    draws = 10 if shape.cells > LARGE_CELLS else 12 if many_classes else 20
    # Both ways to boost towards a median: which is better depends on the table.
    objective = METRICS[shape.metric].objective.get("objective")
    both = {"objective": [objective, "regression"]} if objective == "regression_l1" else {}
    return {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": draws if shape.seconds is None else DRAWS_OF_A_BUDGET,
        **encoders,
        "hyperparameters": {
            "learning_rate": _log(slowest, fastest),
            "num_leaves": _log(4, leaves),
            "min_data_in_leaf": _log(2, min(200, max(10, rows // 20))),
            "feature_fraction": {"low": 0.4, "high": 1.0},
            "bagging_fraction": {"low": 0.6, "high": 1.0},
            "extra_trees": [False, True],
            "lambda_l2": _log(0.01, 10.0),
            **(_CATEGORIES if shape.texts else {}),
            **both,
        },
    }


def _log(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": "log"}


def _forest(shape: Shape) -> dict[str, Any]:
    features, train_rows = shape.features, shape.train_rows
    settings: dict[str, Any] = {"n_estimators": 200 if shape.cells <= LARGE_CELLS / 20 else 100}
    if shape.task == "regression" or features > MANY_FEATURES:
        settings["max_features"] = "sqrt" if features > MANY_FEATURES else 0.33
    if train_rows > FOREST_ROWS:
        settings["max_samples"] = float(f"{FOREST_ROWS / train_rows:.2g}")
    leaves = [1, 3, 10] if train_rows < FOREST_ROWS else [5, 20]
    return {
        "algorithm": "random_forest",
        "hyperparameters": {**settings, "min_samples_leaf": leaves},
    }
