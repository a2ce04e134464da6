"""Read and validate an experiment's folder, without a scheduler.

Every problem is reported with its file and line, before a table is read or a model
trained.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiment_pipeline.errors import InvalidExperiment, UnknownAlgorithm
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import defs_yaml_schema, spec_from
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid, read_component
from experiment_pipeline.spec.schema import SchemaFile
from experiment_pipeline.spec.templates import Templates
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.masking import secret_lines
from experiment_pipeline.table.features import NamedColumns

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


Refused = Callable[[ExperimentSpec], Iterable[Problem]]


def named_columns(folder: Path, refused: Refused = lambda _: ()) -> NamedColumns:
    """Read and validate the defs.yaml of a folder, and the schema.yaml beside it.

    `refused` returns problems that only its caller can find. Raises InvalidExperiment,
    InvalidSchema: with `file:line` of each problem.
    """
    folder = folder.absolute()
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        raise InvalidExperiment(
            str(folder),
            rule="there is no defs.yaml in it",
            fix="name an experiment's folder",
        )
    file = YamlFile(yaml_text(path), str(shown_path(path)))
    schema = folder / SCHEMA_FILE
    schema_text = yaml_text(schema) if schema.exists() else None
    return judged(folder.name, file, schema_text, str(shown_path(schema)), refused)


def judged(
    name: str,
    file: YamlFile,
    schema_text: str | None,
    schema_path: str = SCHEMA_FILE,
    refused: Refused = lambda _: (),
) -> NamedColumns:
    """Return what the two files of an experiment declare; raises as `named_columns`."""
    component = read_component(file, EXPERIMENT)
    # Dagster's own templates are not used: they would turn the quoted text '1' into a
    # number.
    has_module = component.template_vars_module is not None
    templates = Templates(os.environ, has_module=has_module)

    def line_of(location: Location) -> str:
        return file.place(("attributes", *location))

    filled = templates.filled(component.attributes or {})
    if templates.problems:
        raise invalid(templates.problems, line_of)
    spec = spec_from(name, filled, line_of, needs_data=True)
    spec = spec.filled_from(templates)
    # Nothing is imported for a spec that is refused.
    problems = [*refused(spec)] or [*_environment_problems(spec)]
    if problems:
        raise invalid(problems, line_of)
    _check_search(spec, line_of)
    # Without a schema.yaml it is inferred when the experiment first runs.
    named = NamedColumns(spec, schema_text or "", line_of, schema_path, file.text)
    if schema_text:
        named.check_types()
    return named


def _environment_problems(spec: ExperimentSpec) -> Iterator[Problem]:
    """Yield what is named but cannot be imported, made or found here."""
    from experiment_pipeline.stages.data_analysis import findings
    from experiment_pipeline.stages.search.own_features import OwnTransformer

    packages = {"mlflow": ("mlflow", "mlflow"), "engine": ("distributed", "dask")}
    for key, (package, extra) in packages.items():
        if getattr(spec, key) is not None and find_spec(package) is None:
            message = f"needs a package; pip install 'experiment-pipeline[{extra}]'"
            yield Problem((key,), message)
    if spec.features is not None:
        try:
            OwnTransformer(
                spec.features.transformer, spec.features.arguments, 0, {}
            ).make()
        except InvalidExperiment as error:
            yield Problem((error.culprit,), f"{error.rule}; {error.fix}")
    yield from findings.problems(spec.analysis)


def secret_warnings(named: NamedColumns) -> Iterator[str]:
    """Yield a sentence per line of the YAML that holds a secret in plain text."""
    path = named.line_of(()).rpartition(":")[0] or "defs.yaml"
    for line in secret_lines(named.yaml_text):
        yield (
            f"{path}:{line}: holds a secret in plain text; records of runs show *** "
            "instead. Write {{ env.NAME }}, and export the variable NAME"
        )


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


def _check_search(spec: ExperimentSpec, line_of: Callable[[Location], str]) -> None:
    """Refuse hyperparameters that an algorithm does not accept, before any training."""
    from experiment_pipeline.stages.search.learners import check_hyperparameters
    from experiment_pipeline.stages.search.learners.estimators import check_demands

    for number, entry in enumerate(spec.search):
        # Only names and single values are checked, so a configuration without new ones
        # is skipped.
        checked = set[object]()
        try:
            for configuration in configurations(
                spec.model_copy(update={"search": (entry,)})
            ):
                values = configuration.hyperparameters
                new = {*values.items(), tuple(values)}
                if not new <= checked:
                    check_hyperparameters(configuration, spec.task)
                    check_demands(configuration, spec)
                checked |= new
        except (UnknownAlgorithm, InvalidExperiment) as error:
            place: Location = ("search", number, "algorithm")
            for name in entry.hyperparameters:
                if repr(name) in error.rule:
                    place = ("search", number, "hyperparameters", name)
                    break
            if not (line := line_of(place)):
                raise
            raise InvalidExperiment(
                line, rule=f"{error.culprit}: {error.rule}", fix=error.fix
            ) from None
    configurations(spec)


def json_schema(file: str) -> dict[str, Any]:
    """Return the JSON schema of a whole file: schema.yaml if it is named, else
    defs.yaml.
    """
    if file == SCHEMA_FILE:
        return SchemaFile.model_json_schema()
    keys = {"type": {"const": EXPERIMENT}, "attributes": defs_yaml_schema()}
    return {"type": "object", "properties": keys, "required": list(keys)}
