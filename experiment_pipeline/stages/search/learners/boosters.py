"""The boosting libraries that are fitted on shared tables: what fits each, with its parameters."""

from collections.abc import Mapping

from experiment_pipeline.stages.search.learners import catboost_parameters, xgboost_parameters
from experiment_pipeline.stages.search.learners.booster_learner import BoosterLearner
from experiment_pipeline.stages.search.learners.catboost_learner import CatBoostLearner
from experiment_pipeline.stages.search.learners.lightgbm_learner import LightGBMLearner
from experiment_pipeline.stages.search.learners.xgboost_learner import XGBoostLearner

BOOSTERS: Mapping[str, BoosterLearner | LightGBMLearner] = {
    "catboost": CatBoostLearner(catboost_parameters.NAMES),
    "lightgbm": LightGBMLearner(),
    "xgboost": XGBoostLearner(xgboost_parameters.NAMES),
}
