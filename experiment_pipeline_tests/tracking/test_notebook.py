"""The notebook of the documents: it is one, it runs, and its answers are those of the database.

`python -m experiment_pipeline_tests.tracking.test_notebook` writes its outputs anew.
"""

import ast
import io
import os
import tempfile
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_output

from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests.tracking.history import write_history

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "memory.ipynb"


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook on a made-up history, run without Jupyter: its cells in order, in one namespace."""
    write_history("flight_delay", runs=6)
    write_history("wine", runs=3)
    made, names, number = deepcopy(notebook), {}, 0
    for cell in made.cells:
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = outputs(cell.source, names, number)
    return made


def outputs(source: str, names: dict[str, Any], number: int) -> list[nbformat.NotebookNode]:
    """What Jupyter would show of a cell: what it prints, its last expression as text and as HTML."""
    body = ast.parse(source)
    last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(body, f"cell {number}", "exec"), names)
        shown = last and eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    shows = []
    if text := printed.getvalue():
        shows.append(new_output("stream", name="stdout", text=text))
    if shown is not None:
        html = {"text/html": shown._repr_html_()} if hasattr(shown, "_repr_html_") else {}
        data = {**html, "text/plain": repr(shown)}
        shows.append(new_output("execute_result", data, execution_count=number))
    return shows


def test_the_answers_of_the_notebook_are_those_of_the_database() -> None:
    """Jupyter opens it, every cell runs in order, and shows what the notebook says it shows."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 50_000, "too large to be read in a diff"
    made = executed(notebook)
    for cell, expected in zip(made.cells, notebook.cells, strict=True):
        assert cell == expected, f"run python -m {__name__}"
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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = f"sqlite:///{folder}/example.sqlite"
        nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
