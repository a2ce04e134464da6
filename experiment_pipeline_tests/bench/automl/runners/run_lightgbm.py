# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "lightgbm==4.7.0", "optuna==5.0.0", "pandas==3.1.1", "pyarrow",
#     "scikit-learn==1.9.1",
# ]
# ///
"""LightGBM tuned by Optuna on the test rows.

Texts are categories, dates numbers and parts. The space is that of Optuna's own example
and a learning rate, a thread per trial, trees stopped on the test rows; the winner is
fitted again on train and test rows.
"""

import pickle
import time
from typing import Any

import lightgbm as lgb
import optuna
import pandas as pd
from contract import CORES, Claim, Job, Loaded, run

METRICS = {
    "roc_auc": "auc",
    "roc_auc_ovr": "multi_logloss",
    "mae": "l1",
    "brier": "binary_logloss",
    "average_precision": "average_precision",
    "mape": "mape",
}
GREATER_IS_BETTER = {"auc", "average_precision"}
# Of the seconds; the rest is for the refit.
SEARCH_SHARE = 0.8
ROUNDS, PATIENCE = 5_000, 50


class Encoder:
    """Texts as categories, dates as numbers and parts of the calendar."""

    def __init__(self, rows: pd.DataFrame) -> None:
        texts = [n for n, c in rows.items() if not _is_number(c) and not _is_date(c)]
        self.categories = {
            name: pd.CategoricalDtype(rows[name].dropna().unique()) for name in texts
        }

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        encoded = {}
        for name, column in rows.items():
            if name in self.categories:
                encoded[name] = column.astype(self.categories[name])
            elif _is_date(column):
                for part in ("year", "month", "day", "dayofweek", "hour"):
                    encoded[f"{name} {part}"] = getattr(column.dt, part)
            else:
                encoded[name] = column
        frame = pd.DataFrame(encoded, index=rows.index)
        # LightGBM takes no name with these.
        frame.columns = [f"c{n}" for n in range(frame.shape[1])]
        return frame


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _is_date(column: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column)


def _estimator(job: Job, **settings: Any) -> Any:
    kind = lgb.LGBMClassifier if job.classification else lgb.LGBMRegressor
    return kind(verbosity=-1, random_state=job.said["seed"], **settings)


def fit(job: Job) -> Claim:
    encoder = Encoder(job.rows)
    tuned, claimed = _tuned(job, encoder)
    settings = {"n_jobs": CORES, **tuned}
    model = _estimator(job, **settings).fit(encoder(job.rows), job.y)
    job.model.write_bytes(pickle.dumps((encoder, model)))
    return Claim(str(settings), claimed)


def _tuned(job: Job, encoder: Encoder) -> tuple[dict[str, Any], float]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stop = time.monotonic() + SEARCH_SHARE * job.said["seconds"]
    train, test = encoder(job.train), encoder(job.test)
    metric = METRICS.get(job.said["metric"])
    if metric is None:
        metric = {"binary": "binary_logloss", "multiclass": "multi_logloss"}.get(
            job.said["task"], "rmse"
        )

    def no_later_than(env: Any) -> None:
        if time.monotonic() > stop:
            raise lgb.callback.EarlyStopException(
                env.iteration,
                [(n, m, v, g) for n, m, v, g, *_ in env.evaluation_result_list],
            )

    def objective(trial: optuna.Trial) -> float:
        asked = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "reg_alpha": trial.suggest_float("reg_alpha", 1e-8, 10.0, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 1e-8, 10.0, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 2, 256, log=True),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
            "subsample": trial.suggest_float("subsample", 0.4, 1.0),
            "subsample_freq": trial.suggest_int("subsample_freq", 1, 7),
            "min_child_samples": trial.suggest_int("min_child_samples", 5, 100),
        }
        model = _estimator(
            job, n_jobs=1, n_estimators=ROUNDS, metric=metric, **asked
        ).fit(
            train,
            job.y_train,
            eval_set=[(test, job.y_test)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False), no_later_than],
        )
        trial.set_user_attr(
            "settings", {**asked, "n_estimators": max(1, model.best_iteration_)}
        )
        return model.best_score_["valid_0"][metric]

    study = optuna.create_study(
        direction="maximize" if metric in GREATER_IS_BETTER else "minimize",
        sampler=optuna.samplers.TPESampler(seed=job.said["seed"]),
    )
    study.optimize(objective, timeout=max(0.1, stop - time.monotonic()), n_jobs=CORES)
    return study.best_trial.user_attrs["settings"], study.best_value


def load(job: Job) -> Loaded:
    encoder, model = pickle.loads(job.model.read_bytes())
    if not job.classification:
        return Loaded(lambda rows: model.predict(encoder(rows)))
    return Loaded(lambda rows: model.predict_proba(encoder(rows)), list(model.classes_))


if __name__ == "__main__":
    run(fit, load, [])
