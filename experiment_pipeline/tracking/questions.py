"""Questions to the metadata database: experiments, runs, results, leaderboards, versions.

Answers are DataFrames with the columns of the database's tables (`docs/database.md`). A run is named
by its id, of which a beginning is enough.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from experiment_pipeline.errors import StorageError, UnknownRun, did_you_mean
from experiment_pipeline.storage.files import list_names
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.tracking.database.archive import archive
from experiment_pipeline.tracking.database.connection import reading
from experiment_pipeline.tracking.database.recording import mark_killed
from experiment_pipeline.tracking.database.tables import (
    CONFIGURATIONS,
    RUNS,
    TABLES,
    VERSIONS,
    VIEWS,
    UtcDateTime,
)

_DTYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (UtcDateTime, "datetime64[us, UTC]"),
    (sa.Text, "str"),
    (sa.Boolean, "boolean"),
    (sa.Integer, "Int64"),
    (sa.Float, "float64"),
)
_RUN_IT = "Run it, or name the database that holds it in EXPERIMENT_PIPELINE_DATABASE."
# What `leaderboard` shows, before the hyperparameters.
_BOARD = (
    *("rank", "key", "algorithm", "is_chosen", "test_score", "test_low", "test_high"),
    *("difference_to_best", "in_tie_group", "train_score", "fit_cpu_seconds", "model_bytes"),
)
_HISTORY = VIEWS["champion_history"].table


def experiments() -> pd.DataFrame:
    """Return a row per experiment that ever ran: its runs, its champion, its last run.

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
    champions = _read(_first_of_each(VERSIONS, newest, approved))[[*named]].rename(columns=named)
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
        experiment: its name; None: runs of all.
        status: one, or several.
        since: started at this moment or later; a moment without zone is UTC.
        until: started before this moment.
        limit: at most so many.

    Raises:
        UnknownRun: the experiment has no run.
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
        UnknownRun: there is none, or several ids begin so.
    """
    _notice_killed_runs()
    query = sa.select(RUNS).order_by(RUNS.c.started_at.desc()).limit(2)
    if experiment is not None:
        check_experiment(experiment)
        query = query.where(RUNS.c.experiment == experiment)
    if run is not None:
        query = query.where(RUNS.c.run_id.startswith(run, autoescape=True))
    found = _rows(query)
    if not found and run is None:
        raise UnknownRun("the last run", "no run is recorded yet", _RUN_IT)
    if not found:
        place = f" in {experiment}" if experiment else ""
        fix = "List the runs: experiment-pipeline runs."
        raise UnknownRun(str(run), f"no run id begins so{place}", fix)
    if run is not None and len(found) > 1 and found[0]["run_id"] != run:
        raise UnknownRun(
            run,
            f"several run ids begin so: {found[0]['run_id']}, {found[1]['run_id']}",
            "Write more of the id, or name the experiment.",
        )
    return found[0]


def results(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return a row per configuration of a run, with a typed column per hyperparameter.

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
        run: as of `run_of`; None: the last run that has results.

    Raises:
        UnknownRun: there is none.
    """
    row = _last_with_results(experiment) if run is None else run_of(experiment, run)
    order = (CONFIGURATIONS.c.rank.is_(None), CONFIGURATIONS.c.rank, CONFIGURATIONS.c.key)
    found = _read(_of_run(CONFIGURATIONS, row).order_by(*order))
    own = found.drop(columns=["hyperparameters"])
    wide = pd.DataFrame(found["hyperparameters"].tolist(), index=found.index)
    names = {name: f"hyperparameter_{name}" for name in wide.columns if name in own.columns}
    return pd.concat([own, wide.rename(columns=names).convert_dtypes()], axis=1)


def leaderboard(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the ranked configurations of a run, the best first: scores, then hyperparameters.

    >>> leaderboard("flight_delay")[["rank", "key", "test_score", "in_tie_group"]]
       rank                 key  test_score  in_tie_group
    0     1  lightgbm__7f3a9c2e        0.60          True
    1     2       linear__C=0.1        0.55         False

    Args and raises as of `results`.
    """
    found = results(experiment, run)
    searched = [name for name in found.columns if name not in CONFIGURATIONS.c]
    ranked = found[found["rank"].notna()].reset_index(drop=True)
    return ranked[[*_BOARD, *searched]].dropna(axis=1, how="all")


def rows_of(table: str, experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the rows of one run in a table: sets, findings, scores, gates, reports.

    Raises:
        UnknownRun: there is none.
    """
    return rows_of_run(table, run_of(experiment, run))


def rows_of_run(table: str, run: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a run, by its row of `runs`, in another table."""
    return _read(_of_run(TABLES[table], run))


def findings(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the findings of a run's data analysis, a row each.

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
    query = sa.select(_HISTORY).where(_HISTORY.c.experiment == experiment)
    return _read(query.order_by(_HISTORY.c.created_at, _HISTORY.c.version))


def latest_versions(of_each: int) -> pd.DataFrame:
    """Return the last versions of every experiment that have a score, the oldest first."""
    newest = (_HISTORY.c.created_at.desc(), _HISTORY.c.version.desc())
    scored = _HISTORY.c.validation_score.is_not(None)
    found = _read(_first_of_each(_HISTORY, newest, scored, most=of_each))
    return found.sort_values(["created_at", "version"], ignore_index=True)


def gates_passed(run_ids: Sequence[str]) -> pd.DataFrame:
    """Return a row per run: how many gates it has, and how many of them it passed."""
    gates = TABLES["gates"]
    passed = sa.func.sum(sa.case((gates.c.outcome == "PASS", 1), else_=0))
    counted = (passed.label("passed"), sa.func.count().label("gates"))
    query = sa.select(gates.c.experiment, gates.c.run_id, *counted)
    query = query.where(gates.c.run_id.in_(run_ids))
    return _read(query.group_by(gates.c.experiment, gates.c.run_id))


def last_runs() -> pd.DataFrame:
    """Return the last run of every experiment."""
    newest = (RUNS.c.started_at.desc(), RUNS.c.run_id.desc())
    return _read(_first_of_each(RUNS, newest, RUNS.c.started_at.is_not(None)))


def last_decided(experiment: str, before: datetime) -> Mapping[str, Any] | None:
    """Return the last run started before a moment that was accepted or rejected, if any."""
    query = sa.select(RUNS).where(
        RUNS.c.experiment == experiment,
        RUNS.c.status.in_(["accepted", "rejected"]),
        RUNS.c.started_at < before,
    )
    return next(iter(_rows(query.order_by(RUNS.c.started_at.desc()).limit(1))), None)


def reports_of(experiment: str, runs: int) -> pd.DataFrame:
    """Return the reports of an experiment's last runs: run_id, name, place."""
    reports = TABLES["reports"]
    last = sa.select(RUNS.c.run_id).where(RUNS.c.experiment == experiment)
    last = last.order_by(RUNS.c.started_at.desc()).limit(runs)
    query = sa.select(reports).where(
        reports.c.experiment == experiment,
        reports.c.run_id.in_(sa.select(last.subquery().c.run_id)),
    )
    return _read(query.order_by(reports.c.run_id, reports.c.name))


def file_text(digest: str | None) -> str:
    """Return the text of a YAML file of a run; empty where it is not known."""
    files = TABLES["files"]
    found = _rows(sa.select(files.c.content).where(files.c.digest == digest))
    return str(found[0]["content"]) if found else ""


def check_experiment(experiment: str) -> None:
    """Raise UnknownRun when the experiment has no run."""
    names = [row["experiment"] for row in _rows(sa.select(RUNS.c.experiment).distinct())]
    if experiment not in names:
        near = f"; {did_you_mean(experiment, names)}" if names else ""
        raise UnknownRun(experiment, f"no run of this experiment is recorded{near}", _RUN_IT)


def check_begun(run: Mapping[str, Any], since: pd.Timestamp) -> None:
    """Raise UnknownRun when a run, by its row, began before a moment; one without zone is UTC."""
    moment = _moment(since)
    if run["started_at"] is None or run["started_at"] < moment:
        raise UnknownRun(
            run["experiment"],
            f"no run since {moment:%Y-%m-%d %H:%M:%S} UTC; the last one is {run['run_id']}",
            "Look at the log of the job: it ended before its run was recorded.",
        )


def _notice_killed_runs() -> None:
    """Mark and archive runs whose process is gone, unless this user may only read.

    An archive is written where the storage root holds the experiment.
    """
    with suppress(StorageError):
        for run in mark_killed():
            if list_names(storage_root() / run.experiment):
                archive(run, storage_root())


def _moment(given: pd.Timestamp | str) -> datetime:
    moment = pd.Timestamp(given)
    utc = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    return utc.to_pydatetime()


def _last_with_results(experiment: str) -> Mapping[str, Any]:
    check_experiment(experiment)
    query = sa.select(RUNS).where(RUNS.c.experiment == experiment)
    query = query.where(sa.select(CONFIGURATIONS.c.key).where(_OF_THE_RUN).exists())
    found = _rows(query.order_by(RUNS.c.started_at.desc()).limit(1))
    if not found:
        fix = "See how its runs ended: experiment-pipeline runs."
        raise UnknownRun(experiment, "none of its runs has results", fix)
    return found[0]


_OF_THE_RUN = sa.and_(
    CONFIGURATIONS.c.experiment == RUNS.c.experiment, CONFIGURATIONS.c.run_id == RUNS.c.run_id
)


def _first_of_each(
    table: sa.Table,
    order: Sequence[sa.ColumnElement[Any]],
    which: sa.ColumnElement[bool],
    most: int = 1,
) -> sa.Select[Any]:
    """Of every experiment the rows that come first in an order, of those that count."""
    number = sa.func.row_number().over(partition_by=table.c.experiment, order_by=order)
    numbered = sa.select(table, number.label("number_of_row")).where(which).subquery()
    own = [numbered.c[name] for name in table.c.keys()]  # noqa: SIM118 - no mapping
    return sa.select(*own).where(numbered.c.number_of_row <= most)


def _of_run(table: sa.Table, run: Mapping[str, Any]) -> sa.Select[Any]:
    return sa.select(table).filter_by(experiment=run["experiment"], run_id=run["run_id"])


def _read(query: sa.Select[Any]) -> pd.DataFrame:
    """The answer as a DataFrame whose types are those of the columns, whatever the rows hold."""
    types = {
        column.name: dtype
        for column in query.selected_columns
        for base, dtype in _DTYPES
        if isinstance(column.type, base)
    }
    with reading() as connection:
        return pd.read_sql(query, connection, dtype=types)


def _rows(query: sa.Select[Any]) -> list[Mapping[str, Any]]:
    with reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
