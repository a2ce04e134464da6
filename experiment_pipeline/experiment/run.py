"""Run an experiment from Python, without Dagster; it is stored and recorded as others.

    run("churn.csv", target="churned")      a first experiment, drafted by the scaffold
    run("churn")                            the experiment of a folder with defs.yaml
    add(churn, MyModel(), "mine")           the same with a model of your own
    choose("churn", "linear", why="…")      another configuration of its last run
    refit("churn")                          its champion on today's data
    sensitivity("churn", seeds=5)           its last run with other split seeds

All but `sensitivity` apply the gates and return a `RunResult`. An interrupted run keeps
its trained models.
"""

import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd
from rich import get_console

from experiment_pipeline import errors
from experiment_pipeline.experiment import declared
from experiment_pipeline.experiment.context import Run, RunBudget
from experiment_pipeline.experiment.file_store import FileStore
from experiment_pipeline.experiment.flow import prepared_rows, run_stages
from experiment_pipeline.experiment.in_memory import run_experiment
from experiment_pipeline.experiment.reporter import LOG, ProgressReporter
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.experiment.settings import with_settings
from experiment_pipeline.intake.frames import table_or_place
from experiment_pipeline.prediction.champions import find_champions
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.reporting.run_record import EvidenceRow, RunFacts, Trigger
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand
from experiment_pipeline.stages.search.budget import EXPORT_SECONDS
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.halving import workers_of
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.storage.processes import user_name
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.storage.tables import asset_file, write_table
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.table import some_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import finish_run

if TYPE_CHECKING:
    from experiment_pipeline.experiment.keys import Keys


@with_settings
def run(
    data: Any,
    target: str | None = None,
    *,
    name: str | None = None,
    schema: str | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    progress: bool = True,
    **settings: "Unpack[Keys]",
) -> RunResult:
    """Run an experiment, and return what it found.

    >>> x = pd.Series(range(300)) / 7
    >>> table = pd.DataFrame({"x": x, "y": 25 * x + 50.5 * (x * 8 % 13)})
    >>> linear = [{"algorithm": "linear"}]
    >>> lines = run(table, "y", name="lines", search=linear, progress=False)
    >>> lines.accepted, len(lines.model.predict(table).predictions)
    (True, 300)

    Args:
        data: the table (of pandas, polars, Arrow, a dict of columns, …), or its path or
            URL; without `target` the folder of an experiment, or its name.
        target: the column to predict.
        name: of the experiment; None: the name of the file, or `experiment` for a
            DataFrame.
        schema: text of a schema.yaml; None: inferred from the table.
        seconds: time budget of the whole run, from this call on; the search gets what
            the rest leaves. A rerun searches on only if it has more seconds.
        workers: fits at a time; None: one per core.
        progress: whether to show a progress bar.
        settings: keys of defs.yaml, listed below. A class or function stands for its
            import path. Missing keys are inferred; `summary` of the result explains
            how.

    Raises:
        InvalidExperiment: a setting is impossible.
        DataError: the table cannot be read, modelled, validated or split.
        TrainingError: no configuration could be trained.
        KeyboardInterrupt: it was interrupted; the next run reuses the models trained so
            far.
    """
    began = perf_counter()
    data = table_or_place(data)
    named, summary = declared.experiment_of(
        data, target, name=name, schema=schema, seconds=seconds, settings=settings
    )
    result = executed(
        named,
        summary=summary,
        progress=progress,
        seconds=seconds,
        began=began,
        workers=workers,
    )
    return replace(result, labels=declared.labels_of(data))


def add(
    result: RunResult | str, estimator: Any, name: str, note: str = ""
) -> RunResult:
    """Put a model of your own on the leaderboard of a run, or of an experiment's last.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> from sklearn.linear_model import Lasso
    >>> list(add(lines, Lasso(alpha=9), "mine", note="what we had").leaderboard["key"])
    ['linear', 'mine']

    `estimator`: a class, a function that returns an estimator, or an instance, of which
    only class and parameters count: no fitted state, `random_state` or `n_jobs`. Only
    it is fitted, on the rows of that run; halving does not stop it. It replaces an
    earlier addition of its name. A new choice is a new look.

    Raises InvalidExperiment: no import path or text describes it, or its
    configuration is ranked already; StorageError: another run has replaced the table.
    """
    entry = {**declared.described(estimator), "name": name, "note": note}
    row = questions.run_of(result) if isinstance(result, str) else result.facts
    raw = declared.table_of(row)
    named = declared.with_search(declared.declared_by(row), [entry], extend=True)
    if name not in {c.key for c in configurations(named.spec)}:
        raise errors.InvalidExperiment(
            f"name {name!r}",
            rule="the leaderboard has a configuration with its algorithm and "
            "hyperparameters",
            fix="Add another one.",
        )
    if isinstance(result, str):
        return executed(named, delivered=raw, asked_for={name})
    added = executed(named, summary=result.summary, delivered=raw, asked_for={name})
    return replace(added, labels=result.labels)


def _run_named(run: RunResult | str, run_id: str | None) -> tuple[str, str | None]:
    """Return the experiment and the run that a result, or a name, stands for."""
    return (run, run_id) if isinstance(run, str) else (run.name, run.run_id)


def choose(
    experiment: RunResult | str,
    key: str,
    why: str,
    run: str | None = None,
    *,
    trigger: Trigger = "notebook",
) -> RunResult:
    """Refit, evaluate and export another configuration of a run.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> chosen = choose("lines", "linear", why="half the size, tied")
    >>> chosen.facts["choice_reason"].split(": ")[1]
    'half the size, tied (choice'

    Nothing is searched, and no score of the leaderboard changes. Who chose it and why
    is recorded. `experiment`: the result of a run, or a name; then `run` is the start
    of its id, None: the last.

    Raises:
        InvalidExperiment: the leaderboard does not rank the key.
        UnknownRun: no run of the experiment has a leaderboard, or the run had no
            defs.yaml.
        StorageError: another run has replaced the table.
    """
    if not why.strip():
        raise errors.InvalidExperiment("why", "it is empty", "Say why you choose it.")
    name, run_id = _run_named(experiment, run)
    board = questions.results(name, run_id).set_index("key")
    ranked = board.index[board["rank"].notna()]
    if key not in ranked:
        rule = f"the leaderboard does not have it; {errors.did_you_mean(key, ranked)}"
        if key in board.index:
            row = board.loc[key]
            rule = f"it has no rank: {row['status']}, {row['reason']}"
        raise errors.InvalidExperiment(
            f"configuration {key}", rule=rule, fix="Choose one that has a rank."
        )
    row = questions.run_of(name, str(board.loc[key, "run_id"]))
    raw = declared.table_of(row)
    named = declared.declared_by(row)
    if (
        ENSEMBLE not in ranked
    ):  # perhaps for lack of time: it would change all intervals
        spec = named.spec.model_copy(update={"ensemble": None})
        named = replace(named, spec=spec)
    by_hand = ChoiceByHand(key, why, user_name())
    return executed(
        named, trigger=trigger, by_hand=by_hand, delivered=raw, asked_for=()
    )


def refit(experiment: RunResult | str, *, trigger: Trigger = "notebook") -> RunResult:
    """Fit the champion's configuration on today's data, without a search.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> refit("lines").facts["version"]
    'v0001'

    All gates apply. For an ensemble, its members are fitted; the leaderboard sets the
    weights and chooses again.

    Raises UnknownRun: no such experiment; InvalidModel: no champion, or its trained
    models are not stored.
    """
    experiment, _ = _run_named(experiment, None)
    named = declared.declared_now(experiment)
    champions = find_champions(registry_of(named.spec))
    # Read from the trained models in the storage: a registry elsewhere may have been
    # changed.
    members = champions[0].models if champions else []
    models = TrainedModelStore.of(named.spec.name).results(members)
    if not members or len(models) < len(members):
        raise errors.InvalidModel(
            experiment,
            rule="it has no champion whose trained models are stored",
            fix="Run the experiment with its search.",
        )
    search = [
        {
            "algorithm": model.algorithm,
            "features": model.features,
            "hyperparameters": model.hyperparameters,
            "name": model.key,
            "note": f"of the champion {champions[0].version}",
        }
        for model in models.values()
    ]
    return executed(declared.with_search(named, search), trigger=trigger)


def sensitivity(
    experiment: RunResult | str,
    seeds: int = 5,
    run: str | None = None,
    agree: Callable[[str], object] = print,
) -> pd.DataFrame:
    """Repeat a run with other split seeds: a row each, also in its decision record.

    >>> lines = run(table, "y", name="lines", search=[{"algorithm": "linear"}])
    >>> sensitivity("lines", seeds=1, agree=str)["what"].tolist()
    ['seed 1: linear, accepted']

    Each repeat splits the run's train and test rows into three new sets; the run's
    validation rows are not read. Nothing is decided or published. `experiment`, `run`:
    as for `choose`. `agree` is called with the cost first, and may raise. Raises
    as `choose`; InvalidExperiment: split has no seed.
    """
    experiment, run = _run_named(experiment, run)
    row = questions.run_of(experiment, run)
    raw = declared.table_of(row)
    named = declared.declared_by(row)
    record = RunRecord(experiment, row["run_id"])
    spec = named.spec
    split = spec.split.model_dump(mode="json")
    if (first := split.get("seed")) is None:
        raise errors.InvalidExperiment(
            "split",
            rule=f"by: {split['by']} splits the rows in only one way, without a seed",
            fix="Compare runs on tables of several dates instead.",
        )
    cpu_seconds = questions.results(experiment, record.run_id)["fit_cpu_seconds"].sum()
    workers = workers_of(spec)
    seconds = max(row["wall_seconds"] or 0.0, cpu_seconds / workers)
    cost = f"{numbers.seconds(seconds)} each, {numbers.seconds(seeds * seconds)} in all"
    agree(f"{numbers.counted(seeds, 'repeat')}, about {cost}")
    sets = prepared_rows(raw, named).sets
    table = some_rows(raw.frame, np.flatnonzero(sets.isin(["train", "test"])))
    for seed in range(first + 1, first + 1 + seeds):
        record.record([_repeated(named, table, {**split, "seed": seed})])
    finish_run(record, LOG.warning)
    evidence = questions.rows_of("evidence", row)
    return evidence.query("kind == 'split seed'").reset_index(drop=True)


def _repeated(
    named: NamedColumns, table: pd.DataFrame, split: Mapping[str, Any]
) -> EvidenceRow:
    """Run the experiment on a table with another split; its outcome as a row."""
    spec = named.spec
    seed = split["seed"]
    settings = spec.model_dump(
        mode="json", exclude_unset=True, exclude={"name", "data", "target", "split"}
    )
    try:
        report = run_experiment(
            table,
            spec.target,
            name=spec.name,
            schema=named.schema_text,
            split=split,
            **settings,
        ).report
    except errors.ExperimentPipelineError as error:
        return EvidenceRow(kind="split seed", number=seed, what=f"seed {seed}: {error}")
    score = report.score(spec.metric)
    row = EvidenceRow.of(
        "split seed",
        f"seed {seed}: {report.configuration}, {report.decision}",
        score.interval.estimate,
        score.difference_to_baseline,
        report.rows,
    )
    return replace(row, number=seed)


def executed(
    named: NamedColumns,
    *,
    summary: str = "",
    progress: bool = True,
    trigger: Trigger = "notebook",
    seconds: float | None = None,
    began: float | None = None,
    **of_run: Any,
) -> RunResult:
    """Run the stages until one ends the run.

    `began`: when `seconds` start; None: now. `of_run`: fields of `Run`.
    """
    begin = perf_counter() if began is None else began
    named, spec = declared.with_schema(named), named.spec

    def spent() -> float:
        return perf_counter() - begin

    record = RunRecord(spec.name, str(uuid.uuid4()))
    started = RunFacts(
        triggered_by=trigger,
        trigger_name=user_name(),
        started_at=datetime.now(UTC) - timedelta(seconds=spent()),
    )
    store = FileStore(spec, run=record, started=started, warn=LOG.warning)
    budget = RunBudget(seconds or spec.budget.seconds, spent, EXPORT_SECONDS)
    reporter = ProgressReporter(named, progress, budget)
    run = Run(named, store, reporter, budget, **of_run)
    if progress:
        # To stderr, as the output of commands may be JSON; a notebook would show that
        # in red, as an error.
        output = sys.stdout if get_console().is_jupyter else sys.stderr
        print(f"follow this run: {store.page}", file=output)
    try:
        with reporter.shown():
            finished = run_stages(run, partial(_reported, store))
    except KeyboardInterrupt:
        # Without the stack trace, which would fill pages of a notebook.
        raise KeyboardInterrupt(
            "the models trained so far are kept: the same call continues with them"
        ) from None
    refused = finished.refused
    if refused is not None and "validation_report" not in finished.assets:
        raise refused
    return RunResult(named, record.run_id, summary, finished.assets, refused)


def _reported(store: FileStore, asset: str, outcome: Outcome) -> None:
    """Store an outcome's table where Dagster's assets find it, log and record it."""
    if outcome.value is not None:
        table: Any = outcome.value
        write_table(asset_file(store.spec.name, asset), table)
    outcome.log_to(LOG)
    store.record_outcome(outcome)
