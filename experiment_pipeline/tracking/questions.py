"""What a notebook asks of the memory: experiments, runs, results, leaderboards, the champion.

In: names and run ids, of which a beginning is enough. Out: DataFrames whose columns carry their
clusters in their names and are those of the database's tables (`docs/database.md`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from experiment_pipeline.errors import StorageError, UnknownRun, did_you_mean
from experiment_pipeline.storage.files import list_names
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.tracking.database.archive import archive
from experiment_pipeline.tracking.database.connection import database, told
from experiment_pipeline.tracking.database.recording import mark_killed
from experiment_pipeline.tracking.database.tables import RUNS, TABLES, UtcDateTime
from experiment_pipeline.tracking.database.views import VIEWS

CONFIGURATIONS, VERSIONS = TABLES["configurations"], TABLES["versions"]
_DTYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (UtcDateTime, "datetime64[us, UTC]"),
    (sa.Text, "str"),
    (sa.Boolean, "boolean"),
    (sa.Integer, "Int64"),
    (sa.Float, "float64"),
)
_WHERE = "Run it, or name the database that remembers it in EXPERIMENT_PIPELINE_DATABASE."
# What `leaderboard` shows, before the hyperparameters.
_BOARD = (
    *("rank", "key", "algorithm", "is_chosen", "test_score", "test_low", "test_high"),
    *("difference_to_best", "in_tie_group", "train_score", "fit_cpu_seconds", "model_bytes"),
)


def experiments() -> pd.DataFrame:
    """Return every experiment that ever ran, one row each: its runs, its champion, its last run.

    >>> experiments()[["experiment", "runs", "accepted_runs", "champion", "last_status"]]
         experiment  runs  accepted_runs champion last_status
    0  flight_delay     4              3    v0003    rejected
    """
    _notice_killed_runs()
    view = VIEWS["experiments"].table
    counted = _read(sa.select(view).order_by(view.c.experiment))
    # v10000 comes after v9999.
    newest = (sa.func.length(VERSIONS.c.version).desc(), VERSIONS.c.version.desc())
    approved = VERSIONS.c.approval_required.is_not(True) | VERSIONS.c.approved_by.is_not(None)
    named = {
        "experiment": "experiment",
        "version": "champion",
        "configuration": "champion_configuration",
        "headline": "champion_score",
    }
    champions = _read(_last_of_each(VERSIONS, newest, approved))[[*named]].rename(columns=named)
    last = last_runs()[["experiment", "status"]].rename(columns={"status": "last_status"})
    return counted.merge(champions, how="left").merge(last, how="left")


def runs(
    experiment: str | None = None,
    *,
    status: str | Sequence[str] | None = None,
    since: pd.Timestamp | str | None = None,
    until: pd.Timestamp | str | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return runs with all that is known of each, the newest first.

    >>> runs("flight_delay", status="accepted", since="2026-02-03")[["run_id", "cost"]]
                      run_id    cost
    0  00000002-flight_delay  0.0036
    1  00000001-flight_delay  0.0036

    Args:
        experiment: of this one; None: of all.
        status: with this status, or one of these.
        since: begun at this moment or later; a text is read as pandas does, in UTC.
        until: begun before this moment.
        limit: as many at the most.

    Raises:
        UnknownRun: no run of the experiment is remembered.
    """
    _notice_killed_runs()
    query = sa.select(RUNS).order_by(RUNS.c.started_at.desc(), RUNS.c.run_id).limit(limit)
    if experiment is not None:
        check_experiment(experiment)
        query = query.where(RUNS.c.experiment == experiment)
    if status is not None:
        query = query.where(RUNS.c.status.in_([status] if isinstance(status, str) else status))
    if since is not None:
        query = query.where(RUNS.c.started_at >= _moment(since))
    if until is not None:
        query = query.where(RUNS.c.started_at < _moment(until))
    return _read(query)


def run_of(experiment: str | None, run: str | None = None) -> Mapping[str, Any]:
    """Return the row of one run.

    Args:
        experiment: its name; None: any, when the run is named.
        run: its id, or a beginning of it that no other run has; None: the last one.

    Raises:
        UnknownRun: there is none, or several begin so.
    """
    _notice_killed_runs()
    if experiment is not None:
        check_experiment(experiment)
    query = sa.select(RUNS).order_by(RUNS.c.started_at.desc()).limit(2)
    if experiment is not None:
        query = query.where(RUNS.c.experiment == experiment)
    if run is not None:
        query = query.where(RUNS.c.run_id.startswith(run, autoescape=True))
    found = _rows(query)
    if not found and run is None:
        raise UnknownRun("the last run", "no run is remembered yet", _WHERE)
    if not found:
        raise UnknownRun(
            str(run),
            "no run begins so" + (f" in {experiment}" if experiment else ""),
            "List the runs: experiment-pipeline runs.",
        )
    if run is not None and len(found) > 1 and found[0]["run_id"] != run:
        raise UnknownRun(
            run,
            f"several runs begin so: {found[0]['run_id']}, {found[1]['run_id']}",
            "Write more of the id, or name the experiment.",
        )
    return found[0]


def results(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return a row per configuration of a run, with a column per hyperparameter, typed.

    >>> found = results("flight_delay", run="00000002")
    >>> found[["algorithm", "status", "fit_cpu_seconds", "num_leaves", "C"]]
      algorithm   status  fit_cpu_seconds  num_leaves     C
    0  lightgbm  trained              2.5          31  <NA>
    1    linear  trained              0.2        <NA>   0.1
    2    linear   failed              NaN        <NA>   1.0

    The order is that of the leaderboard, those without a rank last. A hyperparameter whose name is
    that of another column is called `hyperparameter_<name>`.

    Args:
        experiment: its name.
        run: as of `run_of`; None: the last run that has any results.

    Raises:
        UnknownRun: there is none.
    """
    whose = _run_with_results(experiment) if run is None else run_of(experiment, run)
    order = (CONFIGURATIONS.c.rank.is_(None), CONFIGURATIONS.c.rank, CONFIGURATIONS.c.key)
    found = _read(_of_run(CONFIGURATIONS, whose).order_by(*order))
    own = found.drop(columns=["hyperparameters"])
    return pd.concat([own, _columns(found["hyperparameters"], own.columns)], axis=1)


def leaderboard(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the ranked configurations of a run, the best first: scores, then hyperparameters.

    >>> leaderboard("flight_delay")[["rank", "key", "test_score", "in_tie_group"]]
       rank                 key  test_score  in_tie_group
    0     1  lightgbm__7f3a9c2e        0.60          True
    1     2       linear__C=0.1        0.55         False

    Args and raises as of `results`.
    """
    found = results(experiment, run)
    known = [column.name for column in CONFIGURATIONS.columns]
    searched = [name for name in found.columns if name not in known]
    ranked = found[found["rank"].notna()].reset_index(drop=True)
    return ranked[[*_BOARD, *searched]].dropna(axis=1, how="all")


def rows_of(table: str, experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return what a table of the database holds of one run: sets, findings, scores, gates, reports.

    Raises:
        UnknownRun: there is none.
    """
    return rows_of_run(table, run_of(experiment, run))


def rows_of_run(table: str, run: Mapping[str, Any]) -> pd.DataFrame:
    """Return what a table of the database holds of a run, by its row of `runs`."""
    return _read(_of_run(TABLES[table], run))


def findings(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return what the data analysis of a run noticed, a row per finding.

    >>> findings("flight_delay")[["code", "severity", "column_names", "evidence"]]
                  code severity column_names          evidence
    0  constant_column     warn       [year]  year has 1 value

    Args:
        experiment: its name.
        run: as of `run_of`; None: the last one.

    Raises:
        UnknownRun: there is none.
    """
    return rows_of("findings", experiment, run)


def versions(experiment: str) -> pd.DataFrame:
    """Return the published versions of an experiment's model, the oldest first, with what the run
    that made each one scored on validation.

    >>> versions("flight_delay")[["version", "run_id", "validation_score"]]
      version                 run_id  validation_score
    0   v0001  00000000-flight_delay              0.69
    1   v0002  00000001-flight_delay              0.70
    2   v0003  00000002-flight_delay              0.71
    """
    view = VIEWS["champion_history"].table
    query = sa.select(view).where(view.c.experiment == experiment)
    return _read(query.order_by(view.c.created_at, view.c.version))


def latest_versions(of_each: int) -> pd.DataFrame:
    """Return the last so many versions of every experiment that have a score, the oldest first."""
    view = VIEWS["champion_history"].table
    newest = (view.c.created_at.desc(), view.c.version.desc())
    found = _last_of_each(view, newest, view.c.validation_score.is_not(None), most=of_each)
    return _read(found).sort_values(["created_at", "version"], ignore_index=True)


def gates_passed(run_ids: Sequence[str]) -> pd.DataFrame:
    """Return how many gates some runs have, and how many of them were passed, a row per run."""
    gates = TABLES["gates"]
    passed = sa.func.sum(sa.case((gates.c.outcome == "PASS", 1), else_=0))
    counted = (passed.label("passed"), sa.func.count().label("gates"))
    query = sa.select(gates.c.experiment, gates.c.run_id, *counted)
    query = query.where(gates.c.run_id.in_(run_ids))
    return _read(query.group_by(gates.c.experiment, gates.c.run_id))


def last_runs() -> pd.DataFrame:
    """Return the last run of every experiment."""
    newest = (RUNS.c.started_at.desc(), RUNS.c.run_id.desc())
    return _read(_last_of_each(RUNS, newest, RUNS.c.started_at.is_not(None)))


def last_decided(experiment: str, before: datetime) -> Mapping[str, Any] | None:
    """Return the last run begun before a moment that was accepted or rejected; None: there is none."""
    query = sa.select(RUNS).where(
        RUNS.c.experiment == experiment,
        RUNS.c.status.in_(["accepted", "rejected"]),
        RUNS.c.started_at < before,
    )
    found = _rows(query.order_by(RUNS.c.started_at.desc()).limit(1))
    return found[0] if found else None


def reports_of(experiment: str, runs: int) -> pd.DataFrame:
    """Return the reports of an experiment's last runs: run_id, name, place."""
    reports = TABLES["reports"]
    last = (
        sa.select(RUNS.c.run_id)
        .where(RUNS.c.experiment == experiment)
        .order_by(RUNS.c.started_at.desc())
        .limit(runs)
        .subquery()
    )
    query = sa.select(reports).where(
        reports.c.experiment == experiment, reports.c.run_id.in_(sa.select(last.c.run_id))
    )
    return _read(query.order_by(reports.c.run_id, reports.c.name))


def file_text(digest: str | None) -> str:
    """Return the text of a YAML file that a run had; empty where it is not known."""
    files = TABLES["files"]
    found = _rows(sa.select(files.c.content).where(files.c.digest == digest))
    return str(found[0]["content"]) if found else ""


def check_experiment(experiment: str) -> None:
    """Raise UnknownRun when no run of the experiment is remembered."""
    if _rows(sa.select(RUNS.c.run_id).where(RUNS.c.experiment == experiment).limit(1)):
        return
    names = [row["experiment"] for row in _rows(sa.select(RUNS.c.experiment).distinct())]
    raise UnknownRun(
        experiment,
        "no run of this experiment is remembered"
        + (f"; {did_you_mean(experiment, names)}" if names else ""),
        _WHERE,
    )


def check_begun(run: Mapping[str, Any], since: pd.Timestamp) -> None:
    """Raise UnknownRun when a run, by its row, began before a moment; one without zone is UTC."""
    moment = since.tz_localize("UTC") if since.tz is None else since
    if run["started_at"] is None or run["started_at"] < moment:
        raise UnknownRun(
            run["experiment"],
            f"no run since {moment:%Y-%m-%d %H:%M:%S} UTC; the last one is {run['run_id']}",
            "Look at the log of the job: it ended before its run was recorded.",
        )


def _notice_killed_runs() -> None:
    """A run whose process is gone is not shown as running, unless one may only read here.

    Nobody else marks and archives it again; where its storage is another one, nothing is written.
    """
    with suppress(StorageError):
        for run in mark_killed():
            if list_names(storage_root() / run.experiment):
                archive(run, storage_root())


def _moment(given: pd.Timestamp | str) -> datetime:
    moment = pd.Timestamp(given)
    utc = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    return utc.to_pydatetime()


def _run_with_results(experiment: str) -> Mapping[str, Any]:
    check_experiment(experiment)
    any_results = sa.exists().where(
        CONFIGURATIONS.c.experiment == RUNS.c.experiment, CONFIGURATIONS.c.run_id == RUNS.c.run_id
    )
    query = sa.select(RUNS).where(RUNS.c.experiment == experiment, any_results)
    found = _rows(query.order_by(RUNS.c.started_at.desc()).limit(1))
    if not found:
        raise UnknownRun(
            experiment, "none of its runs came to a result", "Look at experiment-pipeline runs."
        )
    return found[0]


def _last_of_each(
    table: sa.Table,
    newest: Sequence[sa.ColumnElement[Any]],
    which: sa.ColumnElement[bool],
    most: int = 1,
) -> sa.Select[Any]:
    """Of every experiment the rows that come first in an order, of those that count."""
    place = sa.func.row_number().over(partition_by=table.c.experiment, order_by=newest)
    placed = sa.select(table, place.label("from_the_last")).where(which).subquery()
    own = [column for column in placed.c if column.name != "from_the_last"]
    return sa.select(*own).where(placed.c.from_the_last <= most)


def _of_run(table: sa.Table, run: Mapping[str, Any]) -> sa.Select[Any]:
    return sa.select(table).where(
        table.c.experiment == run["experiment"], table.c.run_id == run["run_id"]
    )


def _columns(hyperparameters: pd.Series, taken: Iterable[str]) -> pd.DataFrame:
    """A column per hyperparameter, of the narrowest type that holds all of its values."""
    wide = pd.DataFrame(hyperparameters.tolist(), index=hyperparameters.index)
    names = {name: f"hyperparameter_{name}" for name in wide.columns if name in set(taken)}
    return wide.rename(columns=names).convert_dtypes()


def _read(query: sa.Select[Any]) -> pd.DataFrame:
    """A column's type is that of the database, whatever the rows hold: nulls turn no count into a float."""
    rows = pd.DataFrame(_rows(query), columns=[column.name for column in query.selected_columns])
    types = {column.name: _dtype(column.type) for column in query.selected_columns}
    return rows.astype({name: dtype for name, dtype in types.items() if dtype is not None})


def _dtype(kind: sa.types.TypeEngine[Any]) -> str | None:
    return next((dtype for base, dtype in _DTYPES if isinstance(kind, base)), None)


def _rows(query: sa.Select[Any]) -> list[Mapping[str, Any]]:
    engine = database()
    with told(engine.url), engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
