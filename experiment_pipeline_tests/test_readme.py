"""The README says what the code does."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from experiment_pipeline.cli import main
from experiment_pipeline.experiment import steps
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.tracking.database.connection import FILE, database
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline_tests.bench import figures
from experiment_pipeline_tests.tracking.history import write_history

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STAGES = (
    "raw_data",
    "data_analysis",
    "validated_data",
    "split_sets",
    "search",
    "leaderboard",
    "validation_report",
    "exported_model",
)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_package_with_its_tests(stage):
    """The code and the tests call a stage by one name; it is a step of the flow."""
    assert stage in vars(steps)
    assert list((ROOT / "experiment_pipeline_tests" / "stages" / stage).glob("test_*.py"))


def test_the_stage_table_names_the_assets_and_checks_of_the_graph():
    """Every asset and every asset check stands in the README's table, and nothing else does."""
    from experiment_pipeline.definitions import defs

    graph = defs().resolve_asset_graph()
    assets = {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == "flight_delay"}
    checks = {key.name for key in graph.asset_check_keys if key.asset_key.path[0] == "flight_delay"}
    table = README.split("## Stages")[1].split("## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[1])} == assets
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[3])}
    assert named == checks


def test_the_makefile_has_the_targets_that_the_readme_names():
    """Every `make` command of the README exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)\b", README, re.MULTILINE)) <= targets


def test_the_example_of_the_readme_is_a_valid_experiment():
    """Whoever copies the YAML gets an experiment that loads."""
    (example,) = re.findall(r"```yaml\n(type:.*?)```", README, re.DOTALL)
    attributes = yaml.safe_load(example)["attributes"]
    assert ExperimentSpec.model_validate({"name": "churn", **attributes}).target == "churned"


def test_the_project_does_not_refer_to_anything_outside_itself():
    """No text of the project points to a folder that a clone does not have."""
    texts = [*ROOT.glob("*.md"), *(ROOT / "experiment_pipeline").rglob("*.py")]
    outside = "../" + "shared"
    assert not [str(path) for path in texts if outside in path.read_text()]


def blocks(heading: str, language: str) -> list[str]:
    """The code of a section."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_what_python_is_told_to_ask_has_answers(capsys):
    """The lines run as they stand, and print what changed."""
    write_history()
    (code,) = blocks("Ask what was tried", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert "version: v0003 → none" in capsys.readouterr().out


def test_what_sql_is_told_to_ask_has_answers():
    """The statement runs as it stands: the runs of a month, their hours and their cost."""
    write_history()
    (statement,) = blocks("Ask what was tried", "sql")
    found = pd.read_sql(statement, database()).set_index("status")
    assert found["runs"].to_dict() == {"accepted": 3, "rejected": 1}
    assert found.loc["accepted", "hours"] == pytest.approx(3 * 36 / 3600)
    assert found.loc["accepted", "cost"] == pytest.approx(3 * 0.0036)
    assert f".dagster_home/{FILE}" in README


def test_what_the_command_line_is_told_to_ask_has_answers():
    """Each command ends well, where there is a run of this week."""
    write_history()
    recent = RunFacts(status="accepted", started_at=pd.Timestamp.now("UTC").to_pydatetime())
    RunRecord("flight_delay", "recent").record([recent])
    (commands,) = blocks("Ask what was tried", "bash")
    for line in commands.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        assert command == ".venv/bin/experiment-pipeline"
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        assert "flight_delay" in done.output or "recent" in done.output


def test_figures_and_picture_are_those_of_recorded_runs_and_of_the_benchmark():
    """`make figures` would change nothing, and no other score or ratio stands in the section on speed."""
    record, results = figures.recorded(), figures.RESULTS.read_text()
    assert figures.written(README, record, results) == README
    assert record["picture"] == sha256(figures.PICTURE.read_bytes())
    speed = README.split("## How fast\n")[1].split("\n## ")[0]
    for quote in figures.quotes(record, results):
        speed = quote.pattern.sub("", speed)
    assert not re.findall(r"\d\.\d", speed)
