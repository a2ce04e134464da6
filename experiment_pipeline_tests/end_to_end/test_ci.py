"""The recipe for CI, run as its workflow runs it: accepted passes, refused fails, both leave pages."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.project import ROOT, Project

pytestmark = pytest.mark.slow


def test_the_workflow_passes_an_accepted_run_and_fails_a_refused_one(tmp_path: Path) -> None:
    """Outcome as JSON, report and record in the folder, the record as the job's summary."""
    project = Project(tmp_path / "project")
    shutil.copytree(ROOT / "docs" / "ci", project.folder / "docs" / "ci")
    scenario.write_csv(project.folder / "visits.csv")
    defs = project.add_experiment("clinic", scenario.spec_mapping(), scenario.SCHEMA)
    workflow = yaml.safe_load((project.folder / "docs/ci/experiment.yml").read_text())
    steps = workflow["jobs"]["experiment"]["steps"]
    (command,) = [one["run"] for one in steps if one.get("name") == "Run the experiment"]
    summary = project.folder / "summary.md"
    project.env |= {"EXPERIMENT": "clinic", "GITHUB_STEP_SUMMARY": str(summary)}

    done = project.run("bash", "-c", command)
    assert done.returncode == 0, done.stdout
    reports = project.folder / "reports"
    run = json.loads((reports / "run.json").read_text())
    assert (run["status"], run["version"]) == ("accepted", "v0001")
    record = (reports / "decision_record.md").read_text()
    assert "Accepted: " in record
    assert summary.read_text() == record
    for page in ("validation_report", "leaderboard", "data_analysis", "decision_record"):
        assert (reports / f"{page}.html").stat().st_size > 1_000
    version = project.folder / "artifacts" / "clinic" / "registry" / "v0001"
    assert "is published as v0001" in (version / "decision_record.md").read_text()

    strict = {"acceptance": [{"metric": "roc_auc", "at_least": 0.999}]}
    declared = yaml.safe_load(defs.read_text())
    declared["attributes"] |= strict
    defs.write_text(yaml.safe_dump(declared, sort_keys=False))
    refused = project.run("docs/ci/experiment.sh", "clinic", "refused")
    assert refused.returncode == 1
    run = json.loads((project.folder / "refused" / "run.json").read_text())
    assert run["status"] == "rejected"
    record = (project.folder / "refused" / "decision_record.md").read_text()
    assert "Refused: 1 of " in record
    assert "Since v0001 " in record
    assert summary.read_text().endswith(record)

    defs.write_text("type: experiment_pipeline.Experiment\nattributes: {}\n")
    broken = project.run("docs/ci/experiment.sh", "clinic", "broken")
    assert broken.returncode == 1
    assert "no run since " in broken.stdout
