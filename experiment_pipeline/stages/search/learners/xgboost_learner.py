"""XGBoost as a `Learner`: trees of `hist` on quantised tables that the fits of a sweep share."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.search.learners.booster_learner import (
    Boosted,
    BoosterLearner,
    Plan,
    Tables,
)
from experiment_pipeline.stages.search.learners.rounds import LEARNING_RATE, LOSSES, Rounds
from experiment_pipeline.stages.search.shared_work import EncodedRows

if TYPE_CHECKING:
    import xgboost as xgb

_OBJECTIVES = {
    "binary": "binary:logistic",
    "multiclass": "multi:softprob",
    "regression": "reg:squarederror",
}
# LightGBM's name of a metric → XGBoost's, of the same order of models.
_METRICS = {
    "auc": "auc",
    "average_precision": "aucpr",
    "binary_logloss": "logloss",
    "multi_logloss": "mlogloss",
    "l1": "mae",
    "l2": "rmse",
    "mape": "mape",
}
_MAX_BIN = 256


class XGBoostLearner(BoosterLearner):
    """Splits sets of categories; a missing one is what XGBoost takes for missing."""

    def defaults(self, task: str, seed: int) -> dict[str, Scalar]:
        """One thread per fit, trees of `hist`."""
        return {
            "objective": _OBJECTIVES[task],
            "learning_rate": LEARNING_RATE,
            "random_state": seed,
            "tree_method": "hist",
            "n_jobs": 1,
            "verbosity": 0,
        }

    def binning(self, parameters: dict[str, Scalar]) -> Hashable:
        """The number of bins."""
        return parameters.get("max_bin", _MAX_BIN)

    def codes_step(self) -> Any:
        """XGBoost refuses a negative code, and has a way of its own for what is missing."""
        from sklearn.impute import SimpleImputer

        return SimpleImputer(
            missing_values=-1, strategy="constant", fill_value=np.nan, keep_empty_features=True
        )

    def table(self, rows: EncodedRows, plan: Plan, *, like: Any = None) -> "xgb.QuantileDMatrix":
        """Quantise rows; a held-out slice by the quantiles of those trees are grown on."""
        import xgboost as xgb

        kinds = np.full(rows.table.shape[1], "q")
        kinds[rows.categorical] = "c"
        return xgb.QuantileDMatrix(
            rows.table,
            rows.y,
            weight=rows.weights,
            feature_types=kinds.tolist(),
            enable_categorical=True,
            max_bin=self.binning(plan.parameters),
            nthread=1,
            ref=like,
        )

    def boost(self, tables: Tables, plan: Plan, watched: str | None) -> Boosted:
        """Grow trees; with patience those after the best round are cut off."""
        import xgboost as xgb

        parameters: dict[str, Any] = dict(plan.parameters)
        if tables.directions is not None:
            parameters["monotone_constraints"] = tuple(tables.directions)
        if plan.task == "multiclass":
            parameters["num_class"] = plan.n_classes
        if watched is None:
            at_most = plan.rounds.at_most
            return _boosted(xgb.train(parameters, tables.fit_mask, at_most), plan)
        parameters["eval_metric"] = _METRICS.get(watched) or _METRICS[LOSSES[plan.task]]
        booster = xgb.train(
            parameters,
            tables.fit_mask,
            plan.rounds.at_most,
            evals=[(tables.early_stopping, "inner")],
            callbacks=[_stop(plan.rounds)],
            verbose_eval=False,
        )
        booster.set_attr(best_iteration=None, best_score=None)
        return _boosted(booster, plan)

    def predict_codes(self, estimator: Any, rows: Any) -> np.ndarray:
        """Predict as the estimator does: its `n_jobs` is 1."""
        has_classes = hasattr(estimator, "predict_proba")
        found: np.ndarray = (estimator.predict_proba if has_classes else estimator.predict)(rows)
        return found


def _stop(rounds: Rounds) -> "xgb.callback.EarlyStopping":
    from xgboost.callback import EarlyStopping

    return EarlyStopping(rounds=rounds.patience, min_delta=rounds.min_delta, save_best=True)


def _boosted(booster: "xgb.Booster", plan: Plan) -> Boosted:
    import xgboost as xgb

    rounds = booster.num_boosted_rounds()
    make: Any = xgb.XGBClassifier if plan.n_classes else xgb.XGBRegressor
    estimator = make(**plan.parameters, n_estimators=rounds)
    estimator.load_model(bytearray(booster.save_raw("ubj")))
    return Boosted(estimator, rounds)
