"""What a real run leaves in the database: accepted, rejected, failed, again, by whom."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline.errors import UnknownRun
from experiment_pipeline.reporting.run_record import JUDGED_ROWS, ROW, JudgedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage.files import STORAGE_VARIABLE, location
from experiment_pipeline.storage.tables import read_table
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import finish_run
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import run
from experiment_pipeline_tests.tracking.history import write_history

IMPOSSIBLE = [{"metric": "roc_auc", "at_least": 0.999}]


@pytest.fixture
def spec(tmp_path: Path, storage: Path) -> ExperimentSpec:
    """The awkward table as an experiment, with a storage of its own."""
    assert not storage.exists()
    return scenario.spec(url=str(scenario.write_csv(tmp_path / "visits.csv")))


def with_keys(spec: ExperimentSpec, **keys: object) -> ExperimentSpec:
    """The same experiment with other settings."""
    return ExperimentSpec.model_validate(spec.model_dump(exclude_unset=True) | keys)


@dataclass(frozen=True)
class Past:
    """An experiment that ran three times: accepted, unchanged again, rejected."""

    name: str
    root: Path
    variables: Mapping[str, str]
    first: str
    again: str
    rejected: str


@pytest.fixture(scope="module")
def whole_past(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Past:
    """Three real runs, made once."""
    folder = tmp_path_factory.mktemp("past")
    spec = scenario.spec(url=str(scenario.write_csv(folder / "visits.csv")))
    database = shutil.copy(empty_database, folder / "past.sqlite")
    variables = {VARIABLE: f"sqlite:///{database}", STORAGE_VARIABLE: str(folder / "artifacts")}
    ids = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        for one, succeeds in (
            (spec, True),
            (spec, True),
            (with_keys(spec, acceptance=IMPOSSIBLE), False),
        ):
            assert run(one, scenario.SCHEMA).success is succeeds
            ids.append(questions.run_of(spec.name)["run_id"])
    return Past(spec.name, folder / "artifacts", variables, *ids)


@pytest.fixture
def past(whole_past: Past, monkeypatch: pytest.MonkeyPatch) -> Past:
    """The three runs, in the database that the environment names."""
    for name, value in whole_past.variables.items():
        monkeypatch.setenv(name, value)
    return whole_past


def test_an_accepted_run_is_recorded_from_table_to_version(past: Past) -> None:
    """Every stage's facts are there, and the pages that people open."""
    row = questions.run_of(past.name, past.first)
    assert (row["status"], row["triggered_by"]) == ("accepted", "command line")
    assert row["ended_at"] >= row["started_at"]
    assert row["data_rows"] == len(scenario.table())
    assert row["verdict"].startswith("go")
    assert row["declared"] == row["trained"] + row["stopped_early"] + row["failed"]
    assert row["validation_low"] <= row["validation_score"] <= row["validation_high"]
    assert (row["version"], row["version_is_new"]) == ("v0001", True)
    assert row["wall_seconds"] > 0
    results = questions.results(past.name, past.first)
    assert len(results) == row["declared"]
    assert results.loc[results["is_chosen"], "key"].item() == row["chosen"]
    ranked = results[results["rank"].notna()]
    assert ranked["fit_wall_seconds"].notna().all()
    assert ranked["test_low"].le(ranked["test_score"]).all()
    sets = questions.rows_of("sets", questions.run_of(past.name, past.first)).set_index("set_name")[
        "rows"
    ]
    assert sets.sum() == row["data_rows"] - row["rejected_rows"]
    reports = questions.rows_of("reports", questions.run_of(past.name, past.first))
    assert set(reports["name"]) >= {"data_analysis", "leaderboard", "validation_report"}
    assert all(Path(place).exists() for place in reports["place"])
    assert past.name in (past.root / "overview.html").read_text()
    page = (past.root / past.name / "runs.html").read_text()
    assert page.count("accepted") >= 2
    assert "rejected" in page


def test_an_unchanged_rerun_is_a_run_of_its_own_with_the_same_results(past: Past) -> None:
    """What is reused is said to be, and nothing of it is missing."""
    row = questions.run_of(past.name, past.again)
    assert (row["status"], row["version_is_new"]) == ("accepted", False)
    assert row["reused"] == row["trained"] + row["stopped_early"]
    new, old = (questions.results(past.name, one) for one in (past.again, past.first))
    same = ["key", "rank", "test_score", "fit_cpu_seconds", "fingerprint", "is_chosen"]
    assert new[same].equals(old[same])
    assert list(questions.versions(past.name)["version"]) == ["v0001"]


def test_a_rejected_run_is_kept_with_its_gates_and_leaves_the_champion(past: Past) -> None:
    """The leaderboard of the champion's run is still there after a run that was rejected."""
    row = questions.run_of(past.name, past.rejected)
    assert row["status"] == "rejected"
    assert "0.999" in row["decision"]
    assert row["version"] is None
    gates = questions.rows_of("gates", questions.run_of(past.name, past.rejected))
    assert gates.loc[gates["limit_value"] == 0.999, "outcome"].item() == "FAIL"
    assert len(questions.leaderboard(past.name, past.first))
    assert questions.experiments()["champion"].item() == "v0001"


def test_two_real_runs_are_compared_row_by_row(past: Past) -> None:
    """Both judged the same validation rows, named by ids, with the same model: they differ by nothing."""
    found = compare(past.first, past.rejected)
    assert found.why_unpaired == ""
    assert {one.difference.estimate for one in found.scores} == {0.0}
    assert {one.better for one in found.scores} == {None}
    assert "decision" in {one.what for one in found.changes}
    assert (found.rows.gained, found.rows.lost, found.rows.net.estimate) == (0, 0, 0.0)
    judged = read_table(questions.report_of(found.before, JUDGED_ROWS), JudgedRows).rows
    shown = questions.predicted_rows(found.before).query("set == 'validation'")
    assert list(judged[ROW]) == list(row_hashes(shown, ["visit_id"], ROW))


def test_the_worst_rows_of_a_real_run_are_those_of_the_table(past: Past) -> None:
    """Their index is the place in the source, their ids are as delivered."""
    found = questions.worst_rows(past.name, 3, past.first)
    assert list(found["set"]) == ["validation"] * 3 + ["test"] * 3
    assert list(found["visit_id"]) == list(scenario.table().loc[found.index, "visit_id"])
    assert questions.worst_rows(past.name, 3).equals(found)  # of the same model, though rejected


def test_real_runs_survive_the_loss_of_their_database(past, empty_database, tmp_path, monkeypatch):
    """What the storage holds of them is all that there was."""
    names = ("runs", "sets", "findings", "configurations", "scores", "gates", "reports")
    before = {
        name: questions.rows_of(name, questions.run_of(past.name, past.first)) for name in names
    }
    copy = shutil.copy(empty_database, tmp_path / "another.sqlite")
    monkeypatch.setenv(VARIABLE, f"sqlite:///{copy}")
    assert reindex(location(str(past.root)), print) == 3
    for name, rows in before.items():
        pd.testing.assert_frame_equal(
            questions.rows_of(name, questions.run_of(past.name, past.first)), rows
        )
    assert list(questions.versions(past.name)["version"]) == ["v0001"]


@pytest.mark.parametrize(
    ("tags", "by", "name"),
    [
        ({"dagster/schedule_name": "nightly"}, "schedule", "nightly"),
        ({"user": "ada"}, "command line", "ada"),
    ],
)
def test_a_failed_run_says_what_to_fix_and_who_started_it(tags, by, name, spec, tmp_path) -> None:
    """A table that is gone: the run is there, with the error that the user saw."""
    (tmp_path / "visits.csv").unlink()
    assert not run(spec, scenario.SCHEMA, None, **tags).success
    row = questions.run_of(spec.name)
    assert (row["triggered_by"], row["trigger_name"]) == (by, name)
    assert (row["status"], row["stage"]) == ("failed", "raw_data")
    assert "visits.csv" in row["error"]
    assert row["fix"]
    with pytest.raises(UnknownRun, match="has stored no predicted rows"):
        questions.worst_rows(spec.name)


def test_a_run_of_two_experiments_is_recorded_for_each(spec: ExperimentSpec, tmp_path) -> None:
    """Assets of several experiments that are materialized together do not mix."""
    from experiment_pipeline_tests.runs import definitions

    (tmp_path / "visits.csv").unlink()
    other = with_keys(spec, name="other")
    both = dg.Definitions.merge(*(definitions(one, scenario.SCHEMA) for one in (spec, other)))
    graph = [one for one in both.assets or [] if isinstance(one, dg.AssetsDefinition)]
    wanted = [f"{one.name}/raw_data" for one in (spec, other)]
    with dg.instance_for_test() as instance:
        dg.materialize(
            graph,
            selection=wanted,
            instance=instance,
            resources=both.resources,
            raise_on_error=False,
        )
    found = questions.runs(all_columns=True)
    assert set(found["experiment"]) <= {spec.name, "other"}
    assert len(set(found["run_id"])) == 1


def test_runs_in_a_bucket_are_archived_and_paged_there(place: UPath) -> None:
    """On S3 as on a disk: the archive and both pages lie below the root."""
    (run_id,) = write_history(runs=1)
    finish_run(RunRecord("flight_delay", run_id), print)
    assert "flight_delay" in (place / "overview.html").read_text()
    assert run_id[:8] in (place / "flight_delay" / "runs.html").read_text()
    assert reindex(place, print) == 1


def test_a_decided_run_leaves_a_record_and_its_version_holds_one(past: Past) -> None:
    """Each run has its own; a rerun that publishes nothing leaves that of the version as it was."""
    runs = past.root / past.name / "runs"
    first, again, rejected = (
        (runs / f"{run_id}.record.md").read_text()
        for run_id in (past.first, past.again, past.rejected)
    )
    assert "is published as v0001" in first
    assert "is the same model as v0001" in again
    assert "Refused: 1 of " in rejected
    assert "most frequent reasons to reject a row" in first
    version = past.root / past.name / "registry" / "v0001" / "decision_record.md"
    assert past.first in version.read_text()
    for run_id in (past.first, past.rejected):
        reports = questions.rows_of("reports", questions.run_of(past.name, run_id)).set_index(
            "name"
        )["place"]
        assert Path(reports["decision_record"]) == runs / f"{run_id}.record.html"
