"""Runs that end early still leave the page for the owner of the data."""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from experiment_pipeline.experiment.file_store import FileStore
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage.files import location, read_bytes
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.tracking import history

pytestmark = pytest.mark.usefixtures("storage")
STAGES = ("raw_data", "data_analysis", "data_issues", "validated_data", "rejected_rows")


def clinic(folder: Path, frame: pd.DataFrame, **changes: object) -> ExperimentSpec:
    """The experiment on a table that is written now."""
    url = str(scenario.write_csv(folder / "visits.csv", frame))
    return scenario.spec(url=url, **changes)


def recorded(done: runs.Run) -> dict[str, Any]:
    """The row of a run in the database."""
    return questions.run_of("clinic", done.result.run_id)


def issues_of(done: runs.Run) -> pd.DataFrame:
    """The issues of a run in the database."""
    return questions.rows_of("data_issues", recorded(done))


def page_of(done: runs.Run) -> str:
    """The page of a run's issues, from its own folder."""
    run = recorded(done)
    page = read_bytes(questions.report_of(run, "data_issues")).decode()
    assert "data_issues.html" in page  # its tab
    return page


def test_a_rejected_table_and_the_next_one_that_is_corrected(tmp_path):
    """The run ends, the page is there; the run after it says what was corrected, and only
    then the check passes.
    """
    limit = {"validation": {"max_rejected_fraction": 0.01}}
    first = runs.run(
        clinic(tmp_path, scenario.table(), **limit), scenario.SCHEMA, stages=STAGES
    )
    assert "rejection_rate_within_limit" in first.failure
    [check] = [
        one
        for one in first.result.get_asset_check_evaluations()
        if one.check_name == "no_new_data_issues"
    ]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "must be in the range (0, 120)" in page_of(first)
    assert "new in this run" in page_of(first)
    table = pd.read_csv(location(str(first.metadata("data_issues")["csv"])).path)
    assert set(table["row"]) == set(scenario.BROKEN_ROWS)
    assert issues_of(first)["rows"].sum() == len(scenario.BROKEN_ROWS)

    table = scenario.table()
    table.loc[[11, 37], "age"] = 43.0
    second = runs.run(clinic(tmp_path, table), scenario.SCHEMA, stages=STAGES)
    assert second.success, second.failure
    assert second.checks()["no_new_data_issues"]
    assert "age must be in the range (0, 120) (2 rows, 0.417 %): corrected" in page_of(
        second
    )
    assert set(issues_of(second)["since_run"]) == {first.result.run_id}


def test_a_table_of_which_no_row_is_left_has_the_page(tmp_path):
    """As has one with the verdict no go: here both hold."""
    table = scenario.table().assign(readmitted="yes", ward="Narnia")
    done = runs.run(clinic(tmp_path, table), scenario.SCHEMA, stages=STAGES)
    assert "fit_for_modelling" in done.failure
    assert done.materialized("data_issues")
    assert "ward must be one of" in page_of(done)
    assert recorded(done)["status"] == "rejected"
    assert recorded(done)["data_issues"] == len(issues_of(done))


def test_a_clean_table_has_a_page_without_issues(tmp_path):
    """Nothing to correct, nothing new."""
    done = runs.run(
        clinic(tmp_path, scenario.sound_table()), scenario.SCHEMA, stages=STAGES
    )
    assert done.success, done.failure
    assert done.checks()["no_new_data_issues"]
    assert recorded(done)["data_issues"] == 0
    assert "0 data issues." in page_of(done)


@pytest.mark.parametrize(
    ("changes", "known"), [({"target": "delayed"}, True), ({}, False)]
)
def test_the_interval_of_another_target_is_not_taken(changes, known):
    """Earlier runs predicted `delayed`."""
    history.write_history("clinic")
    run = RunRecord("clinic", "now")
    spec = scenario.spec(**changes)
    store = FileStore(spec, run=run, started=RunFacts(), warn=print)
    assert (store.earlier_issues("").width == pytest.approx(0.04)) is known
