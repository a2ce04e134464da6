"""What contributors are told is so: the commands, the tree, the paths and the four
walks.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import experiment_pipeline
from experiment_pipeline.spec.algorithms import ALGORITHMS, Algorithm, Estimator
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.tracking import questions
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.stages.data_analysis import own_findings

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_hooks_run_what_lint_runs():
    """A commit that passes the hooks passes the first part of CI."""
    (lint,) = re.findall(
        r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    commands = [
        line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()
    ]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [
        hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]
    ] == commands


def test_every_target_says_whom_it_is_for():
    """`make help` lists each target of people under users or contributors."""
    targets = re.findall(
        r"^([a-z-]+):(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    told = {
        name for name, rest in targets if re.search(r"## (users|contributors): ", rest)
    }
    assert told == {name for name, _ in targets} - {"system", "system-test"}


def test_the_tree_of_contributing_is_the_real_one():
    """Every package and loose module stands in it, with what lives there, and nothing
    else.
    """
    lines = CONTRIBUTING.split("```text\n")[1].split("```")[0].splitlines()[1:]
    told = [
        re.fullmatch(r"((?:  )+)(\S+)(?: {2,}(.+))?", line).groups() for line in lines
    ]
    package = Path(experiment_pipeline.__file__).parent
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for folder in (package, package / "stages")
        for path in folder.iterdir()
        if path.is_dir() or path.suffix == ".py"
    } | {"database/"}
    assert {name for _, name, _ in told} == there - {"__pycache__/"}, (
        'correct "The tree" of CONTRIBUTING.md'
    )
    assert [name for _, name, what in told if not what] == ["stages/"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_what_contributing_names_is_there(page):
    """Every file and folder between backticks exists."""
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`(experiment_pipeline(?:_tests)?/[\w/.]*)`", text))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_rooms_of_the_flow_are_there():
    """Every path of the table and of the walks leads to a room or file of the
    package.
    """
    flow = CONTRIBUTING.split("## How data flows")[1].split("## ")[0]
    rows = [line.split("|")[2] for line in flow.splitlines() if line.startswith("| ")][
        1:
    ]
    named = {name for row in rows for name in re.findall(r"`([\w/.]+)`", row)}
    named |= set(re.findall(r"`((?:stages|statistics|spec)/[\w/.]+)`", flow))
    assert len(named) > 12
    package = Path(experiment_pipeline.__file__).parent
    assert [name for name in sorted(named) if not (package / name).exists()] == []


@pytest.mark.usefixtures("storage")
def test_a_metric_an_algorithm_and_a_finding_are_declared_once(tmp_path, monkeypatch):
    """A name is all: the flow takes it, down to gate, export and verdict; a notebook
    finds it again.
    """
    monkeypatch.setitem(METRICS, "squares", replace(METRICS["brier"], name="squares"))
    bayes = Estimator("sklearn.naive_bayes.BernoulliNB")
    monkeypatch.setitem(ALGORITHMS, "bayes", Algorithm(bayes, bayes, trusted_types=()))
    rule = f"{own_findings.__name__}:even_numbers"
    spec = scenario.spec(
        url=str(scenario.write_csv(tmp_path / "visits.csv")),
        metric="squares",
        search=[{"algorithm": "bayes", "hyperparameters": {"alpha": [0.5, 2.0]}}],
        acceptance=[{"metric": "squares", "at_most": 0.4}],
        analysis={"findings": [rule], "thresholds": {"even_numbers": 0.0}},
    )
    done = runs.succeeded(spec, scenario.SCHEMA)
    assert "of even numbers: " in done.metadata("data_analysis")["findings"]
    assert 0 < done.metadata("trained_model")["test squares"] < 0.4
    assert "squares at most 0.4" in str(done.metadata("validation_report")["judgement"])
    card = done.metadata("exported_model")["card"]
    assert "squares" in card
    assert "bayes" in card
    (remembered,) = questions.runs(spec.name, all_columns=True).to_dict("records")
    assert remembered["metric"] == "squares"
    assert 0 < remembered["validation_score"] < 0.4
    board = questions.leaderboard(spec.name)
    assert set(board["algorithm"]) == {"bayes"}
    assert set(board["alpha"]) == {0.5, 2.0}
    assert "even_numbers" in set(questions.findings(spec.name)["code"])
