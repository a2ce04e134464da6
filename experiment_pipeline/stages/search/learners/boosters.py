"""The boosting libraries that are fitted on shared tables, and the parameters of each."""

from collections.abc import Mapping

from experiment_pipeline.stages.search.learners import (
    catboost_parameters,
    lightgbm_parameters,
    xgboost_parameters,
)
from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames

BOOSTERS: Mapping[str, ParameterNames] = {
    names.library: names
    for names in (catboost_parameters.NAMES, lightgbm_parameters.NAMES, xgboost_parameters.NAMES)
}
