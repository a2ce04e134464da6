"""What a search costs: guessed before a fit, limited while it runs, told at the end.

Guesses and limits decide when and where a fit runs and never what it gives, so a bad guess costs
some idle time. In: configurations, a budget and a clock, fits. Out: numbers to sort by, whether the
next fit may start, and `SearchCost`.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiment_pipeline.spec import Budget, Scalar
from experiment_pipeline.spec.algorithms import ALGORITHMS, positive
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.boosters import BOOSTERS
from experiment_pipeline.stages.search.learners.rounds import (
    LEARNING_RATE,
    PATIENCE,
    ROUNDS_AT_MOST,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.training_sets import TrainingSets

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


def in_order(
    configurations: Sequence[Configuration], sets: TrainingSets, *, longest_first: bool
) -> list[Configuration]:
    """Return what is to be fitted as it is to start: the longest first, or as given."""
    if not longest_first:
        return list(configurations)
    size = len(sets.train), len(sets.classes or ())
    return sorted(configurations, key=lambda one: estimated_cost(one, *size), reverse=True)


def _levels(configuration: Configuration) -> float:
    """The levels of one tree of a booster."""
    own = _own_names(configuration)
    if configuration.algorithm == "lightgbm":
        return math.log2(1 + positive(own.get("num_leaves"), 31))
    levels = positive(own.get("max_depth"), 6)
    # Target statistics, in several orders of the rows: 3 to 18 times the work, measured.
    return levels * 5 if configuration.algorithm == "catboost" else levels


def expected_rounds(configuration: Configuration) -> float:
    """Return how many rounds a booster's configuration keeps, roughly."""
    own = _own_names(configuration)
    rate = positive(own.get("learning_rate"), LEARNING_RATE)
    return min(most_rounds(configuration), _LEARNT_WHEN_STOPPED / rate)


def most_rounds(configuration: Configuration) -> float:
    """Return how many rounds a booster's configuration makes at the most."""
    return positive(_own_names(configuration).get("num_iterations"), ROUNDS_AT_MOST)


def grown_rounds(kept: float) -> float:
    """Return how many rounds are grown where so many are kept: patience costs some."""
    return kept + PATIENCE


def _own_names(configuration: Configuration) -> dict[str, Scalar]:
    booster, given = BOOSTERS.get(configuration.algorithm), configuration.hyperparameters
    # What is imported may boost, too, with names of its own.
    own_name: Mapping[str, str] = {} if booster is None else booster.names.own_name
    return {own_name.get(name, name): value for name, value in given.items()}


def seconds_of(result: ModelResult, n_test: int) -> float:
    """Return how long a fit took with its predictions of the test rows."""
    return result.fit_wall_seconds + result.predict_seconds_per_row * n_test


@dataclass(frozen=True)
class NotBegun:
    """Why a configuration was not begun.

    Attributes:
        why: in words that are the same for all that share the cause.
        needed: seconds that it was expected to take; None where none were.
    """

    why: str
    needed: float | None = None


# Of a budget of seconds, what fits have at least, however long an ensemble takes to be fitted again.
_LEAST_FOR_FITS = 0.4


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
        self._reserved, self._guesses, self._needed = 0.0, dict[str, float](), dict[str, float]()
        self._too_long, self._is_hopeless = dict[str, NotBegun](), False

    @property
    def reason(self) -> str:
        """Why nothing may start: for good, or for now; empty while fits may."""
        return self._reason or self._spent

    def reason_of(self, key: str) -> NotBegun:
        """Return why a configuration was not begun."""
        spent = NotBegun(self._spent, self._guesses.get(key))
        return NotBegun(self._reason) if self._reason else self._too_long.get(key, spent)

    @property
    def is_on_for_good(self) -> bool:
        """Whether nothing may start any more, whatever the clock says."""
        return bool(self._reason)

    @property
    def is_out_of_time(self) -> bool:
        """Whether it is the clock alone that holds fits back."""
        return not self._reason and bool(self._spent or self._too_long)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._now() - self._started

    @property
    def left(self) -> float:
        """Seconds of the budget; infinite without one."""
        seconds = self._budget.seconds
        return math.inf if seconds is None else seconds - self.elapsed

    def open(self, share: float) -> None:
        """Give free a share of the seconds, counted from the start: a round must leave some."""
        self._share, self._spent, self._is_hopeless = share, "", False
        self._too_long, self._guesses, self._needed = {}, {}, {}

    def expect(
        self,
        guesses: Mapping[str, float],
        reserved: float,
        needed: Mapping[str, float],
        *,
        is_hopeless: bool = False,
    ) -> None:
        """Take note of how long fits are guessed to take, and what comes after the search.

        Args:
            guesses: key → seconds of a fit.
            reserved: seconds of the budget to leave, as long as fits have their part.
            needed: key → seconds from the start of its fit to the end of a report on it.
            is_hopeless: whether there is time for nobody so far: then no share of a round ends it.
        """
        self._is_hopeless = is_hopeless
        self._guesses, self._reserved, self._needed = dict(guesses), reserved, dict(needed)

    def affords(self, key: str, needed: float) -> bool:
        """Tell whether so many seconds for a configuration, report included, are left; note if not."""
        if needed <= self.left:
            return True
        self._too_long[key] = self._longer("fit, refit and report", needed)
        return False

    def may_start(self, key: str = "") -> bool:
        """Tell whether the fit of a configuration may start now."""
        seconds = self._budget.seconds
        if seconds is not None:
            for_fits = max(seconds - self._reserved, seconds * _LEAST_FOR_FITS)
            left = for_fits - self.elapsed
            share = 1.0 if self._is_hopeless else self._share
            if left <= for_fits * (1 - share):
                self._spent = self._why_spent(seconds, for_fits)
            elif (guess := self._guesses.get(key, 0.0)) > left:
                self._too_long[key] = self._longer("the fit", guess)
                return False
            elif not self.affords(key, self._needed.get(key, 0.0)):
                return False
        return not self.reason

    def _longer(self, what: str, needed: float) -> NotBegun:
        budget = f"the budget of {self._budget.seconds:g} seconds"
        return NotBegun(f"{what} would have taken longer than what was left of {budget}", needed)

    def _why_spent(self, seconds: float, for_fits: float) -> str:
        part = "" if self._share == 1 else f"{for_fits * self._share:.3g} of "
        rest = seconds - for_fits
        said = f"{part}the budget of {seconds:g} seconds was spent"
        return said if rest < 0.1 else f"{said}, but for {rest:.1f} to fit again and to report"

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
