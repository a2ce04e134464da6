"""A fit on a worker: what is sent there, what is done there, what comes back.

A task is small; what it needs is read by URL, mapped where the storage is a disk, and the last few
are kept by the process, whose threads wait for one reader. It knows no engine: any process that
can import this package and read the storage may run it. In: a `Task`. Out: a `Ran`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError
from typing import Any

from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.engines.shared_files import (
    Digests,
    read_shared,
    read_table,
)
from experiment_pipeline.stages.search.fingerprints import SOURCE, code_of
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import Clock
from experiment_pipeline.stages.search.results import FailedConfiguration, Outcome
from experiment_pipeline.stages.search.shared_work import SharedWork
from experiment_pipeline.stages.search.sweep import (
    failure_of,
    parse_one_at_a_time,
    trained_or_failed,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.importance import one_openmp_thread
from experiment_pipeline.storage.files import patiently
from experiment_pipeline.storage.shared import Place

# The encoders of one rung, and some of the tables that LightGBM makes of them.
MOST_WORKS, MOST_TABLES = 4, 8
OTHER_CODE = "OtherCode"


@dataclass(frozen=True)
class Task:
    """One fit.

    Attributes:
        configuration: what to fit.
        fingerprint: of what is to be trained.
        digests: the files that it reads.
        place: where these are.
        sets: without rows, see `shared_files.bare`.
        spec: what of the experiment a fit may depend on.
        code: what decides the fit where the search runs, by `code_of`.
    """

    configuration: Configuration
    fingerprint: str
    digests: Digests
    place: Place
    sets: TrainingSets
    spec: ExperimentSpec
    code: Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """What came of a task, and how many seconds it has waited for files."""

    outcome: Outcome
    read_seconds: float


class Kept:
    """The last few things that were read, by name; each is read by one thread at a time."""

    def __init__(self, most: int) -> None:
        """Keep so many: what is still in use elsewhere lives on there."""
        self._most, self._things = most, OrderedDict[Hashable, Any]()
        self._lock, self._turns = threading.Lock(), dict[Hashable, threading.Lock]()

    def get(self, name: Hashable, read: Callable[[], Any]) -> Any:
        """Return a thing, read if need be; what cannot be read is tried again by the next."""
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            with self._lock:
                if name in self._things:
                    self._things.move_to_end(name)
                    return self._things[name]
            thing = read()
            with self._lock:
                self._things[name] = thing
                while len(self._things) > self._most:
                    oldest, _ = self._things.popitem(last=False)
                    self._turns.pop(oldest, None)
            return thing


# Of this process: its threads share them.
_WORKS, _TABLES = Kept(MOST_WORKS), Kept(MOST_TABLES)


@dataclass(frozen=True)
class TablesOfTask:
    """As `SharedTables`, for one fit: what it has borrowed stays to its end.

    Attributes:
        scope: of whose encoded tables they are made.
        stored: the one that is read and not made; None: there is none.
    """

    scope: Hashable
    stored: tuple[Hashable, Callable[[], Any]] | None = None
    _held: dict[Hashable, Any] = field(default_factory=dict)

    @contextmanager
    def borrow(self, table: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """Give a table, made or read if need be."""
        if self.stored is not None and self.stored[0] == table:
            make = self.stored[1]
        if table not in self._held:
            self._held[table] = _TABLES.get((self.scope, table), make)
        yield self._held[table]


def run_task(task: Task) -> Ran:
    """Fit a configuration in this thread alone; what goes wrong is a `FailedConfiguration`."""
    parse_one_at_a_time()
    _one_blas_thread()
    _one_openmp_thread(threading.get_ident())
    one = task.configuration
    if (here := _code_here(one.algorithm)) != task.code:
        return Ran(_other_code(task, here), 0.0)
    try:
        with Clock() as reading:
            work, sets = patiently(partial(_read, task))
    except EntryCorrupt:
        # It says nothing of any configuration, and no attempt would mend it: the search ends.
        raise
    except Exception as error:  # noqa: BLE001 - as in `trained_or_failed`
        return Ran(failure_of(one, task.fingerprint, error), reading.wall_seconds)
    return Ran(trained_or_failed(one, work, sets, task.spec), reading.wall_seconds)


def _read(task: Task) -> tuple[SharedWork, TrainingSets]:
    """What the fit shares with others, and the library's table that will be borrowed."""
    one, digests = task.configuration, task.digests
    of = task.place, replace(digests, table=None), task.sets.classes
    work, sets = _WORKS.get(
        of,
        partial(read_shared, task.place, digests, one.features, task.sets),
    )
    # Another seed bins large tables otherwise.
    scope, stored = (of, task.spec.seed), None
    if digests.table is not None:
        table = learner_of(one.algorithm).shared_table(one, sets, task.spec)
        read = partial(read_table, task.place, digests.table, one, work, sets, task.spec)
        stored = table, read
    tables = TablesOfTask(scope, stored)
    if stored is not None:
        with tables.borrow(*stored):
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
    """Limit those that count by thread: once for each, as it takes milliseconds."""
    one_openmp_thread()


def _code_here(algorithm: str) -> Mapping[str, Any]:
    """`code_of` in this process, as it was when it was first asked for: later edits need a restart."""
    try:
        return code_of(algorithm)
    except PackageNotFoundError:
        return {}


def _other_code(task: Task, here: Mapping[str, Any]) -> FailedConfiguration:
    """Its model would be another one, or none."""
    algorithm = task.configuration.algorithm
    differ = sorted(n for n in {*here, *task.code} if here.get(n) != task.code.get(n))
    said = [
        f"{name} is {here.get(name, 'missing')}, not {task.code.get(name, 'absent')}"
        for name in differ
    ]
    if SOURCE in differ:
        other = "cannot be imported" if here.get(SOURCE) is None else "is another one"
        said = [f"the module of {algorithm} {other}"]
    fix = "install the same package there, and start the worker again"
    what = task.configuration.key, task.fingerprint, OTHER_CODE
    return FailedConfiguration(*what, f"{', '.join(said)}; {fix}", "")
