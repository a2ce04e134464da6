"""The component `experiment_pipeline.Experiment`, and loading every experiment below a
`defs/` folder.

Dagster's model of the attributes accepts any key; ExperimentSpec validates them, so
that there is one declaration and every error names file and line. An experiment that
cannot be loaded does not stop the
others: its error replaces its job and assets, is logged, and makes `dg check defs`
fail. A bug raises with its stack trace, and nothing is loaded. Heavy modules are
imported inside functions: a command that only lists components needs no pandas.
"""

import functools
import os
import re
import warnings
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment
from experiment_pipeline.orchestration.scaffold import ExperimentScaffolder
from experiment_pipeline.spec import NAME
from experiment_pipeline.spec.experiment import defs_yaml_schema
from experiment_pipeline.spec.reading import YamlFile, read_component

if TYPE_CHECKING:
    from experiment_pipeline.table.features import NamedColumns

# `dg check defs` and `dagster definitions validate` set this variable; loading is
# stricter then.
VALIDATION = "DAGSTER_IS_DEFS_VALIDATION_CLI"
PLACEHOLDER = "cannot_be_loaded"


class Attributes(BaseModel):
    """Accepts any YAML attributes, and publishes the JSON schema of ExperimentSpec."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _core: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema that editors, the docs page and `dg check yaml` use."""
        return defs_yaml_schema()


@dg.scaffold_with(ExperimentScaffolder)
class Experiment(dg.Component):
    """One machine-learning experiment: one table, one target, one search.

    Becomes the assets from the raw table to the exported model, a job, a schedule
    and a sensor for new data, all named after the folder of its defs.yaml.
    `dg scaffold defs experiment_pipeline.Experiment --help` lists the options;
    what you leave out is inferred and reported.
    """

    def __init__(
        self, name: str, named: "NamedColumns | ExperimentPipelineError"
    ) -> None:
        self.name, self.named = name, named

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The permissive model, with the schema of all keys; `load` validates."""
        return Attributes

    @classmethod
    def load(
        cls,
        attributes: BaseModel | None,  # noqa: ARG003
        context: dg.ComponentLoadContext,
    ) -> Self:
        """Read and validate the folder's YAML; `build_defs` reports an error."""
        from experiment_pipeline.experiment.files import named_columns
        from experiment_pipeline.orchestration.job import refused_by_dagster

        try:
            return cls(
                context.path.name, named_columns(context.path, refused_by_dagster)
            )
        except ExperimentPipelineError as error:
            return cls(context.path.name, error)

    def problem(self) -> ExperimentPipelineError | None:
        """The error in the YAML, or in its column names where the table's header is
        cheap to read.
        """
        from experiment_pipeline.intake.sources import peek_columns

        if isinstance(self.named, ExperimentPipelineError):
            return self.named
        try:
            if (columns := peek_columns(self.named.spec.source)) is not None:
                self.named.check(columns)
        except ExperimentPipelineError as error:
            return error
        return None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """The definitions of the experiment, or a placeholder that holds its error.

        A mismatch with its table is only a warning, as tables change; `dg check defs`
        makes it an error.
        """
        from experiment_pipeline.orchestration.job import build_experiment

        problem = self.problem()
        if problem is not None and VALIDATION in os.environ:
            raise problem
        if isinstance(self.named, ExperimentPipelineError):
            return placeholder(self.name, self.named)
        if problem is not None:
            _warn_once(f"{self.name} does not fit its table: {problem}")
        return build_experiment(self.named)


def placeholder(name: str, error: ExperimentPipelineError) -> dg.Definitions:
    """A job of the experiment's name whose run fails with the error, an asset that says
    so, and bare keys.
    """
    from experiment_pipeline.orchestration.executor import in_process_executor
    from experiment_pipeline.orchestration.reporter import reported_to_the_user
    from experiment_pipeline.stages.registry import STAGES

    _warn_once(f"{name} is left out: {error}")
    if not re.fullmatch(NAME, name):
        name = "experiment_" + re.sub(r"\W", "_", name, flags=re.ASCII)
    description = f"This experiment cannot be loaded:\n\n```\n{error}\n```"

    @dg.asset(
        name=PLACEHOLDER, key_prefix=name, group_name=name, description=description
    )
    def cannot_be_loaded() -> None:
        with reported_to_the_user():
            raise error

    job = dg.define_asset_job(
        name,
        [cannot_be_loaded],
        description=description,
        executor_def=in_process_executor,
    )
    # Other assets may take these as inputs: with the keys absent, the whole code
    # location would not load.
    keys = [[name, one] for stage in STAGES.values() for one in stage.assets]
    absent = [
        dg.AssetSpec(key, group_name=name, description=description) for key in keys
    ]
    return dg.Definitions(assets=[cannot_be_loaded, *absent], jobs=[job])


@functools.cache
def _warn_once(message: str) -> None:
    """Print a message once: Dagster loads the same definitions several times in one
    command.
    """
    click.echo(message, err=True)


@record(checked=False)  # like its parent, which has a module as a field
class ReadableTree(dg.ComponentTree):
    """Dagster's tree of components, without the folders that cannot be read.

    The defs.yaml of any folder above an unreadable one is ignored.
    """

    unreadable: Collection[Path] = ()

    def _get_filesystem_decl(self) -> ComponentDecl:
        root = ComponentPath.from_path(self.defs_module_path)
        if (
            self.unreadable
            and self.state_tracker.get_cache_data(root).component_decl is None
        ):
            found = self._readable(self.decl_load_context.for_component_loc(root))
            self.state_tracker.set_cache_data(root, component_decl=found)
        return super()._get_filesystem_decl()

    def _readable(self, context: ComponentDeclLoadContext) -> ComponentDecl | None:
        """Dagster's declaration of a folder, without the unreadable folders
        below it.
        """
        if context.path in self.unreadable:
            return None
        if not any(context.path in folder.parents for folder in self.unreadable):
            return build_filesystem_component_decl_from_context(context)
        children: dict[Path, ComponentDecl] = {}
        for path in sorted(context.path.iterdir()):
            if path.name != "__pycache__" and not path.name.startswith("."):
                inner = self._readable(
                    context.for_component_loc(ComponentPath.from_path(path))
                )
                children |= {} if inner is None else {path: inner}
        return DefsFolderDecl(
            context=context,
            loc=ComponentPath.from_path(context.path),
            children=children,
            source_tree=None,
            component_file_model=None,
        )


def load_experiments(path_within_project: Path) -> dg.Definitions:
    """Load a project like `dg.load_from_defs_folder`, but a broken YAML file stops only
    its experiment.

    >>> from pathlib import Path
    >>> [job.name for job in load_experiments(Path("experiment_pipeline")).jobs]
    ['flight_delay', 'life_expectancy', 'rodent_species', 'room_rate']

    `path_within_project`: any folder of the project. Raises click.ClickException with
    every error in a command that checks definitions, or if the YAML file of `defs/`
    itself is wrong.
    """
    return load_tree(ReadableTree.for_project(path_within_project))


def load_tree(tree: ReadableTree) -> dg.Definitions:
    """The definitions of all experiments, with a placeholder for each that cannot be
    loaded.

    The component files are checked before Dagster reads them, because Dagster stops at
    the first that is not YAML, and does not name the file of a misspelt type.
    """
    from experiment_pipeline.experiment.files import EXPERIMENT, FILES, shown_path

    root = tree.defs_module_path
    experiments: dict[str, list[Path]] = {}
    errors: dict[Path, ExperimentPipelineError] = {}
    for path in sorted(path for name in FILES for path in root.rglob(name)):
        try:
            if _type_of(path) == EXPERIMENT:
                experiments.setdefault(path.parent.name, []).append(path.parent)
        except InvalidExperiment as error:
            errors[path.parent] = error
    for name, (first, *others) in experiments.items():
        if others:
            place = f"{shown_path(others[0])}/defs.yaml:1"
            rule = f"the folder names the experiment, and {shown_path(first)} has the same name: {name}"
            shared = InvalidExperiment(place, rule, "rename one of the folders")
            errors |= dict.fromkeys([first, *others], shared)
    tree = replace(tree, unreadable=tuple(errors))
    with warnings.catch_warnings():
        # As Dagster's own `load_from_defs_folder` does: it calls deprecated, beta and
        # preview code.
        for category in (DeprecationWarning, dg.BetaWarning, dg.PreviewWarning):
            warnings.simplefilter("ignore", category=category)
        if VALIDATION in os.environ or root in errors:
            folders = [folder for group in experiments.values() for folder in group]
            sound = [one for one in folders if not {one, *one.parents} & errors.keys()]
            problems = [tree.load_component(one, Experiment).problem() for one in sound]
            if wrong := [*errors.values(), *filter(None, problems)]:
                raise click.ClickException("\n".join(dict.fromkeys(map(str, wrong))))
        by_name = {folder.name: error for folder, error in errors.items()}
        left_out = [placeholder(name, error) for name, error in by_name.items()]
        return dg.Definitions.merge(tree.build_defs(), *left_out)


def _type_of(path: Path) -> str:
    """The component type that a file names; InvalidExperiment for one that Dagster
    cannot import.
    """
    from experiment_pipeline.experiment.files import EXPERIMENT, shown_path, yaml_text

    file = YamlFile(yaml_text(path), str(shown_path(path)))
    name = read_component(file, EXPERIMENT).type
    module, _, attribute = name.rpartition(".")
    try:
        known = name.startswith(".") or (
            module and hasattr(import_module(module), attribute)
        )
    except ImportError:
        known = False
    if not known:
        rule = f"type: there is no component {name!r}; that of an experiment is {EXPERIMENT}"
        fix = "correct the type, or install the package that provides it"
        raise InvalidExperiment(file.place(("type",)), rule, fix)
    return name
