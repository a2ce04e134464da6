"""The YAML door: `type: experiment_pipeline.Experiment`, and every experiment below a `defs/` folder.

Dagster's model of the attributes takes every key; the pure ExperimentSpec judges, so that one
declaration serves all and every error names file and line. An experiment that cannot be loaded stops
no other: its error stands in the place of its job and assets, in the log, and in `dg check defs`,
which fails. A bug keeps its stack, and nothing is loaded.
"""

import functools
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

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

from experiment_pipeline.errors import (
    ExperimentPipelineError,
    InvalidExperiment,
    UnknownAlgorithm,
)
from experiment_pipeline.orchestration.assets.shared import reported_to_the_user
from experiment_pipeline.orchestration.executor import in_process_executor
from experiment_pipeline.orchestration.scaffold import ExperimentScaffolder
from experiment_pipeline.spec import NAME, ExperimentSpec
from experiment_pipeline.spec.experiment import defs_yaml_schema, spec_from
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid, read_component
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.table.features import NamedColumns

# Only these are templates: a column may be called "{{x}}", and Dagster would turn the quoted text '1'
# into a number on the way.
_TEMPLATE = re.compile(r"\{\{\s*env\b")
_VARIABLE = re.compile(r"\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))\s*\}\}")
EXPERIMENT = "experiment_pipeline.Experiment"
FILES, SCHEMA_FILE = ("defs.yaml", "defs.yml"), "schema.yaml"
# `dg check defs` and `dagster definitions validate` set it, for code that is stricter then.
VALIDATION = "DAGSTER_IS_DEFS_VALIDATION_CLI"
PLACEHOLDER = "cannot_be_loaded"


class Attributes(BaseModel):
    """Takes whatever the YAML holds, and publishes the JSON schema of the specification."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _core: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """What editors, the docs page and `dg check yaml` see."""
        return defs_yaml_schema()


@dg.scaffold_with(ExperimentScaffolder)
class Experiment(dg.Component):
    """One machine-learning experiment: one table, one target, one search.

    Becomes the assets from the raw table to the exported model, a job, a schedule
    and a sensor for new data, all named after the folder of its defs.yaml.
    `dg scaffold defs experiment_pipeline.Experiment --help` lists what can be given;
    what is left out is inferred and reported.
    """

    def __init__(self, name: str, named: NamedColumns | ExperimentPipelineError) -> None:
        self.name, self.named = name, named

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The permissive model, with the schema of all keys; the judgement is that of `load`."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003 - Dagster's signature
        """Read and judge the folder's YAML; an error waits for `build_defs`."""
        try:
            return cls(context.path.name, named_columns(context.path))
        except ExperimentPipelineError as error:
            return cls(context.path.name, error)

    def problem(self) -> ExperimentPipelineError | None:
        """What is wrong with the YAML, or with its columns where the table's header is cheap to read."""
        from experiment_pipeline.stages.raw_data.sources import peek_columns

        if isinstance(self.named, ExperimentPipelineError):
            return self.named
        try:
            if (columns := peek_columns(self.named.spec.source)) is not None:
                self.named.check(columns)
        except ExperimentPipelineError as error:
            return error
        return None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Everything Dagster knows of the experiment, or its error in the experiment's place.

        A mismatch with its table is only a warning, as tables change; an error in a command to check.
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
    """A job of the experiment's name whose run fails with the error, and one asset for the graph."""
    _warn_once(f"{name} is left out: {error}")
    if not re.fullmatch(NAME, name):
        name = "experiment_" + re.sub(r"\W", "_", name, flags=re.ASCII)
    description = f"This experiment cannot be loaded:\n\n```\n{error}\n```"

    @dg.asset(name=PLACEHOLDER, key_prefix=name, group_name=name, description=description)
    def cannot_be_loaded() -> None:
        with reported_to_the_user():
            raise error

    job = dg.define_asset_job(
        name, [cannot_be_loaded], description=description, executor_def=in_process_executor
    )
    return dg.Definitions(assets=[cannot_be_loaded], jobs=[job])


@functools.cache
def _warn_once(message: str) -> None:
    """Dagster loads the same definitions several times in one command."""
    click.echo(message, err=True)


def read_experiment(folder: str | Path) -> ExperimentSpec:
    """Return what the folder of an experiment declares; errors name `file:line` of each problem.

    >>> read_experiment("experiment_pipeline/defs/flight_delay").metric
    'roc_auc'
    """
    return named_columns(Path(folder)).spec


def named_columns(folder: Path) -> NamedColumns:
    """Read and judge the defs.yaml of a folder, and the schema.yaml beside it. Raises
    InvalidExperiment, InvalidSchema: with `file:line` of each problem.
    """
    from experiment_pipeline.orchestration.job import refused_by_dagster
    from experiment_pipeline.stages.data_analysis import findings

    folder = folder.absolute()
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        fix = "name an experiment's folder"
        raise InvalidExperiment(str(folder), "there is no defs.yaml in it", fix)
    file = YamlFile(_text(path), str(shown_path(path)))
    given = read_component(file, EXPERIMENT).attributes or {}

    def line_of(location: Location) -> str:
        return file.place(("attributes", *location))

    problems: list[Problem] = []
    filled = filled_in(given, problems)
    if problems:
        raise invalid(problems, line_of)
    spec = spec_from(folder.name, filled, line_of, needs_data=True)
    for key, package, extra in (("mlflow",) * 3, ("engine", "distributed", "dask")):
        if getattr(spec, key) is not None and find_spec(package) is None:
            fix = f"needs a package; pip install 'experiment-pipeline[{extra}]'"
            problems.append(Problem((key,), fix))
    problems += [*findings.problems(spec.analysis), *refused_by_dagster(spec)]
    if problems:
        raise invalid(problems, line_of)
    _check_search(spec, line_of)
    schema = folder / SCHEMA_FILE
    if not schema.exists():
        raise InvalidExperiment(
            str(shown_path(schema)),
            "is missing: the schema that the table's rows must satisfy",
            "write it, or copy the one that `dg scaffold defs` infers for the same table",
        )
    text = _text(schema)
    named = NamedColumns(spec, text, line_of, str(shown_path(schema)), file.text)
    named.check_types()
    return named


def shown_path(path: Path) -> Path:
    """Relative to the working directory where it lies below it: what an editor can open."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _text(path: Path) -> str:
    # What is not UTF-8 is not YAML, and has a line there.
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def filled_in(value: Any, problems: list[Problem], at: Location = ()) -> Any:
    """Return a value of the YAML with each `{{ env.NAME }}` replaced; what cannot be is a problem."""
    if isinstance(value, Mapping):
        return {key: filled_in(item, problems, (*at, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, problems, (*at, i)) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in (dotted or called for dotted, called in _VARIABLE.findall(value)):
        if name not in os.environ:
            message = f"the environment variable {name} is not set; export {name}=…"
            problems.append(Problem(at, message))
    if _TEMPLATE.search(_VARIABLE.sub("", value)):
        problems.append(Problem(at, f"{value!r} is not a template; write {{{{ env.NAME }}}}"))
    return _VARIABLE.sub(lambda found: os.environ.get(found[1] or found[2], ""), value)


def _check_search(spec: ExperimentSpec, line_of: Any) -> None:
    """Refuse what no algorithm accepts before anything is read or trained."""
    from experiment_pipeline.stages.search.learners import check_hyperparameters
    from experiment_pipeline.stages.search.learners.estimators import check_demands

    for number, entry in enumerate(spec.search):
        place: Location = ("search", number, "algorithm")
        try:
            # Names and single values decide what is refused here.
            checked = set[object]()
            for configuration in configurations(spec.model_copy(update={"search": (entry,)})):
                given = configuration.hyperparameters
                if not {*given.items(), tuple(given)} <= checked:
                    check_hyperparameters(configuration, spec.task)
                    check_demands(configuration, spec)
                checked |= {*given.items(), tuple(given)}
        except (UnknownAlgorithm, InvalidExperiment) as error:
            named = [key for key in entry.hyperparameters if repr(key) in error.rule]
            if named:
                place = ("search", number, "hyperparameters", named[0])
            rule = f"{error.culprit}: {error.rule}"
            raise InvalidExperiment(line_of(place), rule, error.fix) from None
    configurations(spec)


@record(checked=False)  # as its parent: a module is a field
class ReadableTree(dg.ComponentTree):
    """Dagster's tree of components, without the folders that cannot be read.

    The defs.yaml of a folder above one of them is ignored.
    """

    unreadable: Collection[Path] = ()

    def _get_filesystem_decl(self) -> ComponentDecl:
        root = ComponentPath.from_path(self.defs_module_path)
        if self.unreadable and self.state_tracker.get_cache_data(root).component_decl is None:
            found = self._readable(self.decl_load_context.for_component_loc(root))
            self.state_tracker.set_cache_data(root, component_decl=found)
        return super()._get_filesystem_decl()

    def _readable(self, context: ComponentDeclLoadContext) -> ComponentDecl | None:
        """What Dagster makes of a folder, without those below it that are left out."""
        if context.path in self.unreadable:
            return None
        if not any(context.path in folder.parents for folder in self.unreadable):
            return build_filesystem_component_decl_from_context(context)
        children: dict[Path, ComponentDecl] = {}
        for path in sorted(context.path.iterdir()):
            if path.name != "__pycache__" and not path.name.startswith("."):
                inner = self._readable(context.for_component_loc(ComponentPath.from_path(path)))
                children |= {} if inner is None else {path: inner}
        return DefsFolderDecl(
            context=context,
            loc=ComponentPath.from_path(context.path),
            children=children,
            source_tree=None,
            component_file_model=None,
        )


def load_experiments(tree: ReadableTree) -> dg.Definitions:
    """Everything that can be loaded, and a placeholder for each experiment that cannot.
    Raises click.ClickException: the command is there to check; or the folder's own file is wrong.

    The component files are judged before Dagster reads any, because it stops at the first that is not
    YAML, and does not name the file of a misspelt type.
    """
    root = tree.defs_module_path
    experiments: dict[str, list[Path]] = defaultdict(list)
    errors: dict[Path, ExperimentPipelineError] = {}
    for path in sorted(path for name in FILES for path in root.rglob(name)):
        try:
            if _type_of(path) == EXPERIMENT:
                experiments[path.parent.name].append(path.parent)
        except InvalidExperiment as error:
            errors[path.parent] = error
    for name, (first, *others) in experiments.items():
        if others:
            place = f"{shown_path(others[0])}/defs.yaml:1"
            rule = (
                f"the folder names the experiment, and {name} is also that of {shown_path(first)}"
            )
            shared = InvalidExperiment(place, rule, "rename one of the folders")
            errors |= dict.fromkeys([first, *others], shared)
    tree = replace(tree, unreadable=tuple(errors))
    with warnings.catch_warnings():
        # As in Dagster's own `load_from_defs_folder`: it calls what its libraries have deprecated.
        warnings.simplefilter("ignore", category=DeprecationWarning)
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
    """The component that a file names; InvalidExperiment for one that Dagster could not load."""
    file = YamlFile(_text(path), str(shown_path(path)))
    name = read_component(file, EXPERIMENT).type
    module, _, attribute = name.rpartition(".")
    try:
        known = name.startswith(".") or (module and hasattr(import_module(module), attribute))
    except ImportError:
        known = False
    if not known:
        rule = f"type: there is no component {name!r}; an experiment's is {EXPERIMENT}"
        fix = "correct the type, or install the package that has it"
        raise InvalidExperiment(file.place(("type",)), rule, fix)
    return name
