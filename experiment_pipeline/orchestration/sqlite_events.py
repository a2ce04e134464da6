"""Dagster's event log on SQLite, the same databases in the same places, at a tenth of the price.

Dagster makes up to four engines for each event; a new one asks SQLite about itself and compiles every
statement anew, which takes longer than the event. Here an engine is kept for each database, and the
materializations that a step reports together are written together. In: events. Out: their rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Self

from dagster import DagsterEventType, EventLogEntry
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect

# Databases whose engines are kept: that of all runs, and those of a few runs.
_ENGINES = 16


class SqliteEventLog(SqliteEventLogStorage):
    """As Dagster's own, in everything that is read or written."""

    @classmethod
    def in_place_of(cls, other: SqliteEventLogStorage) -> Self:
        """The event log in the folder of another one."""
        return cls(str(Path(other.path_for_shard(INDEX_SHARD_NAME)).parent))

    def run_connection(self, run_id: str | None = None) -> AbstractContextManager[Connection]:
        """A transaction in the database of a run."""
        return self._transaction(run_id or RUNLESS_RUN_ID)

    def index_connection(self) -> AbstractContextManager[Connection]:
        """A transaction in the database of all runs."""
        return self._transaction(INDEX_SHARD_NAME)

    def has_table(self, table_name: str) -> bool:
        """Whether the database of all runs has a table."""
        return inspect(self._engine(INDEX_SHARD_NAME)).has_table(table_name)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events, together where they are materializations of one run."""
        kinds = {event.dagster_event_type for event in events}
        runs = {event.run_id for event in events}
        if kinds != {DagsterEventType.ASSET_MATERIALIZATION} or len(runs) > 1:
            super().store_event_batch(events)
            return
        rows = [self.prepare_insert_event(event) for event in events]
        with self.run_connection(runs.pop()) as connection:
            for row in rows:
                connection.execute(row)
        with self.index_transaction() as connection:
            ids = [connection.execute(row).lastrowid for row in rows]
            self._store_asset_event_tags(connection, events, ids)
            # What is kept of an asset is its last event.
            last = {one.get_dagster_event().asset_key: place for place, one in enumerate(events)}
            for place in last.values():
                self._store_asset_event(connection, events[place], ids[place])

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        if shard not in self._initialized_dbs:
            # The first time, Dagster makes the tables.
            with self._connect(shard) as connection:
                yield connection
            return
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        return _kept_engine(self.conn_string_for_shard(shard))


@lru_cache(_ENGINES)
def _kept_engine(url: str) -> Engine:
    """As Dagster makes them: no database is open while nobody reads or writes."""
    waits = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
    return create_engine(url, poolclass=NullPool, connect_args=waits)
