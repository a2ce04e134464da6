"""The engine of a cluster: each fit is a task for some worker, whose result comes back and is let go.

What is shared goes through the storage, tasks and results through the cluster; which worker fits, and
which result comes first, decides nothing. Connecting, handing out and what becomes of lost workers
live in `cluster`. In: as `Engine` says. Out: outcomes, each with where it came from.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import FITTING
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import Brake, in_order
from experiment_pipeline.stages.search.engines.dask import PACKAGES, Cluster, Done
from experiment_pipeline.stages.search.engines.golden import golden_digest
from experiment_pipeline.stages.search.engines.shared_files import bare, share_files
from experiment_pipeline.stages.search.engines.task import OTHER_CODE, Ran, Task, run_task
from experiment_pipeline.stages.search.fingerprints import SOURCE, code_of, fingerprint
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    Outcome,
    Placement,
)
from experiment_pipeline.stages.search.sweep import with_second_attempts
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.shared import SharedFiles

LOST = "LostWorker"


@dataclass
class OnCluster:
    """Workers of a cluster, which is connected when the first fit needs it.

    Attributes:
        connect: connects to the cluster.
        files: what is shared; their place is reached from every worker.

    Used as a context: at its end shared files are left as `storage/shared.py` says.
    """

    connect: Callable[[], AbstractContextManager[Cluster]]
    files: SharedFiles
    _open: ExitStack = field(default_factory=ExitStack)
    _cluster: Cluster | None = None

    def __enter__(self) -> Self:
        self._open.enter_context(self.files)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def workers(self) -> int:
        """The places of all workers that are there now."""
        return max(1, 1 if self._cluster is None else self._cluster.places())

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
        *,
        longest_first: bool = True,
    ) -> Generator[Outcome, None, None]:
        """Write what fits share, hand them out, and yield each when it is done."""
        if not configurations:
            return
        ordered = in_order(configurations, sets, longest_first=longest_first)
        fits = _Fits(self._connected(ordered), self._tasks(ordered, sets, spec), brake)
        yield from with_second_attempts(
            fits.run(list(fits.tasks), brake), lambda first: fits.run([first.fingerprint], None)
        )

    def _connected(self, configurations: Sequence[Configuration]) -> Cluster:
        """The cluster, whose workers are examined once: by what fits these configurations."""
        if self._cluster is None:
            cluster = self._open.enter_context(self.connect())
            used = {name for one in configurations for name in code_of(one.algorithm)}
            packages = tuple(sorted({*PACKAGES, *used} - {SOURCE}))
            cluster.check(self.files.place.folder, golden_digest, packages)
            self._cluster = cluster
        return self._cluster

    def _tasks(
        self, ordered: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
    ) -> dict[str, Task]:
        """Fingerprint → task, in this order."""
        shared = share_files(ordered, sets, spec, self.files)
        sent, fitting = bare(sets), spec.part(FITTING)
        prints = {one.key: fingerprint(one, sets, spec) for one in ordered}
        return {
            prints[one.key]: Task(
                configuration=one,
                fingerprint=prints[one.key],
                digests=shared[one.key],
                place=self.files.place,
                sets=sent,
                spec=fitting,
                code=code_of(one.algorithm),
            )
            for one in ordered
        }


@dataclass(frozen=True)
class _Fits:
    """The fits of one call: they are handed out, and what comes back is made outcomes."""

    cluster: Cluster
    tasks: Mapping[str, Task]
    brake: Brake | None

    def run(self, names: Sequence[str], asked: Brake | None) -> Generator[Outcome, None, None]:
        """Yield what comes of some tasks; `asked` may hold them back."""

        def may_start(name: str) -> bool:
            return asked is None or asked.may_start(self.tasks[name].configuration.key)

        wanted = {name: self.tasks[name] for name in names}
        with closing(self.cluster.run(run_task, wanted, may_start=may_start)) as done:
            for one in done:
                outcome = _outcome(one, self.tasks[one.key])
                if self.brake is not None:
                    # A first attempt that says nothing is no failure yet.
                    failed = isinstance(outcome, FailedConfiguration) and not (
                        asked is not None and outcome.says_nothing
                    )
                    self.brake.saw(failure=failed)
                yield outcome


def _outcome(done: Done, task: Task) -> Outcome:
    ran = done.value
    if not isinstance(ran, Ran):
        what = task.configuration.key, task.fingerprint, LOST, done.lost or "", ""
        ran = Ran(FailedConfiguration(*what), 0.0)
    placement = Placement(done.worker, done.attempts, done.queue_seconds, ran.read_seconds)
    outcome = ran.outcome
    if isinstance(outcome, FailedConfiguration):
        reason = outcome.reason
        if outcome.error_type == OTHER_CODE:
            reason = f"on worker {done.worker} {reason}"
        return replace(outcome, reason=reason, placement=placement)
    if outcome.result.fingerprint != task.fingerprint:
        raise errors.TrainingError(
            f"worker {done.worker}",
            f"it has trained something else than configuration {task.configuration.key}",
            "install the same version of this package there, and start the worker again",
        )
    return replace(outcome, result=replace(outcome.result, placement=placement))
