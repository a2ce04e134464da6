"""The cluster engine: each fit is a task on some worker; its result is stored as soon
as it arrives.

What the fits of an encoder share goes to the scheduler once, which gives it again to
workers that need it; a process unpickles it once. A worker compares its software with
that of the process that searches before each fit: Dask compares few packages, and only
warns (distributed#7017).
"""

import pickle
import platform
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path

import pandas as pd

from experiment_pipeline.errors import ClusterError
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.registry import FITTING
from experiment_pipeline.stages.search import sweep
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.dask_cluster import (
    SAME_SOFTWARE,
    Cluster,
    Done,
)
from experiment_pipeline.stages.search.fingerprints import code_of, fingerprint
from experiment_pipeline.stages.search.fitting import share_work
from experiment_pipeline.stages.search.learners import import_libraries
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    Outcome,
)
from experiment_pipeline.stages.search.shared_work import Kept
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.threads import one_openmp_thread, one_thread
from experiment_pipeline.storage.run_code import SOURCE
from experiment_pipeline.table.digests import sha256

# Any of these changes a model.
PACKAGES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# Not part of an installed package (`exclude` in pyproject.toml).
_NOT_INSTALLED = ("defs", "definitions.py")
_ABSENT = "not installed"
# Of shared work that a worker keeps in memory: about the encoders of one rung.
MOST_WORKS = 4


def shared_by(
    configurations: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> bytes:
    """Return what fits of one encoder share, pickled: the work, and the sets."""
    import cloudpickle

    with one_thread("blas"):
        work = share_work(configurations, sets, spec)
    return cloudpickle.dumps((work, without_rows(sets)))


def without_rows(sets: TrainingSets) -> TrainingSets:
    """Return the sets, and those of their folds, without tables."""
    # Not an empty slice: that would keep every category, and send all of their texts.
    no_rows = pd.DataFrame()
    folds = (replace(fold, sets=without_rows(fold.sets)) for fold in sets.folds)
    return replace(sets, train=no_rows, test=no_rows, folds=tuple(folds))


@dataclass(frozen=True)
class Task:
    """One fit."""

    configuration: Configuration
    shared: str  # the name of what it shares with other fits
    spec: ExperimentSpec  # the part that a fit may depend on
    software: Mapping[str, str]  # of the process that searches
    algorithms: tuple[str, ...]  # of all fits that may run beside it


class ClusterEngine(ExitStack):
    """Workers of a cluster, which is connected when the first fit needs it."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Cluster]]) -> None:
        """Train on the cluster that `connect` gives."""
        super().__init__()
        self._connect = connect
        self._cluster: Cluster | None = None

    @property
    def workers(self) -> int:
        """The threads of all workers that are there now."""
        return 1 if self._cluster is None else max(1, self._cluster.places())

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
    ) -> Generator[Outcome, None, None]:
        """Send what fits share, submit them, and yield each when it is done."""
        if not configurations:
            return
        if self._cluster is None:
            self._cluster = self.enter_context(self._connect())
        cluster = self._cluster
        by_encoder = dict[Features, list[Configuration]]()
        for configuration in configurations:
            by_encoder.setdefault(configuration.features, []).append(configuration)
        shared = {
            encoder: cluster.share(shared_by(encoded, sets, spec))
            for encoder, encoded in by_encoder.items()
        }
        fitting = spec.part(FITTING)
        algorithms = tuple(
            sorted(
                {path for entrant in configurations for path in entrant.import_paths}
            )
        )
        tasks = dict[str, Task]()
        for configuration in sweep.in_order(configurations, sets, brake):
            tasks[fingerprint(configuration, sets, spec)] = Task(
                configuration,
                shared[configuration.features],
                fitting,
                software(configuration.import_paths),
                algorithms,
            )

        def by_itself(first: FailedConfiguration) -> Outcome:
            alone = {first.fingerprint: tasks[first.fingerprint]}
            (outcome,) = _outcomes(cluster, alone, None)
            return outcome

        outcomes = _outcomes(cluster, tasks, brake)
        yield from sweep.with_second_attempts(outcomes, by_itself)


def _outcomes(
    cluster: Cluster, tasks: Mapping[str, Task], brake: Brake | None
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of tasks by fingerprint."""

    def may_start(print_: str) -> bool:
        return brake is None or brake.may_start(tasks[print_].configuration.key)

    shared = {print_: task.shared for print_, task in tasks.items()}
    with closing(
        cluster.run(run_task, tasks, may_start=may_start, shared=shared)
    ) as ended:
        for done in ended:
            outcome = done.value or _lost(done, tasks)
            if isinstance(outcome, FailedConfiguration):
                outcome = replace(outcome, fingerprint=done.key)
            yield outcome


def _lost(done: Done, tasks: Mapping[str, Task]) -> FailedConfiguration:
    """The failure of a task without a value, which is not necessarily the fault of the
    configuration: another fit may have killed the worker.
    """
    key = tasks[done.key].configuration.key
    return FailedConfiguration(
        key, done.key, "LostWorker", done.lost, "", is_of_the_machine=True
    )


def run_task(task: Task, shared: bytes) -> Outcome:
    """Fit a configuration in this thread of a worker. Raises ClusterError: other
    software.
    """
    sweep.parse_one_at_a_time()
    _one_thread_each(threading.get_ident())
    configuration = task.configuration
    if differing := differences(task.software, software(configuration.import_paths)):
        raise ClusterError(_worker(), differing, SAME_SOFTWARE)
    import_libraries(task.algorithms, task.spec.task)
    # From the process that searches, as the task itself is.
    work, sets = _WORKS.get(task.shared, partial(pickle.loads, shared))
    return sweep.trained_or_failed(configuration, work, sets, task.spec)


@cache
def _one_thread_each(_: int) -> None:
    """Limit BLAS in this process and OpenMP in this thread; it takes milliseconds."""
    one_thread("blas")
    one_openmp_thread()


# Of this process: its threads share them.
_WORKS = Kept(MOST_WORKS)


def _worker() -> str:
    from distributed import get_worker

    return f"the worker {get_worker().address}"


@cache
def software(paths: tuple[str, ...]) -> dict[str, str]:
    """Return name → version or digest of what decides fits of import paths here."""
    versions = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "processor": platform.machine(),
        **{name: metadata.version(name) for name in PACKAGES},
        "source of experiment-pipeline": _source_digest(),
    }
    try:
        code = dict(code_of(paths))
    except metadata.PackageNotFoundError:
        return versions
    if SOURCE in code:
        versions[f"module of {paths[0]}"] = (code.pop(SOURCE) or _ABSENT)[:13]
    return versions | {name: str(version) for name, version in code.items()}


def differences(expected: Mapping[str, str], present: Mapping[str, str]) -> str:
    """Return how a worker's software differs, as text; empty: it does not."""
    return "; ".join(
        f"{name} {present.get(name, _ABSENT)}, the search has {version}"
        for name, version in expected.items()
        if present.get(name, _ABSENT) != version
    )


@cache
def _source_digest() -> str:
    """Return a digest of the source files that are installed on workers, too."""
    root = Path(__file__).parents[2]
    digests = list[str]()
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root)
        if path.parts[0] not in _NOT_INSTALLED:
            digests.append(f"{path.as_posix()} {sha256(file.read_bytes())}")
    return sha256("\n".join(digests).encode())[:8]
