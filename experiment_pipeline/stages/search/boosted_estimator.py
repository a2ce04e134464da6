"""Booster → scikit-learn estimator, without fitting it again.

A sweep boosts on shared bins, which scikit-learn's interface cannot; what is exported is an
LGBMClassifier or LGBMRegressor all the same. In: a Booster and the plan it was grown by.
Out: the fitted estimator, which predicts bit for bit what an ordinary `fit` would.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.stages.search import lightgbm_parameters
from experiment_pipeline.stages.search.boosting import BoostingPlan

if TYPE_CHECKING:
    import lightgbm as lgb


def as_estimator(
    booster: "lgb.Booster", plan: BoostingPlan, classes: tuple | None, rounds: int
) -> Any:
    """Return the fitted scikit-learn estimator around a Booster.

    The private attributes are those that `fit` sets in lightgbm 4.7; a test holds the
    result to an ordinary `fit`. `classes_` keeps the order of the classes, so that column 1 of
    `predict_proba` is the positive class even where it sorts first.
    """
    import lightgbm as lgb
    from sklearn.preprocessing import LabelEncoder

    make: Any = lgb.LGBMRegressor if classes is None else lgb.LGBMClassifier
    estimator = make(**_estimator_parameters(plan, rounds))
    n_features = booster.num_feature()
    learnt: dict[str, Any] = {
        "_Booster": booster,
        "_objective": plan.parameters["objective"],
        "_n_features": n_features,
        "_n_features_in": n_features,
        "n_features_in_": n_features,
        "_best_iteration": 0,
        "_best_score": {},
        "_evals_result": {},
        "fitted_": True,
    }
    if classes is not None:
        encoder = LabelEncoder()
        encoder.classes_ = np.asarray(classes)
        learnt |= {"_le": encoder, "_classes": encoder.classes_, "_n_classes": len(classes)}
    vars(estimator).update(learnt)
    return estimator


def _estimator_parameters(plan: BoostingPlan, rounds: int) -> dict[str, Any]:
    """Return the parameters under the names that LGBMModel declares, where it has one."""
    import lightgbm as lgb

    declared = lgb.LGBMModel().get_params()
    aliases = lightgbm_parameters.ACCEPTED | lightgbm_parameters.RESERVED
    parameters = dict(plan.parameters) | {"num_iterations": rounds}
    parameters.pop("num_class", None)
    return {
        next((alias for alias in aliases[own] if alias in declared), own): value
        for own, value in parameters.items()
    }
