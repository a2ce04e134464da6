"""The commands that ask: tables for people, JSON for programs, exit codes and pages for
CI.
"""

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


def test_experiments_are_a_line_each() -> None:
    """Champion, its score, and how the last run ended stand beside the name."""
    write_history("flight_delay", runs=4)
    write_history("wine", runs=2)
    header, first, second = ask("experiments").splitlines()
    assert words(header)[:4] == ["experiment", "runs", "champion", "score"]
    assert words(first)[:4] == [
        "flight_delay",
        "4",
        "v0003",
        "roc_auc 0.710 on validation",
    ]
    assert words(second)[-3:] == ["rejected", "72 s", "0.0072"]


def test_runs_are_a_line_each_the_newest_first() -> None:
    """Into a pipe no line is wrapped, and the experiment is named where it is not asked
    for.
    """
    ids = write_history(runs=3)
    header, *lines = ask("runs").splitlines()
    assert words(header)[:2] == ["run", "experiment"]
    assert [words(line)[0] for line in lines] == [
        run_id[:8] for run_id in reversed(ids)
    ]
    assert words(lines[1]) == [
        *(
            "00000001",
            "flight_delay",
            "2026-02-03 06:00",
            "schedule flight_delay_schedule",
        ),
        *(
            "accepted with conditions",
            "roc_auc 0.7000 (0.6800 to 0.7200)",
            "v0002",
            "36 s",
        ),
    ]
    assert "experiment" not in ask("runs", "flight_delay").splitlines()[0]


def test_ci_fails_where_no_run_was_accepted_lately() -> None:
    """The exit code is 1 without such a run, 0 with one, 2 for an age that cannot be
    read.
    """
    write_history(runs=5)
    for since in ("2026-02-05", "20260205", "2026-02"):
        assert (
            len(json.loads(ask("runs", "--since", since, "--limit", "1", "--json")))
            == 1
        )
    for wrong in ("7 dayz", "NaT", "", "999999 days", "7"):
        told = ask("runs", "--since", wrong, code=2)
        assert "neither a date nor an age such as '7 days'" in told
    wanted = (
        "runs",
        "flight_delay",
        "--status",
        "accepted",
        "--since",
        "7 days",
        "--fail-if-none",
    )
    assert ask(*wanted, code=1) == "no such run\n"
    assert json.loads(ask(*wanted, "--json", code=1)) == []
    yesterday = datetime.now(UTC) - timedelta(days=1)
    write_run("fresh", status="rejected", started_at=yesterday)
    ask(*wanted, code=1)
    write_run("fresh", status="accepted", started_at=yesterday)
    assert "fresh" in ask(*wanted)


def test_a_run_is_shown_with_all_that_is_remembered() -> None:
    """Facts first, then a table each of findings, configurations, scores, gates and
    reports.
    """
    ids = write_history()
    shown = ask("show", ids[2][:8])
    for part in (
        "findings",
        "configurations (roc_auc on test)",
        "scores",
        "gates",
        "reports",
    ):
        assert f"\n\n{part}\n" in shown
    for fact in (
        "every gate passed",
        "36 s, 52 CPU s, 300 MB peak memory, cost 0.0036",
        KEYS[2],
    ):
        assert fact in shown
    assert "rejected" in ask("show"), "without an id it is the last one"
    assert ask("show", "--experiment", "flight_delay") == ask("show", ids[-1])


def test_a_run_as_json_has_a_list_per_table() -> None:
    """Numbers stay numbers, what is missing is null, and a moment has its zone."""
    found = json.loads(ask("show", write_history()[2], "--json"))
    assert found["started_at"] == "2026-02-04T06:00:00Z"
    assert (found["wall_seconds"], found["error"]) == (36.0, None)
    assert [
        len(found[name]) for name in ("sets", "findings", "configurations", "gates")
    ] == [*(3, 1, 3, 1)]
    best = next(one for one in found["configurations"] if one["rank"] == 1)
    assert best["hyperparameters"] == {"num_leaves": 31, "learning_rate": 0.05}


def test_two_runs_are_compared_in_words_as_json_and_as_a_page(tmp_path: Path) -> None:
    """What changed, and what it did to the scores."""
    ids = write_history(runs=6)
    assert "-seed: 0" in ask("compare", ids[0], ids[4])
    found = json.loads(ask("compare", ids[0], ids[4], "--json"))
    assert (found["before"], found["after"]) == (ids[0], ids[4])
    assert [one["what"] for one in found["changes"]] == [
        "data",
        "yaml",
        "code",
        "version",
    ]
    assert found["scores"][0]["metric"] == "roc_auc"
    assert found["scores"][0]["difference"] == pytest.approx(0.04)
    assert found["scores"][0]["better"] is None
    ask("compare", ids[0], ids[4], "--html", str(tmp_path / "page.html"))
    assert "(data0) → 10,004 rows" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_narrow_terminal_gets_lines_instead_of_columns(
    width: int, monkeypatch
) -> None:
    """No line is wider than the terminal; a run's facts stand below each other where
    they must.
    """
    ids = write_history()
    monkeypatch.setenv("COLUMNS", str(width))
    lines = in_a_terminal("runs")
    assert max(map(len, lines)) <= width
    assert any(line.split()[:2] == ["run", ids[0][:8]] for line in lines) == (
        width < 100
    )
    # No word is broken: the first characters of an id are there to be copied.
    assert sum(ids[0][:8] in line for line in lines) == 1
    assert max(map(len, in_a_terminal("show", ids[0]))) <= width


def test_names_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markup of the terminal's library, emoji codes and control characters of a name do
    nothing.
    """
    name = "[red]:smile:[/red]\x1b[2J"
    finding = finding_row(code=name, column_names=(name,), evidence=name)
    write_run("[bold]run", finding, experiment=name, status="failed", error=name)
    monkeypatch.setenv("COLUMNS", "200")
    for asked in (("runs",), ("experiments",), ("show", "[bold]")):
        lines = "\n".join(in_a_terminal(*asked))
        assert "[red]:smile:[/red]�[2J" in lines, asked
        assert "\x1b[2J" not in lines, asked
    assert json.loads(ask("experiments", "--json"))[0]["experiment"] == name


def test_nothing_remembered_is_said() -> None:
    """On a fresh machine lists are empty, and who asks for one run hears that there is
    none.
    """
    assert ask("experiments") == "no experiment has run yet\n"
    assert ask("runs") == "no such run\n"
    assert [json.loads(ask(name, "--json")) for name in ("experiments", "runs")] == [
        [],
        [],
    ]
    assert ask("show", code=1).startswith("Error: the last run: no run is recorded yet")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("runs flight_dela", "did you mean 'flight_delay'"),
        ("show zz", "zz: no run id starts with this"),
        ("show 0", "several run ids start with this"),
        ("show zz --json", "zz: no run id starts with this"),
        ("compare 00000000 zz", "zz: no run id starts with this"),
        ("models flight_delay", "has no exported model"),
    ],
)
def test_what_is_not_there_is_one_screen_on_the_other_stream(
    asked, said, storage
) -> None:
    """Culprit, rule, fix and exit code 1, without a stack; a program that reads stdout
    gets nothing.
    """
    write_history()
    result = command(*asked.split())
    assert result.exit_code == 1
    assert said in result.stderr
    assert "fix: " in result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) < 6


@pytest.mark.parametrize("is_its_storage", [True, False])
def test_a_killed_run_does_not_show_as_running(
    storage: Path, *, is_its_storage: bool
) -> None:
    """Whoever lists the runs first finds those that are gone, and archives them where
    their storage is.
    """
    if is_its_storage:
        (storage / "flight_delay" / "tables").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    ) as process:
        noted = vars(Process.here(process.pid))
        write_run("dead", status="running", process=noted, started_at=datetime.now(UTC))
        write_run("alive", status="running", process=vars(Process.here(os.getpid())))
        assert len(json.loads(ask("runs", "--status", "running", "--json"))) == 2
        process.kill()
    (killed,) = json.loads(ask("runs", "--status", "killed", "--json"))
    assert killed["run_id"] == "dead"
    assert (storage / "flight_delay" / "runs" / "dead.json").exists() == is_its_storage
    assert storage.exists() == is_its_storage
    assert "status         killed" in ask("show", "dead")
    assert json.loads(ask("experiments", "--json"))[0]["last_status"] == "killed"


ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "docs" / "ci" / "experiment.yml"


def test_the_exit_code_says_whether_a_run_was_accepted() -> None:
    """The outcome stands in the JSON either way."""
    ids = write_history()
    for run_id, status, code in ((ids[0], "accepted", 0), (ids[3], "rejected", 1)):
        done = command("show", run_id, "--json", "--fail-unless", "accepted")
        assert done.exit_code == code
        assert json.loads(done.stdout)["status"] == status
    ask("show", ids[3], "--fail-unless", "rejected")
    ask("show", ids[3])


def test_an_old_run_is_not_taken_for_the_new_one() -> None:
    """A job that ended before its run was recorded: an error that says so."""
    last = write_history()[3]
    asked = ("show", "--experiment", "flight_delay", "--since")
    ask(*asked, "2026-02-05T05:59:59")
    late = command(*asked, "2026-02-05T06:00:01", "--json")
    assert late.exit_code == 1
    assert (
        f"no run since 2026-02-05 06:00:01 UTC; the last one is {last}" in late.stderr
    )


def test_the_pages_of_a_run_are_copied_under_the_names_of_the_reports(
    tmp_path: Path,
) -> None:
    """HTML and Markdown; tables and what is gone stay where they are, and the latter is
    said.
    """
    run = RunRecord("flight_delay", write_history(runs=1)[0])
    places = {"leaderboard": "board.html", "decision_record.md": "x.record.md"}
    places |= {"validation_rows": "rows.parquet"}
    for place in places.values():
        (tmp_path / place).write_text(place)
    run.record([ReportRow(name=n, place=str(tmp_path / p)) for n, p in places.items()])
    folder = tmp_path / "new" / "reports"
    ask("show", run.run_id, "--copy-reports", str(folder))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "leaderboard.html": "board.html",
        "decision_record.md": "x.record.md",
    }
    (tmp_path / "board.html").unlink()
    assert "board.html" in ask(
        "show", run.run_id, "--copy-reports", str(folder), code=1
    )


def test_the_workflow_attaches_its_folder_always() -> None:
    """What its command leaves is attached also when the run fails."""
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    steps = {step.get("name", step.get("uses")): step for step in job["steps"]}
    script, _, folder = steps["Run the experiment"]["run"].split()
    assert (ROOT / script).stat().st_mode & 0o111
    attached = steps["Attach report and record"]
    assert (attached["if"], attached["with"]["path"]) == ("always()", folder)
