"""A Dask cluster: connect to it, or start one on this machine; run tasks; yield results
as they arrive.

The scheduler imports this module for `perform`, so nothing that fits is imported here.
"""

import asyncio
import logging
import os
import pickle
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from experiment_pipeline.errors import ClusterError, InvalidExperiment
from experiment_pipeline.spec import DaskEngine, Engine
from experiment_pipeline.spec.reading import explain
from experiment_pipeline.storage.files import without_credentials

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

VARIABLE = "EXPERIMENT_PIPELINE_DASK"
CONNECT_SECONDS = 10.0
# Another machine may take minutes to start.
NO_WORKER_SECONDS = 300.0
SECONDS_BETWEEN_LOOKS = 1.0
SAME_SOFTWARE = (
    "start every worker and the scheduler with the software of this process (one image "
    "or environment)"
)
_CERTIFICATES = (
    "name readable files in PEM, a key without password, in Dask's settings "
    "distributed.comm.tls: ca-file, client.cert and client.key"
)
_SILENT = logging.CRITICAL + 1
# For a cluster on this machine. By default, profiling and monitoring two workers takes
# 9 % of a core, so 1 %.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
}
# Dask warns of what is larger, and advises to share it once.
_LARGE_IS_MEANT = {"distributed.admin.large-graph-warning-threshold": "1TB"}


def engine_of(declared: Engine | None) -> DaskEngine | None:
    """Return the cluster of the YAML, else of the environment; None: threads."""
    if declared is not None:
        return declared.dask
    if not (address := os.environ.get(VARIABLE)):
        return None
    try:
        return DaskEngine(address=address)
    except ValidationError as error:
        problems = explain(error, DaskEngine, {"address": address})
        raise InvalidExperiment(
            VARIABLE,
            rule="; ".join(problem.message for problem in problems),
            fix="correct the variable, or unset it",
        ) from None


@dataclass(frozen=True)
class Done:
    """A task that ended: with a value, or lost for a reason."""

    key: str
    value: Any | None
    lost: str = ""  # why it has no value


class Cluster:
    """The workers of one scheduler; ClusterError: it, or every worker, is gone."""

    def __init__(
        self, client: "Client", scheduler: str, log: Callable[[str], None]
    ) -> None:
        self._client = client
        self._scheduler = scheduler
        self._log = log
        self._threads: Mapping[str, int] = client.nthreads()
        self._last_look = -SECONDS_BETWEEN_LOOKS
        self._last_seen = time.monotonic()
        self._shared: dict[str, Future] = {}  # name → content

    def places(self) -> int:
        """Return how many tasks run at a time: all threads, counted once a second."""
        seconds = time.monotonic()
        if seconds - self._last_look >= SECONDS_BETWEEN_LOOKS:
            self._last_look = seconds
            self._look(seconds)
        return sum(self._threads.values())

    def _look(self, seconds: float) -> None:
        with self._while_connected():
            threads = self._client.nthreads()
        for address in self._threads.keys() - threads.keys():
            self._log(
                f"worker {address} is gone; Dask runs its fits again on other workers"
            )
        self._threads = threads
        if threads:
            self._last_seen = seconds
        elif seconds - self._last_seen > NO_WORKER_SECONDS:
            raise self._lost(
                f"has had no worker for {NO_WORKER_SECONDS:.0f} s", "start workers"
            )

    def run(
        self,
        function: Callable[..., Any],
        tasks: Mapping[str, Any],
        *,
        may_start: Callable[[str], bool],
        shared: Mapping[str, str] = MappingProxyType({}),
    ) -> Generator[Done, None, None]:
        """Run each task on some worker, `places()` at a time, and yield it when it is
        done.

        `tasks`: key → argument of `function`, whose errors are raised here; `shared`:
        key → name from `share`, whose content is the second argument. Closing cancels
        what waits.
        """
        waiting = deque(tasks)
        running: dict[Future, str] = {}  # future → key
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        try:
            while waiting or running:
                while waiting and len(running) < self.places():
                    key = waiting.popleft()
                    if may_start(key):
                        future = self._submit(
                            key, function, tasks[key], shared.get(key)
                        )
                        running[future] = key
                        future.add_done_callback(ended.put)
                # Not `as_completed`, which does not wake up for workers that join.
                try:
                    future = ended.get(timeout=SECONDS_BETWEEN_LOOKS)
                except queue.Empty:
                    continue
                yield self._done(future, running.pop(future))
        finally:
            if running and self._client.status == "running":
                with suppress(Exception):  # where the connection broke, nothing waits
                    self._client.cancel(list(running))

    def share(self, content: bytes) -> str:
        """Give the scheduler what several tasks read, and return its name.

        Not by `scatter`, whose data is lost with the last worker that has it.
        """
        import dask

        # Dask must never see a name twice: it would answer with the first one's result.
        name = f"shared-{secrets.token_hex(4)}"
        with self._while_connected(), dask.config.set(_LARGE_IS_MEANT):
            self._shared[name] = self._client.submit(bytes, content, key=name)
        return name

    def _submit(
        self,
        key: str,
        function: Callable[..., Any],
        argument: Any,
        shared: str | None,
    ) -> "Future":
        import cloudpickle

        # Pickled here and not by Dask, or the scheduler would import what it needs.
        payload = cloudpickle.dumps((function, argument))
        read = [] if shared is None else [self._shared[shared]]
        name = f"fit-{key}-{secrets.token_hex(4)}"
        with self._while_connected():
            return self._client.submit(perform, payload, *read, key=name, pure=False)

    def _done(self, future: "Future", key: str) -> Done:
        from distributed.scheduler import KilledWorker

        try:
            if future.status != "error":
                with self._while_connected():
                    return Done(key, future.result())
            error = future.exception()
        finally:
            future.release()
        if isinstance(error, KilledWorker):
            worker = error.last_worker.address
            deaths = error.allowed_failures + 1
            lost = (
                f"{deaths} workers died while they ran this fit, the last one "
                f"{worker}; often the memory of a worker is too small"
            )
            return Done(key, None, lost)
        if isinstance(error, ImportError | AttributeError):
            lacks = " ".join(str(error).split())[:200]
            raise ClusterError(
                "a worker",
                rule=f"cannot run this package ({lacks})",
                fix=SAME_SOFTWARE,
            ) from error
        raise error

    @contextmanager
    def _while_connected(self) -> Generator[None, None, None]:
        """Raise `ClusterError` for what Dask raises when the scheduler is gone."""
        try:
            yield
        except (OSError, CancelledError, asyncio.CancelledError) as error:
            raise self._lost("went away", "start it") from error

    def _lost(self, problem: str, remedy: str) -> ClusterError:
        again = "then run again: what was trained is stored and is not trained again"
        culprit = f"the scheduler {self._scheduler}"
        return ClusterError(culprit, problem, f"{remedy}, {again}")


def perform(payload: bytes, *shared: bytes) -> Any:
    """Run a pickled function on a worker."""
    function, argument = pickle.loads(payload)  # noqa: S301 - the function came the same way
    return function(argument, *shared)


@contextmanager
def connected(
    engine: DaskEngine,
    *,
    workers: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Generator[Cluster, None, None]:
    """Connect; a local cluster, one process per core or `workers`, ends with it."""
    if find_spec("distributed") is None:
        raise InvalidExperiment(
            "engine.dask",
            rule="the package distributed is not installed",
            fix='pip install "experiment-pipeline[dask]", here and on scheduler and '
            "workers",
        )
    from distributed.utils import silence_logging_cmgr

    with ExitStack() as opened:
        # The tracebacks that Dask logs repeat what an error here states in a sentence.
        for name in ("distributed", "distributed.client"):
            opened.enter_context(silence_logging_cmgr(_SILENT, root=name))
        address = engine.address
        if engine.is_local:
            address = opened.enter_context(
                _local_cluster(workers or os.cpu_count() or 1)
            )
        client = opened.enter_context(_client(address))
        yield Cluster(client, address, log)


@contextmanager
def _client(address: str) -> Generator["Client", None, None]:
    from distributed import Client

    security = _security() if address.startswith("tls") else None
    try:
        # Not the default client: other Dask computations of this process stay where
        # they were.
        client = Client(
            address, security=security, timeout=CONNECT_SECONDS, set_as_default=False
        )
    except OSError as error:
        reason: BaseException = error
        # Dask's own message only says that it timed out.
        while reason.__cause__ is not None:
            reason = reason.__cause__
        cause = without_credentials(str(reason) or type(reason).__name__)
        raise ClusterError(
            f"the scheduler {address}",
            rule=f"does not answer: {cause}",
            fix="correct the address in `engine` or the certificates, or start the "
            "scheduler",
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=CONNECT_SECONDS)


@contextmanager
def _local_cluster(workers: int) -> Generator[str, None, None]:
    """Start a scheduler and workers on loopback only; yield the scheduler's address."""
    import dask
    from distributed import LocalCluster

    loopback = "127.0.0.1:0"  # by default, dashboards are open to the network
    with dask.config.set(_SETTINGS):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=loopback,
            worker_dashboard_address=loopback,
            silence_logs=_SILENT,
            # With equal shares, a large fit would be killed although it fits while it
            # is alone.
            memory_limit=0,
        )
    with cluster:
        yield cluster.scheduler_address


def _security() -> "Security":
    """Return the certificates of Dask's own settings."""
    from distributed.security import Security

    security = Security(require_encryption=True)
    problem = "Dask's own settings name none"
    if security.tls_ca_file and security.tls_client_cert:
        try:
            security.get_connection_args("client")
        except OSError as error:  # ssl.SSLError is one
            problem = f"cannot be used: {error}"
        else:
            return security
    raise InvalidExperiment("the certificates of the cluster", problem, _CERTIFICATES)
