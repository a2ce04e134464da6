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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from experiment_pipeline.errors import ClusterError, InvalidExperiment
from experiment_pipeline.spec import DaskEngine, Engine
from experiment_pipeline.spec.operation import Certificates
from experiment_pipeline.spec.reading import explain
from experiment_pipeline.storage.files import without_credentials

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

VARIABLE = "EXPERIMENT_PIPELINE_DASK"
CONNECT_SECONDS = 10.0
FIRST_WORKER_SECONDS = 120.0
# Another machine may take minutes to start.
NO_WORKER_SECONDS = 300.0
SECONDS_BETWEEN_LOOKS = 1.0
_SILENT = logging.CRITICAL + 1
# For a cluster on this machine. By default, profiling and monitoring two workers takes
# 9 % of a core, so 1 %.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
}


def engine_of(declared: Engine | None) -> DaskEngine | None:
    """Return the cluster that fits run on: the YAML's, else the environment's; None:
    local threads.
    """
    if declared is not None:
        return declared.dask
    if not (address := os.environ.get(VARIABLE)):
        return None
    try:
        return DaskEngine(address=address)
    except ValidationError as error:
        problems = explain(error, DaskEngine, {"address": address})
        rule = "; ".join(problem.message for problem in problems)
        raise InvalidExperiment(
            VARIABLE, rule, "correct the variable, or unset it"
        ) from None


@dataclass(frozen=True)
class Done:
    """A task that ended: with a value, or lost for a reason."""

    key: str
    value: Any | None
    lost: str | None
    worker: str  # the last one
    attempts: int  # 1, or how many workers died with it
    queue_seconds: float  # from submission to the result, without those of the function


class Cluster:
    """The workers of one scheduler; ClusterError is raised where it, or every worker,
    is gone.
    """

    def __init__(
        self, client: "Client", scheduler: str, log: Callable[[str], None]
    ) -> None:
        self._client, self._scheduler, self._log = client, scheduler, log
        self._threads: Mapping[str, int] = client.nthreads()
        self._next_look, self._last_seen = 0.0, time.monotonic()

    def places(self) -> int:
        """Return how many tasks run at a time: the threads of all workers, asked once a
        second.
        """
        if time.monotonic() < self._next_look:
            return sum(self._threads.values())
        with self._while_connected():
            threads = self._client.nthreads()
        for address in self._threads.keys() - threads.keys():
            self._log(
                f"worker {address} is gone; Dask runs its fits again on other workers"
            )
        self._threads, self._next_look = (
            threads,
            time.monotonic() + SECONDS_BETWEEN_LOOKS,
        )
        if threads:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > NO_WORKER_SECONDS:
            raise self._lost(
                f"has had no worker for {NO_WORKER_SECONDS:.0f} s", "start workers"
            )
        return sum(threads.values())

    def ask(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function once on every worker; address → what it returned, or the
        error it raised.
        """
        with self._while_connected():
            return dict(self._client.run(function, *arguments, on_error="return"))

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Mapping[str, Any],
        *,
        may_start: Callable[[str], bool],
    ) -> Generator[Done, None, None]:
        """Run each task on some worker, `places()` at a time, and yield it when it is
        done.

        `tasks`: key → argument of `function`, whose errors are raised here. Closing
        cancels what waits.
        """
        import cloudpickle

        waiting = deque(tasks)
        running: dict[Future, tuple[str, float]] = {}
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        try:
            while waiting or running:
                while waiting and len(running) < self.places():
                    if not may_start(key := waiting.popleft()):
                        continue
                    # Pickled here and not by Dask, or the scheduler would import what
                    # it needs.
                    payload = cloudpickle.dumps((function, tasks[key]))
                    # Dask must never see a name twice: it would answer with the first
                    # one's result.
                    name = f"fit-{key}-{secrets.token_hex(4)}"
                    with self._while_connected():
                        future = self._client.submit(
                            perform, payload, key=name, pure=False
                        )
                    running[future] = key, time.monotonic()
                    future.add_done_callback(ended.put)
                # Not `as_completed`, which does not wake up for workers that join.
                try:
                    future = ended.get(timeout=SECONDS_BETWEEN_LOOKS)
                except queue.Empty:
                    continue
                yield self._done(future, *running.pop(future))
        finally:
            if running and self._client.status == "running":
                with suppress(
                    Exception
                ):  # the connection broke just now: nothing waits any more
                    self._client.cancel(list(running))

    def _done(self, future: "Future", key: str, since: float) -> Done:
        from distributed.scheduler import KilledWorker

        try:
            if future.status == "error":
                error = future.exception()
                if not isinstance(error, KilledWorker):
                    raise error
                worker, deaths = error.last_worker.address, error.allowed_failures + 1
                lost = f"{deaths} workers died while they ran this fit, the last one {worker}"
                lost += "; often the memory of a worker is too small"
                return Done(key, None, lost, worker, deaths, 0.0)
            with self._while_connected():
                value, worker, seconds = future.result()
            return Done(
                key,
                value,
                None,
                worker,
                1,
                max(0.0, time.monotonic() - since - seconds),
            )
        finally:
            future.release()

    @contextmanager
    def _while_connected(self) -> Generator[None, None, None]:
        """Turn what Dask raises when the scheduler is gone, for pending futures too,
        into `ClusterError`.
        """
        try:
            yield
        except (OSError, CancelledError, asyncio.CancelledError) as error:
            raise self._lost() from error

    def _lost(self, rule: str = "went away", fix: str = "start it") -> ClusterError:
        fix = f"{fix}, then run again: what was trained is stored and is not trained again"
        return ClusterError(f"the scheduler {self._scheduler}", rule, fix)


def perform(payload: bytes) -> tuple[Any, str, float]:
    """Run a pickled function on a worker; return its value, the worker's address, its
    seconds.
    """
    from distributed import get_worker

    began = time.monotonic()
    function, argument = pickle.loads(payload)  # noqa: S301 - the function came the same way
    return function(argument), get_worker().address, time.monotonic() - began


@contextmanager
def connected(
    engine: DaskEngine,
    *,
    workers: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Generator[Cluster, None, None]:
    """Connect to a cluster; a local one, of `workers` processes (None: one per core),
    ends with the block.
    """
    if find_spec("distributed") is None:
        install = (
            'pip install "experiment-pipeline[dask]", here and on scheduler and workers'
        )
        raise InvalidExperiment(
            "engine.dask", "the package distributed is not installed", install
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
        client = opened.enter_context(_client(address, engine.certificates))
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
        except TimeoutError as error:
            rule = f"has had no worker for {FIRST_WORKER_SECONDS:.0f} s"
            fix = "start workers with `dask worker`, and the address of this scheduler"
            raise ClusterError(f"the scheduler {address}", rule, fix) from error
        yield Cluster(client, address, log)


@contextmanager
def _client(
    address: str, certificates: Certificates | None
) -> Generator["Client", None, None]:
    from distributed import Client

    security = _security(certificates) if address.startswith("tls") else None
    try:
        # Not the default client: other Dask computations of this process stay where
        # they were.
        client = Client(
            address, security=security, timeout=CONNECT_SECONDS, set_as_default=False
        )
    except OSError as error:
        reason: BaseException = error
        while (
            reason.__cause__ is not None
        ):  # Dask's own message only says that it timed out
            reason = reason.__cause__
        rule = without_credentials(
            f"does not answer: {str(reason) or type(reason).__name__}"
        )
        fix = "correct the address or the certificates in `engine`, or start the scheduler"
        raise ClusterError(f"the scheduler {address}", rule, fix) from error
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=CONNECT_SECONDS)


@contextmanager
def _local_cluster(workers: int) -> Generator[str, None, None]:
    """Start a scheduler and workers that listen on loopback only; yield the scheduler's
    address.
    """
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    # `LocalCluster` would open the dashboards of scheduler and workers to the network.
    place = {
        "host": "127.0.0.1",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
    }
    # No memory limit: with equal shares, a large fit would be killed although it fits
    # while it is alone.
    worker = {**place, "nthreads": 1, "memory_limit": 0, "silence_logs": _SILENT}
    with dask.config.set(_SETTINGS):
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": place},
            workers={
                number: {"cls": Nanny, "options": worker} for number in range(workers)
            },
        )
    with cluster:
        yield cluster.scheduler_address


def _security(given: Certificates | None) -> "Security":
    """Return the certificates of this client: those of the YAML, else of Dask's
    configuration.
    """
    from distributed.security import Security

    paths = dict[str, Any]()
    if given is not None:
        fields = {
            "ca_file": given.ca,
            "client_cert": given.certificate,
            "client_key": given.key,
        }
        paths = {
            f"tls_{name}": str(Path(path).expanduser()) for name, path in fields.items()
        }
    security = Security(require_encryption=True, **paths)
    culprit = "engine.dask.certificates"
    if not (security.tls_ca_file and security.tls_client_cert):
        raise InvalidExperiment(
            culprit,
            "is missing, and Dask's own configuration names none",
            "write certificates: {ca: …, certificate: …, key: …}, or set "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and its neighbours",
        )
    try:
        for path in paths.values():
            Path(path).read_bytes()  # an error of OpenSSL would not name the file
        security.get_connection_args("client")
    except OSError as error:  # ssl.SSLError is one
        fix = "name readable files in PEM: a certificate with its key, which has no password"
        raise InvalidExperiment(culprit, f"cannot be used: {error}", fix) from error
    return security
