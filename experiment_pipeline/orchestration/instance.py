"""Classes that dagster.yaml names: a launcher that detects killed runs, SQLite that one
process opens at a time and that stores events in batches, and an instance whose web
server refuses requests of other sites.

Dagster does not monitor a run that `dagster job execute` started: when its process is
killed, the run stays STARTED and keeps its place in the queue. So the executor stores
the process of each run in a tag. Run monitoring asks the launcher below; without a
daemon, the next run that starts checks the tags itself.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_type_hints

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultRunLauncher,
    EventLogEntry,
    RunsFilter,
)

# Not exported by Dagster: the SQLite storages.
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from experiment_pipeline.storage.processes import Process

# A launcher's answer to run monitoring and its statuses, not exported by Dagster.
_Health = get_type_hints(DefaultRunLauncher.check_run_worker_health)["return"]
_Status = get_type_hints(_Health)["status"]
# Dagster's page hides tags with the prefix `.dagster/`.
TAG = ".dagster/experiment_pipeline_process"
# Above 0, Dagster stores the events that begin a run, one per configuration, together.
_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
_MOST_EVENTS = "1000"
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

    def check_run_worker_health(self, run: DagsterRun) -> Any:
        """RUNNING, or NOT_FOUND, on which run monitoring marks the run as failed."""
        process = noted(run.run_id, run.tags)
        if process is None:
            return _Health(_Status.RUNNING, "has noted no process yet")
        if not process.is_here:
            elsewhere = (
                f"{process} cannot be checked from here; terminate the run if it is "
                "gone"
            )
            return _Health(_Status.RUNNING, elsewhere)
        if process.is_gone:
            return _Health(_Status.NOT_FOUND, _GONE.format(process))
        return _Health(_Status.RUNNING, str(process))


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


class SqliteEventLog(SqliteEventLogStorage):
    """Dagster's SQLite event log, which stores a batch of events in one transaction.

    Dagster opens, commits and closes two databases for each event: 13 ms.
    """

    def __init__(self, base_dir: str) -> None:
        self._of_thread = _EventsOfThread()
        self._tables = set[str]()
        super().__init__(base_dir)
        # Re-entrant: a batch holds both databases.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    @contextmanager
    def one_batch(self) -> Iterator[None]:
        """Store what this thread reports in the block together, when the block ends.

        Whoever reports holds the lock of the log, and waits for that of the databases:
        a block must not hold the databases.
        """
        self._of_thread.events = events = list[EventLogEntry]()
        try:
            yield
        finally:
            self._of_thread.events = None
            self.store_event_batch(events)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event, now or with those of its batch."""
        if self._of_thread.events is None:
            super().store_event(event)
        else:
            self._of_thread.events.append(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events, all or none."""
        batch = self._of_thread
        with ExitStack() as batch.ends, self._db_lock:
            batch.connections, batch.last_events = {}, {}
            try:
                for event in events:
                    super().store_event(event)
                for last_event in batch.last_events.values():
                    super()._store_asset_event(*last_event)
            finally:
                batch.connections = None

    def _store_asset_event(
        self, conn: Any, event: EventLogEntry, event_id: int
    ) -> None:
        """Update the row of an asset; of a batch only the last event of a kind does."""
        if self._of_thread.connections is None:
            super()._store_asset_event(conn, event, event_id)
            return
        dagster_event = event.get_dagster_event()
        key = dagster_event.asset_key, dagster_event.event_type
        self._of_thread.last_events[key] = conn, event, event_id

    def has_table(self, table_name: str) -> bool:
        """Look a table up, once: it is asked for with each event."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Any]:
        connections = self._of_thread.connections
        if connections is None:
            with super()._connect(shard) as connection:
                yield connection
            return
        if shard not in connections:
            connect = super()._connect(shard)
            connections[shard] = self._of_thread.ends.enter_context(connect)
        yield connections[shard]


class _EventsOfThread(threading.local):
    """The batch that a thread collects or stores."""

    events: list[EventLogEntry] | None = None
    connections: dict[str, Any] | None = None  # by shard
    last_events: dict[Any, tuple[Any, EventLogEntry, int]]  # by asset and kind
    ends: ExitStack  # closes the connections


def one_batch(instance: DagsterInstance) -> AbstractContextManager[None]:
    """Store the events that a block reports together, if the storage can."""
    storage = instance.event_log_storage
    return storage.one_batch() if isinstance(storage, SqliteEventLog) else nullcontext()


class SqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage, which only one process at a time opens and which stores
    events in batches.

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
            events = Path(self._event_log_storage.path_for_shard("index")).parent
            self._event_log_storage = SqliteEventLog(str(events))
        os.environ.setdefault(_BATCH_SIZE, _MOST_EVENTS)


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
            Middleware(OwnPagesOnly, redirects=True),
            *original(page),
        ]
