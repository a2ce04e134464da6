"""Read and validate an experiment's folder, defs.yaml and schema.yaml, without a
scheduler.

Every problem is reported with its file and line, before a table is read or a model
trained.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiment_pipeline.errors import InvalidExperiment, UnknownAlgorithm
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import defs_yaml_schema, spec_from
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid, read_component
from experiment_pipeline.spec.schema import SchemaFile
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.table.features import NamedColumns

# Only `{{ env… }}` is a template: a column may be called "{{x}}". Dagster's own
# templates are not used, because they would turn the quoted text '1' into a number.
_TEMPLATE = re.compile(r"\{\{\s*env\b")
_VARIABLE = re.compile(r"\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))\s*\}\}")
EXPERIMENT = "experiment_pipeline.Experiment"
FILES, SCHEMA_FILE = ("defs.yaml", "defs.yml"), "schema.yaml"


def read_experiment(folder: str | Path) -> ExperimentSpec:
    """Return what the folder of an experiment declares, without running anything.

    >>> read_experiment("experiment_pipeline/defs/flight_delay").metric
    'roc_auc'

    Raises:
        InvalidExperiment, InvalidSchema: with `file:line` of each problem.
    """
    return named_columns(Path(folder)).spec


Refused = Callable[[ExperimentSpec], Sequence[Problem]]


def named_columns(folder: Path, refused: Refused = lambda _: ()) -> NamedColumns:
    """Read and validate the defs.yaml of a folder, and the schema.yaml beside it.

    `refused` returns problems that only a scheduler can find. Raises InvalidExperiment,
    InvalidSchema: with `file:line` of each problem.
    """
    folder = folder.absolute()
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        fix = "name an experiment's folder"
        raise InvalidExperiment(str(folder), "there is no defs.yaml in it", fix)
    file, schema = (
        YamlFile(yaml_text(path), str(shown_path(path))),
        folder / SCHEMA_FILE,
    )
    found = yaml_text(schema) if schema.exists() else None
    return judged(folder.name, file, found, str(shown_path(schema)), refused)


def judged(
    name: str,
    file: YamlFile,
    schema_text: str | None,
    schema_path: str = SCHEMA_FILE,
    refused: Refused = lambda _: (),
) -> NamedColumns:
    """Return what the two files of an experiment declare; raises as `named_columns`."""
    from experiment_pipeline.stages.data_analysis import findings
    from experiment_pipeline.stages.search.own_features import OwnTransformer

    given = read_component(file, EXPERIMENT).attributes or {}

    def line_of(location: Location) -> str:
        return file.place(("attributes", *location))

    problems: list[Problem] = []
    filled = filled_in(given, problems)
    if problems:
        raise invalid(problems, line_of)
    spec = spec_from(name, filled, line_of, needs_data=True)
    for key, package, extra in (("mlflow",) * 3, ("engine", "distributed", "dask")):
        if getattr(spec, key) is not None and find_spec(package) is None:
            fix = f"needs a package; pip install 'experiment-pipeline[{extra}]'"
            problems.append(Problem((key,), fix))
    if spec.features is not None:
        try:
            OwnTransformer(
                spec.features.transformer, spec.features.arguments, 0, {}
            ).make()
        except InvalidExperiment as error:
            problems.append(Problem((error.culprit,), f"{error.rule}; {error.fix}"))
    problems += [*findings.problems(spec.analysis), *refused(spec)]
    if problems:
        raise invalid(problems, line_of)
    _check_search(spec, line_of)
    if schema_text is None:
        rule = "is missing: the schema that the table's rows must satisfy"
        fix = "write it, or copy the one that `dg scaffold defs` infers for the same table"
        raise InvalidExperiment(schema_path, rule, fix)
    named = NamedColumns(spec, schema_text, line_of, schema_path, file.text)
    named.check_types()
    return named


def shown_path(path: Path) -> Path:
    """The path relative to the working directory if it is below it, so that an editor
    can open it.
    """
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def yaml_text(path: Path) -> str:
    """Return the text of a file; bytes that are not UTF-8 are kept, and reported later
    with their line.
    """
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def filled_in(value: Any, problems: list[Problem], at: Location = ()) -> Any:
    """Return a YAML value with each `{{ env.NAME }}` replaced; appends to `problems`
    where that fails.
    """
    if isinstance(value, Mapping):
        return {
            key: filled_in(item, problems, (*at, key)) for key, item in value.items()
        }
    if isinstance(value, list):
        return [filled_in(item, problems, (*at, i)) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in (dotted or called for dotted, called in _VARIABLE.findall(value)):
        if name not in os.environ:
            message = f"the environment variable {name} is not set; export {name}=…"
            problems.append(Problem(at, message))
    if _TEMPLATE.search(_VARIABLE.sub("", value)):
        problems.append(
            Problem(at, f"{value!r} is not a template; write {{{{ env.NAME }}}}")
        )
    return _VARIABLE.sub(lambda found: os.environ.get(found[1] or found[2], ""), value)


def _check_search(spec: ExperimentSpec, line_of: Any) -> None:
    """Refuse hyperparameters that an algorithm does not accept, before anything is read
    or trained.
    """
    from experiment_pipeline.stages.search.learners import check_hyperparameters
    from experiment_pipeline.stages.search.learners.estimators import check_demands

    for number, entry in enumerate(spec.search):
        place: Location = ("search", number, "algorithm")
        try:
            # Only names and single values are checked, so a configuration without new
            # ones is skipped.
            checked = set[object]()
            for configuration in configurations(
                spec.model_copy(update={"search": (entry,)})
            ):
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


def json_schema(file: str) -> dict[str, Any]:
    """Return the JSON schema of a whole file: schema.yaml if it is named, else
    defs.yaml.
    """
    if file == SCHEMA_FILE:
        return SchemaFile.model_json_schema()
    keys = {"type": {"const": EXPERIMENT}, "attributes": defs_yaml_schema()}
    return {"type": "object", "properties": keys, "required": list(keys)}
