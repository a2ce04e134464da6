"""The first tables.

A new database is made of the tables as they are declared, and marked with the newest revision; the
revisions after this one change those of older databases.
"""

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing to do, see above."""
