"""CatBoost as a `Learner`: symmetric trees, on pools that the fits of a sweep share.

Pools are shared as they are, not quantised: CatBoost draws other permutations for a quantised one,
and binning takes it a hundredth of a fit.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.search.learners.booster_learner import (
    Boosted,
    BoosterLearner,
    Plan,
    Tables,
)
from experiment_pipeline.stages.search.learners.rounds import LEARNING_RATE, LOSSES
from experiment_pipeline.stages.search.shared_work import EncodedRows

if TYPE_CHECKING:
    import catboost as cb

_OBJECTIVES = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}
# LightGBM's name of a metric → CatBoost's, of the same order of models.
_METRICS = {
    "auc": "AUC",
    "average_precision": "PRAUC",
    "binary_logloss": "Logloss",
    "multi_logloss": "MultiClass",
    "l1": "MAE",
    "l2": "RMSE",
    "mape": "MAPE",
}
# What tells one fit from the next, whatever it has learnt.
_OF_THE_MOMENT = ("model_guid", "train_finish_time")


class CatBoostLearner(BoosterLearner):
    """Encodes categories by what their rows before had for targets; a missing one is one more."""

    output = "pandas"

    def defaults(self, task: str, seed: int) -> dict[str, Scalar]:
        """One thread per fit, no files; the rate of learning is not left to the number of rounds."""
        return {
            "loss_function": _OBJECTIVES[task],
            "learning_rate": LEARNING_RATE,
            "random_seed": seed,
            "thread_count": 1,
            "allow_writing_files": False,
            "allow_const_label": True,
            "logging_level": "Silent",
        }

    def codes_step(self) -> Any:
        """CatBoost takes no float for a category."""
        import pandas as pd
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(
            pd.DataFrame, kw_args={"dtype": "int64"}, feature_names_out="one-to-one"
        )

    def table(self, rows: EncodedRows, plan: Plan, *, like: Any = None) -> "cb.Pool":  # noqa: ARG002
        """Return a pool."""
        import catboost as cb

        y = rows.y.astype(np.int64) if plan.n_classes else rows.y
        return cb.Pool(
            rows.table, y, cat_features=rows.categorical, weight=rows.weights, thread_count=1
        )

    def boost(self, tables: Tables, plan: Plan, watched: str | None) -> Boosted:
        """Grow trees; with patience those after the best round are cut off."""
        import catboost as cb

        make: Any = cb.CatBoostClassifier if plan.n_classes else cb.CatBoostRegressor
        parameters: dict[str, Any] = dict(plan.parameters)
        if plan.n_classes:
            # Those that the rows lack get a probability too.
            parameters["class_names"] = list(range(plan.n_classes))
        stopping = {} if watched is None else _stopping(plan, watched)
        if tables.directions is not None:
            stopping["monotone_constraints"] = tables.directions
        fitted = make(**parameters, **stopping, iterations=plan.rounds.at_most)
        fitted.fit(tables.fit_mask, eval_set=tables.early_stopping)
        metadata = fitted.get_metadata()
        for name in _OF_THE_MOMENT:
            del metadata[name]
        rounds = int(fitted.tree_count_)
        # Of a fit it also keeps what it predicted for the slice.
        bare = make(**parameters, iterations=rounds)
        bare.load_model(blob=fitted.__getstate__()["__model"])
        return Boosted(bare, rounds)

    def predict_codes(self, estimator: Any, rows: Any) -> np.ndarray:
        """Predict in one thread: by itself CatBoost takes every core."""
        has_classes = hasattr(estimator, "predict_proba")
        method = estimator.predict_proba if has_classes else estimator.predict
        found: np.ndarray = method(rows, thread_count=1)
        return found


def _stopping(plan: Plan, watched: str) -> dict[str, Any]:
    metric = _METRICS.get(watched) or _METRICS[LOSSES[plan.task]]
    # The mean square of a probability's error has another name.
    is_brier = metric == "RMSE" and plan.task == "binary"
    return {
        "eval_metric": "BrierScore" if is_brier else metric,
        "od_type": "Iter",
        "od_wait": plan.rounds.patience,
        "use_best_model": True,
    }
