"""Machine-learning experimentation as a Dagster asset graph: one YAML file per
experiment.

The public Python API, for notebooks and other packages; modules below it may move. Each
name is loaded on first access: neither importing `experiment_pipeline` nor querying
past runs loads Dagster. `__dir__` is restricted for the same reason: Dagster loads
every name that it lists to find component types.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names of _NAMES, for type checkers; a test compares the two
    from experiment_pipeline.errors import DataError as DataError
    from experiment_pipeline.errors import (
        ExperimentPipelineError as ExperimentPipelineError,
    )
    from experiment_pipeline.errors import ExportError as ExportError
    from experiment_pipeline.errors import InvalidExperiment as InvalidExperiment
    from experiment_pipeline.errors import NotAccepted as NotAccepted
    from experiment_pipeline.errors import StorageError as StorageError
    from experiment_pipeline.errors import TrainingError as TrainingError
    from experiment_pipeline.errors import UnknownRun as UnknownRun
    from experiment_pipeline.experiment.files import read_experiment as read_experiment
    from experiment_pipeline.experiment.in_memory import ExperimentRun as ExperimentRun
    from experiment_pipeline.experiment.in_memory import (
        run_experiment as run_experiment,
    )
    from experiment_pipeline.experiment.result import RunResult as RunResult
    from experiment_pipeline.experiment.run import add as add
    from experiment_pipeline.experiment.run import choose as choose
    from experiment_pipeline.experiment.run import refit as refit
    from experiment_pipeline.experiment.run import run as run
    from experiment_pipeline.experiment.run import sensitivity as sensitivity
    from experiment_pipeline.orchestration.component import Experiment as Experiment
    from experiment_pipeline.orchestration.component import (
        load_experiments as load_experiments,
    )
    from experiment_pipeline.prediction.explanation import Explanation as Explanation
    from experiment_pipeline.prediction.files import Model as Model
    from experiment_pipeline.prediction.files import champion as champion
    from experiment_pipeline.prediction.files import load_model as load_model
    from experiment_pipeline.prediction.files import predict as predict
    from experiment_pipeline.prediction.rows import Predicted as Predicted
    from experiment_pipeline.prediction.watching import watch as watch
    from experiment_pipeline.reporting.run_record import WatchRow as WatchRow
    from experiment_pipeline.spec import ExperimentSpec as ExperimentSpec
    from experiment_pipeline.stages.data_analysis.finding import (
        ColumnRule as ColumnRule,
    )
    from experiment_pipeline.stages.data_analysis.finding import Finding as Finding
    from experiment_pipeline.stages.data_analysis.finding import (
        FindingRule as FindingRule,
    )
    from experiment_pipeline.stages.data_analysis.finding import Rule as Rule
    from experiment_pipeline.stages.data_analysis.finding import Threshold as Threshold
    from experiment_pipeline.statistics.metrics import OwnMetric as OwnMetric
    from experiment_pipeline.statistics.metrics import metric as metric
    from experiment_pipeline.tracking.comparison import RunComparison as RunComparison
    from experiment_pipeline.tracking.comparison import compare as compare
    from experiment_pipeline.tracking.database.connection import database as database
    from experiment_pipeline.tracking.questions import experiments as experiments
    from experiment_pipeline.tracking.questions import findings as findings
    from experiment_pipeline.tracking.questions import leaderboard as leaderboard
    from experiment_pipeline.tracking.questions import results as results
    from experiment_pipeline.tracking.questions import runs as runs
    from experiment_pipeline.tracking.questions import versions as versions
    from experiment_pipeline.tracking.questions import worst_rows as worst_rows

_NAMES = {
    "errors": "ExperimentPipelineError InvalidExperiment DataError TrainingError StorageError "
    "NotAccepted ExportError UnknownRun",
    "statistics.metrics": "metric OwnMetric",
    "spec": "ExperimentSpec",
    "tracking.questions": "experiments runs results leaderboard findings versions worst_rows",
    "tracking.comparison": "compare RunComparison",
    "tracking.database.connection": "database",
    "prediction.files": "champion load_model Model predict",
    "prediction.explanation": "Explanation",
    "prediction.rows": "Predicted",
    "prediction.watching": "watch",
    "reporting.run_record": "WatchRow",
    "stages.data_analysis.finding": "ColumnRule Finding FindingRule Rule Threshold",
    "experiment.in_memory": "run_experiment ExperimentRun",
    "experiment.run": "run add choose refit sensitivity",
    "experiment.result": "RunResult",
    "experiment.files": "read_experiment",
    "orchestration.component": "Experiment load_experiments",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - derived from _NAMES
_HOMES["_load_pyfunc"] = "prediction.files"  # MLflow calls this to load a version


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("experiment-pipeline")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    # In a project that uses this package, each Dagster process loads every listed name,
    # to see whether it is a component. An interactive prompt (it has `ps1`) completes
    # names, so it gets all of them.
    return [*globals(), *(__all__ if hasattr(sys, "ps1") else ["Experiment"])]
