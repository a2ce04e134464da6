"""Every setting of both YAML files, with limits, meaning and default; frozen, unknown
keys are errors.
"""

from experiment_pipeline.spec.algorithms import Features as Features
from experiment_pipeline.spec.algorithms import Range as Range
from experiment_pipeline.spec.experiment import NAME as NAME
from experiment_pipeline.spec.experiment import ExperimentSpec as ExperimentSpec
from experiment_pipeline.spec.experiment import Task as Task
from experiment_pipeline.spec.models import Scalar as Scalar
from experiment_pipeline.spec.operation import DaskEngine as DaskEngine
from experiment_pipeline.spec.operation import Engine as Engine
from experiment_pipeline.spec.operation import Retention as Retention
from experiment_pipeline.spec.search import Budget as Budget
from experiment_pipeline.spec.search import Costs as Costs
from experiment_pipeline.spec.search import Criterion as Criterion
from experiment_pipeline.spec.search import CrossValidation as CrossValidation
from experiment_pipeline.spec.search import Halving as Halving
from experiment_pipeline.spec.search import Search as Search
from experiment_pipeline.spec.table import CalendarPart as CalendarPart
from experiment_pipeline.spec.table import Categories as Categories
from experiment_pipeline.spec.table import ColumnSplit as ColumnSplit
from experiment_pipeline.spec.table import Data as Data
from experiment_pipeline.spec.table import Drift as Drift
from experiment_pipeline.spec.table import Fractions as Fractions
from experiment_pipeline.spec.table import Label as Label
from experiment_pipeline.spec.table import Numbers as Numbers
from experiment_pipeline.spec.table import Preparation as Preparation
from experiment_pipeline.spec.table import RandomSplit as RandomSplit
from experiment_pipeline.spec.table import Split as Split
from experiment_pipeline.spec.table import TimeSplit as TimeSplit
from experiment_pipeline.spec.table import Validation as Validation
from experiment_pipeline.spec.table import kept_apart as kept_apart
