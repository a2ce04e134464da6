"""Every experiment below `defs/`, each on its own: one that cannot be loaded stops no other.

Its error stands where people look for it: in place of its job and its assets, in the log, and
in `dg check defs`, which fails. The component files are judged before Dagster reads any, because it
stops at the first that is not YAML, and does not name the file of a misspelt type. A bug keeps its
stack, and nothing is loaded.
"""

import importlib
import importlib.util
import itertools
import os
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

import click
import dagster as dg
from dagster.components.core.context import ComponentDeclLoadContext
from dagster.components.core.decl import (
    ComponentDecl,
    DefsFolderDecl,
    build_filesystem_component_decl_from_context,
)
from dagster.components.core.defs_module import ComponentPath
from dagster_shared.record import record, replace

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment
from experiment_pipeline.orchestration import component
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.reading import read_component

Errors = dict[Path, ExperimentPipelineError]


def judge_files(folder: Path) -> tuple[list[Path], Errors]:
    """Return the folders of readable experiments, and the errors of all other component files."""
    experiments: dict[str, list[Path]] = defaultdict(list)
    errors: Errors = {}
    for path in sorted(path for name in component.FILES for path in folder.rglob(name)):
        try:
            if _type_of(path) == component.EXPERIMENT:
                experiments[path.parent.name].append(path)
        except InvalidExperiment as error:
            errors[path.parent] = error
    for name, paths in experiments.items():
        if len(paths) > 1:
            errors |= {path.parent: _shared(name, paths) for path in paths}
    alone = [paths[0].parent for paths in experiments.values() if len(paths) == 1]
    return alone, errors


def read_experiment(folder: str | Path) -> ExperimentSpec:
    """Return what the folder of an experiment declares, without anything being run.

    >>> read_experiment("experiment_pipeline/defs/flight_delay").metric
    'roc_auc'

    Raises:
        InvalidExperiment, InvalidSchema: with `file:line` of each problem.
    """
    return component.named_columns(Path(folder)).spec


def _shared(name: str, paths: list[Path]) -> InvalidExperiment:
    return InvalidExperiment(
        f"{component.shown_path(paths[1])}:1",
        f"the folder names the experiment, and {name} is also the one of {component.shown_path(paths[0])}",
        "rename one of the folders",
    )


def _type_of(path: Path) -> str:
    """The component that a file names; InvalidExperiment for one that Dagster could not load."""
    file = component.read_file(path)
    name = read_component(file, component.EXPERIMENT).type
    if not _exists(name):
        raise InvalidExperiment(
            file.place(("type",)),
            f"type: there is no component {name!r}; an experiment's is {component.EXPERIMENT}",
            "correct the type, or install the package that has it",
        )
    return name


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


@record(checked=False)  # as its parent: a module is a field
class ReadableTree(dg.ComponentTree):
    """Dagster's tree of components, without the folders that cannot be read.

    A folder of folders that has a defs.yaml of its own is ignored while one of those
    below it is left out.
    """

    unreadable: Collection[Path] = ()

    def _get_filesystem_decl(self) -> ComponentDecl:
        root = ComponentPath.from_path(self.defs_module_path)
        if self.unreadable and self.state_tracker.get_cache_data(root).component_decl is None:
            context = self.decl_load_context.for_component_loc(root)
            self.state_tracker.set_cache_data(
                root, component_decl=_readable(context, self.unreadable)
            )
        return super()._get_filesystem_decl()


def load_experiments(tree: ReadableTree) -> dg.Definitions:
    """Everything that can be loaded, and a placeholder for each experiment that cannot.

    Raises:
        click.ClickException: the command is there to check, and something is wrong; or the folder's own
            file is.
    """
    with warnings.catch_warnings():
        # As in Dagster's own `load_from_defs_folder`: it calls what its libraries have deprecated.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        return _loaded(tree)


def _loaded(tree: ReadableTree) -> dg.Definitions:
    root = tree.defs_module_path
    folders, errors = judge_files(root)
    tree = replace(tree, unreadable=tuple(errors))
    if component.VALIDATION in os.environ or root in errors:
        wrong = [*errors.values(), *_problems(tree, folders)]
        if wrong:
            raise click.ClickException("\n".join(dict.fromkeys(map(str, wrong))))
    by_name = {folder.name: error for folder, error in errors.items()}
    return dg.Definitions.merge(
        tree.build_defs(), *itertools.starmap(component.placeholder, by_name.items())
    )


def _problems(tree: ReadableTree, folders: Collection[Path]) -> Iterator[ExperimentPipelineError]:
    for folder in folders:
        if not set(folder.parents) & set(tree.unreadable):
            problem = tree.load_component(folder, component.Experiment).problem()
            if problem is not None:
                yield problem


def _readable(
    context: ComponentDeclLoadContext, unreadable: Collection[Path]
) -> ComponentDecl | None:
    """What Dagster makes of a folder, without those below it that are left out."""
    if context.path in unreadable:
        return None
    if not any(context.path in folder.parents for folder in unreadable):
        return build_filesystem_component_decl_from_context(context)
    ignored = ("__pycache__", *(path.name for path in context.path.glob(".*")))
    below = [path for path in sorted(context.path.iterdir()) if path.name not in ignored]
    contexts = {path: context.for_component_loc(ComponentPath.from_path(path)) for path in below}
    found = {path: _readable(inner, unreadable) for path, inner in contexts.items()}
    return DefsFolderDecl(
        context=context,
        loc=ComponentPath.from_path(context.path),
        children={path: decl for path, decl in found.items() if decl is not None},
        source_tree=None,
        component_file_model=None,
    )
