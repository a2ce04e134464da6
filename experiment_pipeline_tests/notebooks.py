"""Run notebooks without Jupyter: the cells of each in order, in one namespace, in the
current folder.

`python -m experiment_pipeline_tests.notebooks SOURCE…` writes them with their outputs,
below their names.
"""

import ast
import io
import sys
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_output


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run."""
    made, names, number = deepcopy(notebook), {}, 0
    for cell in made.cells:
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = outputs(cell.source, names, number)
    return made


def outputs(
    source: str, names: dict[str, Any], number: int
) -> list[nbformat.NotebookNode]:
    """What Jupyter would show of a cell: what it prints, its last expression as text
    and as HTML.

    Paths are shown as seen from the current folder.
    """
    body = ast.parse(source)
    last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(body, f"cell {number}", "exec"), names)
        shown = last and eval(
            compile(ast.Expression(last.value), f"cell {number}", "eval"), names
        )
    shows, here = [], f"{Path.cwd()}/"
    if text := printed.getvalue():
        shows.append(new_output("stream", name="stdout", text=text.replace(here, "")))
    if shown is not None:
        html = (
            {"text/html": shown._repr_html_()} if hasattr(shown, "_repr_html_") else {}
        )
        data = {**html, "text/plain": repr(shown)}
        near = {kind: text.replace(here, "") for kind, text in data.items()}
        shows.append(new_output("execute_result", near, execution_count=number))
    return shows


if __name__ == "__main__":
    for source in map(Path, sys.argv[1:]):
        nbformat.write(executed(nbformat.read(source, as_version=4)), source.name)
