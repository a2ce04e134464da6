"""The commands of the README, on the small awkward table, as subprocesses.

The first run is that of the workflow for CI.
"""

import json
import re

import pytest

from experiment_pipeline.tracking.database.connection import FILE, VARIABLE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.end_to_end.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    scenario.write_csv(project.folder / "visits.csv")
    project.add_experiment("clinic", scenario.spec_mapping(), scenario.SCHEMA)
    return project


@pytest.fixture(scope="module")
def first_run(project):
    return project.ci("clinic")


@pytest.fixture(scope="module")
def rerun(project, first_run):
    """The job once more, by its own command; it tells what it imports."""
    project.env["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        return project.execute("clinic")
    finally:
        del project.env["PYTHONPROFILEIMPORTTIME"]


def test_the_job_passes_in_ci_with_its_pages_and_the_exported_model(project, first_run):
    """One command leaves a model, and outcome, report and record in the folder and the
    summary.
    """
    assert first_run.done.returncode == 0, first_run.done.stdout
    assert (
        f"v0001 published: {project.registry('clinic')}/v0001" in first_run.done.stdout
    )
    assert "report: " in first_run.done.stdout
    assert (project.registry("clinic") / "v0001" / "model.skops").exists()
    run = json.loads((first_run.reports / "run.json").read_text())
    assert (run["status"], run["version"]) == ("accepted", "v0001")
    record = (first_run.reports / "decision_record.md").read_text()
    assert "Accepted with conditions (repeated_entities): " in record
    assert first_run.summary.read_text() == record
    for page in (
        "validation_report",
        "leaderboard",
        "data_analysis",
        "index",
    ):
        assert (first_run.reports / f"{page}.html").stat().st_size > 1_000


def test_a_rerun_on_unchanged_data_reuses_everything(project, rerun):
    """Nothing is trained, judged or published twice; the run says so, and imports
    nothing for it.
    """
    imported = set(re.findall(r"^import time:.*\| +(\w+)$", rerun.stdout, re.MULTILINE))
    assert not imported & {"sklearn", "lightgbm", "matplotlib", "skops"}
    assert {"pandas", "jinja2"} <= imported, (
        "every run makes the pages of the memory anew"
    )
    assert rerun.returncode == 0
    assert "reused 4 of 4 configurations" in rerun.stdout
    assert "data_analysis: reused the result of the same inputs" in rerun.stdout
    assert "validation_report: reused the result of the same inputs" in rerun.stdout
    assert "v0001 is already the champion" in rerun.stdout
    assert (
        len(list((project.folder / "artifacts/clinic/validation_looks").iterdir())) == 1
    )


def test_both_runs_are_remembered_beside_what_dagster_stores(
    project, first_run, rerun, monkeypatch
):
    """Without any set-up there is a database of runs, which the command lists and
    compares.
    """
    assert (project.folder / ".dagster_home" / FILE).exists()
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv(VARIABLE)
    second, first = json.loads(command("runs", "clinic", "--json").stdout)
    assert (first["status"], first["version_is_new"]) == ("accepted", True)
    assert (second["status"], second["version_is_new"]) == ("accepted", False)
    assert (first["reused"], second["reused"]) == (0, 4)
    assert first["triggered_by"] == "command line"
    told = command("compare", first["run_id"], second["run_id"][:8]).output
    assert "nothing has changed" in told
    assert "no difference" in told
    assert "not paired" not in told
    overview = project.folder / "artifacts" / "overview.html"
    assert "clinic" in overview.read_text()
    assert (overview.parent / "clinic/runs.html").read_text().count("accepted") >= 2
