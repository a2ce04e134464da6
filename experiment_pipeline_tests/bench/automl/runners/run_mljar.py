# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mljar-supervised==1.3.2", "pyarrow"]
# ///
"""mljar-supervised in the mode Compete; what it leaves in its folder is its model."""

import numpy as np
from contract import CORES, Claim, Job, Loaded, run
from supervised.automl import AutoML

METRICS = {"roc_auc": "auc", "log_loss": "logloss", "brier": "logloss"}


def fit(job: Job) -> Claim:
    split, cv = {}, None
    if job.groups is not None or job.said["time"] is not None:
        # Its own folds would tear groups apart, and look ahead.
        split = {"validation_strategy": {"validation_type": "custom"}}
        n = len(job.train)
        cv = [(np.arange(n), np.arange(n, n + len(job.test)))]
    metric = METRICS.get(job.said["metric"], job.said["metric"])
    if job.said["task"] == "multiclass" and job.said["metric"] == "roc_auc_ovr":
        metric = "auc"
    automl = AutoML(
        mode="Compete",
        results_path=str(job.model),
        total_time_limit=int(job.said["seconds"]),
        ml_task={
            "binary": "binary_classification",
            "multiclass": "multiclass_classification",
        }.get(job.said["task"], "regression"),
        eval_metric=metric,
        explain_level=0,
        n_jobs=CORES,
        random_state=job.said["seed"],
        verbose=0,
        **split,
    )
    automl.fit(job.rows, job.y, cv=cv)
    board = automl.get_leaderboard()
    best = board.set_index("name")["metric_value"].loc[automl._best_model.get_name()]
    return Claim(f"{len(board)} models", abs(float(best)))


def load(job: Job) -> Loaded:
    automl = AutoML(results_path=str(job.model))
    if not job.classification:
        return Loaded(automl.predict)
    automl.predict(job.validation[:2])  # it loads when it is first asked
    shown = automl.predict_all(job.validation[:2])
    classes = [
        c.removeprefix("prediction_")
        for c in shown.columns
        if c.startswith("prediction_")
    ]
    return Loaded(automl.predict_proba, classes)


if __name__ == "__main__":
    run(fit, load, ["lightgbm", "catboost", "xgboost", "sklearn.ensemble"])
