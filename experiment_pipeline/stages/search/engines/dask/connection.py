"""The way to a Dask cluster: one that runs already, by its address, or one of this machine's own.

In: the `engine` of the YAML, or the environment. Out: a `Cluster` as long as it is needed; with it
ends everything that was started here, also after an error or an interruption.
"""

import logging
import os
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from experiment_pipeline.errors import ClusterUnreachable, InvalidExperiment
from experiment_pipeline.spec import DaskEngine, Engine
from experiment_pipeline.spec.sentences import explain
from experiment_pipeline.stages.search.engines.dask.tasks import Cluster
from experiment_pipeline.stages.search.engines.dask.workers import Workers
from experiment_pipeline.storage.locations import without_credentials

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

VARIABLE = "EXPERIMENT_PIPELINE_DASK"
# Dask logs, with their stacks, what is told here in a sentence, and what an interruption leaves open.
_LOGGERS = ("distributed", "distributed.client")
_SILENT = logging.CRITICAL + 1
# What Dask does to look at itself: a hundred times a second at the stacks of a worker, fifty times at
# each process's loop. A scheduler, two workers and their nannies take 9 % of a core with it, else 1 %.
_UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
}


def engine_of(declared: Engine | None) -> DaskEngine | None:
    """Return the cluster that fits run on: the YAML's, else the environment's; None: threads here.

    Raises:
        InvalidExperiment: the environment's address is none, or is not safe.
    """
    if declared is not None:
        return declared.dask
    if not (address := os.environ.get(VARIABLE)):
        return None
    try:
        return DaskEngine(address=address)
    except ValidationError as error:
        told = "; ".join(
            problem.message for problem in explain(error, DaskEngine, {"address": address})
        )
        raise InvalidExperiment(VARIABLE, told, "correct the variable, or unset it") from None


@contextmanager
def connected(
    engine: DaskEngine,
    *,
    workers: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Generator[Cluster, None, None]:
    """A connection to a cluster; one of this machine is started first, and ended with it.

    Args:
        engine: which.
        workers: processes of a local cluster; None: one per core. Each has one thread.
        say: gets sentences about workers that come and go.

    Raises:
        ClusterUnreachable: no scheduler answers, the certificates do not fit, no worker is there.
        InvalidExperiment: the extra is not installed, or a certificate cannot be read.
    """
    if find_spec("distributed") is None:
        raise InvalidExperiment(
            "engine.dask",
            "the package distributed is not installed",
            'pip install "experiment-pipeline[dask]", here and wherever a worker or the scheduler '
            "runs",
        )
    with _silence():
        if engine.is_local:
            with _local_cluster(workers or os.cpu_count() or 1) as address:
                yield from _connection(address, "on this machine", None, say)
        else:
            yield from _connection(engine.address, engine.address, _security(engine), say)


@contextmanager
def _silence() -> Generator[None, None, None]:
    import distributed  # noqa: F401 - which sets the levels

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(_SILENT)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _connection(
    address: str, shown: str, security: "Security | None", say: Callable[[str], None]
) -> Generator[Cluster, None, None]:
    try:
        workers = Workers(partial(_client, address, security), shown, say)
    except OSError as error:
        raise ClusterUnreachable(
            f"the scheduler {shown}",
            without_credentials(f"does not answer: {_first_reason(error)}"),
            "correct the address or the certificates in `engine`, or start the scheduler",
        ) from error
    try:
        yield Cluster(workers)
    finally:
        workers.close()


def _client(address: str, security: "Security | None", seconds: float) -> "Client":
    from distributed import Client

    # No default: what else is computed with Dask in this process stays where it was.
    return Client(address, security=security, timeout=seconds, set_as_default=False)


@contextmanager
def _local_cluster(workers: int) -> Generator[str, None, None]:
    """A scheduler and workers on loopback, where other users of this machine reach them too."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    # Pages of workers and scheduler stay on loopback as well, which `LocalCluster` does not let say.
    place = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    # A part of the memory for each would kill a large fit where one has room enough.
    one = {"nthreads": 1, "memory_limit": 0, "silence_logs": _SILENT}
    worker = {"cls": Nanny, "options": {**place, **one}}
    with dask.config.set(_UNWATCHED):
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": place},
            workers=dict.fromkeys(range(workers), worker),
        )
    try:
        yield cluster.scheduler_address
    finally:
        cluster.close()


def _security(engine: DaskEngine) -> "Security | None":
    """Who this client is; None on tcp://."""
    from distributed.security import Security

    if not engine.address.startswith("tls"):
        return None
    given = engine.certificates
    paths: dict[str, Any] = {}
    if given is not None:
        named = {
            "tls_ca_file": given.ca,
            "tls_client_cert": given.certificate,
            "tls_client_key": given.key,
        }
        paths = {field: _readable(path) for field, path in named.items()}
    security = Security(require_encryption=True, **paths)
    if not (security.tls_ca_file and security.tls_client_cert):
        raise InvalidExperiment(
            "engine.dask.certificates",
            "is missing, and Dask's own configuration names none: tls:// needs the authority's "
            "certificate, and a certificate and key of this client",
            "write certificates: {ca: …, certificate: …, key: …}, or set "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and its neighbours",
        )
    try:
        security.get_connection_args("client")
    except (OSError, ssl.SSLError) as error:
        raise InvalidExperiment(
            "engine.dask.certificates",
            f"cannot be used: {error.strerror or error}",
            "name a certificate in PEM with the key that belongs to it, and no password",
        ) from error
    return security


def _readable(path: str) -> str:
    file = Path(path).expanduser()
    try:
        file.read_bytes()
    except OSError as error:
        raise InvalidExperiment(
            f"engine.dask.certificates: {path}",
            f"cannot be read: {error.strerror}",
            "correct the path or the file's permissions",
        ) from error
    return str(file)


def _first_reason(error: BaseException) -> str:
    """What happened at the bottom: Dask's own sentence says that it timed out."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
