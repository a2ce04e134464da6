"""How long a fit will take, roughly: to start the longest ones first, and to choose their place.

In: a configuration and the number of train rows, or a fit of its kind. Out: a number to sort by,
or seconds. They decide when and where a fit runs and never what it gives, so a bad guess costs
some idle time.
"""

import math

from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.search import boosting
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.lightgbm_parameters import OWN_NAME
from experiment_pipeline.stages.search.results import ModelResult

# Early stopping ends a fit at a sum of learning rates about this large.
_LEARNT_WHEN_STOPPED = 30
# A forest sorts the values of each node instead of filling a histogram.
_EXACT_SPLITS = 4


def estimated_cost(configuration: Configuration, n_rows: int, n_classes: int = 0) -> float:
    """Return how many passes over the rows a fit makes: trees times levels of a tree.

    Args:
        configuration: what is to be fitted.
        n_rows: of the train set.
        n_classes: of the target; 0 for regression.

    Boosting grows a tree per class in each round, where there are more than two. An import path is unknown, and therefore starts first; linear models and dummies end soon.
    """
    given = configuration.hyperparameters
    if configuration.algorithm == "lightgbm":
        own = {OWN_NAME.get(name, name): value for name, value in given.items()}
        rate = _positive(own.get("learning_rate"), boosting.LEARNING_RATE)
        rounds = _positive(own.get("num_iterations"), boosting.ROUNDS_AT_MOST)
        levels = math.log2(1 + _positive(own.get("num_leaves"), 31))
        trees = min(rounds, _LEARNT_WHEN_STOPPED / rate) * (n_classes if n_classes > 2 else 1)
        return trees * levels
    if configuration.algorithm == "random_forest":
        leaf = _positive(given.get("min_samples_leaf"), 1)
        levels = math.log2(1 + n_rows / max(leaf, 1))
        depth = min(levels, _positive(given.get("max_depth"), levels))
        return _positive(given.get("n_estimators"), 100) * depth * _EXACT_SPLITS
    return {"linear": 1.0, "dummy": 0.0}.get(configuration.algorithm, math.inf)


def seconds_of(result: ModelResult, n_test: int) -> float:
    """Return how long a fit took with its predictions of the test rows."""
    return result.fit_wall_seconds + result.predict_seconds_per_row * n_test


def _positive(value: Scalar, default: float) -> float:
    """Return the value if it is a number to reckon with: others are judged by the fit."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return float(default)
