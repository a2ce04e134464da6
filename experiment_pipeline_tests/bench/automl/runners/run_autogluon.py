# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.6.3"]
# ///
"""AutoGluon with a preset, all its families and neural nets on the CPU.

Without ray: folds are fitted one after the other, each on both cores. Without trial
runs of stacking, which take a quarter of the seconds, and without ray break down when
they end with nothing. Its own seeds are fixed: what the job's seed moves are the rows.
What is deployed is measured: the clone that keeps the best model and what that is made
of.
"""

import shutil
import sys

import pandas as pd
from autogluon.tabular import TabularPredictor
from contract import CORES, TARGET, Claim, Job, Loaded, run

METRICS = {
    "rmse": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "brier": "log_loss",
}
FOLDS = "__fold__"


def fit(job: Job) -> Claim:
    preset = sys.argv[2]
    training = job.folder / "training"
    rows, tuning, groups = job.rows.assign(**{TARGET: job.y}), None, None
    if job.groups is not None and preset == "medium_quality":
        # Its own holdout would tear groups apart.
        rows = job.train.assign(**{TARGET: job.y_train})
        tuning = job.test.assign(**{TARGET: job.y_test})
    elif job.groups is not None:
        groups = FOLDS
        rows[FOLDS] = pd.factorize(job.groups)[0] % 8
    predictor = TabularPredictor(
        TARGET,
        problem_type=job.said["task"],
        eval_metric=METRICS.get(job.said["metric"], job.said["metric"]),
        path=str(training),
        groups=groups,
        positive_class=job.said["positive_class"],
        verbosity=0,
    )
    time = job.said["time"]
    predictor.fit(
        rows,
        tuning_data=tuning,
        validation_structure=None if time is None else {"time_on": time},
        time_limit=job.said["seconds"],
        presets=preset,
        num_cpus=CORES,
        num_gpus=0,
        dynamic_stacking=False,
    )
    predictor.clone_for_deployment(str(job.model))
    # Of errors it holds the negative.
    board = predictor.leaderboard().set_index("model")["score_val"]
    claimed = abs(float(board[predictor.model_best]))
    said = f"{predictor.model_best} of {len(board)} models"
    shutil.rmtree(training)
    return Claim(said, claimed)


def load(job: Job) -> Loaded:
    predictor = TabularPredictor.load(str(job.model))
    predictor.persist()
    if not job.classification:
        return Loaded(predictor.predict)
    return Loaded(predictor.predict_proba, predictor.class_labels)


if __name__ == "__main__":
    run(fit, load, ["lightgbm", "catboost", "xgboost", "torch", "fastai.tabular.all"])
