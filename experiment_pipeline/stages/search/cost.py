"""What a search costs: guessed before a fit, limited while it runs, told at the end.

Guesses and limits decide when and where a fit runs and never what it gives, so a bad guess costs
some idle time. In: configurations, a budget and a clock, fits. Out: numbers to sort by, whether the
next fit may start, and `SearchCost`.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiment_pipeline.spec import Budget, Scalar
from experiment_pipeline.spec.algorithms import ALGORITHMS, positive
from experiment_pipeline.stages.search.boosters import BOOSTERS
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rounds import LEARNING_RATE, PATIENCE, ROUNDS_AT_MOST

# Early stopping keeps rounds up to a sum of learning rates about this large (2 to 40 measured).
_LEARNT_WHEN_STOPPED = 10


def estimated_cost(configuration: Configuration, n_rows: int, n_classes: int = 0) -> float:
    """Return how many passes over the rows a fit makes: trees times levels of a tree.

    Args:
        configuration: what is to be fitted.
        n_rows: of the train set.
        n_classes: of the target; 0 for regression.

    Boosting grows a tree per class in each round, where there are more than two. An import path is
    unknown, and therefore starts first.
    """
    if configuration.algorithm in BOOSTERS:
        trees = n_classes if n_classes > 2 else 1
        return grown_rounds(expected_rounds(configuration)) * trees * _levels(configuration)
    declared = ALGORITHMS.get(configuration.algorithm)
    return declared.passes(configuration.hyperparameters, n_rows) if declared else math.inf


def _levels(configuration: Configuration) -> float:
    """The levels of one tree of a booster."""
    own = _own_names(configuration)
    if configuration.algorithm == "lightgbm":
        return math.log2(1 + positive(own.get("num_leaves"), 31))
    return positive(own.get("max_depth"), 6)


def expected_rounds(configuration: Configuration) -> float:
    """Return how many rounds a booster's configuration keeps, roughly."""
    own = _own_names(configuration)
    rate = positive(own.get("learning_rate"), LEARNING_RATE)
    at_most = positive(own.get("num_iterations"), ROUNDS_AT_MOST)
    return min(at_most, _LEARNT_WHEN_STOPPED / rate)


def grown_rounds(kept: float) -> float:
    """Return how many rounds are grown where so many are kept: patience costs some."""
    return kept + PATIENCE


def _own_names(configuration: Configuration) -> dict[str, Scalar]:
    own_name = BOOSTERS[configuration.algorithm].own_name
    given = configuration.hyperparameters
    return {own_name.get(name, name): value for name, value in given.items()}


def seconds_of(result: ModelResult, n_test: int) -> float:
    """Return how long a fit took with its predictions of the test rows."""
    return result.fit_wall_seconds + result.predict_seconds_per_row * n_test


class Brake:
    """Lets fits start until a limit is reached; from then on none. Threads may share it."""

    def __init__(self, budget: Budget, now: Callable[[], float], reason: str = "") -> None:
        """Start the clock.

        Args:
            budget: its seconds and failures in a row are limits.
            now: seconds of any clock that only goes forward.
            reason: given when nothing may start from the beginning.
        """
        self._budget, self._now, self._started = budget, now, now()
        self._share, self._spent, self._reason = 1.0, "", reason
        self._failures, self._lock = 0, threading.Lock()

    @property
    def reason(self) -> str:
        """Why nothing may start: for good, or for now; empty while fits may."""
        return self._reason or self._spent

    @property
    def is_out_of_time(self) -> bool:
        """Whether it is the clock alone that holds fits back."""
        return not self._reason and bool(self._spent)

    def open(self, share: float) -> None:
        """Give free a share of the seconds, counted from the start: a round must leave some."""
        self._share, self._spent = share, ""

    def may_start(self) -> bool:
        """Tell whether a fit may start now."""
        seconds = self._budget.seconds
        if seconds is not None and self._now() - self._started >= seconds * self._share:
            part = "" if self._share == 1 else f"{seconds * self._share:g} of "
            self._spent = f"{part}the budget of {seconds:g} seconds was spent"
        return not self.reason

    def saw(self, *, failure: bool) -> None:
        """Count failures that follow one another."""
        most = self._budget.failures_in_a_row
        with self._lock:
            self._failures = self._failures + 1 if failure else 0
            if most is not None and self._failures >= most:
                self._reason = self._reason or f"{most} configurations in a row had failed"


@dataclass(frozen=True)
class SearchCost:
    """What a run's search cost.

    Attributes:
        fits: that ended well in this run, at any rung.
        fit_cpu_seconds: of these fits.
        wall_seconds: from the first rung's beginning to the end.
        fitting_share: the part of wall seconds times workers that was spent inside these fits.
        peak_memory_bytes: of the process, since it began; without those that imported estimators
            may be fitted in.
    """

    fits: int
    fit_cpu_seconds: float
    wall_seconds: float
    fitting_share: float
    peak_memory_bytes: int


def search_cost(
    fitted: Sequence[ModelResult], wall_seconds: float, workers: int, peak_memory_bytes: int
) -> SearchCost:
    """Return what a search cost; a failed fit's seconds are not known and count as idle."""
    available = wall_seconds * workers
    inside = sum(result.fit_wall_seconds for result in fitted)
    return SearchCost(
        fits=len(fitted),
        fit_cpu_seconds=sum(result.fit_cpu_seconds for result in fitted),
        wall_seconds=wall_seconds,
        fitting_share=inside / available if available else 0.0,
        peak_memory_bytes=peak_memory_bytes,
    )
