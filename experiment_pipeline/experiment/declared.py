"""The experiment that a call from Python means: a folder, a draft, or an
earlier run.
"""

import ast
import inspect
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from experiment_pipeline import errors
from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import (
    Drafted,
    draft_experiment,
    schema_of,
    with_settings,
)
from experiment_pipeline.experiment.files import (
    EXPERIMENT,
    FILES,
    Refused,
    judged,
    named_columns,
    yaml_text,
)
from experiment_pipeline.intake.raw_table import RawTable, content_digest, parse
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.reporting.run_record import Row
from experiment_pipeline.spec import NAME
from experiment_pipeline.spec.algorithms import COLUMNS
from experiment_pipeline.spec.reading import (
    YamlFile,
    explain,
    invalid,
    read_component,
    to_yaml,
)
from experiment_pipeline.stages.search.learners.estimators import names_columns
from experiment_pipeline.statistics.metrics import written
from experiment_pipeline.storage.files import (
    create_exclusive,
    read_bytes,
    read_if_exists,
    storage_root,
)
from experiment_pipeline.storage.masking import masked_yaml
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.tables import asset_file, read_table, write_table
from experiment_pipeline.table.features import NamedColumns

LOG = logging.getLogger("experiment_pipeline")
# Settings that the draft takes into account; the others replace what it infers.
_WISHES = ("task", "positive_class", "metric")
# Option of the scaffold → the argument in Python, where it has another name.
_ARGUMENTS = {
    "--split-column": "split['column']",
    "--id-column": "split['id_columns']",
    "--positive-class": "positive_class",
    "--split": "split['by']",
}
# Settings that None turns off.
_OFF = ("ensemble", "halving", "not_worse_than_champion")
_NOT_FINITE = ("nan", "inf", "-inf")
# Settings that are mappings, with an example of each.
_MAPPINGS = {"exclude": {"left_on": "known too late"}, "split": {"by": "random"}}


def declared_now(experiment: str) -> NamedColumns:
    """Return an experiment as its folder, or else its last run, declares it.

    Raises InvalidExperiment: its YAML is wrong; UnknownRun: there is no such
    experiment.
    """
    try:
        return named_columns(experiment_folder(experiment))
    except errors.InvalidExperiment as error:
        if error.culprit != experiment:  # its folder exists, but its YAML is wrong
            raise
        # Not loaded by an exploration, which asks for no run.
        from experiment_pipeline.tracking import questions

        return declared_by(questions.run_of(experiment))


def declared_by(run: Row) -> NamedColumns:
    """Return the experiment as a run declared it; `run`: its row."""
    # Not loaded by an exploration, which asks for no run.
    from experiment_pipeline.tracking import questions

    name = run["experiment"]
    files = questions.files_of(run)
    if "defs.yaml" not in files:
        raise errors.UnknownRun(
            name,
            rule="its run was made without a defs.yaml",
            fix="Run it with one.",
        )
    text = _with_secrets(name, files["defs.yaml"])
    return judged(name, YamlFile(text, f"{name}/defs.yaml"), files.get("schema.yaml"))


def _with_secrets(experiment: str, text: str) -> str:
    """Return a recorded text, or that of the folder if it differs in secrets alone."""
    with suppress(errors.InvalidExperiment):
        folder = experiment_folder(experiment)
        for path in (folder / name for name in FILES):
            if path.exists() and masked_yaml(yaml_text(path)) == text:
                return yaml_text(path)
    return text


def with_schema(named: NamedColumns) -> NamedColumns:
    """Return an experiment with its schema; without a schema.yaml, with that of the
    table that its first run reads.

    It is kept at `<root>/<experiment>/schemas/`, so that every stage and later run
    compares rows with the same one. Raises as reading the table does.
    """
    if named.schema_text:
        return named
    spec = named.spec
    keys = {"target", "exclude", "preparation", "split"}
    digest = fingerprint_of(spec=spec.model_dump(mode="json", include=keys))
    path = storage_root() / spec.name / "schemas" / f"{digest}.yaml"
    text = read_if_exists(path)
    if text is None:
        raw = parse(read_source(spec.source), spec.source)
        named.check([*raw.frame.columns])
        schema = schema_of(raw.frame, spec)
        create_exclusive(path, schema.encode())
        text = read_bytes(path)  # of the first of several runs
    complete = replace(named, schema_text=text.decode(), schema_path=str(path))
    complete.check_types()
    return complete


def table_of(run: Row) -> RawTable:
    """Return the table that a run read; StorageError: a later run has replaced it."""
    raw = read_table(asset_file(run["experiment"], "raw_data"), RawTable)
    if raw.digest != run["data_digest"]:
        raise errors.StorageError(
            "the stored table",
            rule=f"it is not the one that run {run['run_id']} read",
            fix="Run the experiment first.",
        )
    return raw


def experiment_folder(name: str) -> Path:
    """Return the folder of an experiment: a path, or a name in a `defs` folder below.

    Raises InvalidExperiment: there is none.
    """
    if any((Path(name) / file).exists() for file in FILES):
        return Path(name)
    # Hidden folders are skipped: a virtual environment has more files than all others.
    patterns = ("defs/*/defs.y*ml", "[!.]*/**/defs/*/defs.y*ml")
    folders = {
        file.parent.name: file.parent
        for pattern in patterns
        for file in Path.cwd().glob(pattern)
    }
    if name not in folders:
        raise errors.InvalidExperiment(
            name,
            rule="is neither a folder with a defs.yaml nor an experiment below "
            f"{Path.cwd()}",
            fix=f"{errors.did_you_mean(name, folders)}; for a table, name its target",
        )
    return folders[name]


def experiment_of(
    data: pd.DataFrame | str | Path,
    target: str | None,
    *,
    name: str | None,
    schema: str | None,
    seconds: float | None,
    settings: Mapping[str, Any],
) -> tuple[NamedColumns, str]:
    """Return a drafted experiment and its reasons; without `target` that of a folder.

    Raises InvalidExperiment: a setting is impossible, or given for a folder.
    """
    if target is not None:
        return drafted(data, str(target), name, schema, seconds, settings)
    if isinstance(data, pd.DataFrame):
        raise errors.InvalidExperiment(
            "target",
            rule="it is not given",
            fix=f"Name the column to predict, of {errors.listed(data.columns)}.",
        )
    if settings or schema is not None:
        raise errors.InvalidExperiment(
            "target",
            rule="without it, a folder's defs.yaml holds all settings, and no others "
            "are accepted",
            fix="Name the column to predict, or edit the folder's defs.yaml.",
        )
    return named_columns(experiment_folder(str(data))), ""


def drafted(
    data: pd.DataFrame | str | Path,
    target: str,
    name: str | None,
    schema: str | None,
    seconds: float | None,
    settings: Mapping[str, Any],
) -> tuple[NamedColumns, str]:
    """Return the experiment as the scaffold would draft it, and the reasons.

    `settings` replace what the draft infers. Raises InvalidExperiment.
    """
    given = as_written(settings)
    name = name or _name_of(data)
    if not re.fullmatch(NAME, name):  # before it becomes part of a path
        raise errors.InvalidExperiment(
            f"name {name!r}",
            rule="an experiment's name has letters, digits and _, and begins with a "
            "letter",
            fix="Give another name.",
        )
    url = _address(data, name)
    split = given.get("split", {})
    options = {
        "data": url,
        "target": target,
        "seconds": seconds,
        "exclude": [*given.get("exclude", {})],
        "split": split.get("by"),
        "split_column": split.get("column"),
        "id_column": split.get("id_columns", []),
        **{key: given[key] for key in _WISHES if key in given},
    }
    draft = _draft(name, url, options, given)
    file = YamlFile(draft.files["defs.yaml"], "")
    return judged(name, file, schema or draft.files["schema.yaml"]), draft.reasons


def as_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a call as they are written in YAML.

    Raises InvalidExperiment: one that is a mapping has another type.
    """
    written = {key: as_yaml(value, key) for key, value in settings.items()}
    written = _in_full(written)
    for key, example in _MAPPINGS.items():
        if not isinstance(written.get(key, {}), Mapping):
            raise errors.InvalidExperiment(
                key,
                rule=f"{written[key]!r} is not a mapping",
                fix=f"Write one, such as {example}.",
            )
    return written


def _in_full(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the short forms that Python users write in full: names to
    exclude, the way to split, names of algorithms, None for off.
    """
    given = dict(settings)
    for key in _OFF:
        if key in given and given[key] is None:
            given[key] = "off"
    exclude = given.get("exclude")
    if isinstance(exclude, list):
        given["exclude"] = dict.fromkeys(exclude, "left out in the call")
    split = given.get("split")
    if isinstance(split, str):
        given["split"] = {"by": split}
    search = given.get("search")
    if isinstance(search, str):
        search = [search]
    if isinstance(search, list):
        given["search"] = [
            {"algorithm": entry} if isinstance(entry, str) else entry
            for entry in search
        ]
    return given


def _draft(
    name: str, url: str, options: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drafted:
    """Draft as the scaffold does, whose options are arguments here."""
    try:
        wishes = Wishes.model_validate(options)
        return draft_experiment(name, wishes, url, f'run("{name}")', settings)
    except ValidationError as error:
        problems = explain(error, Wishes, options)
        raise invalid(problems, lambda place: str(place[0])) from None
    except errors.UnusableTable as error:
        if "--" not in f"{error.culprit}{error.fix}":
            raise
        raise errors.InvalidExperiment(
            culprit=_in_python(error.culprit),
            rule=_in_python(error.rule),
            fix=_in_python(error.fix),
        ) from None


def _in_python(text: str) -> str:
    """Name arguments in place of the scaffold's options."""
    for option, argument in _ARGUMENTS.items():
        text = text.replace(option, argument)
    return text.replace("--", "")


def _name_of(data: pd.DataFrame | str | Path) -> str:
    if isinstance(data, pd.DataFrame):
        return "experiment"
    stem = Path(data).name.partition(".")[0]
    return re.sub(r"\W+", "_", stem, flags=re.ASCII)


def _address(data: pd.DataFrame | str | Path, name: str) -> str:
    """Return path or URL of the table; a DataFrame is written once, by its digest."""
    if isinstance(data, pd.DataFrame):
        if len(data) == 0:
            raise errors.UnusableTable(
                "the table", rule="it has no rows", fix="Give one that has rows."
            )
        frame = data.reset_index(drop=True).rename(columns=str)
        path = storage_root() / name / "delivered" / f"{content_digest(frame)}.parquet"
        if not path.exists():
            write_table(path, frame)
        data = str(path)
    if "://" in str(data) or (Path.cwd() / "pyproject.toml").exists():
        return str(data)
    return str(Path(data).expanduser().absolute())  # Dagster may be started elsewhere


def labels_of(data: pd.DataFrame | str | Path) -> pd.Index | None:
    """Return the index of a DataFrame; None: there is none but the rows' numbers."""
    if not isinstance(data, pd.DataFrame) or data.index.equals(
        pd.RangeIndex(len(data))
    ):
        return None
    return data.index


def as_yaml(value: Any, key: str) -> Any:
    """Return a setting as it is written in YAML.

    Classes and functions become import paths, NumPy's values plain ones.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {str(name): as_yaml(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_yaml(element, key) for element in value]
    if key == "metric":
        return written(value)
    if inspect.isclass(value) or inspect.isroutine(value):
        return _path_in_yaml(value, key)
    return value


def _path_in_yaml(named: Any, key: str) -> str:
    """Return how YAML names a class or function; InvalidExperiment: no path leads to
    it.
    """
    if "<" in named.__qualname__:
        raise errors.InvalidExperiment(
            key,
            rule=f"{named.__qualname__} is a lambda, or defined in a function: no "
            "import path leads to it",
            fix="Write a function at the top level of a module, and give that.",
        )
    separator = "." if key == "algorithm" else ":"
    return f"{named.__module__}{separator}{named.__qualname__}"


def described(estimator: Any) -> dict[str, Any]:
    """Return `algorithm`, `hyperparameters` and, for one that reads columns by name,
    `features` of an entry of `search` for an estimator.

    Raises InvalidExperiment: no import path or text describes it.
    """
    if _is_factory(estimator):
        entry = {"algorithm": _import_path(estimator), "hyperparameters": {}}
        is_class = inspect.isclass(estimator)
        return entry if is_class else {**entry, **_encoder_for(estimator())}
    path = _import_path(type(estimator))
    if not hasattr(estimator, "get_params"):
        raise _not_described(path)
    if any(re.fullmatch(r"[^_].*[^_]_", name) for name in vars(estimator)):
        LOG.warning("%s is fitted: only its class and parameters are used", path)
    hyperparameters = _changed_parameters(estimator)
    for name, value in hyperparameters.items():
        if not isinstance(value, str | int | float | None):
            expression = ast.parse(_notation(value), mode="eval")
            hyperparameters[name] = ast.unparse(expression)
    entry = {"algorithm": path, "hyperparameters": hyperparameters}
    return {**entry, **_encoder_for(estimator)}


def _encoder_for(estimator: Any) -> dict[str, Any]:
    """Return the encoder that an estimator needs, if it is not the usual one."""
    if hasattr(estimator, "get_params") and names_columns(estimator):
        return {"features": COLUMNS}
    return {}


def _is_factory(value: Any) -> bool:
    is_function = inspect.isroutine(value) or isinstance(value, np.ufunc)
    return inspect.isclass(value) or is_function


def _import_path(factory: Any) -> str:
    """Return the path of a class or function; InvalidExperiment: none leads to it."""
    if isinstance(factory, np.ufunc):
        return f"numpy.{factory.__name__}"
    module, _, name = as_yaml(factory, "algorithm").rpartition(".")
    if module.startswith("sklearn."):
        module = module.partition("._")[0]  # the public module: private ones may move
    if getattr(sys.modules.get(module), name, None) is not factory:
        raise _not_described(f"{module}.{name}")
    return f"{module}.{name}"


def _not_described(culprit: str) -> errors.InvalidExperiment:
    return errors.InvalidExperiment(
        culprit,
        rule="it cannot be described by an import path and parameters",
        fix="Write a function at the top level of a module that returns the estimator, "
        "and add the function.",
    )


def _notation(value: Any) -> str:
    """Return a parameter's value in the notation of `spec.notation`."""
    if isinstance(value, pd.Index):
        value = value.tolist()
    if isinstance(value, list):
        return f"[{', '.join(map(_notation, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{_notation(element)}, ' for element in value)})"
    if isinstance(value, Mapping):
        pairs = [f"{_notation(key)}: {_notation(of)}" for key, of in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, str | int | float | None) and repr(value) not in _NOT_FINITE:
        return repr(value)
    if _is_factory(value):
        return _import_path(value)
    return _estimator(value)


def _estimator(value: Any) -> str:
    if not hasattr(value, "get_params"):
        raise _not_described(f"{type(value).__name__} as a parameter")
    changed = _changed_parameters(value).items()
    parameters = ", ".join(f"{name}={_notation(of)}" for name, of in changed)
    return f"{_import_path(type(value))}({parameters})"


def _changed_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an instance that differ from its class's defaults."""
    signature = inspect.signature(type(estimator))
    defaults = {p.name: p.default for p in signature.parameters.values()}
    changed = {}
    for parameter, value in estimator.get_params(deep=False).items():
        if parameter in {"random_state", "n_jobs"}:
            continue
        if repr(value) == repr(defaults.get(parameter)):
            continue
        changed[parameter] = value.item() if isinstance(value, np.generic) else value
    return changed


def with_search(
    named: NamedColumns, search: Sequence[Mapping[str, Any]], *, extend: bool = False
) -> NamedColumns:
    """Return the experiment with another search; `extend`: added to its own.

    An entry replaces an earlier one of its name.
    """
    names = {entry["name"] for entry in search}
    earlier = declared_keys(named)["search"] if extend else []
    entries = [entry for entry in earlier if entry.get("name") not in names]
    return with_keys(named, {"search": [*entries, *search]}, named.schema_text)


def declared_keys(named: NamedColumns) -> dict[str, Any]:
    """Return the keys of defs.yaml with their values, as written."""
    file = YamlFile(named.yaml_text, f"{named.spec.name}/defs.yaml")
    return dict(read_component(file, EXPERIMENT).attributes or {})


def with_keys(
    named: NamedColumns,
    keys: Mapping[str, Any],
    schema_text: str,
    refused: Refused = lambda _: (),
) -> NamedColumns:
    """Return the experiment with other values of some keys; a draft keeps its comments.

    Raises InvalidExperiment: a value is impossible, or the caller's `refused` says so.
    """
    attributes = {**declared_keys(named), **keys}
    text = to_yaml({"type": EXPERIMENT, "attributes": attributes})
    if "\n  search:" in named.yaml_text:
        text = with_settings(named.yaml_text, keys)
    file = YamlFile(text, "")
    return judged(named.spec.name, file, schema_text, named.schema_path, refused)
