"""The views of the metadata database: what people ask most, under stable, documented names.

In: the tables. Out: each view as a table of SQLAlchemy with a comment per column, and the SELECT
that makes it, in words that SQLite and PostgreSQL share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from experiment_pipeline.tracking.database.tables import RUNS, TABLES, UtcDateTime

_CONFIGURATIONS, _VERSIONS = TABLES["configurations"], TABLES["versions"]


@dataclass(frozen=True, eq=False)
class View:
    """A view.

    Attributes:
        table: its name and columns, to be asked like any table; its comment says what it is.
        select: the SQL that it stands for.
    """

    table: sa.Table
    select: str


def _view(name: str, meaning: str, origin: str, columns: Mapping[str, sa.Column[Any]]) -> View:
    """A view of columns, each with the expression that makes it."""
    made = ", ".join(f"{how} AS {column.name}" for how, column in columns.items())
    table = sa.Table(name, sa.MetaData(), *columns.values(), comment=meaning)
    return View(table, f"SELECT {made} FROM {origin}")  # noqa: S608 - all of it stands below


def _same(alias: str, table: sa.Table, *names: str) -> dict[str, sa.Column[Any]]:
    """Columns of a table as they are, under its alias."""
    columns = [table.c[name] for name in names]
    return {f"{alias}.{c.name}": sa.Column(c.name, c.type, comment=c.comment) for c in columns}


def _count(status: str | None) -> dict[str, sa.Column[Any]]:
    if status is None:
        return {"COUNT(*)": sa.Column("runs", sa.BigInteger(), comment="its runs, of any status")}
    how = f"SUM(CASE WHEN status = '{status}' THEN 1 ELSE 0 END)"
    return {
        how: sa.Column(f"{status}_runs", sa.BigInteger(), comment=f"of these, with status {status}")
    }


def _total(name: str, meaning: str) -> dict[str, sa.Column[Any]]:
    return {f"SUM({name})": sa.Column(name, sa.Double(), comment=meaning)}


_EXPERIMENTS = _view(
    "experiments",
    "Every experiment: its runs counted, the first and the last one, and what all cost.",
    "runs GROUP BY experiment",
    {
        "experiment": sa.Column("experiment", sa.Text(), comment=RUNS.c.experiment.comment),
        **_count(None),
        **_count("accepted"),
        **_count("rejected"),
        **_count("failed"),
        **_count("killed"),
        "MIN(started_at)": sa.Column(
            "first_started_at", UtcDateTime(), comment="when the first run began, UTC"
        ),
        "MAX(started_at)": sa.Column(
            "last_started_at", UtcDateTime(), comment="when the last run began, UTC"
        ),
        **_total("wall_seconds", "of all its runs"),
        **_total("cpu_seconds", "of all its runs"),
        **_total("cost", "of all its runs that know a price, in its currency"),
    },
)
_LEADERBOARDS = _view(
    "leaderboards",
    "Every configuration of every run, with the run's metric and start.",
    "configurations c JOIN runs r ON r.experiment = c.experiment AND r.run_id = c.run_id",
    {
        **_same("c", _CONFIGURATIONS, *_CONFIGURATIONS.c.keys()),
        **_same("r", RUNS, "metric", "greater_is_better", "started_at"),
        "r.status": sa.Column("run_status", sa.Text(), comment="status of the run"),
    },
)
_CHAMPIONS = _view(
    "champion_history",
    "Every published version, with the run that made it and its score on validation.",
    "versions v LEFT JOIN runs r ON r.experiment = v.experiment AND r.run_id = v.run_id",
    {
        **_same("v", _VERSIONS, *_VERSIONS.c.keys()),
        **_same("r", RUNS, "metric", "validation_score", "validation_low", "validation_high"),
        **_same("r", RUNS, "data_digest", "code_commit"),
    },
)
VIEWS: Mapping[str, View] = {
    view.table.name: view for view in (_EXPERIMENTS, _LEADERBOARDS, _CHAMPIONS)
}
