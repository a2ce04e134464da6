"""Ours as a system of TabArena and BeyondArena: what their maintainers need to run it.

It needs their package, from github.com/autogluon/tabarena (PyPI's has no code), and
`pip install experiment-pipeline`. A copy of this file may become
`systems/experiment_pipeline/system.py` there. In: rows, metric, time or group, and
seconds, as their runner gives them. Out: predictions. To run it there:

    bundle = BeyondArenaExperimentBundle(models=[(generator, 0)], system_experiments=True)
    BeyondArenaContext().build_and_run_jobs(bundle.build_experiments(), …)
"""

import numpy as np
import pandas as pd
from tabarena.benchmark.exec_models import ExternalSystemModel
from tabarena.utils.config_utils import SystemConfigGenerator

# Their name → ours; a metric that ours does not know is chosen by the kind of target.
METRICS = {
    "roc_auc": "roc_auc",
    "log_loss": "log_loss",
    "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
}
# A finding would stop the run, which counts as a failure there.
CURATED = dict.fromkeys(
    ["leak_suspect", "made_of_target", "known_too_late"],
    "the tables of the benchmark are curated",
)


class ExperimentPipelineSystem(ExternalSystemModel):
    """The draft for a table, searched within the seconds and fitted on all rows.

    It splits by the time or the group that the task names, at random where it names
    none, and uses the cores that its process may use, or fewer if it is told so.
    """

    def _fit_system(  # noqa: PLR0913 - as they call it
        self,
        X: pd.DataFrame,
        y: pd.Series,
        *,
        target_name: str,
        problem_type: str,
        eval_metric: object,
        validation_metadata: object,
        num_cpus: int | None,
        num_gpus: int | None,
        memory_limit: float | None,
        time_limit: float | None,
        random_state: int | None,
    ) -> "ExperimentPipelineSystem":
        import experiment_pipeline as ep

        regression = problem_type == "regression"
        kind = ep.ExperimentRegressor if regression else ep.ExperimentClassifier
        settings = {
            "split": split_of(validation_metadata, random_state or 0),
            "analysis": {"accept": CURATED},
        }
        if num_cpus is not None:
            settings["workers"] = num_cpus
        self._model = kind(
            metric=METRICS.get(eval_metric.name),
            seconds=time_limit,
            random_state=random_state,
            settings=settings,
        ).fit(X, y)
        return self

    def _predict(self, X: pd.DataFrame) -> pd.Series:
        return pd.Series(self._model.predict(X), index=X.index)

    def _predict_proba(self, X: pd.DataFrame) -> pd.DataFrame:
        probabilities: np.ndarray = self._model.predict_proba(X)
        return pd.DataFrame(probabilities, X.index, self._model.classes_)


def split_of(validation_metadata: object, seed: int) -> dict[str, object]:
    """Return the split that a task asks for."""
    time, group = validation_metadata.time_on, validation_metadata.group_on
    if time is not None:
        more = {} if group is None else {"group": group}
        return {"by": "time", "column": time, **more}
    if group is not None:
        return {"by": "group", "column": group, "seed": seed}
    return {"by": "random", "seed": seed}


generator = SystemConfigGenerator(
    model_cls=ExperimentPipelineSystem, name="ExperimentPipeline", manual_configs=[{}]
)
