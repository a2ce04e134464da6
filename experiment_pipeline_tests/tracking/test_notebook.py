"""The notebooks of the documents: they are small, and the answers of one are those of
the database.

`python -m experiment_pipeline_tests.tracking.test_notebook` writes its outputs anew.
"""

import os
import re
import tempfile
from pathlib import Path

import nbformat
import pytest

from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests.notebooks import executed
from experiment_pipeline_tests.tracking.history import write_history

DOCS = Path(__file__).parent.parent.parent / "docs"
NOTEBOOK = DOCS / "memory.ipynb"


def on_a_history() -> nbformat.NotebookNode:
    """The notebook with its outputs on two experiments, made up."""
    write_history("flight_delay", runs=6)
    write_history("wine", runs=3)
    return executed(nbformat.read(NOTEBOOK, as_version=4))


@pytest.mark.parametrize(
    "path", sorted(DOCS.glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_of_the_documents_can_be_read_in_a_diff(path: Path):
    """It is small, and nothing in it is about one machine."""
    text = path.read_text()
    assert len(text) < 60_000
    assert not re.search("/(home|root|tmp|work)/", text)


def test_the_answers_of_the_notebook_are_those_of_the_database():
    """Every cell runs in order, and shows what the notebook says it shows."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell, expected in zip(on_a_history().cells, notebook.cells, strict=True):
        assert cell == expected, f"run python -m {__name__}"


def test_the_notebook_answers_after_one_run():
    """What compares two runs says nothing yet; the other cells show the one."""
    write_history("flight_delay", runs=1)
    notebook = executed(nbformat.read(NOTEBOOK, as_version=4))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    silent = [cell.id for cell in code if not cell.outputs]
    assert silent == ["changes", "last"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = f"sqlite:///{folder}/example.sqlite"
        nbformat.write(on_a_history(), NOTEBOOK)
