"""The metadata database on a real PostgreSQL: Dagster beside it, a server that goes and
comes.
"""

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from experiment_pipeline.errors import DatabaseUnavailable
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.tracking.database import connection
from experiment_pipeline.tracking.database.connection import (
    SCHEMA,
    VARIABLE,
    database,
    opened,
)
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.database.tables import METADATA
from experiment_pipeline_tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


def status(run_id: str) -> str | None:
    """The status of a run."""
    facts = RunRecord("e", run_id).facts()
    return None if facts is None else facts.status


@pytest.fixture
def server_of_its_own(monkeypatch) -> Iterator[PostgresServer]:
    """A server that the test may stop: no other test waits for it."""
    with PostgresServer() as server:
        monkeypatch.setenv(VARIABLE, server.make_database("memory"))
        yield server


def test_tables_of_dagster_in_the_same_database_are_left_alone(
    postgres, postgres_database
):
    """Dagster, too, has a table `runs` and one of alembic: ours are in a schema of
    their own.
    """
    postgres.execute(
        postgres_database,
        "CREATE TABLE runs (id int)",
        "CREATE TABLE alembic_version (version_num text)",
        "INSERT INTO alembic_version VALUES ('7e2f3204cf8e')",
    )
    RunRecord("e", "r").record([RunFacts(status="running")])
    with database().connect() as connected:
        inspector = sa.inspect(connected)
        assert set(inspector.get_table_names(SCHEMA)) == {
            *METADATA.tables,
            "alembic_version",
        }
        assert set(inspector.get_table_names("public")) == {"runs", "alembic_version"}
        assert connected.scalar(
            sa.text("SELECT version_num FROM public.alembic_version")
        ) == ("7e2f3204cf8e")


def test_a_user_without_rights_gets_the_servers_words(
    postgres, postgres_database, monkeypatch
):
    """The error says which right, or password, is wrong, and shows no password."""
    user = f"stranger_{postgres_database}"
    postgres.execute(postgres_database, f"CREATE ROLE {user} LOGIN PASSWORD 'reads'")
    for password, message in (
        ("reads", "permission denied for database"),
        ("wrong", "password authentication failed"),
    ):
        monkeypatch.setenv(VARIABLE, postgres.url(postgres_database, user, password))
        with pytest.raises(DatabaseUnavailable, match=message) as raised:
            database()
        assert password not in str(raised.value)


def test_a_write_waits_for_a_server_that_restarts(
    server_of_its_own: PostgresServer, monkeypatch
):
    """What a stage finds out after an hour is not lost to a restart, before a write or
    during it. One that stays away is reported: after some seconds of waiting, and at
    once where the database was not open yet.
    """
    RunRecord("e", "before").record([RunFacts(status="running")])
    server_of_its_own.kill()
    server_of_its_own.start()
    RunRecord("e", "after").record([RunFacts(status="running")])
    assert (status("before"), status("after")) == ("running", "running")
    server_of_its_own.kill()
    monkeypatch.setattr(connection, "_PAUSES", (0.5,) * 240)  # of a busy machine
    threading.Timer(1.0, server_of_its_own.start).start()
    RunRecord("e", "during").record([RunFacts(status="running")])
    assert status("during") == "running"

    monkeypatch.setattr(connection, "_PAUSES", (0.01, 0.01))
    server_of_its_own.kill()
    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        RunRecord("e", "r").add_cost(1.0, 1.0, 1)
    opened.cache_clear()
    with pytest.raises(DatabaseUnavailable, match="Check that it runs"):
        RunRecord("e", "r").record([RunFacts(status="running")])
