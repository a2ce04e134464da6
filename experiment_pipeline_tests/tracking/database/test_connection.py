"""Opening the metadata database: where it is, its tables, what a user is told."""

import multiprocessing
import os
import pwd
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from experiment_pipeline.errors import DatabaseUnavailable
from experiment_pipeline.reporting.run_record import (
    ConfigurationRow,
    EvidenceRow,
    RunFacts,
)
from experiment_pipeline.storage.files import location
from experiment_pipeline.tracking.database import connection
from experiment_pipeline.tracking.database.archive import archive
from experiment_pipeline.tracking.database.connection import (
    VARIABLE,
    database,
    database_url,
)
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.database.tables import METADATA, VIEWS
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.tracking.history import FIRST_DAY


def test_no_setting_means_a_file_beside_dagsters_own(tmp_path, monkeypatch):
    """Without any set-up the database is a SQLite file in Dagster's home."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert database_url().database == str(
        tmp_path / "home" / "experiment_pipeline.sqlite"
    )
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.chdir(tmp_path)
    assert database_url().database == str(
        tmp_path / ".dagster_home/experiment_pipeline.sqlite"
    )
    # Plain PostgreSQL means the driver that Dagster brings, whatever SQLAlchemy would
    # take.
    monkeypatch.setenv(VARIABLE, "postgresql://me:secret@host/name")
    assert database_url().drivername == "postgresql+psycopg2"


@pytest.mark.usefixtures("each_database")
def test_a_new_database_has_the_declared_tables_and_views_each_column_documented():
    """What is there is what the rows declare, in PostgreSQL with comments."""
    declared = {**METADATA.tables, **{name: view.table for name, view in VIEWS.items()}}
    with database().connect() as connected:
        inspector = sa.inspect(connected)
        for name, table in declared.items():
            comments = {column.name: column.comment for column in table.columns}
            assert all(comments.values())
            stored = inspector.get_columns(name)
            assert [column["name"] for column in stored] == [*comments]
            if inspector.dialect.name != "postgresql":
                continue
            assert {column["name"]: column["comment"] for column in stored} == comments
            if name not in VIEWS:
                assert inspector.get_table_comment(name)["text"] == table.comment


def test_a_kill_between_two_tables_is_made_good(tmp_path):
    """Tables without their version are those of a process that was killed: the next one
    makes all.
    """
    url = sa.make_url(f"sqlite:///{tmp_path}/half.sqlite")
    with sa.create_engine(url).begin() as connected:
        METADATA.tables["runs"].create(connected)
        connected.execute(
            sa.text("CREATE VIEW experiments AS SELECT experiment FROM runs")
        )
    assert connection.version_of(connection.opened(url)) == connection.HEAD


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is not a database URL"),
        ("postgresql://me:secret@host:port/name", "is not a database URL"),
        ("postgresql://me:p@ss?secret@host/name", "is not a database URL"),
        ("postgresql://me@here:p?w@127.0.0.1:9/name?user=a@b", "cannot be used"),
        ("postgresql://me@127.0.0.1:9/name?sslpassword=secret", "cannot be used"),
        ("postgresql://me:secret@127.0.0.1:9/none", "cannot be used"),
        ("postgresql://127.0.0.1:9/none?user=me&password=secret", "cannot be used"),
        ("postgresql+asyncpg://me:secret@host/name", "needs the package"),
        ("oracle://me:secret@host/name", "is neither SQLite nor PostgreSQL"),
        ("sqlite:////proc/no/such/place.sqlite", "cannot be"),
    ],
)
def test_what_cannot_be_opened_is_told(url: str, message: str, monkeypatch):
    """The error names the database without its password, and what to do."""
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(DatabaseUnavailable) as raised:
        database()
    assert message in raised.value.rule
    assert "secret" not in str(raised.value)
    assert VARIABLE in str(raised.value) or "pip install" in raised.value.fix


def test_a_damaged_database_is_told_and_the_way_to_a_new_one(
    storage, metadata_database
):
    """Whatever is asked, bytes that are no database are an error in words."""
    RunRecord("e", "r").record([RunFacts(status="accepted", started_at=FIRST_DAY)])
    archive(RunRecord("e", "r"), location(str(storage)))
    database().dispose()
    half = metadata_database.read_bytes()[:5000] + b"\xff" * 20_000
    for damaged, name in (
        (half, "runs"),
        (b"none" * 999, "runs"),
        (b"none" * 999, "reindex"),
    ):
        metadata_database.write_bytes(damaged)
        connection.opened.cache_clear()
        failed = command(name)
        assert (failed.exit_code, failed.output[:7]) == (1, "Error: ")
        assert "Move the file away" in failed.output


def test_a_read_only_database_is_refused_at_the_first_write(
    metadata_database: Path, monkeypatch
):
    """A run stops with a clear error; what was asked before is answered."""
    monkeypatch.chdir(metadata_database.parent)
    monkeypatch.setenv(VARIABLE, f"sqlite:///file:{metadata_database}?mode=ro&uri=true")
    run = RunRecord("e", "r")
    assert run.facts() is None
    with pytest.raises(
        DatabaseUnavailable, match="attempt to write a readonly database"
    ):
        run.record([RunFacts(status="running")])
    assert not Path("file:").exists(), "a URI is no folder"


def test_a_database_of_a_newer_package_is_left_alone():
    """A package does not write to tables that it does not know; the error says the way
    on.
    """
    engine = database()
    with engine.begin() as connected:
        connected.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    connection.opened.cache_clear()
    with pytest.raises(
        DatabaseUnavailable, match="newer experiment-pipeline"
    ) as raised:
        database()
    assert "experiment-pipeline reindex" in raised.value.fix


def as_an_older_package_made_it(engine: sa.Engine) -> None:
    """Without a table, a column and its place in a view, with a column that is gone."""
    view = VIEWS["leaderboards"].select
    kept = [column for column in view.selected_columns if column.name != "note"]
    older = view.with_only_columns(*kept).compile(engine)
    with engine.begin() as connected:
        for statement in (
            "DROP VIEW leaderboards",
            "DROP TABLE evidence",
            "ALTER TABLE configurations DROP COLUMN note",
            "ALTER TABLE configurations ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",
            f"CREATE VIEW leaderboards AS {older}",
            "UPDATE alembic_version SET version_num = '0003'",
        ):
            connected.execute(sa.text(statement))
        if engine.dialect.name == "postgresql":
            for statement in (
                "DROP ROLE IF EXISTS reader",
                "CREATE ROLE reader",
                "GRANT SELECT ON leaderboards, runs TO reader",
                "CREATE VIEW theirs AS SELECT key, run_status FROM leaderboards",
                "ALTER TABLE configurations ALTER mood DROP DEFAULT",
            ):
                connected.execute(sa.text(statement))


def test_an_older_database_keeps_its_rows_and_grants(each_database: str):
    """It gets what it lacks when it is opened; both old and new runs are answered."""
    row = ConfigurationRow(
        key="a", algorithm="dummy", hyperparameters={}, status="trained"
    )
    RunRecord("e", "before").record([RunFacts(status="accepted"), row])
    engine = database()
    as_an_older_package_made_it(engine)
    engine.dispose()
    connection.opened.cache_clear()
    evidence = EvidenceRow(kind="split seed", number=1, what="seed 1")
    later = [RunFacts(status="accepted"), replace(row, note="n"), evidence]
    RunRecord("e", "after").record(later)
    engine = database()
    assert connection.version_of(engine) == connection.HEAD
    board = pd.read_sql("SELECT * FROM leaderboards ORDER BY run_id", engine)
    assert board["run_id"].tolist() == ["after", "before"]
    assert board["note"].fillna("").tolist() == ["n", ""]
    if each_database == "postgresql":
        granted = "SELECT table_name FROM information_schema.role_table_grants"
        names = pd.read_sql(f"{granted} WHERE grantee = 'reader'", engine)["table_name"]
        assert {*names} == {"leaderboards", "runs"}
        assert len(pd.read_sql("SELECT * FROM theirs", engine)) == 2
    connection.opened.cache_clear()
    assert connection.version_of(database()) == connection.HEAD


def ask_as_nobody() -> None:
    """Ask for runs as a user who may only read; the exit code says whether one came."""
    if os.geteuid() == 0:
        os.setuid(pwd.getpwnam("nobody").pw_uid)
    connection.opened.cache_clear()
    sys.exit(RunRecord("e", "r").facts() is None)


def test_a_file_that_may_only_be_read_is_answered_from(monkeypatch):
    """In a folder in which this user may not write either."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "runs.sqlite"
        monkeypatch.setenv(VARIABLE, f"sqlite:///{place}")
        RunRecord("e", "r").record([RunFacts(status="accepted")])
        database().dispose()
        place.chmod(0o444)
        Path(folder).chmod(0o555)
        reader = multiprocessing.get_context("fork").Process(target=ask_as_nobody)
        reader.start()
        reader.join()
        assert reader.exitcode == 0
