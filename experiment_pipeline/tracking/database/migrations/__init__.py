"""Every change of the database's tables, in order; alembic runs them."""
