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

from experiment_pipeline.reporting.remembered import Remembered, RunFacts, VersionRow
from experiment_pipeline.storage.database.connection import database, told
from experiment_pipeline.storage.database.tables import RUNS, TABLES


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

    def remember(self, rows: Iterable[Remembered]) -> None:
        """Write rows, all or none; the run's own facts that say nothing leave what there is.

        Raises:
            DatabaseUnavailable: the database cannot be reached or written.
        """
        engine = database()
        with told(engine.url), engine.begin() as connection:
            self._begin(connection)
            ordered = sorted(rows, key=lambda row: row.TABLE)
            for table, of_table in groupby(ordered, key=lambda row: row.TABLE):
                if table == RUNS.name:
                    for facts in of_table:
                        self._update(connection, values_of(facts))
                else:
                    _replace(connection, [self._own(row) for row in of_table], self.scope)

    def facts(self) -> RunFacts | None:
        """What is known of the run itself; None: nothing yet."""
        engine = database()
        with told(engine.url), engine.connect() as connection:
            found = connection.execute(sa.select(RUNS).filter_by(**self.scope)).mappings().first()
        if found is None:
            return None
        return RunFacts(**{name: value for name, value in found.items() if name not in self.scope})

    def forget(self, *columns: str) -> None:
        """Make facts of the run null again."""
        engine = database()
        with told(engine.url), engine.begin() as connection:
            nothing = dict.fromkeys(columns, sa.null())
            connection.execute(sa.update(RUNS).filter_by(**self.scope).values(nothing))

    def remember_if_still_running(self, facts: RunFacts) -> bool:
        """Write facts of a run that nobody has ended meanwhile; return whether it was so."""
        engine = database()
        values = {name: value for name, value in values_of(facts).items() if value is not None}
        running = sa.update(RUNS).filter_by(**self.scope, status="running").values(values)
        with told(engine.url), engine.begin() as connection:
            return connection.execute(running).rowcount == 1

    def add_cost(self, wall_seconds: float, cpu_seconds: float, peak_memory_bytes: int) -> None:
        """Add what a stage took to what the run has taken."""
        engine = database()
        columns = RUNS.c
        price = columns.price_per_hour
        with told(engine.url), engine.begin() as connection:
            self._begin(connection)
            wall = sa.func.coalesce(columns.wall_seconds, 0.0) + wall_seconds
            peak = sa.func.coalesce(columns.peak_memory_bytes, 0)
            self._update(
                connection,
                {
                    "wall_seconds": wall,
                    "cpu_seconds": sa.func.coalesce(columns.cpu_seconds, 0.0) + cpu_seconds,
                    "peak_memory_bytes": sa.case(
                        (peak > peak_memory_bytes, peak), else_=peak_memory_bytes
                    ),
                    "cost": wall / 3600 * price,
                },
            )

    def _begin(self, connection: sa.Connection) -> None:
        """Make the run's row, where there is none."""
        if not connection.execute(sa.select(RUNS.c.run_id).filter_by(**self.scope)).first():
            connection.execute(sa.insert(RUNS).values(**self.scope))

    def _own(self, row: Remembered) -> Remembered:
        """A version says which run published it."""
        return replace(row, run_id=self.run_id) if isinstance(row, VersionRow) else row

    def _update(self, connection: sa.Connection, values: Mapping[str, Any]) -> None:
        told_now = {name: value for name, value in values.items() if value is not None}
        if told_now:
            connection.execute(sa.update(RUNS).filter_by(**self.scope).values(told_now))


def remember(rows: Sequence[Remembered], experiment: str) -> None:
    """Write rows that belong to an experiment, or to all, and to no run."""
    engine = database()
    with told(engine.url), engine.begin() as connection:
        for _, of_table in groupby(sorted(rows, key=_table), key=_table):
            _replace(connection, list(of_table), {"experiment": experiment})


def values_of(row: Remembered) -> dict[str, Any]:
    """Column → value; numbers that SQL lacks are null."""
    return {field.name: _plain(getattr(row, field.name)) for field in fields(row)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _table(row: Remembered) -> str:
    return row.TABLE


def _replace(
    connection: sa.Connection, rows: Sequence[Remembered], scope: Mapping[str, str]
) -> None:
    kind = type(rows[0])
    table, own = TABLES[kind.TABLE], {name: scope[name] for name in kind.SCOPE}
    keys = (*kind.SCOPE, *kind.KEYS)
    values = [own | values_of(row) for row in rows]
    same = sa.and_(*(table.c[name] == sa.bindparam(f"old_{name}") for name in keys))
    old = [{f"old_{name}": row[name] for name in keys} for row in values]
    if kind.MERGED:
        found = connection.execute(sa.select(*(table.c[name] for name in keys)).filter_by(**own))
        known = {tuple(row) for row in found}
        others = [column.name for column in table.columns if column.name not in keys]
        said = {
            n: sa.func.coalesce(sa.bindparam(f"new_{n}", type_=table.c[n].type), table.c[n])
            for n in others
        }
        changed = [
            marks | {f"new_{name}": row[name] for name in others}
            for marks, row in zip(old, values, strict=True)
            if tuple(row[name] for name in keys) in known
        ]
        if changed:
            connection.execute(sa.update(table).where(same).values(said), changed)
        values = [row for row in values if tuple(row[name] for name in keys) not in known]
    else:
        connection.execute(sa.delete(table).where(same), old)
    if values:
        connection.execute(sa.insert(table), values)
