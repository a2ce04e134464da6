"""Classes that dagster.yaml names: a launcher that detects killed runs, SQLite that one
process opens at a time, and an instance whose web server refuses requests of other
sites.

Dagster does not monitor a run that `dagster job execute` started: when its process is
killed, the run stays STARTED and keeps its place in the queue. So the executor stores
the process of each run in a tag. Run monitoring asks the launcher below; without a
daemon, the next run that starts checks the tags itself.
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultRunLauncher,
    RunsFilter,
)

# Not exported by Dagster: a launcher's answer to run monitoring, and the SQLite
# storage.
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from experiment_pipeline.storage.processes import Process

# Dagster's page hides tags with the prefix `.dagster/`.
TAG = ".dagster/experiment_pipeline_process"
_GONE = "{} is gone; it was killed, ran out of memory, or the machine restarted"


def noted(run_id: str, tags: Mapping[str, str]) -> Process | None:
    """Return the process that a run's tags name; None: the run has not started.

    The tag also holds the run's id, because a re-executed run inherits the tags of its
    parent.
    """
    note = json.loads(tags.get(TAG, "{}"))
    return Process(**note) if note.pop("run_id", None) == run_id else None


def note_of(run_id: str, process: Process) -> dict[str, str]:
    """The tag that records the process of a run."""
    return {TAG: json.dumps({"run_id": run_id, **vars(process)})}


class ProcessAwareRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, which also tells run monitoring whether a run's
    process is alive.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: otherwise run monitoring does nothing."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """RUNNING, or NOT_FOUND, on which run monitoring marks the run as failed."""
        process = noted(run.run_id, run.tags)
        if process is None:
            return CheckRunHealthResult(
                WorkerStatus.RUNNING, "has noted no process yet"
            )
        if not process.is_here:
            elsewhere = (
                f"{process} cannot be checked from here; terminate the run if it is "
                "gone"
            )
            return CheckRunHealthResult(WorkerStatus.RUNNING, elsewhere)
        if process.is_gone:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, _GONE.format(process))
        return CheckRunHealthResult(WorkerStatus.RUNNING, str(process))


def fail_killed_runs(instance: DagsterInstance) -> None:
    """Mark every started run of this host whose process is gone as failed."""
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        process = noted(run.run_id, run.tags)
        if process is None or not process.is_here or not process.is_gone:
            continue
        # It may have ended normally since it was listed, so its status is read again.
        again = instance.get_run_by_id(run.run_id)
        if again is not None and again.status is DagsterRunStatus.STARTED:
            reason = f"The run ended without a report: {_GONE.format(process)}."
            instance.report_run_failed(run, reason)


class SqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage, which only one process at a time opens.

    Dagster creates and stamps each database in several steps: if two processes do so at
    once, one of them fails with `UNIQUE constraint failed: alembic_version`.
    """

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "SqliteStorage":
        """Dagster calls this for `storage: custom:`; the inherited method would return
        the base class.
        """
        return cls.from_local(inst_data=inst_data, **config_value)

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        folder = Path(base_dir)
        folder.mkdir(parents=True, exist_ok=True)
        # The operating system releases the lock when a process dies.
        with (folder / ".opening.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            super().__init__(base_dir, inst_data)


class GuardedInstance(DagsterInstance):
    """Dagster's instance, with the middleware `OwnPagesOnly` in front of its web
    server.

    Dagster has no authentication and checks neither Host nor Origin: any page open in
    the same browser could start and delete runs.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """No further keys in dagster.yaml."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Dagster's own defaults, which the class of an instance's reference holds."""
        return get_type_hints(cls.get_ref)["return"].config_defaults(base_dir)

    def optimize_for_webserver(self, *args: Any, **settings: Any) -> None:
        """Add the middleware. Only the web server calls this, so no other process
        imports it.
        """
        from dagster_webserver.webserver import DagsterWebserver
        from starlette.middleware import Middleware

        from experiment_pipeline.tracking.server import OwnPagesOnly

        super().optimize_for_webserver(*args, **settings)
        original = DagsterWebserver.build_middleware
        DagsterWebserver.build_middleware = lambda page: [  # type: ignore[method-assign]
            Middleware(OwnPagesOnly),
            *original(page),
        ]
