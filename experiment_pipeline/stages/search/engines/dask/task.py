"""A fit on a worker: what is sent there, what runs there, what comes back.

A task is small. What it needs is read by URL, mapped where the storage is a disk, and the last few are
kept by the process, for all its threads. Any process that can import this package and read the
storage may run it.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import ClusterError, EntryCorrupt
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.engines.dask.software import differences, software
from experiment_pipeline.stages.search.engines.shared_files import Digests, read_shared
from experiment_pipeline.stages.search.learners import learner_of, lightgbm_learner
from experiment_pipeline.stages.search.learners.learner import Clock, FitRequest
from experiment_pipeline.stages.search.results import Outcome
from experiment_pipeline.stages.search.shared_work import Kept, SharedWork
from experiment_pipeline.stages.search.sweep import (
    failure_of,
    parse_one_at_a_time,
    trained_or_failed,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.importance import one_openmp_thread
from experiment_pipeline.storage.entries import SharedFolder
from experiment_pipeline.storage.files import patiently

# The encoders of one rung, and some of the tables that LightGBM makes of them.
MOST_WORKS, MOST_TABLES = 4, 8
SAME_SOFTWARE = (
    "start every worker and the scheduler with the software of this process (one image or "
    "environment), and with the same storage and its credentials"
)


@dataclass(frozen=True)
class Task:
    """One fit: what to fit, and which files of which folder it reads."""

    configuration: Configuration
    fingerprint: str
    digests: Digests
    folder: SharedFolder
    sets: TrainingSets  # without rows, by `shared_files.bare`
    spec: ExperimentSpec  # the part that a fit may depend on
    software: Mapping[str, str]  # of the process that searches


@dataclass(frozen=True)
class Ran:
    """The outcome of a task, and how many seconds it has waited for files."""

    outcome: Outcome
    read_seconds: float


# Of this process: its threads share them.
_WORKS, _TABLES = Kept(MOST_WORKS), Kept(MOST_TABLES)


@dataclass(frozen=True)
class TablesOfTask:
    """As `SharedTables`, for one fit: a table that it has borrowed stays to its end.

    Attributes:
        scope: names the encoded tables that they are made of.
    """

    scope: Hashable
    _held: dict[Hashable, Any] = field(default_factory=dict)

    @contextmanager
    def borrow(self, table: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """Give a table, made or read if need be."""
        if table not in self._held:
            self._held[table] = _TABLES.get((self.scope, table), make)
        yield self._held[table]


def run_task(task: Task) -> Ran:
    """Fit a configuration in this thread alone; what it raises becomes a `FailedConfiguration`.

    Raises:
        ClusterError: other software is installed here.
        EntryCorrupt: a shared file is gone or damaged, which says nothing of the configuration.
    """
    parse_one_at_a_time()
    _one_blas_thread()
    _one_openmp_thread(threading.get_ident())
    one = task.configuration
    if found := differences(task.software, software((one.algorithm,))):
        raise ClusterError("a worker that joined the search", found, SAME_SOFTWARE)
    try:
        with Clock() as reading:
            work, sets = patiently(partial(_read, task))
    except EntryCorrupt as damage:
        fix = "run again: it is made again; two searches of one experiment must not run at a time"
        raise EntryCorrupt(damage.culprit, damage.rule, fix) from None
    except Exception as error:  # noqa: BLE001 - as in `trained_or_failed`
        return Ran(failure_of(one, task.fingerprint, error), reading.wall_seconds)
    return Ran(trained_or_failed(one, work, sets, task.spec), reading.wall_seconds)


def _read(task: Task) -> tuple[SharedWork, TrainingSets]:
    """Read what the fit shares with others, and the library's table that it will borrow.

    Raises:
        EntryCorrupt: a file is gone, or not what was written.
        StorageUnreachable: the storage does not answer.
    """
    one, digests = task.configuration, task.digests
    of = task.folder, replace(digests, table=None), task.sets.classes
    read = partial(read_shared, task.folder, digests, one.features, task.sets)
    work, sets = _WORKS.get(of, read)
    # Another seed bins large tables otherwise.
    scope = (of, task.spec.seed)
    tables = TablesOfTask(scope)
    if digests.table is not None:
        request = FitRequest(one, sets, task.spec)
        with task.folder.entries.as_files(digests.table) as files:
            read_bins = partial(lightgbm_learner.read_table, request, work, files)
            with tables.borrow(learner_of(one.algorithm).shared_table(request), read_bins):
                pass
    folds = tuple(
        replace(fold, tables=TablesOfTask((scope, number)))
        for number, fold in enumerate(work.folds)
    )
    return replace(work, tables=tables, folds=folds), sets


@cache
def _one_blas_thread() -> None:
    """Limit the libraries of this process for as long as it lives."""
    threadpool_limits(limits=1, user_api="blas")


@cache
def _one_openmp_thread(_: int) -> None:
    """Limit the libraries that count by thread: once for each, as it takes milliseconds."""
    one_openmp_thread()
