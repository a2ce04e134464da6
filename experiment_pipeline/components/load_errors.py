"""Errors of YAML files as one line of a command: `file:line`, what is wrong, what is allowed.

Dagster wraps what a component raises into a tree of components and a stack of 160 lines, and
says nothing of the file when the component's type is misspelt. Only what a user can act on is
told shortly; anything else keeps its stack.
"""

import importlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from dagster.components.core.component_tree import ComponentTreeException

from experiment_pipeline.components.yaml_source import shown_path
from experiment_pipeline.core.errors import ExperimentPipelineError
from experiment_pipeline.core.yaml_text import ComponentFile, read_component_file

EXPERIMENT = "experiment_pipeline.Experiment"


class CannotLoad(click.ClickException):
    """click prints `Error: …` and exits with 1, without a stack."""


@contextmanager
def told_in_one_line(folder: Path) -> Iterator[None]:
    """Check the component files below a folder, then let them be loaded.

    Raises:
        CannotLoad: a file, or an experiment in it, is wrong in a way a user can correct.
    """
    _check_files(folder)
    try:
        yield
    except ComponentTreeException as error:
        if isinstance(error.__cause__, ExperimentPipelineError):
            raise CannotLoad(str(error.__cause__)) from None
        raise


def _check_files(folder: Path) -> None:
    experiments: dict[str, list[Path]] = defaultdict(list)
    for path in sorted([*folder.rglob("defs.yaml"), *folder.rglob("defs.yml")]):
        file = _read(path)
        if file.type_name == EXPERIMENT:
            experiments[path.parent.name].append(path)
    for name, paths in experiments.items():
        if len(paths) > 1:
            raise CannotLoad(
                f"{shown_path(paths[1])}:1: the folder names the experiment, and {name} is also "
                f"the one of {shown_path(paths[0])}\n  fix: rename one of the folders"
            )


def _read(path: Path) -> ComponentFile:
    try:
        file = read_component_file(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise CannotLoad(
            f"{shown_path(path)}: is no UTF-8 text ({error.reason} at byte {error.start})\n"
            "  fix: save the file as UTF-8"
        ) from None
    for problem in file.problems:
        raise CannotLoad(
            f"{shown_path(path)}:{problem.line}: {problem.message}\n  fix: edit the file"
        )
    if not _exists(file.type_name):
        raise CannotLoad(
            f"{shown_path(path)}:{file.type_line}: type: there is no component "
            f"{file.type_name!r}; an experiment's is {EXPERIMENT}\n  fix: correct the type, or "
            "install the package that has it"
        )
    return file


def _exists(type_name: str) -> bool:
    """Whether the import path of a component leads somewhere; an import that fails crashes."""
    module, _, name = type_name.rpartition(".")
    if not module:
        return type_name.startswith(".")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        found = None
    return found is not None and hasattr(importlib.import_module(module), name)
