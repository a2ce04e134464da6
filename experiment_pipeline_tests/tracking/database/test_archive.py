"""A database that is lost comes back from the storage."""

import json
from pathlib import Path

import pytest

from experiment_pipeline.storage.files import location
from experiment_pipeline.tracking.database.archive import archive, reindex
from experiment_pipeline.tracking.database.connection import HEAD, VARIABLE
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.database.tables import documentation
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.tracking.database.test_writing import everything
from experiment_pipeline_tests.tracking.history import write_history

pytestmark = pytest.mark.usefixtures("each_database")


def lose_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the database is another, empty one."""
    monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path}/another.sqlite")


def test_a_lost_database_is_made_again_row_by_row(tmp_path, monkeypatch) -> None:
    """Every run that was archived is there again with all its rows, whatever was
    reindexed before.
    """
    root = location(str(tmp_path / "artifacts"))
    for run_id in write_history():
        archive(RunRecord("flight_delay", run_id), root)
    before = everything() | {"versions": []}
    lose_the_database(tmp_path, monkeypatch)
    assert [reindex(root, print), reindex(root, print)] == [4, 4]
    assert everything() == before


def test_the_command_says_what_came_back_and_what_was_passed_over(
    tmp_path, monkeypatch
) -> None:
    """Runs are counted, a damaged file is named, the database is named without its
    password.
    """
    root = location(str(tmp_path / "artifacts"))
    assert reindex(root, print) == 0
    ids = write_history()
    for run_id in ids:
        archive(RunRecord("flight_delay", run_id), root)
    damaged = tmp_path / "artifacts/flight_delay/runs" / f"{ids[0]}.json"
    damaged.write_text("{}")
    lose_the_database(tmp_path, monkeypatch)
    done = command("reindex", "--root", root)
    assert done.exit_code == 0, done.output
    said = done.output
    assert f"restored         3 runs  sqlite:///{tmp_path}/another.sqlite" in said
    assert "skipped          1 files" in said
    assert str(damaged) in said
    told = json.loads(command("reindex", "--root", root, "--json").stdout)
    assert (told["restored"], len(told["passed_over"])) == (3, 1)


def test_the_command_tells_where_the_database_is_and_what_is_in_it() -> None:
    """First the URL and the version of the tables, then the page of the columns."""
    done = command("database")
    assert done.exit_code == 0, done.output
    where, version, _, page = done.output.split("\n", 3)
    assert where.startswith(
        "database sqlite" if "sqlite" in where else "database postgresql"
    )
    assert (":***@" in where) == ("postgresql" in where)
    assert version == f"version  {HEAD}"
    assert page == documentation()
    told = json.loads(command("database", "--json").stdout)
    assert (f"database {told['database']}", told["version"]) == (where, HEAD)
    assert told["page"] == page == command("database", "--page").stdout
