"""Run an experiment from Python, stored and recorded as any other run, without Dagster.

    run("churn.csv", target="churned")      a first experiment, drafted as the scaffold does
    run("churn")                            the experiment of a folder with defs.yaml

In: a table, or an experiment's folder. Out: a `RunResult`. An interrupted run keeps what is trained.
"""

import getpass
import inspect
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import draft_experiment
from experiment_pipeline.errors import (
    DataError,
    ExperimentPipelineError,
    InvalidExperiment,
    UnusableTable,
    did_you_mean,
)
from experiment_pipeline.experiment import steps
from experiment_pipeline.experiment.files import FILES, judged, named_columns
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.experiment.stage_run import StageRun
from experiment_pipeline.reporting.outcome import Check, Outcome
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import NAME
from experiment_pipeline.spec.reading import YamlFile
from experiment_pipeline.stages.raw_data.table import content_digest
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.tables import write_table
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import finish_run, record_outcome, recorded_stage

LOG = logging.getLogger("experiment_pipeline")
# Settings that the draft takes into account; the others replace what it infers.
_WISHES = ("task", "positive_class", "metric")


def run(
    data: pd.DataFrame | str | Path,
    target: str | None = None,
    *,
    name: str | None = None,
    schema: str | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> RunResult:
    """Run an experiment, and return what it found.

    >>> x = pd.Series(range(300)) / 7
    >>> table = pd.DataFrame({"x": x, "y": 25 * x + 50.5 * (x * 8 % 13)})
    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}], progress=False)
    >>> lines.accepted, len(lines.model.predict(table).predictions)
    (True, 300)

    Args:
        data: the table, or its path or URL; without `target` the folder of an experiment, or its name.
        target: the column to predict.
        name: of the experiment; None: the name of the file, or `experiment` for a DataFrame.
        schema: text of a schema.yaml; None: inferred from the table.
        seconds: of search, refit and report.
        workers: fits at a time; None: one per core.
        progress: whether a bar shows how far the run is.
        settings: keys of defs.yaml. A class or function stands for its import path. What is left out
            is inferred, as `summary` of the result says.

    Raises:
        InvalidExperiment: a setting is impossible.
        DataError: the table cannot be read, modelled, validated or split.
        TrainingError: no configuration could be trained.
        KeyboardInterrupt: it was interrupted; the next run goes on with what is trained.
    """
    if target is None:
        if settings or schema is not None or isinstance(data, pd.DataFrame):
            rule = "without target the settings are those of a folder, and no others are read"
            raise InvalidExperiment("run", rule, "Name the target, or edit the folder's defs.yaml.")
        named, summary = named_columns(_folder_of(str(data))), ""
    else:
        named, summary = _drafted(data, target, name, schema, seconds, settings)
        seconds = None
    try:
        with _shown(named, progress) as (advance, log):
            return _run(named, summary, seconds, workers, advance, log)
    except KeyboardInterrupt:
        # Without the stack of whatever was at work, which fills pages of a notebook.
        said = "what is trained is kept: the same call goes on with it"
        raise KeyboardInterrupt(said) from None


def _folder_of(name: str) -> Path:
    """The folder of an experiment: a path, or a name below a `defs` folder of this one."""
    if any((Path(name) / file).exists() for file in FILES):
        return Path(name)
    found = {path.parent.name: path.parent for path in Path.cwd().glob("**/defs/*/defs.y*ml")}
    if name not in found:
        rule = f"is no folder with a defs.yaml, and no experiment below {Path.cwd()}"
        fix = f"{did_you_mean(name, found)}; for a table, name its target"
        raise InvalidExperiment(name, rule, fix)
    return found[name]


def _drafted(
    data: pd.DataFrame | str | Path,
    target: str,
    name: str | None,
    schema: str | None,
    seconds: float | None,
    settings: Mapping[str, Any],
) -> tuple[NamedColumns, str]:
    """The experiment as the scaffold would write it, with these settings, and the reasons."""
    given = {key: _written(value, key) for key, value in settings.items()}
    if isinstance(data, pd.DataFrame):
        name = name or "experiment"
        url = _stored(data, name)
    else:
        url = str(data)
        name = name or re.sub(r"\W+", "_", Path(url).name.partition(".")[0], flags=re.ASCII)
    if not re.fullmatch(NAME, name):
        rule = "an experiment's name has letters, digits and _, and begins with a letter"
        raise InvalidExperiment(f"name {name!r}", rule, "Give another name.")
    if "://" not in url and not (Path.cwd() / "pyproject.toml").exists():
        url = str(Path(url).expanduser().absolute())  # Dagster may be started elsewhere
    split = given.get("split", {})
    wishes = Wishes(
        target=target,
        seconds=seconds,
        exclude=[*given.get("exclude", {})],
        split=split.get("by"),
        split_column=split.get("column"),
        id_column=split.get("id_columns", []),
        **{**given.pop("data", {}), "data": url},
        **{key: given[key] for key in _WISHES if key in given},
    )
    try:
        drafted = draft_experiment(name, wishes, url, f'run("{name}")', given)
    except UnusableTable as error:
        if not error.culprit.startswith("--"):
            raise
        # The scaffold's options are arguments here.
        said = (text.replace("--", "") for text in (error.culprit, error.rule, error.fix))
        raise InvalidExperiment(*said) from None
    file = YamlFile(drafted.files["defs.yaml"], f"{name}/defs.yaml")
    return judged(name, file, schema or drafted.files["schema.yaml"]), drafted.reasons


def _written(value: Any, key: str) -> Any:
    """A setting as YAML holds it: classes and functions as their import paths."""
    if isinstance(value, Mapping):
        return {str(name): _written(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item, key) for item in value]
    if inspect.isclass(value) or inspect.isroutine(value):
        between = "." if key == "algorithm" else ":"
        return f"{value.__module__}{between}{value.__qualname__}"
    return value


def _stored(frame: pd.DataFrame, name: str) -> str:
    """The path of a DataFrame, written once under the digest of its content."""
    frame = frame.reset_index(drop=True).rename(columns=str)
    path = storage_root() / name / "delivered" / f"{content_digest(frame)}.parquet"
    if not path.exists():
        write_table(path, frame)
    return str(path)


@contextmanager
def _shown(named: NamedColumns, progress: bool) -> Iterator[tuple[Any, logging.Logger]]:
    """A bar over stages and configurations, which says the last line of the log beside it."""
    total = len(STAGES) + len(configurations(named.spec))
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    text = TextColumn("{task.description}")
    with Progress(*columns, text, disable=not progress, transient=True) as bar:
        task = bar.add_task(named.spec.name, total=total)

        class Last(logging.Handler):
            """Shows the last line."""

            def emit(self, record: logging.LogRecord) -> None:
                bar.update(task, description=record.getMessage().partition("\n")[0][:100])

        handler, level = Last(), LOG.level
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)
        try:
            yield partial(bar.advance, task), LOG
        finally:
            LOG.setLevel(level)
            LOG.removeHandler(handler)


def _run(
    named: NamedColumns,
    summary: str,
    seconds: float | None,
    workers: int | None,
    advance: Any,
    log: logging.Logger,
) -> RunResult:
    """Take the steps of the flow one after the other, each with what it needs of those before."""
    spec = named.spec
    record = RunRecord(spec.name, str(uuid.uuid4()))
    values: dict[str, Any] = {}
    refused: ExperimentPipelineError | None = None
    took: dict[str, float] = {}
    user = None
    with suppress(KeyError, OSError):
        user = getpass.getuser()
    trigger, texts = RunFacts(triggered_by="notebook", trigger_name=user), named.texts

    def finish(ended: RunRecord) -> None:
        finish_run(ended, log.warning)

    for name in STAGES:
        step, begun = getattr(steps, name), perf_counter()
        stage = StageRun(
            named,
            record,
            log,
            partial(recorded_stage, record, name, spec, texts, trigger, finish),
            seconds or spec.budget.seconds,
            lambda: took.get("search", 0.0),
            workers,
        )
        _, *wanted = inspect.signature(step).parameters.values()
        inputs = [values[one.name] for one in wanted if one.default is one.empty]
        more = {"concluded": lambda *_: advance()} if name == "search" else {}
        for asset, outcome in step(stage, *inputs, **more):
            values[asset] = outcome.value
            _reported(record, asset, outcome, log)
            refused = refused or _refusal(outcome.checks)
        took[name] = perf_counter() - begun
        advance()
        if refused is not None:
            break
    if refused is not None and "validation_report" not in values:
        raise refused
    return RunResult(named, record.run_id, summary, values, refused)


def _reported(record: RunRecord, asset: str, outcome: Outcome, log: logging.Logger) -> None:
    """Record an outcome, store its table where Dagster's assets find it, and log its sentences."""
    if outcome.value is not None:
        value: Any = outcome.value
        write_table(storage_root() / record.experiment / "tables" / f"{asset}.parquet", value)
    checks = [line for check in outcome.checks for line in (*check.problems, *check.caveats)]
    for line in (*outcome.warnings, *checks):
        log.warning(line)
    for line in outcome.notes:
        log.info(line)
    record_outcome(record, outcome, log.warning)


def _refusal(checks: Any) -> ExperimentPipelineError | None:
    """The error of the first check that ends a run."""
    failed: list[Check] = [one for one in checks if not one.passed and one.severity == "error"]
    if not failed:
        return None
    rule, _, fix = failed[0].means.partition("\n  fix: ")
    return failed[0].refusal or DataError(failed[0].name, rule, fix or "Correct the rows.")
