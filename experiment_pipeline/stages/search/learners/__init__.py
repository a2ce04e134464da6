"""Which learner fits an algorithm. None of a library is imported here before it is needed."""

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import algorithms
from experiment_pipeline.stages.search.learners.boosters import BOOSTERS
from experiment_pipeline.stages.search.learners.estimator_learner import EstimatorLearner
from experiment_pipeline.stages.search.learners.learner import Learner

_ESTIMATORS = EstimatorLearner()


def learner_of(algorithm: str) -> Learner:
    """Return what fits an algorithm, declared or an import path."""
    return BOOSTERS.get(algorithm, _ESTIMATORS)


def check_demands(configuration: Configuration, task: str, spec: ExperimentSpec) -> None:
    """Raise when an algorithm cannot do what the experiment asks of all: weights, directions.

    The boosting libraries can. Errors are those of `algorithms.check_demands`.
    """
    if configuration.algorithm not in BOOSTERS:
        algorithms.check_demands(configuration, task, spec)


def check_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when a configuration's names cannot work; see `Learner.check_hyperparameters`."""
    learner_of(configuration.algorithm).check_hyperparameters(configuration, task)
