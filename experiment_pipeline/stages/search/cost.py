"""How much work a fit is, estimated before it starts, and what a search has cost.

Estimates decide when and where a fit runs, and never what it returns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiment_pipeline.spec import Scalar
from experiment_pipeline.spec.algorithms import ALGORITHMS, positive
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.hyperparameters import (
    LEARNING_RATE,
    NAMES,
    PATIENCE,
    ROUNDS_AT_MOST,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.training_sets import TrainingSets

# Early stopping keeps rounds up to a sum of learning rates about this large (2 to 40 measured).
_LEARNT_WHEN_STOPPED = 10


def estimated_cost(configuration: Configuration, n_rows: int, n_classes: int = 0) -> float:
    """Return how many passes over the rows a fit makes: trees times levels of a tree.

    Args:
        configuration: what is to be fitted.
        n_rows: of the train set.
        n_classes: of the target; 0 for regression. Boosting grows a tree per class in each round,
            where there are more than two.

    Returns:
        Infinity for an imported estimator, about which nothing is known.
    """
    given = configuration.hyperparameters
    names = NAMES.get(configuration.algorithm)
    if names is None:
        declared = ALGORITHMS.get(configuration.algorithm)
        return declared.passes(given, n_rows) if declared else math.inf
    own = {names.own_name.get(name, name): value for name, value in given.items()}
    trees = n_classes if n_classes > 2 else 1
    rounds = min(
        positive(own.get("num_iterations"), ROUNDS_AT_MOST),
        _LEARNT_WHEN_STOPPED / positive(own.get("learning_rate"), LEARNING_RATE),
    )
    return (rounds + PATIENCE) * trees * _levels(configuration.algorithm, own)


def _levels(algorithm: str, own: Mapping[str, Scalar]) -> float:
    """The levels of one tree of a booster, by the hyperparameters under its own names."""
    if algorithm == "lightgbm":
        return math.log2(1 + positive(own.get("num_leaves"), 31))
    levels = positive(own.get("max_depth"), 6)
    # Target statistics, in several orders of the rows: 3 to 18 times the work, measured.
    return levels * 5 if algorithm == "catboost" else levels


def in_order(
    configurations: Sequence[Configuration], sets: TrainingSets, *, longest_first: bool
) -> list[Configuration]:
    """Return what is to be fitted as it is to start: the longest first, or as given."""
    if not longest_first:
        return list(configurations)
    size = len(sets.train), len(sets.classes or ())
    return sorted(configurations, key=lambda one: estimated_cost(one, *size), reverse=True)


def seconds_of(result: ModelResult, n_test: int) -> float:
    """Return how long a fit took with its predictions of the test rows."""
    return result.fit_wall_seconds + result.predict_seconds_per_row * n_test


@dataclass(frozen=True)
class SearchCost:
    """What a run's search cost.

    Attributes:
        fits: that ended well in this run, at any rung.
        fit_cpu_seconds: of these fits.
        wall_seconds: from the first rung's beginning to the end.
        fitting_share: the part of wall seconds times workers that was spent inside these fits.
        peak_memory_bytes: of the process, since it began; without those that imported estimators
            may be fitted in.
    """

    fits: int
    fit_cpu_seconds: float
    wall_seconds: float
    fitting_share: float
    peak_memory_bytes: int


def search_cost(
    fitted: Sequence[ModelResult], wall_seconds: float, workers: int, peak_memory_bytes: int
) -> SearchCost:
    """Return what a search cost; the seconds of failed fits are not known and count as idle."""
    available = wall_seconds * workers
    inside = sum(result.fit_wall_seconds for result in fitted)
    return SearchCost(
        fits=len(fitted),
        fit_cpu_seconds=sum(result.fit_cpu_seconds for result in fitted),
        wall_seconds=wall_seconds,
        fitting_share=inside / available if available else 0.0,
        peak_memory_bytes=peak_memory_bytes,
    )
