"""What dagster.yaml names: runs whose process is gone are reported as failed; SQLite opened by one at a time;
a page that answers no foreign page.

Dagster does not monitor a run that `dagster job execute` started: when its process is killed, the run
stays STARTED and keeps its place in the queue. So the executor notes the process of each run in a
tag. Run monitoring asks the launcher that dagster.yaml names; without a daemon, the next run that
starts checks the tags itself.
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, DefaultRunLauncher, RunsFilter

# Not exported by Dagster: what run monitoring expects of a launcher, and its SQLite storage.
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from experiment_pipeline.storage.processes import Process

# Not for people: the page shows no tag of this prefix.
TAG = ".dagster/experiment_pipeline_process"
_GONE = "{} is gone; it was killed, ran out of memory, or the machine restarted"


def noted(run_id: str, tags: Mapping[str, str]) -> Process | None:
    """Return the process that a run has noted about itself; None: nothing yet.

    The note holds the run's id, because a re-executed run inherits the tags of its parent.
    """
    note = json.loads(tags.get(TAG, "{}"))
    return Process(**note) if note.pop("run_id", None) == run_id else None


def note_of(run_id: str, process: Process) -> dict[str, str]:
    """The note, as tags of the run."""
    return {TAG: json.dumps({"run_id": run_id, **vars(process)})}


class ProcessAwareRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher, which also reports to run monitoring whether a run's process lives."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: otherwise run monitoring does nothing."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND, which makes monitoring report a failure, or RUNNING."""
        process = noted(run.run_id, run.tags)
        if process is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "has noted no process yet")
        if not process.is_here:
            elsewhere = f"{process} cannot be checked from here; terminate the run if it is gone"
            return CheckRunHealthResult(WorkerStatus.RUNNING, elsewhere)
        if process.is_gone:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, _GONE.format(process))
        return CheckRunHealthResult(WorkerStatus.RUNNING, str(process))


def fail_killed_runs(instance: DagsterInstance) -> None:
    """Report a failure for every started run of this host whose process is gone."""
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        process = noted(run.run_id, run.tags)
        if process is None or not process.is_here or not process.is_gone:
            continue
        # It may have ended well since it was listed: its last event precedes its end.
        again = instance.get_run_by_id(run.run_id)
        if again is not None and again.status is DagsterRunStatus.STARTED:
            reason = f"The run ended without a report: {_GONE.format(process)}."
            instance.report_run_failed(run, reason)


class SqliteStorage(DagsterSqliteStorage):
    """The same databases in the same places; one process opens them at a time.

    Dagster creates and stamps each database in steps: of two processes that do so at the same time one
    fails with `UNIQUE constraint failed: alembic_version`.
    """

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "SqliteStorage":
        """What Dagster calls for `storage: custom:`; its own version would build its own class."""
        return cls.from_local(inst_data=inst_data, **config_value)

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        folder = Path(base_dir)
        folder.mkdir(parents=True, exist_ok=True)
        # The operating system releases the lock when a process dies.
        with (folder / ".opening.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            super().__init__(base_dir, inst_data)


class GuardedInstance(DagsterInstance):
    """Dagster's own instance, whose web server stands behind `OwnPagesOnly`.

    Dagster asks nobody who they are and checks neither Host nor Origin: any page in the same browser
    could start runs and delete them.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """No further keys in dagster.yaml."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Dagster's own, of the class of an instance's reference."""
        return get_type_hints(cls.get_ref)["return"].config_defaults(base_dir)

    def optimize_for_webserver(self, *args: Any, **settings: Any) -> None:
        """Called by the web server alone, before it makes its application: others need no pandas."""
        from dagster_webserver.webserver import DagsterWebserver
        from starlette.middleware import Middleware

        from experiment_pipeline.tracking.server import OwnPagesOnly

        super().optimize_for_webserver(*args, **settings)
        own = DagsterWebserver.build_middleware
        DagsterWebserver.build_middleware = lambda page: [  # type: ignore[method-assign]
            Middleware(OwnPagesOnly),
            *own(page),
        ]
