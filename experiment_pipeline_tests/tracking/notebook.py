"""The notebook of the documents, run without Jupyter: its cells in order, in one namespace.

A cell's outputs are what Jupyter would show: what it prints, and its last expression as text and as
HTML. `python -m experiment_pipeline_tests.tracking.notebook` writes them into the notebook anew.
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
    """The notebook with the outputs that its cells have here and now."""
    made, names, number = deepcopy(notebook), {}, 0
    for cell in made.cells:
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = _outputs(cell.source, names, number)
    return made


def write_example() -> None:
    """The history that the notebook's outputs are of."""
    write_history("flight_delay", runs=6)
    write_history("wine", runs=3)


def _outputs(source: str, names: dict[str, Any], number: int) -> list[nbformat.NotebookNode]:
    body = ast.parse(source)
    last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(body, f"cell {number}", "exec"), names)
        shown = last and eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs = []
    if text := printed.getvalue():
        outputs.append(new_output("stream", name="stdout", text=text))
    if shown is not None:
        html = {"text/html": shown._repr_html_()} if hasattr(shown, "_repr_html_") else {}
        data = {**html, "text/plain": repr(shown)}
        outputs.append(new_output("execute_result", data, execution_count=number))
    return outputs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = f"sqlite:///{folder}/example.sqlite"
        write_example()
        nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
