"""What a family of algorithms can do: fit on shared work, come back from bytes, fit once more.

Everything else of a search is the same for all: which features, which rows, how predictions are
scored, what is stored. `learner_of` finds the one of an algorithm. In: a configuration and encoded
rows. Out: a `FittedModel`, or a fitted scikit-learn estimator, which loads without this package.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from experiment_pipeline.spec import ExperimentSpec

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.configurations import Configuration
    from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedWork
    from experiment_pipeline.stages.search.training_sets import TrainingSets


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A fitted model: how it predicts encoded rows, how it is stored, what its fit cost.

    Attributes:
        predict: encoded rows (n, d) → predictions in the shape of `results.Predictions`.
        model: what `Learner.restore` reads; empty where nobody will.
        cpu_seconds: of the fitting thread, by `Clock`.
        wall_seconds: the same by the clock on the wall.
        rounds: that it keeps; None for what does not stop early.
        trusted_types: what loading it needs beyond `persistence.TRUSTED_TYPES`.
        on_train: what it predicts for every train row, where the fit has found that anyway.
        on_test: the same of every test row: bit by bit what `predict` says of it.
        notes: what to know about the fit, one sentence each.
    """

    predict: Callable[[Any], np.ndarray]
    model: bytes
    cpu_seconds: float
    wall_seconds: float
    rounds: int | None = None
    trusted_types: tuple[str, ...] = ()
    on_train: np.ndarray | None = None
    on_test: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Clock:
    """Time spent inside its `with` block by this thread: one thread per fit, so all of it."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def __enter__(self) -> Self:
        self._cpu, self._wall = time.thread_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = time.thread_time() - self._cpu
        self.wall_seconds = time.perf_counter() - self._wall


class StoredFit(Protocol):
    """What of a fit is needed to restore it."""

    @property
    def configuration(self) -> "Configuration":
        """What was fitted."""

    @property
    def rounds(self) -> int | None:
        """That it keeps; None for what does not stop early."""

    @property
    def trusted_types(self) -> tuple[str, ...]:
        """As of `FittedModel`."""


class Learner(Protocol):
    """A family of algorithms."""

    def check_hyperparameters(self, configuration: "Configuration", task: str) -> None:
        """Raise when a configuration's names cannot work, before anything is fitted.

        Raises:
            UnknownAlgorithm: there is no such algorithm here, or not for the task.
            InvalidExperiment: a hyperparameter that does not exist, or may not be set.
        """

    def watched(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> str | None:
        """Return what a fit takes from the experiment's metric, which is part of its fingerprint.

        None: nothing, also for an impossible configuration, of which the fit will say so.
        """

    def shared_table(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> Hashable | None:
        """Return what decides the table that `fit` will borrow from `SharedWork.tables`.

        None: it borrows none, also for an impossible configuration.
        """

    def reads_all(self, configuration: "Configuration") -> bool:
        """Return whether `fit` and `refit` read all rows at once: then no table is a `SlicedTable`."""

    def fit(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        rounds: int | None = None,
        *,
        stored: bool = True,
    ) -> FittedModel:
        """Fit a configuration on the encoded train rows, in one thread.

        Args:
            configuration: what to fit.
            work: its encoder's tables are among them.
            sets: their early-stopping set is what it may stop on; their rows are not used.
            spec: its seed and its metric are used.
            rounds: so many, and no early stopping; None: as the configuration and `sets` say.
            stored: whether its bytes are wanted; a fold's fit leaves them out.

        Raises:
            TrainingError: it is not the same once reloaded.
            Exception: whatever the library raises.
        """

    def restore(
        self, stored: StoredFit, model: bytes, sets: "TrainingSets", spec: ExperimentSpec
    ) -> Any:
        """Return the fitted estimator of a stored model.

        Raises:
            InvalidModel: the bytes are no model, or hold a type that is not trusted.
        """

    def refit(
        self,
        configuration: "Configuration",
        rounds: int | None,
        rows: "EncodedRows",
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Return an estimator fitted on all of these rows, with no early stopping.

        Args:
            configuration: what to fit.
            rounds: of a fit that stopped early; None for what does not.
            rows: what to fit on.
            sets: give task and classes; their rows are not used.
            spec: its seed and its metric are used.
        """


@runtime_checkable
class StoresTables(Protocol):
    """A learner whose shared table can be written down, so that it is made once for all machines."""

    def make_table(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Return the table that `Learner.fit` would make of this work."""

    def write_table(self, table: Any, folder: Path) -> None:
        """Write a table as files into an empty folder."""

    def read_table(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        files: Mapping[str, Path],
    ) -> Any:
        """Return the table of files by name, on which a fit gives the same bytes."""
