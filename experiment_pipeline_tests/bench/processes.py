"""Threads against processes: the sweep against joblib's workers, one estimator at a time.

The processes are the best that a fallback could do: the sets are encoded once and memory-mapped
by joblib, one task is one fit, scored and turned into model bytes as in the sweep, and the pool
is warm before the clock starts.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.fitting import fit_configuration, share_work
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel
from experiment_pipeline.stages.search.shared_work import SharedTables, SharedWork
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.pairs import Ratio, compare

WORKERS = 2
ROWS_OF_PURE_PYTHON = 20_000
_RATES = [0.03, 0.05, 0.1, 0.2]


@dataclass(frozen=True)
class Tried:
    """An algorithm, and four configurations of it.

    Attributes:
        algorithm: a built-in name or an import path.
        hyperparameters: of a size that a fit and its scores take about a second.
        features: what the algorithm can read.
    """

    algorithm: str
    hyperparameters: Mapping[str, Any]
    features: str = "onehot"

    def spec(self) -> ExperimentSpec:
        """The flights, searched by this algorithm alone."""
        entry = {
            "algorithm": self.algorithm,
            "hyperparameters": dict(self.hyperparameters),
            "features": self.features,
        }
        return flights.flights_spec(search=[entry], halving=False)


TRIED = (
    Tried("lightgbm", {"learning_rate": _RATES, "n_estimators": 200}, "ordinal"),
    Tried("random_forest", {"min_samples_leaf": [5, 10, 20, 40], "n_estimators": 20}, "ordinal"),
    Tried("linear", {"C": [0.01, 0.1, 1.0, 10.0]}),
    Tried("sklearn.ensemble.HistGradientBoostingClassifier", {"learning_rate": _RATES}, "ordinal"),
    Tried(
        "sklearn.ensemble.GradientBoostingClassifier",
        {"learning_rate": _RATES, "n_estimators": 20, "max_features": 0.2},
    ),
    Tried("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": [5, 10, 20, 40]}),
    Tried("sklearn.naive_bayes.GaussianNB", {"var_smoothing": [1e-9, 1e-8, 1e-7, 1e-6]}),
    Tried(
        "sklearn.neural_network.MLPClassifier",
        # Ends after a few passes over the rows, as converged: that raises no warning.
        {"alpha": [1e-4, 1e-3, 0.01, 0.1], "tol": 10.0, "n_iter_no_change": 8},
    ),
    Tried(f"{__name__}.PurePython", {"learning_rate": _RATES}),
)


class PurePython(ClassifierMixin, BaseEstimator):
    """A logistic regression that never releases the GIL: what a user may bring along."""

    def __init__(self, learning_rate: float = 0.1, passes: int = 5) -> None:
        self.learning_rate, self.passes = learning_rate, passes

    def fit(self, table: np.ndarray, y: np.ndarray) -> Self:
        """Walk over the first rows, a cell at a time, so many times."""
        self.classes_ = np.unique(y)
        weights = [0.0] * table.shape[1]
        rows = table[:ROWS_OF_PURE_PYTHON].tolist()
        positive = (y[:ROWS_OF_PURE_PYTHON] == self.classes_[1]).tolist()
        for row, is_positive in self.passes * list(zip(rows, positive, strict=True)):
            total = 0.0
            for weight, cell in zip(weights, row, strict=True):
                total += weight * cell
            step = self.learning_rate * (is_positive - 1 / (1 + math.exp(-total))) / len(row)
            weights = [weight + step * cell for weight, cell in zip(weights, row, strict=True)]
        self.weights_ = np.array(weights)
        return self

    def predict_proba(self, table: np.ndarray) -> np.ndarray:
        """Probabilities, (n, 2)."""
        positive = 1 / (1 + np.exp(-(table @ self.weights_)))
        return np.column_stack([1 - positive, positive])

    def predict(self, table: np.ndarray) -> np.ndarray:
        """The likelier class, (n,)."""
        return self.classes_[(self.predict_proba(table)[:, 1] > 0.5).astype(int)]


def ratios(pairs: int, tried: Sequence[Tried] = TRIED) -> list[Ratio]:
    """Threads / processes of every algorithm: above 1, processes are faster."""
    sets = flights.flights_sets(tried[0].spec())
    _warm()
    return [_ratio(one, sets, pairs) for one in tried]


def pool_start() -> Measured:
    """What a search would pay once for processes: their start and their imports."""
    started = time.perf_counter()
    _warm()
    name = f"start of {WORKERS} processes, with their imports"
    return Measured(name, time.perf_counter() - started, "s", None)


def by_threads(
    spec: ExperimentSpec, sets: TrainingSets
) -> list[TrainedModel | FailedConfiguration]:
    """The sweep as it is."""
    return list(train_configurations(configurations(spec), sets, spec, WORKERS))


def by_processes(spec: ExperimentSpec, sets: TrainingSets) -> list[TrainedModel]:
    """The same fits in processes; tables are encoded here and mapped there."""
    declared = configurations(spec)
    # Without the binned tables, which no other process could read: they hold locks.
    work = replace(share_work(declared, sets, spec), tables=None)
    # Of the sets themselves a fit needs only what they mean.
    bare = replace(sets, train=sets.train[:0], test=sets.test[:0])
    task = joblib.delayed(_fit)
    return joblib.Parallel(WORKERS)(task(one, work, bare, spec) for one in declared)


def _fit(
    one: Configuration, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec
) -> TrainedModel:
    tables = SharedTables([learner_of(one.algorithm).shared_table(FitRequest(one, sets, spec))])
    return fit_configuration(one, replace(work, tables=tables), sets, spec)


def _ratio(one: Tried, sets: TrainingSets, pairs: int) -> Ratio:
    spec = one.spec()
    name = f"threads: {WORKERS} processes, {one.algorithm.rpartition('.')[2]}"
    return compare(name, _run(by_threads, spec, sets), _run(by_processes, spec, sets), pairs=pairs)


def _run(
    way: Callable[[ExperimentSpec, TrainingSets], Sequence[Any]],
    spec: ExperimentSpec,
    sets: TrainingSets,
) -> Callable[[], None]:
    def run() -> None:
        failed = [found for found in way(spec, sets) if isinstance(found, FailedConfiguration)]
        if failed:
            raise RuntimeError(f"{failed[0].key}: {failed[0].reason}")

    return run


def _warm() -> None:
    """Start the processes, or find them started; this module's imports come with the task."""
    joblib.Parallel(WORKERS)(joblib.delayed(time.sleep)(0.1) for _ in range(WORKERS))
    joblib.Parallel(WORKERS)(joblib.delayed(_imported)() for _ in range(WORKERS))


def _imported() -> None:
    import lightgbm  # noqa: F401

    time.sleep(0.1)
