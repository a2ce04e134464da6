"""Which learner fits an algorithm, and its search space; libraries are imported when
needed.
"""

from collections.abc import Iterable, Mapping

from experiment_pipeline.spec import Range
from experiment_pipeline.spec.algorithms import ALGORITHMS, Direction
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import estimators
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.learners.learner import Learner
from experiment_pipeline.stages.search.learners.lightgbm_learner import LightGBMLearner

_ESTIMATORS = estimators.EstimatorLearner()
_BOOSTERS: Mapping[str, Learner] = {
    "catboost": estimators.CatBoostLearner(),
    "lightgbm": LightGBMLearner(),
    "xgboost": estimators.XGBoostLearner(),
}


def learner_of(algorithm: str) -> Learner:
    """Return what fits an algorithm, declared or an import path."""
    return _BOOSTERS.get(algorithm, _ESTIMATORS)


def check_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when a configuration's names cannot work; see
    `Learner.check_hyperparameters`.
    """
    learner_of(configuration.algorithm).check_hyperparameters(configuration, task)


def space(
    algorithm: str, task: str, direction: Direction, used: Iterable[str] = ()
) -> dict[str, Range]:
    """Return the search space of an algorithm, under aliases that are in `used`; empty:
    none is known.
    """
    if estimators.is_own_estimator(algorithm):
        return {}
    ranges = ALGORITHMS[algorithm].estimator(task).spaces.get(direction, {})
    aliases = NAMES[algorithm].accepted if algorithm in NAMES else {}
    names = set(used)
    return {
        next((alias for alias in aliases.get(own, ()) if alias in names), own): given
        for own, given in ranges.items()
    }
