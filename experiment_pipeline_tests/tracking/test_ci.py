"""What CI asks of the command line: was this run accepted, and where are its pages."""

import json
from pathlib import Path

import yaml
from click.testing import CliRunner, Result

from experiment_pipeline.cli import main
from experiment_pipeline.reporting.run_record import ReportRow
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline_tests.tracking.history import write_history

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "docs" / "ci" / "experiment.yml"


def show(*arguments: object) -> Result:
    """`experiment-pipeline show`, run in this process."""
    return CliRunner().invoke(main, ["show", *map(str, arguments)])


def test_the_exit_code_says_whether_a_run_was_accepted() -> None:
    """The outcome stands in the JSON either way."""
    ids = write_history()
    for run_id, status, code in ((ids[0], "accepted", 0), (ids[3], "rejected", 1)):
        done = show(run_id, "--json", "--fail-unless", "accepted")
        assert done.exit_code == code
        assert json.loads(done.stdout)["status"] == status
    assert show(ids[3], "--fail-unless", "rejected").exit_code == 0
    assert show(ids[3]).exit_code == 0


def test_an_old_run_is_not_taken_for_the_new_one() -> None:
    """A job that ended before its run was recorded: an error that says so."""
    last = write_history()[3]
    ago = show("--experiment", "flight_delay", "--since", "2026-02-05T05:59:59")
    assert ago.exit_code == 0
    late = show("--experiment", "flight_delay", "--since", "2026-02-05T06:00:01", "--json")
    assert late.exit_code == 1
    assert f"no run since 2026-02-05 06:00:01 UTC; the last one is {last}" in late.stderr


def test_the_pages_of_a_run_are_copied_under_the_names_of_the_reports(tmp_path: Path) -> None:
    """HTML and Markdown; tables and what is gone stay where they are, and the latter is said."""
    run = RunRecord("flight_delay", write_history(runs=1)[0])
    places = {
        "leaderboard": "board.html",
        "decision_record.md": "x.record.md",
        "validation_rows": "rows.parquet",
    }
    for place in places.values():
        (tmp_path / place).write_text(place)
    run.record([ReportRow(name=n, place=str(tmp_path / p)) for n, p in places.items()])
    folder = tmp_path / "new" / "reports"
    done = show(run.run_id, "--copy-reports", folder)
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "leaderboard.html": "board.html",
        "decision_record.md": "x.record.md",
    }
    (tmp_path / "board.html").unlink()
    gone = show(run.run_id, "--copy-reports", folder)
    assert gone.exit_code == 1
    assert "board.html" in gone.stderr


def test_the_workflow_runs_the_script_and_attaches_its_folder_always() -> None:
    """What is run exists and can be executed; what it leaves is attached also when it fails."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (job,) = workflow["jobs"].values()
    steps = {step.get("name", step.get("uses")): step for step in job["steps"]}
    script, experiment, folder = steps["Run the experiment"]["run"].split()
    assert (ROOT / script).stat().st_mode & 0o111
    assert experiment == '"$EXPERIMENT"'
    assert workflow["env"]["EXPERIMENT"] == "flight_delay"
    attached = steps["Attach report and record"]
    assert (attached["if"], attached["with"]["path"]) == ("always()", folder)
