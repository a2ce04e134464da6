"""What a real run leaves in the database: waiting for approval, approved, rejected,
failed, again, by whom.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from upath import UPath

from experiment_pipeline.errors import UnknownRun
from experiment_pipeline.reporting.run_record import JUDGED_ROWS, ROW, JudgedRows
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.tables import read_table
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline.tracking.outcomes import approve, write_pages
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.runs import quickly, run

RECORD = "decision_record.md"
IMPOSSIBLE = [{"metric": "roc_auc", "at_least": 0.999}]


@dataclass(frozen=True)
class Past:
    """An experiment that ran three times: accepted and then approved, unchanged again,
    rejected.
    """

    name: str
    root: Path
    variables: Mapping[str, str]
    first: str
    again: str
    rejected: str
    waiting: str  # its record of decision while it waited
    waiting_in_dagster: str


@pytest.fixture(scope="module")
def whole_past(tmp_path_factory, empty_database: Path) -> Past:
    """Three real runs, made once."""
    folder = tmp_path_factory.mktemp("past")
    url = str(scenario.write_csv(folder / "visits.csv"))
    linear = {"url": url, "approval": "required", "search": [{"algorithm": "linear"}]}
    spec, strict = (
        scenario.spec(**linear),
        scenario.spec(**linear, acceptance=IMPOSSIBLE),
    )
    database = shutil.copy(empty_database, folder / "past.sqlite")
    variables = {
        VARIABLE: f"sqlite:///{database}",
        STORAGE_VARIABLE: str(folder / "artifacts"),
    }
    ids, shown, records = [], [], []
    registry = Registry(UPath(folder / "artifacts"), spec.name)
    record = registry.folder / "v0001" / RECORD
    with pytest.MonkeyPatch.context() as patch, quickly():
        for name, value in variables.items():
            patch.setenv(name, value)
        for experiment in (spec, spec, strict):
            result = run(experiment, scenario.SCHEMA)
            assert result.success is (experiment is spec)
            ids.append(questions.run_of(spec.name)["run_id"])
            records.append(record.read_text())
            if not shown:
                shown.append(str(result.metadata("exported_model")))
                assert registry.champion() is None
                assert registry.waiting() == {"v0001"}
                approve(registry, "v0001", "ada")
    assert registry.champion() == "v0001"
    assert {*records} == {records[0]}, "it stays as it is"
    return Past(spec.name, folder / "artifacts", variables, *ids, records[0], shown[0])


@pytest.fixture
def past(whole_past: Past, monkeypatch) -> Past:
    """The three runs, in the database that the environment names."""
    for name, value in whole_past.variables.items():
        monkeypatch.setenv(name, value)
    return whole_past


def test_a_run_waits_for_its_approval(past: Past):
    """Its record, which stays as it is, says by which command it is approved."""
    for text in (past.waiting, past.waiting_in_dagster):
        assert f"approve {past.name} v0001 --by NAME" in text
    (row,) = questions.versions(past.name).to_dict("records")
    assert (row["approval_required"], row["approved_by"]) == (True, "ada")


def test_an_accepted_run_is_recorded_from_table_to_version(past: Past):
    """Every stage's facts are there, and the pages that people open."""
    row = questions.run_of(past.name, past.first)
    assert (row["status"], row["triggered_by"]) == ("accepted", "command line")
    assert row["data_rows"] == len(scenario.table())
    assert row["verdict"].startswith("go")
    assert row["declared"] == row["trained"] + row["stopped_early"] + row["failed"]
    assert row["validation_low"] <= row["validation_score"] <= row["validation_high"]
    assert (row["version"], row["version_is_new"]) == ("v0001", True)
    results = questions.results(past.name, past.first)
    assert len(results) == row["declared"]
    assert results.loc[results["is_chosen"], "key"].item() == row["chosen"]
    valid_rows = row["data_rows"] - row["rejected_rows"]
    assert questions.rows_of("sets", row)["rows"].sum() == valid_rows
    reports = questions.rows_of("reports", row)
    assert all(Path(place).exists() for place in reports["place"])
    write_pages(UPath(past.root), past.name)
    assert past.name in (past.root / "overview.html").read_text()
    assert "not accepted" in (past.root / past.name / "runs.html").read_text()


def test_an_unchanged_rerun_is_a_run_of_its_own_with_the_same_results(past: Past):
    """What is reused is said to be, and nothing of it is missing: the next run, which
    may have nothing to reuse, is predicted to fit it.
    """
    row = questions.run_of(past.name, past.again)
    assert (row["status"], row["version_is_new"]) == ("accepted", False)
    assert row["reused"] == row["trained"] + row["stopped_early"]
    new = questions.results(past.name, past.again)
    old = questions.results(past.name, past.first)
    columns = ["key", "rank", "test_score", "fit_cpu_seconds", "fingerprint"]
    assert new[columns].equals(old[columns])
    assert new["is_chosen"].equals(old["is_chosen"])
    shown = json.loads(command("show", past.again, "--json").output)
    predicted = shown["next_run"]
    assert predicted["fits"] == row["reused"]
    assert predicted["cpu_seconds"] - shown["cpu_seconds"] == pytest.approx(
        predicted["fit_cpu_seconds"]
    )


def test_a_rejected_run_is_kept_with_its_gates_and_leaves_the_champion(past: Past):
    """The leaderboard of the champion's run is still there after a run that was
    rejected.
    """
    row = questions.run_of(past.name, past.rejected)
    assert row["status"] == "rejected"
    assert "0.999" in row["decision"]
    assert row["version"] is None
    gates = questions.rows_of("gates", row)
    assert gates.loc[gates["limit_value"] == 0.999, "outcome"].item() == "FAIL"
    assert len(questions.leaderboard(past.name, past.first))
    assert questions.experiments()["champion"].item() == "v0001"


def test_two_real_runs_are_compared_row_by_row(past: Past):
    """Both judged the same validation rows, named by ids, with the same model: they
    differ by nothing.
    """
    comparison = compare(past.first, past.rejected)
    assert comparison.why_unpaired == ""
    assert {score.difference.estimate for score in comparison.scores} == {0.0}
    assert {score.better for score in comparison.scores} == {None}
    assert "decision" in {change.what for change in comparison.changes}
    rows = comparison.rows
    assert (rows.gained, rows.lost, rows.net.estimate) == (0, 0, 0.0)
    place = questions.report_of(comparison.before, JUDGED_ROWS)
    judged = read_table(place, JudgedRows).rows
    shown = questions.predicted_rows(comparison.before).query("set == 'validation'")
    assert list(judged[ROW]) == list(row_hashes(shown, ["visit_id"], ROW))


def test_the_worst_rows_of_a_real_run_are_those_of_the_table(past: Past):
    """Their index is the place in the source, their ids are as delivered."""
    worst = questions.worst_rows(past.name, 3, past.first)
    assert list(worst["set"]) == ["validation"] * 3 + ["test"] * 3
    ids = scenario.table().loc[worst.index, "visit_id"]
    assert list(worst["visit_id"]) == list(ids)
    # The rejected run has judged the same model.
    assert questions.worst_rows(past.name, 3).equals(worst)


def test_a_failed_run_says_what_to_fix_and_who_started_it(storage: Path):
    """A table that is gone: the run is there, with the error that the user saw."""
    spec = scenario.spec(url=str(storage / "visits.csv"))
    tags = {"dagster/schedule_name": "nightly"}
    assert not run(spec, scenario.SCHEMA, None, **tags).success
    row = questions.run_of(spec.name)
    assert (row["triggered_by"], row["trigger_name"]) == ("schedule", "nightly")
    assert (row["status"], row["stage"]) == ("failed", "raw_data")
    assert "visits.csv" in row["error"]
    assert row["fix"]
    with pytest.raises(UnknownRun, match="has stored no predicted rows"):
        questions.worst_rows(spec.name)


def test_a_decided_run_leaves_a_record_and_its_version_holds_one(past: Past):
    """Each run has its own; a rerun that publishes nothing leaves that of the version
    as it was.
    """
    runs = past.root / past.name / "runs"
    first, again, rejected = (
        (runs / run_id / RECORD).read_text()
        for run_id in (past.first, past.again, past.rejected)
    )
    assert "is published as v0001" in first
    assert "is the same model as v0001" in again
    assert "Not accepted: 1 of " in rejected
    assert "most frequent reasons to reject a row" in first
    assert past.first in past.waiting
