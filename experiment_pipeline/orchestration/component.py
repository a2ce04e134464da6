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
import sys
import warnings
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import click
import dagster as dg
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
# Words of the command that loads definitions for Dagster's web server.
_CODE_SERVER = frozenset({"grpc", "code-server"})
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
        self.name = name
        self.named = named

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
        return cls.of_folder(context.path)

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Read and validate the YAML of a folder."""
        from experiment_pipeline.experiment.files import named_columns
        from experiment_pipeline.orchestration.job import refused_by_dagster

        try:
            return cls(folder.name, named_columns(folder, refused_by_dagster))
        except ExperimentPipelineError as error:
            return cls(folder.name, error)

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
        from experiment_pipeline.experiment.files import secret_warnings
        from experiment_pipeline.orchestration.job import build_experiment
        from experiment_pipeline.tracking.guard import ADVICE, is_guarded

        problem = self.problem()
        if problem is not None and VALIDATION in os.environ:
            raise problem
        if isinstance(self.named, ExperimentPipelineError):
            return placeholder(self.name, self.named)
        if problem is not None:
            _warn_once(f"{self.name} does not fit its table: {problem}")
        for warning in secret_warnings(self.named):
            _warn_once(warning)
        if _CODE_SERVER.intersection(sys.argv) and not is_guarded():
            _warn_once(ADVICE)
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
    keys = [[name, asset] for stage in STAGES.values() for asset in stage.assets]
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


def load_experiments(path_within_project: Path) -> dg.Definitions:
    """Load a project like `dg.load_from_defs_folder`, whatever a YAML file holds.

    >>> from pathlib import Path
    >>> [job.name for job in load_experiments(Path("experiment_pipeline")).jobs]
    ['flight_delay', 'life_expectancy', 'rodent_species', 'room_rate']

    A broken YAML file stops only its experiment. `path_within_project`: any folder of
    the project. Raises click.ClickException with every error in a command that checks
    definitions, or if the YAML file of `defs/` itself is wrong.
    """
    return load_tree(dg.ComponentTree.for_project(path_within_project))


def load_tree(tree: dg.ComponentTree) -> dg.Definitions:
    """Return all definitions, with a placeholder for each that cannot be loaded.

    The component files are checked before Dagster reads them, because Dagster stops at
    the first that is not YAML, and does not name the file of a misspelt type.
    """
    root = tree.defs_module_path
    experiments, errors = _component_files(root)
    with warnings.catch_warnings():
        # As Dagster's own `load_from_defs_folder` does: it calls deprecated, beta and
        # preview code.
        for category in (DeprecationWarning, dg.BetaWarning, dg.PreviewWarning):
            warnings.simplefilter("ignore", category=category)
        if VALIDATION in os.environ or root in errors:
            _refuse_problems(experiments, errors)
        if not errors:
            return tree.build_defs()
        placeholders = {folder.name: error for folder, error in errors.items()}
        return dg.Definitions.merge(
            *_sound_definitions(tree, root, errors.keys()),
            *(placeholder(name, error) for name, error in placeholders.items()),
        )


def _component_files(
    root: Path,
) -> tuple[list[Path], dict[Path, ExperimentPipelineError]]:
    """Return the folders of experiments, and folder → error of those with one."""
    from experiment_pipeline.experiment.files import EXPERIMENT, FILES, shown_path

    experiments: dict[str, list[Path]] = {}
    errors: dict[Path, ExperimentPipelineError] = {}
    for path in sorted(path for name in FILES for path in root.rglob(name)):
        try:
            if _type_of(path) == EXPERIMENT:
                experiments.setdefault(path.parent.name, []).append(path.parent)
        except InvalidExperiment as error:
            errors[path.parent] = error
    for name, folders in experiments.items():
        if len(folders) > 1:
            first, second = folders[:2]
            shared = InvalidExperiment(
                f"{shown_path(second)}/defs.yaml:1",
                rule=f"the folder names the experiment, and {shown_path(first)} has "
                f"the same name: {name}",
                fix="rename one of the folders",
            )
            errors |= dict.fromkeys(folders, shared)
    return [folder for folders in experiments.values() for folder in folders], errors


def _refuse_problems(
    experiments: list[Path], errors: dict[Path, ExperimentPipelineError]
) -> None:
    """Raise click.ClickException with the errors, and those of the other
    experiments.
    """
    problems = list(errors.values())
    for folder in experiments:
        if not {folder, *folder.parents} & errors.keys():
            problem = Experiment.of_folder(folder).problem()
            problems += [] if problem is None else [problem]
    if problems:
        raise click.ClickException("\n".join(dict.fromkeys(map(str, problems))))


def _sound_definitions(
    tree: dg.ComponentTree, folder: Path, broken: Collection[Path]
) -> Iterator[dg.Definitions]:
    """Load what lies below a folder, without the broken folders.

    The defs.yaml of any folder above a broken one is ignored.
    """
    if folder in broken:
        return
    module = ModuleType(tree.defs_module_name)
    if folder != tree.defs_module_path:
        inner = folder.relative_to(tree.defs_module_path)
        module = ModuleType(".".join([tree.defs_module_name, *inner.parts]))
    module.__file__ = str(folder / "__init__.py")
    module.__path__ = [str(folder)]
    if not any(folder in place.parents for place in broken):
        part = dg.ComponentTree(defs_module=module, project_root=tree.project_root)
        yield _without_tree(part.build_defs())
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir():
            yield from _sound_definitions(tree, path, broken)
        elif path.suffix == ".py":
            python = import_module(f"{module.__name__}.{path.stem}")
            yield dg.load_definitions_from_module(python)


def _without_tree(definitions: dg.Definitions) -> dg.Definitions:
    """Return definitions that can be merged with those of another component tree."""
    return dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        jobs=definitions.jobs,
        schedules=definitions.schedules,
        sensors=definitions.sensors,
        resources=definitions.resources,
        executor=definitions.executor,
        loggers=definitions.loggers,
    )


def _type_of(path: Path) -> str:
    """The component type that a file names; InvalidExperiment for one that Dagster
    cannot import.
    """
    from experiment_pipeline.experiment.files import EXPERIMENT, shown_path, yaml_text

    file = YamlFile(yaml_text(path), str(shown_path(path)))
    name = read_component(file, EXPERIMENT).type
    module, _, attribute = name.rpartition(".")
    try:
        exists = name.startswith(".") or (
            module and hasattr(import_module(module), attribute)
        )
    except ImportError:
        exists = False
    if not exists:
        raise InvalidExperiment(
            file.place(("type",)),
            rule=f"type: there is no component {name!r}; that of an experiment is "
            f"{EXPERIMENT}",
            fix="correct the type, or install the package that provides it",
        )
    return name
