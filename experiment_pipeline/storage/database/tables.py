"""The tables and views of the metadata database, made of the rows that are remembered.

In: the classes of `reporting/remembered.py`. Out: SQLAlchemy's tables with a comment per column,
and the views, whose names and columns are as stable as those of the tables.
"""

import types
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import sqlalchemy as sa

from experiment_pipeline.reporting.remembered import ROWS, Remembered


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment, aware on both sides; SQLite keeps it without its zone, which is always UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


_TYPES: Mapping[Any, Any] = {
    str: sa.Text(),
    bool: sa.Boolean(),
    int: sa.BigInteger(),
    float: sa.Double(),
    datetime: UtcDateTime(),
}
_SCOPE = {"experiment": "name of the experiment", "run_id": "Dagster's id of the run"}
METADATA = sa.MetaData()


def _table(kind: type[Remembered]) -> sa.Table:
    """The table of a class: whose rows they are first, then a column per field."""
    columns = [
        sa.Column(name, sa.Text(), primary_key=True, comment=_SCOPE[name]) for name in kind.SCOPE
    ]
    hints = get_type_hints(kind, include_extras=True)
    columns += [_column(kind, field.name, hints[field.name]) for field in fields(kind)]
    constraints = []
    if kind.SCOPE == ("experiment", "run_id") and kind.TABLE != "runs":
        whose = [f"runs.{name}" for name in kind.SCOPE]
        constraints = [sa.ForeignKeyConstraint(kind.SCOPE, whose, ondelete="CASCADE")]
    return sa.Table(kind.TABLE, METADATA, *columns, *constraints, comment=kind.__doc__)


def _column(kind: type[Remembered], name: str, hint: Any) -> sa.Column[Any]:
    declared, meaning = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
    optional = isinstance(declared, types.UnionType) or get_origin(declared) is Union
    options = (
        [one for one in get_args(declared) if one is not type(None)] if optional else [declared]
    )
    return sa.Column(
        name,
        _type(options[0]),
        primary_key=name in kind.KEYS,
        nullable=optional,
        comment=meaning,
    )


def _type(declared: Any) -> Any:
    if get_origin(declared) in {Mapping, tuple}:
        return sa.JSON()
    return _TYPES.get(declared, sa.Text())  # a Literal is one of its texts


TABLES: Mapping[str, sa.Table] = {kind.TABLE: _table(kind) for kind in ROWS}
RUNS = TABLES["runs"]
sa.Index("runs_by_start", RUNS.c.experiment, RUNS.c.started_at)
sa.Index("runs_by_status", RUNS.c.status)

# What people ask most, as views: name → (what it is, its SELECT). No dialect's own words.
VIEWS: Mapping[str, tuple[str, str]] = {
    "experiments": (
        "Every experiment: its runs counted, the first and last one, and what all cost.",
        """
        SELECT experiment,
               COUNT(*) AS runs,
               SUM(CASE WHEN status = 'accepted' THEN 1 ELSE 0 END) AS accepted_runs,
               SUM(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS rejected_runs,
               SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failed_runs,
               SUM(CASE WHEN status = 'killed' THEN 1 ELSE 0 END) AS killed_runs,
               MIN(started_at) AS first_started_at,
               MAX(started_at) AS last_started_at,
               SUM(wall_seconds) AS wall_seconds,
               SUM(cpu_seconds) AS cpu_seconds,
               SUM(cost) AS cost
        FROM runs GROUP BY experiment
        """,
    ),
    "leaderboards": (
        "Every configuration of every run, with the run's metric and start.",
        """
        SELECT c.*, r.metric, r.greater_is_better, r.started_at, r.status AS run_status
        FROM configurations c
        JOIN runs r ON r.experiment = c.experiment AND r.run_id = c.run_id
        """,
    ),
    "champion_history": (
        "Every published version with the run that made it and its validation score.",
        """
        SELECT v.experiment, v.version, v.created_at, v.configuration, v.headline, v.place,
               v.approval_required, v.approved_by, v.run_id, r.metric, r.validation_score, r.validation_low,
               r.validation_high, r.data_digest, r.code_commit
        FROM versions v
        LEFT JOIN runs r ON r.experiment = v.experiment AND r.run_id = v.run_id
        """,
    ),
}
