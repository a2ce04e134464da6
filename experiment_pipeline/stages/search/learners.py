"""Which learner fits an algorithm. None of a library is imported here before it is needed."""

from experiment_pipeline.stages.search import catboost_parameters, xgboost_parameters
from experiment_pipeline.stages.search.catboost_learner import CatBoostLearner
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.estimator_learner import EstimatorLearner
from experiment_pipeline.stages.search.learner import Learner
from experiment_pipeline.stages.search.lightgbm_learner import LightGBMLearner
from experiment_pipeline.stages.search.xgboost_learner import XGBoostLearner

_BOOSTERS: dict[str, Learner] = {
    "catboost": CatBoostLearner(catboost_parameters.NAMES),
    "lightgbm": LightGBMLearner(),
    "xgboost": XGBoostLearner(xgboost_parameters.NAMES),
}
_ESTIMATORS = EstimatorLearner()


def learner_of(algorithm: str) -> Learner:
    """Return what fits an algorithm, declared or an import path."""
    return _BOOSTERS.get(algorithm, _ESTIMATORS)


def check_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when a configuration's names cannot work; see `Learner.check_hyperparameters`."""
    learner_of(configuration.algorithm).check_hyperparameters(configuration, task)
