"""A database that is filled comes along with the next version of the package."""

import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from experiment_pipeline.tracking.database import connection
from experiment_pipeline.tracking.database.connection import (
    VARIABLE,
    database,
    opened,
    version_of,
)
from experiment_pipeline.tracking.database.tables import METADATA, VIEWS
from experiment_pipeline_tests.tracking.database.test_writing import everything
from experiment_pipeline_tests.tracking.history import write_history

NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade():
    with op.batch_alter_table("runs", recreate="auto") as table:
        table.add_column(sa.Column("note", sa.Text()))
        table.alter_column("task", type_=sa.String(40))
"""


@pytest.mark.usefixtures("each_database")
def test_a_filled_database_of_the_first_version_keeps_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later migration may even make a table anew: nothing that belongs to its rows goes with it."""
    write_history()
    before = everything()
    folder = Path(shutil.copytree(Path(connection.__file__).parent / "migrations", tmp_path / "m"))
    (folder / "versions" / "v0002_next.py").write_text(NEXT)
    monkeypatch.setattr(connection, "_MIGRATIONS", folder)
    monkeypatch.setattr(connection, "HEAD", "0002")
    opened.cache_clear()
    assert version_of(database()) == "0002"
    assert everything() == before
    with database().connect() as connected:
        assert pd.read_sql(sa.text("SELECT note FROM runs"), connected)["note"].isna().all()
        for name in VIEWS:
            assert len(pd.read_sql(sa.text(f"SELECT * FROM {name}"), connected)) > 0


def test_a_database_of_the_first_version_becomes_what_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is declared and has no migration would be missing from every older database."""
    path = tmp_path / "first.sqlite"
    with sqlite3.connect(path) as first:
        first.executescript((Path(__file__).parent / "first_tables.sql").read_text())
    first.close()
    monkeypatch.setenv(VARIABLE, f"sqlite:///{path}")
    with database().connect() as connected:
        assert compare_metadata(MigrationContext.configure(connected), METADATA) == []
