"""What a step of a stored run gets to work with, whether Dagster or a notebook executes
it.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pandas as pd

from experiment_pipeline.intake.raw_table import RawTable
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand
from experiment_pipeline.stages.registry import STAGES, table_bytes, warn_of_memory
from experiment_pipeline.storage.entries import Entry, linked_page, stage_entries
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database.recording import RunRecord

Reported = Iterator[tuple[str, Outcome]]


@dataclass(frozen=True)
class StageRun:
    """A stage that is executed: its experiment, run record, log and budget."""

    named: NamedColumns
    run: RunRecord
    log: logging.Logger
    # a context manager around the stage's work, which records it and reports errors to
    # the user
    at_work: Callable[[], AbstractContextManager[None]]
    seconds: float | None = None  # the time budget of this run
    spent: Callable[[], float] = lambda: (
        0.0
    )  # seconds of it used, or reserved for the export
    workers: int | None = None  # fits at a time in this run; None: as in the YAML
    by_hand: ChoiceByHand | None = None  # None: the rule of `choice` decides
    delivered: RawTable | None = None  # the table to use; None: the source is read

    @property
    def spec(self) -> ExperimentSpec:
        """What the YAML declares."""
        return self.named.spec

    def part(self, stage: str) -> ExperimentSpec:
        """Return what the YAML declares in the keys that decide a stage."""
        return self.spec.part(STAGES[stage].reads)

    @property
    def changed(self) -> dict[str, float]:
        """Setting → its value for this run alone, where it differs from the YAML's."""
        declared = {
            "workers": self.spec.workers,
            "budget_seconds": self.spec.budget.seconds,
        }
        of_run = {"workers": self.workers, "budget_seconds": self.seconds}
        return {k: v for k, v in of_run.items() if v is not None and v != declared[k]}

    @property
    def searched_spec(self) -> ExperimentSpec:
        """The spec with this run's workers and the remaining seconds of its budget."""
        left = self.seconds
        if left is not None and (spent := self.spent()):
            left = max(round(left - spent, 1), 0.1)
        budget = self.spec.budget.model_copy(update={"seconds": left})
        of_run = {"workers": self.workers or self.spec.workers, "budget": budget}
        return self.spec.model_copy(update=of_run)

    def seconds_left(
        self, now: Callable[[], float] = time.perf_counter
    ) -> Callable[[], float]:
        """Return a function that gives the remaining seconds of the budget, counted
        from now.
        """
        if self.seconds is None:
            return lambda: math.inf
        ends = now() + self.seconds - self.spent()
        return lambda: ends - now()

    def reused_or_made(
        self,
        stage: str,
        fingerprint: str,
        make: Callable[[], Mapping[str, bytes]],
        reused: str,
        *tables: pd.DataFrame,
    ) -> Entry[None]:
        """Return the stored entry of a fingerprint, and log the message `reused`; else
        make and store one.

        `make` returns the files of a new entry; `tables` are those that it has in
        memory.
        """
        entries = stage_entries(self.spec.name, stage)
        stored = entries.intact(fingerprint, self.log.warning)
        if stored is None:
            warn_of_memory(stage, table_bytes(*tables), self.log.warning)
            folder, made = entries.folder(fingerprint), make()
            pages = {
                name: linked_page(made[name], folder)
                for name in made
                if name.endswith(".html")
            }
            return entries.put(fingerprint, {**made, **pages}, None)
        self.log.info(reused)
        return stored
