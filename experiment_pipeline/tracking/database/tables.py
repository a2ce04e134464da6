"""The tables of the metadata database, made of the rows that are remembered.

In: the classes of `reporting/run_record.py`. Out: SQLAlchemy's tables with a comment per column.
"""

import types
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import sqlalchemy as sa

from experiment_pipeline.reporting.run_record import ROWS, Remembered


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment, aware on both sides; SQLite keeps it without its zone, which is always UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        if value is None or value.tzinfo is None:
            return None if value is None else value.replace(tzinfo=UTC)
        return value.astimezone(UTC)  # PostgreSQL answers in the zone of its session


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
        return sa.JSON(none_as_null=True)
    return _TYPES.get(declared, sa.Text())  # a Literal is one of its texts


TABLES: Mapping[str, sa.Table] = {kind.TABLE: _table(kind) for kind in ROWS}
RUNS = TABLES["runs"]
sa.Index("runs_by_start", RUNS.c.experiment, RUNS.c.started_at)
sa.Index("runs_by_status", RUNS.c.status)
