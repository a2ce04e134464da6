"""Run an experiment from Python, without Dagster; it is stored and recorded like any
other run.

    run("churn.csv", target="churned")      a first experiment, drafted as the scaffold does
    run("churn")                            the experiment of a folder with defs.yaml
    add(churn, MyModel(), "mine")           the same with a model of your own
    choose("churn", "linear", why="…")      another configuration of its last run
    refit("churn")                          its champion on today's data
    sensitivity("churn", seeds=5)           its last run with other split seeds

All but `sensitivity` apply the gates and return a `RunResult`. An interrupted run keeps
trained models.
"""

import getpass
import inspect
import logging
import os
import re
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError
from rich import get_console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from experiment_pipeline import errors
from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import draft_experiment, with_settings
from experiment_pipeline.experiment import steps
from experiment_pipeline.experiment.files import (
    EXPERIMENT,
    FILES,
    judged,
    named_columns,
)
from experiment_pipeline.experiment.flow import run_experiment
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.experiment.stage_run import StageRun
from experiment_pipeline.intake.raw_table import RawTable, content_digest
from experiment_pipeline.prediction.champions import find_champions
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import Check, Outcome
from experiment_pipeline.reporting.run_record import EvidenceRow, RunFacts, Trigger
from experiment_pipeline.spec import NAME
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.spec.reading import (
    YamlFile,
    explain,
    invalid,
    read_component,
    to_yaml,
)
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.storage.tables import asset_table, read_table, write_table
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.table import some_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import (
    finish_run,
    record_outcome,
    recorded_stage,
)

LOG = logging.getLogger("experiment_pipeline")
# Settings that the draft takes into account; the others replace what it infers.
_WISHES = ("task", "positive_class", "metric")
_EXPORT_SECONDS = (
    2.0  # an export takes 3, and a report about 1 less than the search reserves
)


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
        data: the table, or its path or URL; without `target` the folder of an
            experiment, or its name.
        target: the column to predict.
        name: of the experiment; None: the name of the file, or `experiment` for a
            DataFrame.
        schema: text of a schema.yaml; None: inferred from the table.
        seconds: time budget of the whole run, from this call on; the search gets what
            the rest leaves.
        workers: fits at a time; None: one per core.
        progress: whether to show a progress bar.
        settings: keys of defs.yaml. A class or function stands for its import path.
            Missing keys are inferred; `summary` of the result explains how.

    Raises:
        InvalidExperiment: a setting is impossible.
        DataError: the table cannot be read, modelled, validated or split.
        TrainingError: no configuration could be trained.
        KeyboardInterrupt: it was interrupted; the next run reuses the models trained so
            far.
    """
    began = None if seconds is None else perf_counter()
    if target is None:
        if settings or schema is not None or isinstance(data, pd.DataFrame):
            rule = "without target, a folder's defs.yaml holds all settings, and no others are accepted"
            fix = "Name the target, or edit the folder's defs.yaml."
            raise errors.InvalidExperiment("run", rule, fix)
        named, summary = named_columns(_folder_of(str(data))), ""
    else:
        named, summary = _drafted(data, str(target), name, schema, seconds, settings)
    return _execute(named, summary, seconds, workers, began=began, progress=progress)


def add(
    result: RunResult | str, estimator: Any, name: str, note: str = ""
) -> RunResult:
    """Put a model of your own on the leaderboard of a run, or of the last run of a
    named experiment.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> from sklearn.linear_model import Lasso
    >>> list(add(lines, Lasso(alpha=9), "mine", note="what we had").leaderboard["key"])
    ['linear', 'mine']

    `estimator`: a class, a function that returns an estimator, or an instance, of which
    only class and parameters count: no fitted state, `random_state` or `n_jobs`. Only
    it is fitted, on the rows of that run; halving does not stop it. It replaces an
    earlier addition of its name. A new choice is a new look.

    Raises InvalidExperiment: it has no import path with plain parameters, or its
    configuration is ranked already; StorageError: another run has replaced the table.
    """
    entry = {**_described(estimator), "name": name, "note": note}
    before, raw = _declared(
        questions.run_of(result) if isinstance(result, str) else result.facts
    )
    named = _searching(before, [entry], keep=True)
    if name not in {one.key for one in configurations(named.spec)}:
        rule = (
            "the leaderboard has a configuration with its algorithm and hyperparameters"
        )
        raise errors.InvalidExperiment(f"name {name!r}", rule, "Add another one.")
    return _execute(
        named, getattr(result, "summary", ""), delivered=raw, asked_for={name}
    )


def choose(
    experiment: str, key: str, why: str, *, trigger: Trigger = "notebook"
) -> RunResult:
    """Refit, evaluate and export another configuration of the last run; records who
    chose it and why.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> chosen = choose("lines", "linear", why="half the size, tied")
    >>> chosen.facts["choice_reason"].split(": ")[1]
    'half the size, tied (choice'

    Nothing is searched, and no score of the leaderboard changes.

    Raises:
        InvalidExperiment: the leaderboard does not rank the key.
        UnknownRun: no run of the experiment has a leaderboard, or the run had no
            defs.yaml.
        StorageError: another run has replaced the table.
    """
    if not why.strip():
        raise errors.InvalidExperiment("why", "it is empty", "Say why you choose it.")
    board = questions.results(experiment).set_index("key")
    ranked = board.index[board["rank"].notna()]
    if key not in ranked:
        rule = f"the leaderboard does not have it; {errors.did_you_mean(key, ranked)}"
        if key in board.index:
            rule = f"it has no rank: {board.loc[key, 'status']}, {board.loc[key, 'reason']}"
        raise errors.InvalidExperiment(
            f"configuration {key}", rule, "Choose one that has a rank."
        )
    named, raw = _declared(questions.run_of(experiment, str(board.loc[key, "run_id"])))
    if (
        ENSEMBLE not in ranked
    ):  # perhaps for lack of time: adding it now would change all intervals
        named = replace(named, spec=named.spec.model_copy(update={"ensemble": None}))
    by_hand = ChoiceByHand(key, why, _user())
    return _execute(
        named, trigger=trigger, by_hand=by_hand, delivered=raw, asked_for=()
    )


def refit(experiment: str, *, trigger: Trigger = "notebook") -> RunResult:
    """Fit the champion's configuration on today's data, without a search; all gates
    apply.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> refit("lines").facts["version"]
    'v0001'

    For an ensemble, its members are fitted; the leaderboard sets the weights and
    chooses again.

    Raises UnknownRun: no such experiment; InvalidModel: no champion, or its trained
    models are not stored.
    """
    named = declared_now(experiment)
    champions = find_champions(registry_of(named.spec))
    # Read from the trained models in the storage: a registry elsewhere may have been
    # changed.
    wanted = champions[0].models if champions else []
    models = TrainedModelStore.of(named.spec.name).results(wanted)
    if not wanted or len(models) < len(wanted):
        rule = "it has no champion whose trained models are stored"
        raise errors.InvalidModel(
            experiment, rule, "Run the experiment with its search."
        )
    note = f"of the champion {champions[0].version}"
    search = [
        {
            name: getattr(one, name)
            for name in ("algorithm", "features", "hyperparameters")
        }
        | {"name": one.key, "note": note}
        for one in models.values()
    ]
    return _execute(_searching(named, search), trigger=trigger)


def sensitivity(
    experiment: str,
    seeds: int = 5,
    run: str | None = None,
    agree: Callable[[str], object] = print,
) -> pd.DataFrame:
    """Repeat a run with other split seeds: a row each, also shown in the run's decision
    record.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> sensitivity("lines", seeds=1, agree=str)["what"].tolist()
    ['seed 1: linear, accepted']

    Each repeat splits the run's train and test rows into three new sets; the run's
    validation rows are not read. Nothing is decided or published. `run`: the start of
    its id; None: the last. `agree` is called with the cost first, and may raise. Raises
    as `choose`; InvalidExperiment: split has no seed.
    """
    row = questions.run_of(experiment, run)
    (named, raw), record = _declared(row), RunRecord(experiment, row["run_id"])
    spec, split = named.spec, named.spec.split.model_dump(mode="json")
    if (first := split.get("seed")) is None:
        rule = f"by: {split['by']} splits the rows in only one way, without a seed"
        fix = "Compare runs on tables of several dates instead."
        raise errors.InvalidExperiment("split", rule, fix)
    cpu = questions.results(experiment, record.run_id)["fit_cpu_seconds"].sum()
    each = max(row["wall_seconds"] or 0.0, cpu / (spec.workers or os.cpu_count() or 1))
    cost = f"{numbers.seconds(each)} each, {numbers.seconds(seeds * each)} in all"
    agree(f"{numbers.counted(seeds, 'repeat')}, about {cost}")
    sets = steps.prepared_rows(raw, spec, named).sets
    table = some_rows(raw.frame, np.flatnonzero(sets.isin(["train", "test"])))
    given = spec.model_dump(
        mode="json", exclude_unset=True, exclude={"name", "data", "target"}
    )
    for seed in range(first + 1, first + 1 + seeds):
        given |= {
            "name": spec.name,
            "schema": named.schema_text,
            "split": {**split, "seed": seed},
        }
        try:
            report = run_experiment(table, spec.target, **given).report
            how = (
                numbers.accepted_under(report.conditions)
                if report.accepted
                else "refused"
            )
            what = f"{report.configuration}, {how}"
            score, gain = (
                (one := report.score(spec.metric)).interval,
                one.difference_to_baseline,
            )
            found = EvidenceRow.of(
                "split seed", what, score.estimate, gain, report.rows
            )
        except errors.ExperimentPipelineError as error:
            found = EvidenceRow(kind="split seed", what=str(error))
        record.record([replace(found, number=seed, what=f"seed {seed}: {found.what}")])
    finish_run(record, LOG.warning)
    return (
        questions.rows_of("evidence", row)
        .query("kind == 'split seed'")
        .reset_index(drop=True)
    )


def declared_now(experiment: str) -> NamedColumns:
    """Return an experiment as its folder or else its last run declares it;
    InvalidExperiment, UnknownRun.
    """
    try:
        return named_columns(_folder_of(experiment))
    except errors.InvalidExperiment as error:
        if error.culprit != experiment:  # its folder exists, but its YAML is wrong
            raise
        return _as_run(questions.run_of(experiment))


def _folder_of(name: str) -> Path:
    """The folder of an experiment: a path, or a name in a `defs` folder below the
    working directory.
    """
    if any((Path(name) / file).exists() for file in FILES):
        return Path(name)
    # Hidden folders are skipped: a virtual environment has more files than everything
    # else.
    everywhere = (f"{start}defs/*/defs.y*ml" for start in ("", "[!.]*/**/"))
    found = {
        one.parent.name: one.parent
        for way in everywhere
        for one in Path.cwd().glob(way)
    }
    if name not in found:
        rule = (
            f"is neither a folder with a defs.yaml nor an experiment below {Path.cwd()}"
        )
        fix = f"{errors.did_you_mean(name, found)}; for a table, name its target"
        raise errors.InvalidExperiment(name, rule, fix)
    return found[name]


def _drafted(
    data: pd.DataFrame | str | Path,
    target: str,
    name: str | None,
    schema: str | None,
    seconds: float | None,
    settings: Mapping[str, Any],
) -> tuple[NamedColumns, str]:
    """The experiment as the scaffold would draft it, with these settings; and the
    reasons.
    """
    given = {key: _written(value, key) for key, value in settings.items()}
    stem = (
        "experiment"
        if isinstance(data, pd.DataFrame)
        else Path(data).name.partition(".")[0]
    )
    name = name or re.sub(r"\W+", "_", stem, flags=re.ASCII)
    if not re.fullmatch(NAME, name):  # before it becomes part of a path
        rule = (
            "an experiment's name has letters, digits and _, and begins with a letter"
        )
        raise errors.InvalidExperiment(f"name {name!r}", rule, "Give another name.")
    url = _stored(data, name) if isinstance(data, pd.DataFrame) else str(data)
    if "://" not in url and not (Path.cwd() / "pyproject.toml").exists():
        url = str(Path(url).expanduser().absolute())  # Dagster may be started elsewhere
    for key, such in (
        ("exclude", {"left_on": "known too late"}),
        ("split", {"by": "random"}),
    ):
        if not isinstance(given.get(key, {}), Mapping):
            rule = f"{given[key]!r} is not a mapping"
            raise errors.InvalidExperiment(key, rule, f"Write one, such as {such}.")
    split = given.get("split", {})
    wanted = {
        "data": url,
        "target": target,
        "seconds": seconds,
        "exclude": [*given.get("exclude", {})],
        "split": split.get("by"),
        "split_column": split.get("column"),
        "id_column": split.get("id_columns", []),
        **{key: given[key] for key in _WISHES if key in given},
    }
    try:
        wishes = Wishes.model_validate(wanted)
        drafted = draft_experiment(name, wishes, url, f'run("{name}")', given)
    except ValidationError as error:
        raise invalid(
            explain(error, Wishes, wanted), lambda place: str(place[0])
        ) from None
    except errors.UnusableTable as error:
        if not error.culprit.startswith("--"):
            raise
        # The scaffold's options are arguments here.
        texts = (
            text.replace("--", "") for text in (error.culprit, error.rule, error.fix)
        )
        raise errors.InvalidExperiment(*texts) from None
    file = YamlFile(drafted.files["defs.yaml"], f"{name}/defs.yaml")
    return judged(name, file, schema or drafted.files["schema.yaml"]), drafted.reasons


def _written(value: Any, key: str) -> Any:
    """A setting as written in YAML: import paths for classes and functions, plain
    values for NumPy's.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {str(name): _written(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item, key) for item in value]
    if isinstance(
        path := getattr(value, "path", None), str
    ):  # a function decorated with `metric`
        return path
    if inspect.isclass(value) or inspect.isroutine(value):
        between = "." if key == "algorithm" else ":"
        return f"{value.__module__}{between}{value.__qualname__}"
    return value


def _stored(frame: pd.DataFrame, name: str) -> str:
    """Write a DataFrame once, named by the digest of its content, and return
    its path.
    """
    frame = frame.reset_index(drop=True).rename(columns=str)
    path = storage_root() / name / "delivered" / f"{content_digest(frame)}.parquet"
    if not path.exists():
        write_table(path, frame)
    return str(path)


@contextmanager
def _shown(named: NamedColumns, progress: bool) -> Iterator[Any]:
    """A progress bar over stages and configurations, with the last log line
    beside it.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    text, console = TextColumn("{task.description}"), get_console()
    # rich does not count Jupyter as a terminal; its bar there needs ipywidgets.
    widgets = console.is_jupyter and find_spec("ipywidgets") is not None
    quiet = not (progress and (console.is_interactive or widgets))
    with Progress(*columns, text, disable=quiet, transient=True) as bar:
        task = bar.add_task(
            named.spec.name, total=len(STAGES) + len(configurations(named.spec))
        )

        # A filter, not a handler: with any handler, Python no longer prints warnings by
        # default.
        def last(record: logging.LogRecord) -> bool:
            bar.update(task, description=record.getMessage().partition("\n")[0][:100])
            return True

        level = LOG.level
        LOG.addFilter(last)
        LOG.setLevel(logging.INFO)
        try:
            yield partial(bar.advance, task)
        finally:
            LOG.setLevel(level)
            LOG.removeFilter(last)


def _user() -> str:
    """The name of this process's user, or else its number."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return f"uid {os.getuid()}"


def _execute(
    named: NamedColumns,
    summary: str = "",
    seconds: float | None = None,
    workers: int | None = None,
    *,
    began: float | None = None,
    progress: bool = True,
    trigger: Trigger = "notebook",
    by_hand: ChoiceByHand | None = None,
    delivered: RawTable | None = None,
    asked_for: Collection[str] | None = None,
) -> RunResult:
    """Run the steps of the flow until one ends the run; `began`: when `seconds` start,
    None: at the search.
    """
    spec = named.spec
    record = RunRecord(spec.name, str(uuid.uuid4()))
    values: dict[str, Any] = {}
    refused: errors.ExperimentPipelineError | None = None
    took: dict[str, float] = {}
    started = RunFacts(triggered_by=trigger, trigger_name=_user())
    finish = partial(finish_run, warn=LOG.warning)

    def spent() -> float:
        used = 0.0 if began is None else perf_counter() - began + _EXPORT_SECONDS
        return used or took.get("search", 0.0)

    given = seconds or spec.budget.seconds, spent, workers
    try:
        with _shown(named, progress) as advance:
            searching: dict[str, Any] = {"concluded": lambda *_: advance()}
            searching |= {} if asked_for is None else {"asked_for": asked_for}
            for name in STAGES:
                begun = perf_counter()
                work = partial(
                    recorded_stage, record, name, spec, named.texts, started, finish
                )
                stage = StageRun(named, record, LOG, work, *given, by_hand, delivered)
                refused = _taken(
                    stage, name, values, searching if name == "search" else {}
                )
                took[name] = perf_counter() - begun
                advance()
                if refused is not None:
                    break
    except (
        KeyboardInterrupt
    ):  # without the stack trace, which would fill pages of a notebook
        kept = "the models trained so far are kept: the same call continues with them"
        raise KeyboardInterrupt(kept) from None
    if refused is not None and "validation_report" not in values:
        raise refused
    return RunResult(named, record.run_id, summary, values, refused)


def _taken(
    stage: StageRun, name: str, values: dict[str, Any], more: Mapping[str, Any]
) -> errors.ExperimentPipelineError | None:
    """Run a step on values of earlier steps, and add its own to `values`; return the
    error that ends the run.
    """
    step, refused = getattr(steps, name), None
    _, *wanted = inspect.signature(step).parameters.values()
    inputs = [values[one.name] for one in wanted if one.default is one.empty]
    try:
        for asset, outcome in step(stage, *inputs, **more):
            values[asset] = outcome.value
            _reported(stage.run, asset, outcome)
            refused = refused or _refusal(outcome.checks)
    except errors.ExportError as error:  # recorded; leaderboard and report stay valid
        return error
    return refused


def _reported(record: RunRecord, asset: str, outcome: Outcome) -> None:
    """Record an outcome, store its table where Dagster's assets find it, and log its
    messages.
    """
    if outcome.value is not None:
        value: Any = outcome.value
        write_table(
            storage_root() / f"{asset_table(record.experiment, asset)}.parquet", value
        )
    checks = [
        line for check in outcome.checks for line in (*check.problems, *check.caveats)
    ]
    for line in (*outcome.warnings, *checks):
        LOG.warning(line)
    for line in outcome.notes:
        LOG.info(line)
    record_outcome(record, outcome, LOG.warning)


def _refusal(checks: Any) -> errors.ExperimentPipelineError | None:
    """The error of the first check that ends a run."""
    failed: list[Check] = [
        one for one in checks if not one.passed and one.severity == "error"
    ]
    if not failed:
        return None
    rule, _, fix = failed[0].means.partition("\n  fix: ")
    return failed[0].refusal or errors.DataError(
        failed[0].name, rule, fix or "Correct the rows."
    )


def _described(estimator: Any) -> dict[str, Any]:
    """The `algorithm` and `hyperparameters` of an entry of `search` for an
    estimator.
    """
    is_path = inspect.isclass(estimator) or inspect.isroutine(estimator)
    kind = estimator if is_path else type(estimator)
    module, _, name = _written(kind, "algorithm").rpartition(".")
    if module.startswith("sklearn."):
        module = module.partition("._")[0]  # the public module: private ones may move
    path, plain = f"{module}.{name}", dict[str, Any]()
    fix = "Write a function at the top level of a module that returns it, and add the function."
    is_known = getattr(sys.modules.get(module), name, None) is kind
    if not is_known or not (is_path or hasattr(estimator, "get_params")):
        rule = "it cannot be described by an import path and plain parameters"
        raise errors.InvalidExperiment(path, rule, fix)
    defaults = {
        one.name: one.default for one in inspect.signature(kind).parameters.values()
    }
    for parameter, value in () if is_path else estimator.get_params(deep=False).items():
        if parameter in {"random_state", "n_jobs"} or repr(value) == repr(
            defaults.get(parameter)
        ):
            continue
        plain[parameter] = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain[parameter], str | int | float | None):
            rule = f"{parameter} is a {type(value).__name__}, not a text, number, boolean or null"
            raise errors.InvalidExperiment(path, rule, fix)
    return {"algorithm": path, "hyperparameters": plain}


def _declared(run: Mapping[str, Any]) -> tuple[NamedColumns, RawTable]:
    """The experiment as a run declared it, and the table that the run read;
    StorageError: it was replaced.
    """
    table = asset_table(run["experiment"], "raw_data")
    raw = read_table(storage_root() / f"{table}.parquet", RawTable)
    if raw.digest != run["data_digest"]:
        rule = f"it is not the one that run {run['run_id']} read"
        raise errors.StorageError("the stored table", rule, "Run the experiment first.")
    return _as_run(run), raw


def _as_run(run: Mapping[str, Any]) -> NamedColumns:
    name = run["experiment"]
    files = questions.files_of(run)
    if "defs.yaml" not in files:
        raise errors.UnknownRun(
            name, "its run was made without a defs.yaml", "Run it with one."
        )
    return judged(
        name,
        YamlFile(files["defs.yaml"], f"{name}/defs.yaml"),
        files.get("schema.yaml"),
    )


def _searching(
    named: NamedColumns, search: Sequence[Mapping[str, Any]], *, keep: bool = False
) -> NamedColumns:
    """The same experiment with another search, or with `keep` a longer one; a draft
    keeps its comments.
    """
    file = YamlFile(named.yaml_text, f"{named.spec.name}/defs.yaml")
    given = read_component(file, EXPERIMENT).attributes or {}
    names = {one["name"] for one in search}
    kept = [one for one in given["search"] if keep and one.get("name") not in names]
    given |= {"search": [*kept, *search]}
    text = to_yaml({"type": EXPERIMENT, "attributes": given})
    if "\n  search:" in named.yaml_text:
        text = with_settings(named.yaml_text, {"search": given["search"]})
    return judged(
        named.spec.name, YamlFile(text, file.path), named.schema_text, named.schema_path
    )
