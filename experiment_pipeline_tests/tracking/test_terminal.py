"""The commands that ask: tables for people, JSON for programs, exit codes for CI."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from experiment_pipeline.cli import main
from experiment_pipeline.reporting.run_record import ReportRow
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.tracking.history import (
    KEYS,
    finding_row,
    write_history,
    write_run,
)


class Terminal(io.StringIO):
    """A terminal of the width that COLUMNS says."""

    def isatty(self) -> bool:
        return True


def ask(*arguments: str, code: int = 0) -> str:
    """What a command prints into a pipe, errors included."""
    result = command(*arguments)
    assert result.exit_code == code, result.output
    return result.output


def in_a_terminal(*arguments: str) -> list[str]:
    """The lines that a command prints where somebody looks."""
    with redirect_stdout(Terminal()) as shown:
        main(arguments, standalone_mode=False)
    return re.sub(r"\x1b\[[\d;]*m", "", shown.getvalue()).splitlines()  # without bold


def words(line: str) -> list[str]:
    """The cells of a line."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_experiments_are_a_line_each():
    """Champion, its score, and how the last run ended stand beside the name."""
    write_history("flight_delay", runs=4)
    write_history("wine", runs=2)
    header, first, second = ask("experiments").splitlines()
    assert words(header)[:4] == ["experiment", "runs", "champion", "score"]
    score = "roc_auc 0.710 on validation"
    assert words(first)[:4] == ["flight_delay", "4", "v0003", score]
    assert words(second)[-3:] == ["not accepted", "72 s", "0.0072"]


def test_runs_are_a_line_each_the_newest_first():
    """No line is wrapped in a pipe; the experiment is named if it is not asked for."""
    ids = write_history(runs=3)
    header, *lines = ask("runs").splitlines()
    assert words(header)[:2] == ["run", "experiment"]
    assert [words(line)[0] for line in lines] == [run_id[:8] for run_id in ids[::-1]]
    assert words(lines[1]) == [
        "00000001",
        "flight_delay",
        "2026-02-03 06:00",
        "schedule flight_delay_schedule",
        "accepted with conditions",
        "roc_auc 0.7000 (0.6800 to 0.7200)",
        "v0002",
        "36 s",
    ]
    assert "experiment" not in ask("runs", "flight_delay").splitlines()[0]


@pytest.mark.parametrize("since", ["2026-02-05", "2026-02"])
def test_runs_are_listed_since_a_date(since: str):
    """In the forms of ISO 8601."""
    write_history(runs=5)
    shown = ask("runs", "--since", since, "--limit", "1", "--json")
    assert len(json.loads(shown)) == 1


@pytest.mark.parametrize("since", ["7 dayz", "999999 days"])
def test_an_age_that_cannot_be_read_is_an_error_of_the_command(since: str):
    """Its exit code is 2."""
    message = ask("runs", "--since", since, code=2)
    assert "neither a date nor an age such as '7 days'" in message


def test_ci_fails_where_no_run_was_accepted_lately():
    """The exit code is 1 without such a run, 0 with one."""
    write_history(runs=5)
    accepted = ("runs", "flight_delay", "--status", "accepted", "--since", "7 days")
    assert ask(*accepted, "--fail-if-none", code=1) == "no such run\n"
    assert json.loads(ask(*accepted, "--fail-if-none", "--json", code=1)) == []
    yesterday = datetime.now(UTC) - timedelta(days=1)
    write_run("fresh", status="rejected", started_at=yesterday)
    ask(*accepted, "--fail-if-none", code=1)
    write_run("fresh", status="accepted", started_at=yesterday)
    assert "fresh" in ask(*accepted, "--fail-if-none")


def test_a_run_is_shown_with_all_that_is_recorded():
    """Facts first, then a table of each kind of rows."""
    ids = write_history()
    shown = ask("show", ids[2][:8])
    for text in (
        "\n\nconfigurations (roc_auc on test)\n",
        "\n\ngates\n",
        "accepted with conditions (constant_column)",
        "every gate passed",
        "36 s, 52 s CPU, 300 MB peak memory, cost 0.0036",
        "Check the conditions before you use v0003: constant_column.",
        KEYS[2],
    ):
        assert text in shown
    assert "not accepted" in ask("show"), "without an id it is the last one"
    assert ask("show", "--experiment", "flight_delay") == ask("show", ids[-1])
    assert ask("show", "flight_delay") == ask("show", ids[-1])


def test_a_run_as_json_has_a_list_per_table():
    """Numbers stay numbers, what is missing is null, and a moment has its zone."""
    run = json.loads(ask("show", write_history()[2], "--json"))
    assert run["started_at"] == "2026-02-04T06:00:00Z"
    assert (run["wall_seconds"], run["error"]) == (36.0, None)
    (best,) = (row for row in run["configurations"] if row["rank"] == 1)
    assert best["hyperparameters"] == {"num_leaves": 31, "learning_rate": 0.05}
    assert run["next_run"]["cpu_seconds"] == run["cpu_seconds"] + 0.2, "one was reused"
    (evidence,) = run["evidence"]
    assert evidence["what"] == "Drift is not measured."


def test_two_runs_are_compared_in_words_as_json_and_as_a_page(tmp_path):
    """What changed, and what it did to the scores."""
    ids = write_history(runs=6)
    arguments = ("compare", ids[0], ids[4])
    assert "-seed: 0" in ask(*arguments)
    comparison = json.loads(ask(*arguments, "--json"))
    assert (comparison["before"], comparison["after"]) == (ids[0], ids[4])
    (score,) = comparison["scores"]
    assert score["difference"] == pytest.approx(0.04)
    ask(*arguments, "--html", str(tmp_path / "page.html"))
    assert "(data0)</td><td>10,004 rows" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("width", [30, 200])
def test_a_narrow_terminal_gets_lines_instead_of_columns(width: int, monkeypatch):
    """No line is wider than the terminal, and no id is broken."""
    ids = write_history()
    monkeypatch.setenv("COLUMNS", str(width))
    lines = in_a_terminal("runs")
    assert max(map(len, lines)) <= width
    is_narrow = any(line.split()[:2] == ["run", ids[0][:8]] for line in lines)
    assert is_narrow == (width < 100)
    assert sum(ids[0][:8] in line for line in lines) == 1
    assert max(map(len, in_a_terminal("show", ids[0]))) <= width


def test_names_are_shown_as_they_are(monkeypatch):
    """Markup, emoji codes and control characters of a name do nothing."""
    name = "[red]:smile:[/red]\x1b[2J"
    finding = finding_row(code=name, column_names=(name,), evidence=name)
    write_run("[bold]run", finding, experiment=name, status="failed", error=name)
    monkeypatch.setenv("COLUMNS", "200")
    for arguments in (("runs",), ("experiments",), ("show", "[bold]")):
        text = "\n".join(in_a_terminal(*arguments))
        assert "[red]:smile:[/red]�[2J" in text
        assert "\x1b[2J" not in text
    assert json.loads(ask("experiments", "--json"))[0]["experiment"] == name


def test_an_empty_database_has_empty_lists():
    """Who asks for one run on a fresh machine hears that there is none."""
    assert ask("experiments") == "no experiment has run yet\n"
    assert ask("runs") == "no such run\n"
    assert json.loads(ask("experiments", "--json")) == []
    assert json.loads(ask("runs", "--json")) == []
    assert ask("show", code=1).startswith("Error: the last run: no run is recorded yet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("runs flight_dela", "did you mean 'flight_delay'"),
        ("show 0", "several run ids start with this"),
        ("compare 00000000 zz --json", "zz: no run id starts with this"),
        ("models flight_delay", "has no exported model"),
    ],
)
@pytest.mark.usefixtures("storage")
def test_an_error_is_one_screen_on_the_other_stream(arguments: str, message: str):
    """Culprit, rule, fix and exit code 1; a program that reads stdout gets nothing."""
    write_history()
    result = command(*arguments.split())
    assert result.exit_code == 1
    assert message in result.stderr
    assert "fix: " in result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) < 6


@pytest.mark.parametrize("is_its_storage", [True, False])
def test_a_killed_run_does_not_show_as_running(storage: Path, *, is_its_storage: bool):
    """Who lists the runs marks those that are gone, and archives them."""
    if is_its_storage:
        (storage / "flight_delay" / "tables").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    ) as process:
        dead = vars(Process.here(process.pid))
        alive = vars(Process.here(os.getpid()))
        write_run("dead", status="running", process=dead, started_at=datetime.now(UTC))
        write_run("alive", status="running", process=alive)
        assert len(json.loads(ask("runs", "--status", "running", "--json"))) == 2
        process.kill()
    (killed,) = json.loads(ask("runs", "--status", "killed", "--json"))
    assert killed["run_id"] == "dead"
    assert json.loads(ask("runs", "--status", "failed", "--json")) == [killed]
    assert (storage / "flight_delay" / "runs" / "dead.json").exists() == is_its_storage
    assert storage.exists() == is_its_storage
    shown = ask("show", "dead")
    assert re.search("outcome +failed ", shown)
    assert "is gone: it was killed" in shown
    assert json.loads(ask("experiments", "--json"))[0]["last_status"] == "killed"


ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "docs" / "ci" / "experiment.yml"


def test_the_exit_code_says_whether_a_run_was_accepted():
    """The outcome stands in the JSON either way."""
    accepted, *_, rejected = write_history()
    ask("show", accepted, "--fail-unless", "accepted")
    shown = ask("show", rejected, "--json", "--fail-unless", "accepted", code=1)
    assert json.loads(shown)["status"] == "rejected"
    ask("show", rejected, "--fail-unless", "not accepted")


def test_an_old_run_is_not_taken_for_the_new_one():
    """A job that ended before its run was recorded: an error that says so."""
    last = write_history()[3]
    arguments = ("show", "--experiment", "flight_delay", "--since")
    ask(*arguments, "2026-02-05T05:59:59")
    message = ask(*arguments, "2026-02-05T06:00:01", "--json", code=1)
    assert f"no run since 2026-02-05 06:00:01 UTC; the last one is {last}" in message


def test_the_pages_of_a_run_are_copied_under_the_names_of_the_reports(tmp_path):
    """HTML and Markdown are; tables are not; a page that is gone is an error."""
    run = RunRecord("flight_delay", write_history(runs=1)[0])
    places = {
        "leaderboard": "board.html",
        "decision_record.md": "x.record.md",
        "validation_rows": "rows.parquet",
    }
    for name, place in places.items():
        (tmp_path / place).write_text(place)
        run.record([ReportRow(name=name, place=str(tmp_path / place))])
    folder = tmp_path / "new" / "reports"
    arguments = ("show", run.run_id, "--copy-reports", str(folder))
    ask(*arguments)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "leaderboard.html": "board.html",
        "decision_record.md": "x.record.md",
    }
    (tmp_path / "board.html").unlink()
    assert "board.html" in ask(*arguments, code=1)


def test_the_workflow_attaches_its_folder_always():
    """What its command leaves is attached also when the run fails."""
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    steps = {step.get("name", step.get("uses")): step for step in job["steps"]}
    script, _, folder = steps["Run the experiment"]["run"].split()
    assert (ROOT / script).stat().st_mode & 0o111
    attached = steps["Attach report and record"]
    assert (attached["if"], attached["with"]["path"]) == ("always()", folder)
