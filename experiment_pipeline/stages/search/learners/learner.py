"""The interface of a family of algorithms: fit on shared work, load from
bytes, refit.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets


@dataclass(frozen=True, eq=False)
class FitRequest:
    """What to fit."""

    configuration: Configuration
    # for task, classes and early-stopping set; their rows are not used
    sets: TrainingSets
    spec: ExperimentSpec  # its seed and its metric are used

    @property
    def culprit(self) -> str:
        """What errors name."""
        return f"configuration {self.configuration.key}"


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A fitted model: how it predicts encoded rows, how it is stored, what its fit
    cost.
    """

    # (n, d) → predictions, shaped as in `results.Predictions`
    predict: Callable[[Any], np.ndarray]
    model: bytes  # what `Learner.restore` reads; empty where it is not to be stored
    cpu_seconds: float  # of the fitting thread, by `Clock`
    wall_seconds: float
    # best iteration; None for an algorithm without early stopping
    rounds: int | None = None
    trusted_types: tuple[str, ...] = ()  # beyond `persistence.TRUSTED_TYPES`
    notes: tuple[str, ...] = ()  # on the fit, one sentence each


# What has the rounds and the trusted types of a model.
Restorable = FittedModel | ModelResult


@dataclass
class Clock:
    """Time that this thread spends inside the `with` block; a fit has one thread."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def __enter__(self) -> Self:
        self._cpu, self._wall = time.thread_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = time.thread_time() - self._cpu
        self.wall_seconds = time.perf_counter() - self._wall


class Learner(ABC):
    """A family of algorithms."""

    @abstractmethod
    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Check names before any fit; UnknownAlgorithm: not for the task;
        InvalidExperiment: a wrong name.
        """

    @abstractmethod
    def watched(self, request: FitRequest) -> str | None:
        """Return how the experiment's metric decides a fit, as a part of its
        fingerprint; None: not at all.
        """

    @abstractmethod
    def reads_all(self, configuration: Configuration) -> bool:
        """Return whether `fit` and `refit` read all rows at once: then no table is a
        `SlicedTable`.
        """

    @abstractmethod
    def fit(
        self,
        request: FitRequest,
        work: SharedWork,
        rounds: int | None = None,
        *,
        stored: bool,
    ) -> FittedModel:
        """Fit a configuration on the encoded train rows of `work`, in one thread;
        TrainingError: the model predicts something else after it was stored and loaded.

        With a fixed number of `rounds` it does not stop early. `stored`: whether its
        bytes are wanted.
        """

    @abstractmethod
    def restore(self, request: FitRequest, stored: Restorable, model: bytes) -> Any:
        """Return the estimator of a stored model; InvalidModel: no model, or a type
        that is not trusted.
        """

    @abstractmethod
    def refit(self, request: FitRequest, rounds: int | None, rows: EncodedRows) -> Any:
        """Return an estimator fitted on all of these rows; `rounds`: of a fit that
        stopped early.
        """
