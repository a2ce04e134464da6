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


def test_a_lost_database_is_made_again_row_by_row(tmp_path, monkeypatch):
    """Every archived run is there again with all its rows, however often."""
    root = location(str(tmp_path / "artifacts"))
    for run_id in write_history():
        archive(RunRecord("flight_delay", run_id), root)
    before = everything() | {"versions": []}
    lose_the_database(tmp_path, monkeypatch)
    assert [reindex(root, print), reindex(root, print)] == [4, 4]
    assert everything() == before


def test_the_command_says_what_came_back_and_what_was_passed_over(
    tmp_path, monkeypatch
):
    """Runs are counted, a damaged file and the database are named."""
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
    place = f"sqlite:///{tmp_path}/another.sqlite"
    assert f"restored         3 runs  {place}" in done.output
    assert "skipped          1 files" in done.output
    assert str(damaged) in done.output
    counts = json.loads(command("reindex", "--root", root, "--json").stdout)
    assert (counts["restored"], len(counts["passed_over"])) == (3, 1)


def test_the_command_tells_where_the_database_is_and_what_is_in_it():
    """First the URL and the version of the tables, then the page of the columns."""
    done = command("database")
    assert done.exit_code == 0, done.output
    place, version, _, page = done.output.split("\n", 3)
    assert place.startswith(("database sqlite", "database postgresql"))
    assert (":***@" in place) == ("postgresql" in place)
    assert version == f"version  {HEAD}"
    assert page == documentation()
    facts = json.loads(command("database", "--json").stdout)
    assert (f"database {facts['database']}", facts["version"]) == (place, HEAD)
    assert facts["page"] == page == command("database", "--page").stdout
