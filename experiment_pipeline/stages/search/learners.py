"""Which learner fits an algorithm. None of a library is imported here before it is needed."""

from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.estimator_learner import EstimatorLearner
from experiment_pipeline.stages.search.learner import Learner
from experiment_pipeline.stages.search.lightgbm_learner import LightGBMLearner

_BOOSTERS: dict[str, Learner] = {"lightgbm": LightGBMLearner()}
_ESTIMATORS = EstimatorLearner()


def learner_of(algorithm: str) -> Learner:
    """Return what fits an algorithm, declared or an import path."""
    return _BOOSTERS.get(algorithm, _ESTIMATORS)


def check_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when a configuration's names cannot work; see `Learner.check_hyperparameters`."""
    learner_of(configuration.algorithm).check_hyperparameters(configuration, task)
