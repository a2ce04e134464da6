"""What others may use of this project from Python: each name is declared once."""

import ast
import inspect
import re
from pathlib import Path

import pytest

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
