"""The commands of the README, on the small awkward table, as subprocesses.

The first run and the refused one are those of the workflow for CI.
"""

import json
import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
import yaml

from experiment_pipeline.tracking.database.connection import FILE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.project import ROOT, Project

pytestmark = pytest.mark.slow
TOO_MUCH = [{"metric": "roc_auc", "at_least": 0.999}]


class Ci(NamedTuple):
    """The result of the workflow's command, the folder that it attaches, the summary of its job."""

    done: CompletedProcess[str]
    reports: Path
    summary: Path


def ci(project, experiment) -> Ci:
    """The command of the workflow, for an experiment."""
    workflow = yaml.safe_load((ROOT / "docs/ci/experiment.yml").read_text())
    steps = workflow["jobs"]["experiment"]["steps"]
    (command,) = [one["run"] for one in steps if one.get("name") == "Run the experiment"]
    summary = project.folder / f"{experiment}.md"
    environment = (f"EXPERIMENT={experiment}", f"GITHUB_STEP_SUMMARY={summary}")
    done = project.run("env", *environment, "bash", "-c", command)
    reports = project.folder / f"reports_of_{experiment}"
    (project.folder / "reports").rename(reports)
    return Ci(done, reports, summary)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    shutil.copytree(ROOT / "docs" / "ci", project.folder / "docs" / "ci")
    scenario.write_csv(project.folder / "visits.csv")
    project.add_experiment("clinic", scenario.spec_mapping(), scenario.SCHEMA)
    return project


@pytest.fixture(scope="module")
def first_run(project):
    return ci(project, "clinic")


@pytest.fixture(scope="module")
def rerun(project, first_run):
    """The job once more, by its own command; it tells what it imports."""
    project.env["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        return project.execute("clinic")
    finally:
        del project.env["PYTHONPROFILEIMPORTTIME"]


def registry(project, name="clinic"):
    return project.folder / "artifacts" / name / "registry"


def test_the_job_passes_in_ci_with_its_pages_and_the_exported_model(project, first_run):
    """One command takes the table to an exported model, and says where it is; outcome as JSON, report and
    record are in the folder, the record as the job's summary.
    """
    assert first_run.done.returncode == 0, first_run.done.stdout
    assert f"v0001 published: {registry(project)}/v0001" in first_run.done.stdout
    assert "report: " in first_run.done.stdout
    assert (registry(project) / "v0001" / "model.skops").exists()
    run = json.loads((first_run.reports / "run.json").read_text())
    assert (run["status"], run["version"]) == ("accepted", "v0001")
    record = (first_run.reports / "decision_record.md").read_text()
    assert "Accepted with conditions (repeated_entities): " in record
    assert first_run.summary.read_text() == record
    for page in ("validation_report", "leaderboard", "data_analysis", "decision_record"):
        assert (first_run.reports / f"{page}.html").stat().st_size > 1_000


def test_a_rerun_on_unchanged_data_reuses_everything(project, rerun):
    """Nothing is trained, judged or published twice; the run says so, and imports nothing for it."""
    imported = set(re.findall(r"^import time:.*\| +(\w+)$", rerun.stdout, re.MULTILINE))
    assert not imported & {"sklearn", "lightgbm", "matplotlib", "skops"}
    assert {"pandas", "jinja2"} <= imported, "every run makes the pages of the memory anew"
    assert rerun.returncode == 0
    assert "reused 4 of 4 configurations" in rerun.stdout
    assert "reused the analysis of the same table" in rerun.stdout
    assert "reused the report of the same model on the same rows" in rerun.stdout
    assert "v0001 is already the champion" in rerun.stdout
    assert len(list((project.folder / "artifacts/clinic/validation_looks").iterdir())) == 1


def test_both_runs_are_remembered_beside_what_dagster_stores(project, first_run, rerun):
    """Without any set-up there is a database of runs, which the command lists and compares."""
    assert (project.folder / ".dagster_home" / FILE).exists()
    listed = project.run("experiment-pipeline", "runs", "clinic", "--json")
    second, first = json.loads(listed.stdout)
    assert (first["status"], first["version_is_new"]) == ("accepted", True)
    assert (second["status"], second["version_is_new"]) == ("accepted", False)
    assert (first["reused"], second["reused"]) == (0, 4)
    assert first["triggered_by"] == "command line"
    told = project.run("experiment-pipeline", "compare", first["run_id"], second["run_id"][:8])
    assert "nothing has changed" in told.stdout
    assert "no difference" in told.stdout
    assert "not paired" not in told.stdout
    overview = project.folder / "artifacts" / "overview.html"
    assert "clinic" in overview.read_text()


def test_a_gate_that_fails_ends_the_run_and_says_what_to_try(project, first_run):
    """Exit code 1; gate, value, next search and pages stand last, in one block; CI has JSON and record."""
    linear = scenario.spec_mapping(acceptance=TOO_MUCH, search=[{"algorithm": "linear"}])
    project.add_experiment("strict", linear, scenario.SCHEMA)
    done, reports, summary = ci(project, "strict")
    assert done.returncode == 1
    assert "lower bound of roc_auc at least 0.999" in done.stdout
    assert "Traceback" not in done.stdout
    told = done.stdout.partition("FAILED\n\n")[2]
    assert told.count("\n") < 10
    (proposed,) = re.findall(r"in (/\S+next_search\S*yaml)", told)
    assert "algorithm: " in Path(proposed).read_text()
    pages = re.findall(r"page: (/\S+)", told)
    assert Path(pages[0]).name.startswith("report")
    assert all(Path(page).exists() for page in pages)
    assert len(pages) == 2
    assert not registry(project, "strict").exists()
    assert json.loads((reports / "run.json").read_text())["status"] == "rejected"
    record = (reports / "decision_record.md").read_text()
    assert "Refused: 1 of " in record
    assert summary.read_text() == record
