"""The YAML door: `type: experiment_pipeline.Experiment`, and everything else in `attributes`.

Dagster's model of the attributes takes every key; the pure ExperimentSpec judges, so that one
declaration serves all and every error names file and line. In: defs.yaml, with schema.yaml beside
it. Out: Definitions.
"""

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import click
import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from experiment_pipeline.errors import (
    ExperimentPipelineError,
    InvalidExperiment,
    InvalidSchema,
    UnknownAlgorithm,
)
from experiment_pipeline.orchestration.assets.shared import reported_to_the_user
from experiment_pipeline.orchestration.executor import in_process_executor
from experiment_pipeline.orchestration.scaffold import ExperimentScaffolder
from experiment_pipeline.spec import NAME, ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.json_schema import defs_yaml_schema
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import YamlFile, read_component
from experiment_pipeline.spec.sentences import Problem, invalid
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.table.features import NamedColumns

# Only these are templates: a column may be called "{{x}}", and Dagster would turn the
# quoted text '1' into a number on the way.
_TEMPLATE = re.compile(r"\{\{\s*env\b")
_VARIABLE = re.compile(r"\benv(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))")


# Places of the YAML that hold values of the table.
_VALUES = (
    r"attributes\.(positive_class|preparation\.missing_values|split\.(train|test|validation))\b"
)


def shown_path(path: Path) -> Path:
    """Relative to the working directory where it lies below it: what an editor can open."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def read_file(path: Path) -> YamlFile:
    """Return a defs.yaml as nodes with lines; InvalidExperiment when it is not YAML."""
    shown = str(shown_path(path))
    return YamlFile(_utf8(path, shown, InvalidExperiment), shown)


def _utf8(path: Path, shown: str, error: type[ExperimentPipelineError]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as wrong:
        rule = f"is not UTF-8 text ({wrong.reason} at byte {wrong.start})"
        raise error(shown, rule, "save the file as UTF-8") from None


EXPERIMENT = "experiment_pipeline.Experiment"
FILES, SCHEMA_FILE = ("defs.yaml", "defs.yml"), "schema.yaml"
LineOf = Callable[[Location], str]
# `dg check defs` and `dagster definitions validate` set it, for code that is stricter then.
VALIDATION = "DAGSTER_IS_DEFS_VALIDATION_CLI"
PLACEHOLDER = "cannot_be_loaded"


class Attributes(BaseModel):
    """Takes whatever the YAML holds: the experiment's specification judges it.

    Its JSON schema is the specification's: what is published knows every key.
    """

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

    Options of the scaffold; what is left out is inferred and reported:

    --data            path or URL of the table (needed)

    --target          the column to predict (needed)

    --task            binary, multiclass or regression

    --positive-class  binary: the class whose probability is predicted

    --metric          what ranks the configurations, such as roc_auc or rmse

    --split           random, group, time or column

    --split-column    the column that the split goes by

    --exclude         a column that is not a feature; repeat it for several

    --id-column       a column that identifies a row; repeat it for several

    --delimiter, --encoding, --endpoint-url, --anonymous true

                      how the table is read, where it cannot be inferred
    """

    def __init__(self, name: str, named: NamedColumns | ExperimentPipelineError) -> None:
        self.name, self._named = name, named

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The permissive model, with the schema of all keys; the judgement is that of `load`."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003 - Dagster's signature
        """Read and judge the folder's YAML; an error waits for `build_defs`."""
        name = context.path.name
        try:
            return cls(name, named_columns(context.path))
        except ExperimentPipelineError as error:
            return cls(name, error)

    @property
    def named(self) -> NamedColumns:
        """What the YAML declares.

        Raises:
            InvalidExperiment, InvalidSchema: with `file:line` of each problem.
        """
        if isinstance(self._named, ExperimentPipelineError):
            raise self._named
        return self._named

    def problem(self) -> ExperimentPipelineError | None:
        """Return what is wrong with the YAML, or with the columns that it names.

        The table's header is looked at where that is cheap.
        """
        from experiment_pipeline.stages.raw_data.sources import peek_columns

        try:
            if (columns := peek_columns(self.named.spec.source)) is not None:
                self.named.check(columns)
        except ExperimentPipelineError as error:
            return error
        return None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Everything Dagster knows of the experiment, or its error in the experiment's place.

        A mismatch with its table is only a warning: a run will stop at it, but tables change.

        Raises:
            ExperimentPipelineError: the command is there to check.
        """
        from experiment_pipeline.orchestration.job import build_experiment

        problem = self.problem()
        if problem is not None and VALIDATION in os.environ:
            raise problem
        if isinstance(self._named, ExperimentPipelineError):
            return placeholder(self.name, self._named)
        if problem is not None:
            _warn_once(f"{self.name} does not fit its table: {problem}")
        return build_experiment(self._named)


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
        name,
        selection=[cannot_be_loaded],
        description=description,
        executor_def=in_process_executor,
    )
    return dg.Definitions(assets=[cannot_be_loaded], jobs=[job])


@functools.cache
def _warn_once(message: str) -> None:
    """Dagster loads the same definitions several times in one command."""
    click.echo(message, err=True)


def named_columns(folder: Path) -> NamedColumns:
    """Read and judge the defs.yaml of a folder, and the schema.yaml beside it.

    Raises:
        InvalidExperiment, InvalidSchema: with `file:line` of each problem.
    """
    folder = folder.absolute()
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        raise InvalidExperiment(
            str(folder), "there is no defs.yaml in it", "name an experiment's folder"
        )
    file = read_file(path)
    given = read_component(file, EXPERIMENT).attributes or {}

    def line_of(location: Location) -> str:
        return file.place(("attributes", *location))

    if switches := file.switches(_VALUES):
        raise invalid([replace(one, location=one.location[1:]) for one in switches], line_of)
    spec = spec_from(folder.name, filled_in(given, line_of), line_of)
    problems = _lacking_packages(spec) + _unknown_to_the_analysis(spec)
    if problems:
        raise invalid(problems, line_of)
    _check_search(spec, line_of)
    schema = folder / SCHEMA_FILE
    return NamedColumns(spec, _schema_text(schema), line_of, str(shown_path(schema)), file.text)


def filled_in(attributes: Mapping[str, Any], line_of: LineOf) -> dict[str, Any]:
    """Return the attributes with `{{ env.NAME }}` replaced by the variable's value.

    Raises:
        InvalidExperiment: a variable is not set, or the template cannot be read.
    """
    unset: list[Problem] = []
    resolution = dg.ResolutionContext.default()

    def filled(value: Any, at: Location) -> Any:
        if isinstance(value, Mapping):
            return {key: filled(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item, (*at, i)) for i, item in enumerate(value)]
        if not isinstance(value, str) or not _TEMPLATE.search(value):
            return value
        names = [dotted or called for dotted, called in _VARIABLE.findall(value)]
        lacking = [name for name in names if name not in os.environ]
        if lacking:
            message = f"the environment variable {lacking[0]} is not set; export {lacking[0]}=…"
            unset.append(Problem(at, message))
            return value
        try:
            return resolution.resolve_value(value)
        except ResolutionException as error:
            last = str(error).strip().splitlines()[-1]
            problem = Problem(at, f"{value!r} is not a template that can be filled in: {last}")
            raise invalid([problem], line_of) from error

    result = {key: filled(value, (key,)) for key, value in attributes.items()}
    if unset:
        raise invalid(unset, line_of)
    return result


def _schema_text(path: Path) -> str:
    """The content of schema.yaml, once it has been judged."""
    from experiment_pipeline.table.schema import shared_schema

    shown = str(shown_path(path))
    if not path.exists():
        raise InvalidExperiment(
            shown,
            "is missing: the schema that the table's rows must satisfy",
            "write it, or copy the one that `dg scaffold defs` infers for the same table",
        )
    text = _utf8(path, shown, InvalidSchema)
    shared_schema(text, shown)
    return text


def _lacking_packages(spec: ExperimentSpec) -> list[Problem]:
    extras = {"mlflow": ("mlflow", "mlflow"), "engine": ("distributed", "dask")}
    return [
        Problem((key,), f"needs a package; pip install 'experiment-pipeline[{extra}]'")
        for key, (package, extra) in extras.items()
        if getattr(spec, key) is not None and find_spec(package) is None
    ]


def _unknown_to_the_analysis(spec: ExperimentSpec) -> list[Problem]:
    """Codes, thresholds and rules that the data analysis does not know."""
    from experiment_pipeline.stages.data_analysis.findings import problems

    return list(problems(spec.analysis))


def _check_search(spec: ExperimentSpec, line_of: LineOf) -> None:
    """Refuse what no algorithm accepts before anything is read or trained."""
    from experiment_pipeline.stages.search.learners import check_demands, check_hyperparameters

    for number, entry in enumerate(spec.search):
        alone = spec.model_copy(update={"search": (entry,)})
        location: Location = ("search", number)
        try:
            found = configurations(alone)
            # Names and texts decide what is refused here.
            for configuration in {
                str({k: v if isinstance(v, str) else 0 for k, v in c.hyperparameters.items()}): c
                for c in found
            }.values():
                check_hyperparameters(configuration, spec.task)
                check_demands(configuration, spec.task, spec)
        except UnknownAlgorithm as error:
            raise _at(line_of, (*location, "algorithm"), error) from None
        except InvalidExperiment as error:
            if error.culprit == f"algorithm {entry.algorithm}":
                raise _at(line_of, (*location, "algorithm"), error) from None
            named = [key for key in entry.hyperparameters if repr(key) in error.rule]
            raise _at(line_of, (*location, "hyperparameters", *named[:1]), error) from None
    configurations(spec)


def _at(
    line_of: LineOf, location: Location, error: InvalidExperiment | UnknownAlgorithm
) -> InvalidExperiment:
    """The same error, beginning with its place in the YAML."""
    return InvalidExperiment(line_of(location), f"{error.culprit}: {error.rule}", error.fix)
