from .errors import (
    DataError as DataError,
)
from .errors import (
    ExperimentPipelineError as ExperimentPipelineError,
)
from .errors import (
    ExportError as ExportError,
)
from .errors import (
    InvalidExperiment as InvalidExperiment,
)
from .errors import (
    InvalidModel as InvalidModel,
)
from .errors import (
    NotAccepted as NotAccepted,
)
from .errors import (
    StorageError as StorageError,
)
from .errors import (
    TrainingError as TrainingError,
)
from .errors import (
    UnknownRun as UnknownRun,
)
from .errors import (
    UnusableTable as UnusableTable,
)
from .experiment.estimator import (
    ExperimentClassifier as ExperimentClassifier,
)
from .experiment.estimator import (
    ExperimentRegressor as ExperimentRegressor,
)
from .experiment.explore import (
    Exploration as Exploration,
)
from .experiment.explore import (
    explore as explore,
)
from .experiment.files import read_experiment as read_experiment
from .experiment.in_memory import (
    ExperimentRun as ExperimentRun,
)
from .experiment.in_memory import (
    run_experiment as run_experiment,
)
from .experiment.result import RunResult as RunResult
from .experiment.run import (
    add as add,
)
from .experiment.run import (
    choose as choose,
)
from .experiment.run import (
    refit as refit,
)
from .experiment.run import (
    run as run,
)
from .experiment.run import (
    sensitivity as sensitivity,
)
from .orchestration.component import (
    Experiment as Experiment,
)
from .orchestration.component import (
    load_experiments as load_experiments,
)
from .prediction.explanation import Explanation as Explanation
from .prediction.files import (
    Model as Model,
)
from .prediction.files import (
    champion as champion,
)
from .prediction.files import (
    load_model as load_model,
)
from .prediction.files import (
    predict as predict,
)
from .prediction.rows import Predicted as Predicted
from .prediction.watching import watch as watch
from .reporting.run_record import WatchRow as WatchRow
from .spec import ExperimentSpec as ExperimentSpec
from .stages.data_analysis.finding import (
    ColumnRule as ColumnRule,
)
from .stages.data_analysis.finding import (
    Finding as Finding,
)
from .stages.data_analysis.finding import (
    FindingRule as FindingRule,
)
from .stages.data_analysis.finding import (
    Rule as Rule,
)
from .stages.data_analysis.finding import (
    Threshold as Threshold,
)
from .statistics.metrics import (
    OwnMetric as OwnMetric,
)
from .statistics.metrics import (
    metric as metric,
)
from .tracking.comparison import (
    RunComparison as RunComparison,
)
from .tracking.comparison import (
    compare as compare,
)
from .tracking.database.connection import database as database
from .tracking.questions import (
    experiments as experiments,
)
from .tracking.questions import (
    findings as findings,
)
from .tracking.questions import (
    leaderboard as leaderboard,
)
from .tracking.questions import (
    results as results,
)
from .tracking.questions import (
    runs as runs,
)
from .tracking.questions import (
    versions as versions,
)
from .tracking.questions import (
    worst_rows as worst_rows,
)

__version__: str
