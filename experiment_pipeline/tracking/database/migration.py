"""Bring the tables of an older database up to date, without losing a row or a grant.

Versions only add: tables, columns, indexes. alembic finds what a database lacks. What
it has beyond that stays; earlier rows hold null or an empty value in what is new.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops

from experiment_pipeline.tracking.database.tables import METADATA, VIEWS, View

# Of a column without null: SQL type → what earlier rows hold.
_EMPTY: Sequence[tuple[type[sa.types.TypeEngine[Any]], str]] = (
    (sa.Boolean, "false"),
    (sa.JSON, "'[]'"),
    (sa.Integer, "0"),
    (sa.Float, "0"),
    (sa.Text, "''"),
)


def add_what_is_missing(connection: sa.Connection) -> None:
    """Add tables, columns, indexes and columns of views that a database lacks."""
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:  # which checks views at each change of a table, and has no grants
        for name in VIEWS:
            connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}"))
    context = MigrationContext.configure(connection, opts={"compare_type": False})
    operations = Operations(context)
    for operation in _flat(produce_migrations(context, METADATA).upgrade_ops):
        match operation:
            case ops.AddColumnOp():
                operations.invoke(_with_empty_value(operation))
            case ops.CreateTableOp() | ops.CreateIndexOp():
                operations.invoke(operation)
            case ops.DropColumnOp() if not operation.to_column().nullable:
                # This package writes no value there. SQLite can only drop it.
                table = operation.table_name
                column = operation.column_name
                if is_sqlite:
                    operations.drop_column(table, column)
                else:
                    operations.alter_column(table, column, nullable=True)
    for name, view in VIEWS.items():
        _write_view(connection, name, view)


def _flat(operation: Any) -> Iterator[ops.MigrateOperation]:
    """The operations inside one: alembic groups them by table."""
    inner = getattr(operation, "ops", None)
    if inner is None or isinstance(operation, ops.CreateTableOp):
        yield operation
        return
    for nested in inner:
        yield from _flat(nested)


def _with_empty_value(operation: ops.AddColumnOp) -> ops.AddColumnOp:
    column = operation.column
    if not column.nullable and column.server_default is None:
        for sql_type, value in _EMPTY:
            if isinstance(column.type, sql_type):
                column.server_default = sa.DefaultClause(sa.text(value))
                break
    return operation


def _write_view(connection: sa.Connection, name: str, view: View) -> None:
    """Write a view anew; PostgreSQL keeps its grants, and views that others made of it.

    For that, columns that are there keep their places, and new ones come last.
    """
    existing: list[str] = []
    inspector = sa.inspect(connection)
    if name in inspector.get_view_names():
        existing = [column["name"] for column in inspector.get_columns(name)]
    columns = {column.name: column for column in view.select.selected_columns}
    order = [
        *(columns[name] for name in existing if name in columns),
        *(column for name, column in columns.items() if name not in existing),
    ]
    query = view.select.with_only_columns(*order, maintain_column_froms=True)
    text = query.compile(connection, compile_kwargs={"literal_binds": True})
    replace = "OR REPLACE " if connection.dialect.name == "postgresql" else ""
    connection.execute(sa.text(f"CREATE {replace}VIEW {name} AS {text}"))
