"""The component files below a folder, judged one by one before Dagster reads any of them.

Dagster stops at the first file that is no YAML, and says nothing of the file when the
component's type is misspelt. In: a folder. Out: for each folder whose file cannot be read, the
error with `file:line`, what is wrong, what is allowed.
"""

import importlib
import importlib.util
from collections import defaultdict
from pathlib import Path

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment
from experiment_pipeline.orchestration.yaml_source import shown_path
from experiment_pipeline.spec.reading import ComponentFile, read_component_file

EXPERIMENT = "experiment_pipeline.Experiment"
Errors = dict[Path, ExperimentPipelineError]


def judge_files(folder: Path) -> tuple[list[Path], Errors]:
    """Return the folders of readable experiments, and the errors of all other component files."""
    experiments: dict[str, list[Path]] = defaultdict(list)
    errors: Errors = {}
    for path in sorted([*folder.rglob("defs.yaml"), *folder.rglob("defs.yml")]):
        try:
            if _read(path).type_name == EXPERIMENT:
                experiments[path.parent.name].append(path)
        except InvalidExperiment as error:
            errors[path.parent] = error
    for name, paths in experiments.items():
        if len(paths) > 1:
            errors |= {path.parent: _shared(name, paths) for path in paths}
    alone = [paths[0].parent for paths in experiments.values() if len(paths) == 1]
    return alone, errors


def _shared(name: str, paths: list[Path]) -> InvalidExperiment:
    return InvalidExperiment(
        f"{shown_path(paths[1])}:1",
        f"the folder names the experiment, and {name} is also the one of {shown_path(paths[0])}",
        "rename one of the folders",
    )


def _read(path: Path) -> ComponentFile:
    try:
        file = read_component_file(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidExperiment(
            str(shown_path(path)),
            f"is no UTF-8 text ({error.reason} at byte {error.start})",
            "save the file as UTF-8",
        ) from None
    for problem in file.problems:
        raise InvalidExperiment(
            f"{shown_path(path)}:{problem.line}", problem.message, "edit the file"
        )
    if not _exists(file.type_name):
        raise InvalidExperiment(
            f"{shown_path(path)}:{file.type_line}",
            f"type: there is no component {file.type_name!r}; an experiment's is {EXPERIMENT}",
            "correct the type, or install the package that has it",
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
