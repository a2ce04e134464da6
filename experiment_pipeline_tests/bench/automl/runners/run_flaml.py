# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["flaml[automl]==2.7.0", "catboost==1.2.10", "pyarrow"]
# ///
"""FLAML over all of its families, with its own holdout or folds."""

import logging
import pickle

from contract import CORES, Claim, Job, Loaded, run
from flaml import AutoML

METRICS = {"average_precision": "ap", "f1_macro": "macro_f1", "brier": "log_loss"}


def fit(job: Job) -> Claim:
    logging.getLogger("flaml").setLevel(logging.ERROR)
    automl = AutoML()
    split = {} if job.groups is None else {"split_type": "group", "groups": job.groups}
    if job.said["time"] is not None:
        split = {"split_type": "time"}
    automl.fit(
        job.rows,
        job.y,
        task=job.said["task"],
        metric=METRICS.get(job.said["metric"], job.said["metric"]),
        time_budget=job.said["seconds"],
        n_jobs=CORES,
        seed=job.said["seed"],
        verbose=0,
        **split,
    )
    job.model.write_bytes(pickle.dumps(automl))
    loss = automl.best_loss
    claimed = 1 - loss if job.said["greater_is_better"] else loss
    return Claim(f"{automl.best_estimator}: {automl.best_config}", claimed)


def load(job: Job) -> Loaded:
    automl = pickle.loads(job.model.read_bytes())
    if not job.classification:
        return Loaded(automl.predict)
    return Loaded(automl.predict_proba, list(automl.classes_))


if __name__ == "__main__":
    run(fit, load, ["lightgbm", "catboost", "xgboost", "sklearn.ensemble"])
