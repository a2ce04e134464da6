"""Writing the memory of a run: what is remembered becomes rows, again and again the same ones.

A row replaces the one with the same keys, so a retry, a second look at a stored result and a
reindex leave what one writing would have left. In: rows that are remembered. Out: nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from experiment_pipeline.reporting.run_record import Remembered, RunFacts, VersionRow
from experiment_pipeline.tracking.database.connection import database, told, transaction
from experiment_pipeline.tracking.database.tables import RUNS, TABLES

# Both say INSERT … ON CONFLICT, which SQLAlchemy leaves to each dialect.
_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True)
class RunMemory:
    """The rows of one run of one experiment.

    Attributes:
        experiment: its name.
        run_id: Dagster's id of the run.
    """

    experiment: str
    run_id: str

    @property
    def scope(self) -> dict[str, str]:
        """What every row of the run has in common."""
        return {"experiment": self.experiment, "run_id": self.run_id}

    def remember(self, rows: Iterable[Remembered], forget: Sequence[str] = ()) -> None:
        """Write rows, all or none; the run's own facts that say nothing leave what there is.

        Args:
            rows: of this run; a VersionRow is told which run published it.
            forget: facts of the run that are made null again.

        Raises:
            DatabaseUnavailable: the database cannot be reached or written.
        """
        own = [replace(r, run_id=self.run_id) if isinstance(r, VersionRow) else r for r in rows]

        def write(connection: sa.Connection) -> None:
            self._begin(connection)
            self._update(connection, dict.fromkeys(forget, sa.null()))
            for row in own:
                if isinstance(row, RunFacts):
                    self._update(connection, values_of(row))
            _put(connection, [row for row in own if not isinstance(row, RunFacts)], self.scope)

        transaction(write)

    def facts(self) -> RunFacts | None:
        """What is known of the run itself; None: nothing yet."""
        engine = database()
        with told(engine.url), engine.connect() as connection:
            found = connection.execute(sa.select(RUNS).filter_by(**self.scope)).mappings().first()
        if found is None:
            return None
        return RunFacts(**{name: value for name, value in found.items() if name not in self.scope})

    def remember_if_still_running(self, facts: RunFacts) -> bool:
        """Write facts of a run that nobody has ended meanwhile; return whether it was so."""
        values = {name: value for name, value in values_of(facts).items() if value is not None}
        running = sa.update(RUNS).filter_by(**self.scope, status="running").values(values)
        return transaction(lambda connection: connection.execute(running).rowcount == 1)

    def add_cost(self, wall_seconds: float, cpu_seconds: float, peak_memory_bytes: int) -> None:
        """Add what a stage took to what the run has taken."""
        columns = RUNS.c
        wall = sa.func.coalesce(columns.wall_seconds, 0.0) + wall_seconds
        peak = sa.func.coalesce(columns.peak_memory_bytes, 0)
        values = {
            "wall_seconds": wall,
            "cpu_seconds": sa.func.coalesce(columns.cpu_seconds, 0.0) + cpu_seconds,
            "peak_memory_bytes": sa.case((peak > peak_memory_bytes, peak), else_=peak_memory_bytes),
            "cost": wall / 3600 * columns.price_per_hour,
        }

        def write(connection: sa.Connection) -> None:
            self._begin(connection)
            self._update(connection, values)

        transaction(write)

    def _begin(self, connection: sa.Connection) -> None:
        """Make the run's row, where there is none."""
        insert = _INSERTS[connection.dialect.name](RUNS).values(**self.scope)
        connection.execute(insert.on_conflict_do_nothing())

    def _update(self, connection: sa.Connection, values: Mapping[str, Any]) -> None:
        told_now = {name: value for name, value in values.items() if value is not None}
        if told_now:
            connection.execute(sa.update(RUNS).filter_by(**self.scope).values(told_now))


def remember(rows: Sequence[Remembered], experiment: str) -> None:
    """Write rows that belong to an experiment, or to all, and to no run."""
    transaction(lambda connection: _put(connection, rows, {"experiment": experiment}))


def values_of(row: Remembered) -> dict[str, Any]:
    """Column → value; numbers that SQL lacks are null."""
    return {field.name: _plain(getattr(row, field.name)) for field in fields(row)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        # What no database keeps: half a character pair, and in PostgreSQL the character zero.
        return value.encode(errors="backslashreplace").decode().replace("\0", "\N{SYMBOL FOR NULL}")
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _put(connection: sa.Connection, rows: Iterable[Remembered], scope: Mapping[str, str]) -> None:
    """Insert rows, or put them in the place of those with the same keys.

    Every writer takes tables and rows in the same order, so that no two wait for each other.
    """
    for name, of_table in groupby(sorted(rows, key=_table), key=_table):
        _put_into(connection, TABLES[name], list(of_table), scope)


def _put_into(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Remembered], scope: Mapping[str, str]
) -> None:
    kind = type(rows[0])
    own = {name: scope[name] for name in kind.SCOPE}
    keys = (*kind.SCOPE, *kind.KEYS)
    # One statement writes a row once: of several with the same keys counts the last, or what
    # each of them says.
    once: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        values = own | values_of(row)
        same = tuple(values[name] for name in keys)
        said = {k: v for k, v in values.items() if v is not None or not kind.MERGED}
        once[same] = {**dict.fromkeys(values), **once.get(same, {}), **said}
    insert = _INSERTS[connection.dialect.name](table)
    new = {one.name: insert.excluded[one.name] for one in table.c if one.name not in keys}
    if kind.MERGED:
        new = {name: sa.func.coalesce(said, table.c[name]) for name, said in new.items()}
    upsert = insert.on_conflict_do_update(index_elements=keys, set_=new)
    connection.execute(upsert, [once[same] for same in sorted(once)])


def _table(row: Remembered) -> str:
    return row.TABLE
