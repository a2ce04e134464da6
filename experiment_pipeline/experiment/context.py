"""One run of an experiment as its stages see it: declaration, store,
reporter, budget.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from logging import Logger
from typing import Protocol

import pandas as pd

from experiment_pipeline.experiment.store import Store
from experiment_pipeline.intake.raw_table import RawTable
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand
from experiment_pipeline.stages.registry import STAGES, table_bytes, warn_of_memory
from experiment_pipeline.table.features import NamedColumns


class Reporter(Protocol):
    """Shows a run to whoever started it."""

    @property
    def log(self) -> Logger:
        """The log of the run."""

    def at_work(self, stage: str) -> AbstractContextManager[None]:
        """Surround the work of a stage; may turn errors into what the user sees."""

    def concluded(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Show configurations that have a result, by key, soon after they have one."""


@dataclass(frozen=True)
class RunBudget:
    """The seconds of a run, from its first stage to the exported model."""

    seconds: float | None = None  # None: no limit
    spent: Callable[[], float] = lambda: 0.0  # seconds since the run began
    reserved: float = 0.0  # of the seconds, for the export

    @property
    def left(self) -> float:
        """The seconds that are left now; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        return self.seconds - self.reserved - self.spent()

    def countdown(
        self, now: Callable[[], float] = time.perf_counter
    ) -> Callable[[], float]:
        """Return a function that gives the seconds left, counted from this call on."""
        ends = now() + self.left
        return lambda: ends - now()


@dataclass(frozen=True)
class Run:
    """What a stage works with, whoever started it."""

    named: NamedColumns  # the experiment as declared
    store: Store
    reporter: Reporter
    budget: RunBudget = RunBudget()
    workers: int | None = None  # fits at a time in this run; None: as in the YAML
    by_hand: ChoiceByHand | None = None  # None: the rule of `choice` decides
    delivered: RawTable | None = None  # the table to use; None: the source is read
    # keys of the configurations to train; None: all that are declared
    asked_for: Collection[str] | None = None
    explores: bool = False  # it ends with the leaderboard: no refit, no report

    @property
    def spec(self) -> ExperimentSpec:
        """The settings of defs.yaml."""
        return self.named.spec

    @property
    def log(self) -> Logger:
        """The log of the run."""
        return self.reporter.log

    def part(self, stage: str) -> ExperimentSpec:
        """Return the settings of the keys that decide a stage."""
        return self.spec.part(STAGES[stage].reads)

    @property
    def changed(self) -> dict[str, float]:
        """Setting → its value for this run alone, where it differs from the YAML's."""
        declared = {
            "workers": self.spec.workers,
            "budget_seconds": self.spec.budget.seconds,
        }
        of_run = {"workers": self.workers, "budget_seconds": self.budget.seconds}
        return {
            name: value
            for name, value in of_run.items()
            if value is not None and value != declared[name]
        }

    @property
    def searched_spec(self) -> ExperimentSpec:
        """The settings with this run's workers, the seconds that it has left, and no
        refits if none follow the search.
        """
        seconds = self.budget.seconds
        if seconds is not None and self.budget.left < seconds:
            seconds = max(round(self.budget.left, 1), 0.1)
        budget = self.spec.budget.model_copy(update={"seconds": seconds})
        export = self.spec.export
        if self.explores:
            export = export.model_copy(update={"fits": 0})
        changed = {
            "workers": self.workers or self.spec.workers,
            "budget": budget,
            "export": export,
        }
        return self.spec.model_copy(update=changed)

    @contextmanager
    def at_work(self, stage: str) -> Iterator[None]:
        """Surround the work of a stage: it is recorded, and its errors are reported."""
        with self.reporter.at_work(stage), self.store.recorded(stage, self.named):
            yield

    def warn_of_memory(self, stage: str, *tables: pd.DataFrame) -> None:
        """Warn if a stage may not get the memory that it needs for tables."""
        warn_of_memory(stage, table_bytes(*tables), self.log.warning)
