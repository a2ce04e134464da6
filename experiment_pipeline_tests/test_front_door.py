"""What others may use of this project, and what contributors run: each is declared once."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import yaml

import experiment_pipeline

ROOT = Path(__file__).parent.parent
NAMES = experiment_pipeline.__all__


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_documented_and_typed(name: str) -> None:
    """Each can be imported, says what it is, and names the types of what it takes and returns."""
    public = getattr(experiment_pipeline, name)
    assert public.__doc__
    assert name in dir(experiment_pipeline)
    if inspect.isfunction(public):
        signature = inspect.signature(public)
        annotations = [
            signature.return_annotation,
            *(p.annotation for p in signature.parameters.values()),
        ]
        assert inspect.Signature.empty not in annotations


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_stands_in_the_documents(name: str) -> None:
    """Who reads README or CONTRIBUTING finds everything that may be used from Python."""
    texts = [
        path.read_text() for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()
    ]
    assert any(re.search(rf"\b{name}\b", text) for text in texts)


def test_type_checkers_see_the_same_names() -> None:
    """What is loaded when it is asked for, and what a type checker is told, do not drift apart."""
    tree = ast.parse(Path(experiment_pipeline.__file__).read_text())
    told = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("experiment_pipeline.")
        for alias in node.names
    }
    homes = {
        name: f"experiment_pipeline.{home}" for name, home in experiment_pipeline._HOMES.items()
    }
    assert told == homes


def test_the_hooks_run_what_lint_runs() -> None:
    """A commit that passes the hooks passes the first part of CI."""
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]] == commands


def test_every_target_says_whom_it_is_for() -> None:
    """`make help` lists each target of people under users or contributors."""
    targets = re.findall(r"^([a-z-]+):(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = {name for name, rest in targets if re.search(r"## (users|contributors): ", rest)}
    assert told == {name for name, _ in targets} - {"system", "system-test"}


def test_the_tree_of_contributing_is_the_real_one() -> None:
    """Every package and loose module stands in it, with what lives there, and nothing else."""
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("```text\n")[1].split("```")[0]
    lines = tree.splitlines()[1:]
    told = [re.fullmatch(r"((?:  )+)(\S+)(?: {2,}(.+))?", line).groups() for line in lines]
    package = Path(experiment_pipeline.__file__).parent
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for folder in (package, package / "stages")
        for path in folder.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    assert {name for _, name, _ in told} == there - {"__pycache__/"}
    assert [name for _, name, what in told if not what] == ["stages/"]


def test_what_contributing_names_is_there() -> None:
    """Every file and folder between backticks exists."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`(experiment_pipeline(?:_tests)?/[\w/.]*)`", text))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
