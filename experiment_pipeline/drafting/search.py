"""The search of a first experiment: which algorithms, where, and why; sized for the table.

It stays within minutes on two cores up to millions of cells. What a table is asked lives in
`decisions.py`. In: the size of a table and what is asked. Out: entries of `search`, in the order in
which they are begun where there may be no time for all: LightGBM's own defaults and the same with
extremely random trees, before the draws (a learned portfolio in that place was not better everywhere).
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
    """What of a table decides its search.

    Attributes:
        task: binary, multiclass or regression.
        metric: that ranks.
        rows: of the table.
        features: columns that reach a model.
        classes: of the target; 1 for regression.
        texts: how many of the features are categories or texts.
        many_texts: how many of these hold more different ones than codes tell apart.
        seconds: that search, refit and report may take; None: as few draws as take minutes.
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
        """What a round of boosting goes over."""
        trees = self.classes if self.task == "multiclass" else 1
        return self.train_rows * self.features * trees


def propose_search(shape: Shape) -> tuple[Proposal, ...]:
    """Return boosted trees, a forest, a linear model and the baseline, sized for the table."""
    boosted = "boosted trees: on most tables the best"
    if shape.classes > MANY_CLASSES:
        boosted += (
            f"; each round grows {shape.classes} of them, so few draws, and none that learns slowly"
        )
    first = {"algorithm": "lightgbm", "configurations": [{}, {"extra_trees": True}]}
    return (
        Proposal(
            first | _encoders(shape),
            "boosted trees by their defaults, and with splits at random: begun first",
        ),
        Proposal(_lightgbm(shape), boosted),
        Proposal(_forest(shape), "many trees on random parts of the table: hard to get wrong"),
        Proposal(
            _linear(shape.task), "if it comes close to the trees, prefer it: it can be explained"
        ),
        Proposal({"algorithm": "dummy"}, "knows nothing of the features: what all must beat"),
    )


def _lightgbm(shape: Shape) -> dict[str, Any]:
    rows, many_classes = shape.train_rows, shape.classes > MANY_CLASSES
    leaves = 127 if rows >= 50_000 else 63 if rows >= 2_000 else 15
    slowest, fastest = (0.05, 0.12) if many_classes else (0.02, 0.2)
    return {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": _draws(shape),
        **_encoders(shape),
        "hyperparameters": {
            "learning_rate": _log(slowest, fastest),
            "num_leaves": _log(4, leaves),
            "min_data_in_leaf": _log(2, min(200, max(10, rows // 20))),
            "feature_fraction": {"low": 0.4, "high": 1.0},
            "bagging_fraction": {"low": 0.6, "high": 1.0},
            "extra_trees": [False, True],
            "lambda_l2": _log(0.01, 10.0),
            **(_CATEGORIES if shape.texts else {}),
            **_objectives(shape.metric),
        },
    }


def _draws(shape: Shape) -> int:
    """Where a budget ends the search, more than it has time for."""
    if shape.seconds is not None:
        return DRAWS_OF_A_BUDGET
    return 10 if shape.cells > LARGE_CELLS else 12 if shape.classes > MANY_CLASSES else 20


def _encoders(shape: Shape) -> dict[str, Any]:
    """Where codes do not tell all texts apart, the search chooses among what else they can be."""
    return {"features": ["ordinal", "target", "text"]} if shape.many_texts else {}


def _log(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": "log"}


# How far the rows of a category are trusted.
_CATEGORIES = {
    "cat_smooth": _log(1.0, 100.0),
    "cat_l2": _log(0.3, 30.0),
    "min_data_per_group": _log(2, 100),
}


def _objectives(metric: str) -> dict[str, Any]:
    """Both ways to boost towards a median: which of them is better goes by the table."""
    own = METRICS[metric].objective.get("objective")
    return {"objective": [own, "regression"]} if own == "regression_l1" else {}


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


def _linear(task: str) -> dict[str, Any]:
    strength = {"alpha": [0.1, 1.0, 10.0]} if task == "regression" else {"C": [0.01, 0.1, 1.0]}
    return {"algorithm": "linear", "hyperparameters": strength}
