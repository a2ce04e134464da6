"""The cluster engine: each fit is a task on some worker; its result is stored as soon
as it arrives.

Arrays that fits share go through the storage, tasks and results through Dask:

    <root>/<experiment>/shared/<run>/<name>/
        *.npy        the arrays of one encoder: tables, targets, weights, masks, folds

A search removes its own when it ends, and those of runs that were killed when it
begins. A worker compares its software with that of the
process that searches before each fit: Dask compares few packages, and only warns
(distributed#7017).
"""

import io
import pickle
import platform
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import ClusterError, EntryCorrupt
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
from experiment_pipeline.stages.search.shared_work import Kept, SharedWork, SlicedTable
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.importance import one_openmp_thread
from experiment_pipeline.storage import files as storage
from experiment_pipeline.storage.arrays import read_tables, write_tables
from experiment_pipeline.storage.entries import SharedFolder
from experiment_pipeline.storage.run_code import SOURCE
from experiment_pipeline.table.digests import sha256

# Any of these changes a model.
PACKAGES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# Not part of an installed package (`exclude` in pyproject.toml).
_NOT_INSTALLED = ("defs", "definitions.py")
_ABSENT = "not installed"
# Of shared work that a worker keeps in memory: about the encoders of one rung.
MOST_WORKS = 4


@dataclass(frozen=True)
class Shared:
    """What fits of an encoder share: arrays in the storage, and all else."""

    folder: SharedFolder
    name: str  # of the arrays
    pickled: bytes  # `SharedWork` and `TrainingSets` without their arrays

    @classmethod
    def of(
        cls,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        folder: SharedFolder,
    ) -> "Shared":
        """Write what fits of one encoder share; large tables slice by slice."""
        with threadpool_limits(limits=1, user_api="blas"):
            work = share_work(configurations, sets, spec)
        pickled = io.BytesIO()
        pickler = _WithoutArrays(pickled)
        pickler.dump((work, without_rows(sets)))
        name = folder.put(partial(write_tables, pickler.arrays))
        return cls(folder, name, pickled.getvalue())

    def read(self) -> tuple[SharedWork, TrainingSets]:
        """Return the work, and the sets without their rows; arrays are read-only."""
        with self.folder.entries.as_files(self.name) as files:
            unpickler = _WithArrays(io.BytesIO(self.pickled))
            unpickler.arrays = read_tables(files)
            return unpickler.load()


class _WithoutArrays(pickle.Pickler):
    """Pickles all but arrays and sliced tables, which it collects."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.arrays = dict[str, Any]()  # by name
        self._names = dict[int, str]()  # by identity

    def persistent_id(self, thing: object) -> str | None:
        is_array = isinstance(thing, np.ndarray) and thing.nbytes > 0
        if not (is_array or isinstance(thing, SlicedTable)):
            return None
        name = self._names.setdefault(id(thing), f"{len(self._names)}")
        self.arrays[name] = thing
        return name


class _WithArrays(pickle.Unpickler):
    """Puts the arrays in place again."""

    arrays: Mapping[str, Any]

    def persistent_load(self, name: str) -> Any:
        return self.arrays[name]


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
    shared: Shared
    spec: ExperimentSpec  # the part that a fit may depend on
    software: Mapping[str, str]  # of the process that searches
    algorithms: tuple[str, ...]  # of all fits that may run beside it


class ClusterEngine(ExitStack):
    """Workers of a cluster, which is connected when the first fit needs it."""

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Cluster]],
        folder: SharedFolder,
    ) -> None:
        """Train on the cluster that `connect` gives; every worker reaches `folder`."""
        super().__init__()
        self._connect = connect
        self._folder = folder
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
        """Write what fits share, submit them, and yield each when it is done."""
        if not configurations:
            return
        if self._cluster is None:
            self._cluster = self.enter_context(self._connect())
            self.callback(self._folder.remove)
        cluster = self._cluster
        by_encoder = dict[Features, list[Configuration]]()
        for configuration in configurations:
            by_encoder.setdefault(configuration.features, []).append(configuration)
        shared = {
            encoder: Shared.of(encoded, sets, spec, self._folder)
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

    with closing(cluster.run(run_task, tasks, may_start=may_start)) as ended:
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


def run_task(task: Task) -> Outcome:
    """Fit a configuration in this thread of a worker. Raises ClusterError: other
    software; EntryCorrupt: a shared file is gone or damaged.
    """
    sweep.parse_one_at_a_time()
    _one_thread_each(threading.get_ident())
    configuration = task.configuration
    if differing := differences(task.software, software(configuration.import_paths)):
        raise ClusterError(_worker(), differing, SAME_SOFTWARE)
    import_libraries(task.algorithms, task.spec.task)
    shared = task.shared
    try:
        work, sets = storage.patiently(partial(_WORKS.get, shared.name, shared.read))
    except EntryCorrupt as damage:
        raise EntryCorrupt(
            damage.culprit,
            rule=f"{damage.rule}, as read by {_worker()}",
            fix="give every worker the storage of this process and its credentials; if "
            "it has them, run again, and no other search of the experiment beside it",
        ) from None
    return sweep.trained_or_failed(configuration, work, sets, task.spec)


@cache
def _one_thread_each(_: int) -> None:
    """Limit BLAS in this process and OpenMP in this thread; it takes milliseconds."""
    threadpool_limits(limits=1, user_api="blas")
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
