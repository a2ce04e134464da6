"""The notebook of the documents: it is one, it runs, and its answers are those of the database."""

import nbformat
import pytest

from experiment_pipeline_tests.tracking.notebook import NOTEBOOK, executed, write_example


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    """The notebook as it is in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_one_that_jupyter_opens(notebook: nbformat.NotebookNode) -> None:
    """It satisfies the schema of its format, and stays small enough to be read in a diff."""
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 50_000


def test_the_answers_of_the_notebook_are_those_of_the_database(
    notebook: nbformat.NotebookNode,
) -> None:
    """Every cell runs from the first to the last, and shows what the notebook says it shows."""
    write_example()
    made = executed(notebook)
    for cell, expected in zip(made.cells, notebook.cells, strict=True):
        assert cell == expected, "run python -m experiment_pipeline_tests.tracking.notebook"
    answers = {cell.id: str(cell.get("outputs")) for cell in made.cells}
    for id_, said in {
        "versions": "every gate passed",
        "changes": "data: 10,001 rows, 12 columns (data0) → 10,002 rows, 12 columns (data1)",
        "refused": "roc_auc is below 0.65",
        "cost": "0.018",
        "last": "roc_auc 0.7300 (0.7100 to 0.7500) → 0.5900 (0.5700 to 0.6100): -0.1400",
        "board": "num_leaves",
    }.items():
        assert said in answers[id_], id_
