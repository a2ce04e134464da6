"""README and the documentation say what the code does."""

import ast
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from experiment_pipeline.cli import main
from experiment_pipeline.experiment import flow
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.tracking.database.connection import FILE, database
from experiment_pipeline_tests.bench import figures
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.tracking.history import write_history, write_run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {
    path: path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "AGENTS.md",
        *(ROOT / "docs").rglob("*.md"),
    )
}
PAGES = {
    path: text for path, text in PAGES.items() if not {"_build", "made"} & {*path.parts}
}
ASK = (ROOT / "docs" / "guides" / "ask.md").read_text()


def test_the_flow_has_a_function_for_each_stage_of_the_registry_in_its_order():
    """A reader of the flow meets the stages in the order in which they run."""
    assert list(flow.FUNCTIONS) == list(STAGES), (
        "name the stages of stages/registry.py in FUNCTIONS of experiment/flow.py"
    )


def test_the_table_of_assets_names_those_of_the_graph():
    """Every asset stands in the table of the first page on Dagster, and nothing else
    does.
    """
    from experiment_pipeline.definitions import defs

    keys = defs().resolve_asset_graph().get_all_asset_keys()
    assets = {key.path[-1] for key in keys if key.path[0] == "flight_delay"}
    page = (ROOT / "docs/start/dagster.md").read_text()
    table = page.split("## The asset graph")[1].split("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert described == assets, "correct the table of docs/start/dagster.md"


def test_readme_is_read_in_a_few_minutes():
    """The front page has at most 1,200 words."""
    assert len(README.split()) <= 1_200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    """Links lead to files; targets, commands and options exist; Python compiles; whole
    YAML is valid.
    """
    text = PAGES[page]
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        made = page.parent / link
        assert made.exists() or (made.parent.name == "made"), link
    for source in re.findall(r"\{source\}`([^`]+)`", text):
        assert (ROOT / source).exists(), source
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    assert set(re.findall(r"(?:`|^)make ([a-z]+)\b", text, re.MULTILINE)) <= targets
    for line in re.findall(
        r"(?:^|`|/)experiment-pipeline ((?:[a-z-]+)\b.*?)(?:`|$)", text, re.MULTILINE
    ):
        name, *words = shlex.split(line.replace("…", ""), comments=True)
        known = {opt for option in main.commands[name].params for opt in option.opts}
        assert {
            word.split("=")[0] for word in words if word.startswith("--")
        } <= known | {"--help"}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(code, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        declared = yaml.safe_load(example) or {}
        if "attributes" in declared:
            assert ExperimentSpec.model_validate(
                {"name": "churn", **declared["attributes"]}
            )


def test_a_page_says_at_first_use_which_rows_the_validation_set_is():
    """Much of the field swaps its name with that of the test set, so it is called the
    final hold-out.
    """
    said = r"validation\W+(final hold-out|(?:set|rows|report)\b(?:\W+final hold-out)?)"
    first = {
        path: re.search(rf"(?<!cross-)\b{said}", text) for path, text in PAGES.items()
    }
    assert not [path for path, use in first.items() if use and "hold-out" not in use[0]]


def test_the_project_does_not_refer_to_anything_outside_itself():
    """No text of the project points to a folder that a clone does not have."""
    texts = [*ROOT.glob("*.md"), *PAGES, *(ROOT / "experiment_pipeline").rglob("*.py")]
    outside = "../" + "shared"
    assert not [str(path) for path in texts if outside in path.read_text()]


def blocks(heading: str, language: str) -> list[str]:
    """The code of a section."""
    section = ASK.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_the_page_for_programs_names_pages_that_are_there():
    """Every link of llms.txt is a page of the site."""
    docs = ROOT / "docs"
    links = re.findall(r"\]\((.+?)\.html\)", (docs / "llms.txt").read_text())
    assert links
    written = [link for link in links if not link.startswith("reference/made/")]
    assert all((docs / f"{link}.md").exists() for link in written)


def test_what_python_is_told_to_ask_has_answers(capsys):
    """The lines run as they stand, and print what changed."""
    write_history()
    (code,) = blocks("Python", "python")
    exec(compile(code, "ask.md", "exec"), {})
    assert "version: v0003 → none" in capsys.readouterr().out


def test_what_sql_is_told_to_ask_has_answers():
    """The statement runs as it stands: the runs of a month, their hours and
    their cost.
    """
    write_history()
    (statement,) = blocks("SQL", "sql")
    found = pd.read_sql(statement, database()).set_index("status")
    assert found["runs"].to_dict() == {"accepted": 3, "rejected": 1}
    assert found.loc["accepted", "hours"] == pytest.approx(3 * 36 / 3600)
    assert found.loc["accepted", "cost"] == pytest.approx(3 * 0.0036)
    assert f".dagster_home/{FILE}" in ASK


def test_what_the_command_line_is_told_to_ask_has_answers():
    """Each command ends well, where there is a run of this week."""
    write_history()
    now = pd.Timestamp.now("UTC").to_pydatetime()
    write_run("recent", status="accepted", started_at=now)
    (commands,) = blocks("Command line", "bash")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == ".venv/bin/experiment-pipeline"
        done = command(*arguments)
        assert done.exit_code == 0, done.output
        assert "flight_delay" in done.output or "recent" in done.output


def test_figures_and_picture_are_those_of_recorded_runs_and_of_the_benchmark():
    """`make figures` would change nothing, and no other score or ratio stands on the
    page on speed.
    """
    record, results = figures.recorded(), figures.RESULTS.read_text()
    assert figures.written(figures.pages(), record, results) == figures.pages()
    assert record["pictures"] == figures.digests()
    assert figures.AGENTS.read_text() == figures.agents_picture(results)
    speed = (ROOT / "docs/explanation/speed.md").read_text()
    for quote in figures.quotes(record, results):
        speed = quote.pattern.sub("", speed)
    assert not re.findall(r"\d\.\d", speed)
