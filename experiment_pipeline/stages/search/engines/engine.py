"""The interface between a search and the engine that trains for it, and the engine of threads.

A search decides what to train, on which rows, and when to stop. An engine trains, and yields each outcome
when it is done. All engines give the same models, bit by bit.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import Outcome
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.entries import SharedFiles


class FitEngine(Protocol):
    """Trains configurations somewhere."""

    @property
    def workers(self) -> int:
        """Fits at a time, 1 at least; it may change while a search runs."""

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
        *,
        longest_first: bool = True,
    ) -> Generator[Outcome, None, None]:
        """Train configurations, and yield each when it is done.

        Args:
            configurations: what to train; not those the store has.
            sets: train and test set.
            spec: its seed and its metrics are used.
            brake: asked before each fit; a configuration that may not start is left out.
            longest_first: keeps every worker busy to the end; else in the order given, for searches
                without time for all.

        Closing the generator cancels the fits that wait. An error of a fit becomes a
        `FailedConfiguration`; one that says nothing of the configuration (memory, disk, network)
        gets a second attempt by itself, when all others are done. An interruption propagates.
        """


@dataclass(frozen=True)
class Threads:
    """Threads of this process, one for each fit.

    Attributes:
        workers: fits at a time; one per core is right.
        files: where the bins of many rows are kept; None: nowhere.
    """

    workers: int
    files: SharedFiles | None = None

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
        *,
        longest_first: bool = True,
    ) -> Generator[Outcome, None, None]:
        """Train in the pool of `sweep.py`."""
        # A rerun that finds everything known imports nothing that fits.
        from experiment_pipeline.stages.search.engines.shared_files import share_kept
        from experiment_pipeline.stages.search.fitting import share_work
        from experiment_pipeline.stages.search.sweep import train_configurations

        share = share_work if self.files is None else partial(share_kept, files=self.files)
        yield from train_configurations(
            configurations,
            sets,
            spec,
            self.workers,
            brake,
            longest_first=longest_first,
            share=share,
        )
