"""The recipe for CI, run as its workflow runs it: accepted passes, refused fails, both leave pages."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.project import ROOT, Project

pytestmark = pytest.mark.slow
# One that nothing has to be searched for: this is about what comes after.
SEARCH = [{"algorithm": "linear", "hyperparameters": {"C": [1.0]}}]
TOO_MUCH = [{"metric": "roc_auc", "at_least": 0.999}]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the recipe, an experiment that is accepted and one that is refused."""
    made = Project(tmp_path_factory.mktemp("ci"))
    shutil.copytree(ROOT / "docs" / "ci", made.folder / "docs" / "ci")
    scenario.write_csv(made.folder / "visits.csv")
    for name, keys in {"clinic": {}, "strict": {"acceptance": TOO_MUCH}}.items():
        mapping = scenario.spec_mapping(search=SEARCH, **keys)
        made.add_experiment(name, mapping, scenario.SCHEMA)
    return made


def ci(project: Project, experiment: str) -> tuple[CompletedProcess[str], Path]:
    """The workflow's own command, for an experiment; the folder that it attaches."""
    workflow = yaml.safe_load((project.folder / "docs/ci/experiment.yml").read_text())
    steps = workflow["jobs"]["experiment"]["steps"]
    (command,) = [one["run"] for one in steps if one.get("name") == "Run the experiment"]
    summary = project.folder / "summary.md"
    summary.unlink(missing_ok=True)
    project.env |= {"EXPERIMENT": experiment, "GITHUB_STEP_SUMMARY": str(summary)}
    reports = project.folder / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    return project.run("bash", "-c", command), reports


def test_an_accepted_run_passes_and_its_pages_are_there(project: Project) -> None:
    """Outcome as JSON, report and record in the folder, the record as the job's summary."""
    done, reports = ci(project, "clinic")
    assert done.returncode == 0, done.stdout
    run = json.loads((reports / "run.json").read_text())
    assert (run["status"], run["version"]) == ("accepted", "v0001")
    record = (reports / "decision_record.md").read_text()
    assert "Accepted: " in record
    assert (project.folder / "summary.md").read_text() == record
    for page in ("validation_report", "leaderboard", "data_analysis", "decision_record"):
        assert (reports / f"{page}.html").stat().st_size > 1_000


def test_a_refused_run_fails_and_says_why(project: Project) -> None:
    """Exit code 1; JSON and record are there all the same."""
    done, reports = ci(project, "strict")
    assert done.returncode == 1
    assert json.loads((reports / "run.json").read_text())["status"] == "rejected"
    record = (reports / "decision_record.md").read_text()
    assert "Refused: 1 of " in record
    assert (project.folder / "summary.md").read_text() == record


def test_a_job_that_never_began_is_no_old_success(project: Project) -> None:
    """An experiment that cannot be loaded fails, whatever its last run was; nothing is attached."""
    done, reports = ci(project, "nowhere")
    assert done.returncode == 1
    assert "nowhere: no run of this experiment is remembered" in done.stdout
    assert not (reports / "decision_record.md").exists()
