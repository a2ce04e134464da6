"""What alembic calls to run the migrations on the connection that `connection.migrate` gives it.

Views stand on the columns of the tables: they go before a migration and come back after it. What
each column means is written beside it where the database can keep that.
"""

import sqlalchemy as sa
from alembic import context

from experiment_pipeline.tracking.database.tables import METADATA
from experiment_pipeline.tracking.database.views import VIEWS

connection: sa.Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    for name in VIEWS:
        connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}"))
    context.run_migrations()
    for name, view in VIEWS.items():
        connection.execute(sa.text(f"CREATE VIEW {name} AS {view.select}"))
    if connection.dialect.supports_comments:
        for table in METADATA.tables.values():
            connection.execute(sa.schema.SetTableComment(table))
        for view in VIEWS.values():
            told = sa.text(f"COMMENT ON VIEW {view.table.name} IS :words")
            words = str(view.table.comment)
            connection.execute(
                told.bindparams(sa.bindparam("words", words, sa.Text(), literal_execute=True))
            )
        for one in (*METADATA.tables.values(), *(view.table for view in VIEWS.values())):
            for column in one.columns:
                connection.execute(sa.schema.SetColumnComment(column))
