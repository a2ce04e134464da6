"""The engine of a cluster: each fit is a task for some worker, whose result is stored as it arrives.

What fits share goes through the storage, tasks and results through Dask. Which worker fits, and which
result arrives first, decides nothing.
"""

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace

from experiment_pipeline.errors import ClusterError
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import FITTING
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import in_order
from experiment_pipeline.stages.search.engines.dask.cluster import Cluster
from experiment_pipeline.stages.search.engines.dask.software import (
    REACHED,
    STORAGE,
    differences,
    examine,
    software,
)
from experiment_pipeline.stages.search.engines.dask.task import SAME_SOFTWARE, Ran, Task, run_task
from experiment_pipeline.stages.search.engines.shared_files import bare, share_files
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.results import FailedConfiguration, Outcome, Placement
from experiment_pipeline.stages.search.sweep import with_second_attempts
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage import files as storage
from experiment_pipeline.storage.entries import SharedFiles
from experiment_pipeline.storage.files import without_credentials

LOST = "LostWorker"
SHOWN_WORKERS = 5


class ClusterEngine(ExitStack):
    """Workers of a cluster, which is connected when the first fit needs it.

    Used as a context: at its end shared files are left as `storage/entries.py` says.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Cluster]], files: SharedFiles
    ) -> None:
        """Train on the cluster that `connect` gives; every worker reaches the folder of `files`."""
        super().__init__()
        self._connect, self._files = connect, self.enter_context(files)
        self._cluster: Cluster | None = None

    @property
    def workers(self) -> int:
        """The threads of all workers that are there now."""
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
        """Write what fits share, submit them, and yield each when it is done."""
        if not configurations:
            return
        ordered = in_order(configurations, sets, longest_first=longest_first)
        cluster = self._connected(ordered)
        tasks = self._tasks(ordered, sets, spec)

        def second(first: FailedConfiguration) -> Generator[Outcome, None, None]:
            alone = {first.fingerprint: tasks[first.fingerprint]}
            before = 0 if first.placement is None else first.placement.attempts
            for outcome in _run(cluster, alone, None, before):
                if brake is not None:
                    brake.saw(failure=isinstance(outcome, FailedConfiguration))
                yield outcome

        yield from with_second_attempts(_run(cluster, tasks, brake), second)

    def _connected(self, configurations: Sequence[Configuration]) -> Cluster:
        """Return the cluster; its workers are checked once, for what these configurations need.

        Raises:
            ClusterError: a worker has other software, or cannot read the storage.
        """
        if self._cluster is not None:
            return self._cluster
        cluster = self.enter_context(self._connect())
        algorithms = tuple(sorted({one.algorithm for one in configurations}))
        here = software(algorithms) | {STORAGE: REACHED}
        probe = self._files.folder.path / f".{secrets.token_hex(8)}.probe"
        storage.write_bytes(probe, b"probe")
        try:
            answers = cluster.ask(examine, algorithms, str(probe))
        finally:
            storage.remove(probe)
        differ = list[str]()
        for address, there in sorted(answers.items()):
            if isinstance(there, BaseException):
                text = " ".join(str(there).split())[:200]
                differ.append(f"worker {address}: cannot run this package ({text})")
            elif found := differences(here, there):
                differ.append(f"worker {address}: {found}")
        if differ:
            more = [f"and {len(differ) - SHOWN_WORKERS} more"] * (len(differ) > SHOWN_WORKERS)
            text = without_credentials("\n".join([*differ[:SHOWN_WORKERS], *more]))
            culprit, _, rule = text.partition(": ")
            raise ClusterError(culprit, rule, SAME_SOFTWARE)
        self._cluster = cluster
        return cluster

    def _tasks(
        self, ordered: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
    ) -> dict[str, Task]:
        """Fingerprint → task, in this order."""
        shared = share_files(ordered, sets, spec, self._files)
        sent, fitting = bare(sets), spec.part(FITTING)
        prints = {one.key: fingerprint(one, sets, spec) for one in ordered}
        return {
            prints[one.key]: Task(
                configuration=one,
                fingerprint=prints[one.key],
                digests=shared[one.key],
                folder=self._files.folder,
                sets=sent,
                spec=fitting,
                software=software((one.algorithm,)),
            )
            for one in ordered
        }


def _run(
    cluster: Cluster, tasks: Mapping[str, Task], brake: Brake | None, before: int = 0
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of tasks, which the brake may hold back; `before`: earlier attempts."""

    def may_start(print_: str) -> bool:
        return brake is None or brake.may_start(tasks[print_].configuration.key)

    with closing(cluster.run(run_task, tasks, may_start=may_start)) as ended:
        for done in ended:
            if isinstance(done.value, Ran):
                outcome, read_seconds = done.value.outcome, done.value.read_seconds
            else:
                # It says nothing of the configuration: another fit on that worker may be the cause.
                what = tasks[done.key].configuration.key, done.key, LOST, done.lost or "", ""
                outcome, read_seconds = FailedConfiguration(*what, says_nothing=True), 0.0
            where = done.worker, before + done.attempts, done.queue_seconds, read_seconds
            placement = Placement(*where)
            if brake is not None:
                failed = isinstance(outcome, FailedConfiguration) and not outcome.says_nothing
                brake.saw(failure=failed)
            if isinstance(outcome, FailedConfiguration):
                yield replace(outcome, placement=placement)
            else:
                yield replace(outcome, result=replace(outcome.result, placement=placement))
