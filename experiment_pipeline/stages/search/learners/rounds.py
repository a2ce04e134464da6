"""How many rounds a booster makes, and what stops it: the same rule for every boosting library.

With patience it is fitted on the train rows without the early-stopping set and the gap before it,
and keeps the rounds up to the best iteration; otherwise it is fitted on all rows for a fixed number
of rounds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.statistics.metrics import METRICS

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.training_sets import TrainingSets

PATIENCE = 50
ROUNDS_AT_MOST = 2_000
# Without early stopping: LightGBM's own default.
ROUNDS_FIXED = 100
LEARNING_RATE = 0.1
# What stops metrics that LightGBM does not have.
LOSSES = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "l2"}
_RANKING = frozenset({"auc", "average_precision"})


@dataclass(frozen=True)
class Rounds:
    """The rounds of one configuration.

    Attributes:
        at_most: the maximum number of rounds.
        patience: rounds without improvement before it stops; 0 = no early stopping.
        min_delta: what counts as an improvement.
        watched: LightGBM's name of the metric that stops it; None = no early stopping.
    """

    at_most: int
    patience: int
    min_delta: float
    watched: str | None


def take_rounds(
    given: dict[str, Scalar],
    key: str,
    sets: "TrainingSets",
    spec: ExperimentSpec,
    *,
    stops: bool,
    fixed: int | None,
) -> Rounds:
    """Return the rounds of a configuration, and remove what decides them from its hyperparameters.

    Args:
        given: under the names num_iterations, early_stopping_round, early_stopping_min_delta.
        key: of the configuration, for errors.
        sets: it stops on their early-stopping set, where there is one.
        spec: its metric stops the fit.
        stops: whether it may stop early.
        fixed: a fixed number of rounds.

    Raises:
        InvalidExperiment: a value that is not a number, or not a whole number for a count.
    """
    names = "num_iterations", "early_stopping_round", "early_stopping_min_delta"
    taken = {name: given.pop(name, None) for name in names}
    for name, value in taken.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = name == names[-1] or not is_number or value == int(value)  # type: ignore[arg-type]
        if value is not None and not (is_number and whole):
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{name} is {value!r}",
                "write a number, whole if it is a count",
            )
    at_most, patience, min_delta = (
        None if value is None else float(value) for value in taken.values()
    )
    patience = PATIENCE if patience is None else max(int(patience), 0)
    if not (stops and sets.early_stopping.any() and not sets.early_stopping.all()):
        patience = 0
    default = ROUNDS_AT_MOST if patience else ROUNDS_FIXED
    return Rounds(
        at_most=fixed or int(default if at_most is None else at_most),
        patience=int(patience),
        min_delta=min_delta or 0.0,
        watched=stopping_metric(spec.metric, sets.task) if patience else None,
    )


def stopping_metric(metric: str, task: str) -> str:
    """Return the LightGBM metric that early stopping watches for a metric of the experiment."""
    return METRICS[metric].lightgbm or LOSSES[task]


def watchable(watched: str, task: str, held_out_classes: int) -> str:
    """Return the metric that can be watched: an early-stopping set of one class has no ranking.

    LightGBM would call the first round perfect, CatBoost raise, XGBoost return nan.
    """
    return LOSSES[task] if watched in _RANKING and held_out_classes < 2 else watched
