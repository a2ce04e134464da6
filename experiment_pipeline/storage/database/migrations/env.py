"""What alembic calls to run the migrations on the connection that `connection.migrate` gives it.

Views stand on the columns of the tables: they go before a migration and come back after it.
"""

import sqlalchemy as sa
from alembic import context

from experiment_pipeline.storage.database.tables import METADATA, VIEWS

connection: sa.Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    for name in VIEWS:
        connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}"))
    context.run_migrations()
    for name, (_, select) in VIEWS.items():
        connection.execute(sa.text(f"CREATE VIEW {name} AS {select}"))
