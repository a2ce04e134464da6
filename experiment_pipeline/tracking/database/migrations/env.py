"""What alembic executes to run the migrations on the connection that `connection.migrate` gives it.

Views are dropped before a migration and made again after it. Comments are written where the
database keeps them.
"""

import sqlalchemy as sa
from alembic import context

from experiment_pipeline.tracking.database.tables import METADATA, VIEWS

connection: sa.Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    for name in VIEWS:
        connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}"))
    context.run_migrations()
    for name, view in VIEWS.items():
        query = view.select.compile(connection, compile_kwargs={"literal_binds": True})
        connection.execute(sa.text(f"CREATE VIEW {name} AS {query}"))
    if connection.dialect.supports_comments:
        for table in METADATA.tables.values():
            connection.execute(sa.schema.SetTableComment(table))
        for view in VIEWS.values():
            words = sa.bindparam("words", view.table.comment, sa.Text(), literal_execute=True)
            comment = sa.text(f"COMMENT ON VIEW {view.table.name} IS :words")
            connection.execute(comment.bindparams(words))
        for one in (*METADATA.tables.values(), *(view.table for view in VIEWS.values())):
            for column in one.columns:
                connection.execute(sa.schema.SetColumnComment(column))
