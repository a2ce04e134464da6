"""How many rounds a booster makes, and what stops it: the same rule for every boosting library.

With patience it is fitted on the train rows without the early-stopping set and the gap before it, and keeps
the rounds up to its best on the slice; otherwise it is fitted on all rows, for a fixed number of
rounds. In: hyperparameters under a library's own names. Out: `Rounds`.
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
# Up to so many rows of an early-stopping set each round is looked at; of more, each second, third … round.
_LOOKED_AT_ROWS, _MOST_BETWEEN = 100_000, 5
# What stops metrics that LightGBM does not have.
LOSSES = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "l2"}
RANKING = frozenset({"auc", "average_precision"})


@dataclass(frozen=True)
class Rounds:
    """The rounds of one configuration.

    Attributes:
        at_most: how many at the most.
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
    """Take what decides the rounds out of the hyperparameters: it is ours to use.

    Args:
        given: under the names num_iterations, early_stopping_round, early_stopping_min_delta.
        key: of the configuration, for errors.
        sets: on their early-stopping set it stops, where there is one.
        spec: its metric is what it watches.
        stops: whether it may stop early.
        fixed: a fixed number of rounds.

    Raises:
        InvalidExperiment: a value that is no number, or no whole one for a count.
    """
    at_most = _taken(given, "num_iterations", key)
    patience = _taken(given, "early_stopping_round", key)
    min_delta = _taken(given, "early_stopping_min_delta", key)
    patience = PATIENCE if patience is None else max(int(patience), 0)
    if not (stops and sets.early_stopping.any() and not sets.early_stopping.all()):
        patience = 0
    default = ROUNDS_AT_MOST if patience else ROUNDS_FIXED
    return Rounds(
        at_most=fixed or int(default if at_most is None else at_most),
        patience=patience,
        min_delta=min_delta or 0.0,
        watched=stopping_metric(spec.metric, sets.task) if patience else None,
    )


def rounds_between(n_early_stopping: int) -> int:
    """Return after how many rounds LightGBM's score of an early-stopping set of so many rows is looked at again.

    To sort a large slice for an area under a curve takes a fifth of a fit, and there neighbouring
    rounds differ by less than chance.
    """
    return min(1 + n_early_stopping // _LOOKED_AT_ROWS, _MOST_BETWEEN)


def stopping_metric(metric: str, task: str) -> str:
    """Return the LightGBM metric that early stopping watches for a metric of the experiment."""
    return METRICS[metric].lightgbm or LOSSES[task]


def watchable(watched: str, task: str, inner_classes: int) -> str:
    """Return the metric that can be watched: a slice of one class has no ranking.

    LightGBM would call the first round perfect, CatBoost refuse, XGBoost find no number.
    """
    return LOSSES[task] if watched in RANKING and inner_classes < 2 else watched


def _taken(given: dict[str, Scalar], name: str, key: str) -> float | None:
    value = given.pop(name, None)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (name != "early_stopping_min_delta" and value != int(value)):
        raise errors.InvalidExperiment(
            f"configuration {key}", f"{name} is {value!r}", "write a number, whole if it is a count"
        )
    return float(value)
