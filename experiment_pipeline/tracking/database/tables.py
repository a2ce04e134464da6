"""The tables and views of the metadata database, derived from the row classes in
`reporting/run_record.py`.

Each table and column has a comment with its meaning, from which the documentation is
generated. `docs/database.md` is a copy of it.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import sqlalchemy as sa

from experiment_pipeline.reporting.run_record import ROWS, RecordRow


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time with a time zone in Python; SQLite stores it without one, in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """From the database; PostgreSQL returns times in the zone of its session."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


_TYPES: Mapping[Any, Any] = {
    bool: sa.Boolean(),
    int: sa.BigInteger(),
    float: sa.Double(),
    datetime: UtcDateTime(),
}
# (Type of a column, its name in the documentation, its dtype in a DataFrame).
SHOWN_TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], str, str], ...] = (
    (UtcDateTime, "moment", "datetime64[us, UTC]"),
    (sa.Text, "text", "str"),
    (sa.Boolean, "boolean", "boolean"),
    (sa.Integer, "integer", "Int64"),
    (sa.Float, "number", "float64"),
    (sa.JSON, "JSON", "object"),
)
_SCOPE = {"experiment": "name of the experiment", "run_id": "Dagster's id of the run"}
METADATA = sa.MetaData()


def _table(kind: type[RecordRow]) -> sa.Table:
    """The table of a row class: its scope first, then a column per field."""
    columns = [
        sa.Column(name, sa.Text(), primary_key=True, comment=_SCOPE[name])
        for name in kind.SCOPE
    ]
    hints = get_type_hints(kind, include_extras=True)
    columns += [_column(kind, field.name, hints[field.name]) for field in fields(kind)]
    table = sa.Table(kind.TABLE, METADATA, *columns, comment=kind.__doc__)
    if kind.SCOPE == ("experiment", "run_id") and kind.TABLE != "runs":
        parent = [f"runs.{name}" for name in kind.SCOPE]
        table.append_constraint(
            sa.ForeignKeyConstraint(kind.SCOPE, parent, ondelete="CASCADE")
        )
        # SQLite then stores a run's rows together in key order, and the keys only once.
        table.dialect_options["sqlite"]["with_rowid"] = False
    return table


def _column(kind: type[RecordRow], name: str, hint: Any) -> sa.Column[Any]:
    declared, meaning = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
    nullable = isinstance(declared, types.UnionType) or get_origin(declared) is Union
    python_type = get_args(declared)[0] if nullable else declared
    sql_type = _TYPES.get(python_type, sa.Text())  # a Literal is text
    if get_origin(python_type) in {Mapping, tuple}:
        sql_type = sa.JSON(none_as_null=True)
    key = name in kind.KEYS
    return sa.Column(
        name, sql_type, primary_key=key, nullable=nullable, comment=meaning
    )


TABLES: Mapping[str, sa.Table] = {kind.TABLE: _table(kind) for kind in ROWS}
RUNS, CONFIGURATIONS, VERSIONS = (
    TABLES[name] for name in ("runs", "configurations", "versions")
)
sa.Index("runs_by_start", RUNS.c.experiment, RUNS.c.started_at)
sa.Index("runs_by_status", RUNS.c.status)


@dataclass(frozen=True, eq=False)
class View:
    """A view: its columns, to be queried like any table, and the query behind it."""

    table: sa.Table
    select: sa.Select[Any]


def _view(
    name: str, meaning: str, select: sa.Select[*tuple[Any, ...]], **meanings: str
) -> View:
    """A view of a query; `meanings`: comments of columns that no table has."""
    columns = []
    for column in select.selected_columns:
        comment = meanings.get(column.name) or getattr(column, "comment", None)
        columns.append(sa.Column(column.name, column.type, comment=comment))
    return View(sa.Table(name, sa.MetaData(), *columns, comment=meaning), select)


def _runs_with(status: str) -> sa.Label[int]:
    number = sa.func.sum(sa.case((RUNS.c.status == status, 1), else_=0))
    return number.label(f"{status}_runs")


_COUNTED = ("accepted", "rejected", "failed", "killed")
_OF_ITS_RUN = sa.and_(
    RUNS.c.experiment == VERSIONS.c.experiment, RUNS.c.run_id == VERSIONS.c.run_id
)
_ALL_VIEWS = (
    _view(
        "experiments",
        "Every experiment: its runs counted, the first and the last one, and what all "
        "cost.",
        sa.select(
            RUNS.c.experiment,
            sa.func.count().label("runs"),
            *(_runs_with(status) for status in _COUNTED),
            sa.func.min(RUNS.c.started_at).label("first_started_at"),
            sa.func.max(RUNS.c.started_at).label("last_started_at"),
            sa.func.sum(RUNS.c.wall_seconds).label("wall_seconds"),
            sa.func.sum(RUNS.c.cpu_seconds).label("cpu_seconds"),
            sa.func.sum(RUNS.c.cost).label("cost"),
        ).group_by(RUNS.c.experiment),
        runs="its runs, of any status",
        **{f"{status}_runs": f"of these, with status {status}" for status in _COUNTED},
        first_started_at="when the first run began, UTC",
        last_started_at="when the last run began, UTC",
        wall_seconds="of all its runs",
        cpu_seconds="of all its runs",
        cost="of all its runs that know a price, in its currency",
    ),
    _view(
        "leaderboards",
        "Every configuration of every run, with the run's metric and start.",
        sa.select(
            *CONFIGURATIONS.c,
            RUNS.c.metric,
            RUNS.c.greater_is_better,
            RUNS.c.started_at,
            RUNS.c.status.label("run_status"),
        ).join_from(CONFIGURATIONS, RUNS),
        run_status="status of the run",
    ),
    _view(
        "champion_history",
        "Every published version, with the run that made it and its score on "
        "validation (final hold-out).",
        sa.select(
            *VERSIONS.c,
            RUNS.c.metric,
            RUNS.c.validation_score,
            RUNS.c.validation_low,
            RUNS.c.validation_high,
            RUNS.c.data_digest,
            RUNS.c.code_commit,
            RUNS.c.record,
        ).outerjoin_from(VERSIONS, RUNS, _OF_ITS_RUN),
    ),
)
VIEWS: Mapping[str, View] = {view.table.name: view for view in _ALL_VIEWS}


def _shown_type(column: sa.Column[Any]) -> str:
    for sql_type, name, _ in SHOWN_TYPES:
        if isinstance(column.type, sql_type):
            return name
    raise AssertionError(column)


def documentation() -> str:
    """Return every table, view and column as Markdown, for SQL users."""
    lines = [(Path(__file__).parent / "documentation.md").read_text(encoding="utf-8")]
    views = [view.table for view in VIEWS.values()]
    for title, tables in (("Views", views), ("Tables", [*TABLES.values()])):
        lines.append(f"## {title}\n")
        for table in tables:
            lines += [f"### {table.name}\n", f"{table.comment}\n"]
            lines += ["| column | type | meaning |", "|---|---|---|"]
            for column in table.columns:
                key = ", key" if column.primary_key else ""
                kind = f"{_shown_type(column)}{key}"
                lines.append(f"| `{column.name}` | {kind} | {column.comment} |")
            lines.append("")
    return "\n".join(lines)
