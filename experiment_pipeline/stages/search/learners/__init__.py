"""Which learner fits an algorithm, and its search space; libraries are imported when
needed.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from experiment_pipeline.spec import Range
from experiment_pipeline.spec.algorithms import ALGORITHMS, Direction
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.boosters import (
    CatBoostLearner,
    XGBoostLearner,
)
from experiment_pipeline.stages.search.learners.estimators import (
    EstimatorLearner,
    declared_estimator,
    estimator_class,
    is_own_estimator,
)
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.learners.learner import Learner
from experiment_pipeline.stages.search.learners.lightgbm_learner import LightGBMLearner

_ESTIMATORS = EstimatorLearner()
_BOOSTERS: Mapping[str, Learner] = {
    "catboost": CatBoostLearner(),
    "lightgbm": LightGBMLearner(),
    "xgboost": XGBoostLearner(),
}


def learner_of(algorithm: str) -> Learner:
    """Return what fits an algorithm, declared or an import path."""
    return _BOOSTERS.get(algorithm, _ESTIMATORS)


def import_libraries(algorithms: Iterable[str], task: str) -> None:
    """Import what fits these algorithms; errors are left to their fits.

    For all before any fit of another thread begins: scikit-learn looks for modules that
    other libraries import, such as polars, and fails on a half-imported one.
    """
    for algorithm in sorted(set(algorithms)):
        with suppress(Exception):
            estimator_class(declared_estimator(algorithm, task).path)


def check_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when names cannot work; see `Learner.check_hyperparameters`."""
    learner_of(configuration.algorithm).check_hyperparameters(configuration, task)


def space(
    algorithm: str, task: str, direction: Direction, used: Iterable[str] = ()
) -> dict[str, Range]:
    """Return the search space of an algorithm, under aliases that are in `used`; empty:
    none is known.
    """
    if is_own_estimator(algorithm):
        return {}
    ranges = dict(ALGORITHMS[algorithm].estimator(task).spaces.get(direction, {}))
    if algorithm not in NAMES:
        return ranges
    own_name = NAMES[algorithm].own_name
    names_in_use = {own_name[name]: name for name in used if name in own_name}
    return {names_in_use.get(name, name): range_ for name, range_ in ranges.items()}
