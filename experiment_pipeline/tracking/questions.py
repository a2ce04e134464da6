"""Queries of the metadata database: experiments, runs, results, leaderboards, versions.

Results are DataFrames with the columns of the database's tables (`docs/database.md`). A
run is named by its id, or the start of it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import pandas as pd
import sqlalchemy as sa

from experiment_pipeline.errors import StorageError, UnknownRun, did_you_mean
from experiment_pipeline.reporting.run_record import PREDICTED_ROWS, Row, worst_of
from experiment_pipeline.storage.files import (
    Location,
    list_names,
    location,
    storage_root,
)
from experiment_pipeline.storage.provenance import CodeProvenance
from experiment_pipeline.storage.records import soon
from experiment_pipeline.storage.run_code import RunCode
from experiment_pipeline.storage.tables import read_table
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking.database.archive import archive
from experiment_pipeline.tracking.database.connection import reading
from experiment_pipeline.tracking.database.recording import mark_killed
from experiment_pipeline.tracking.database.tables import (
    CONFIGURATIONS,
    RUNS,
    SHOWN_TYPES,
    TABLES,
    VERSIONS,
    VIEWS,
)
from experiment_pipeline.tracking.summary import outcome_in_words, score_of

Rows = Sequence[Row]
Key = TypeVar("Key")
_RUN_IT = "Run it, or name the database that holds it in EXPERIMENT_PIPELINE_DATABASE."
# The order in which the last run comes first: complete runs before partial ones
# (selected stages or partitions, without a decision), and runs that a wrong clock dated
# in the future at the end.
_SOON = sa.bindparam("soon", callable_=soon, type_=RUNS.c.started_at.type)
_FUTURE = sa.case((RUNS.c.started_at > _SOON, 1), else_=0)
_LAST = (_FUTURE, RUNS.c.status == "partial", RUNS.c.started_at.desc(), RUNS.c.run_id)
# The columns of `leaderboard` before the hyperparameters.
_LEADERBOARD_COLUMNS = (
    "rank",
    "key",
    "algorithm",
    "is_chosen",
    "test_score",
    "test_low",
    "test_high",
    "difference_to_best",
    "in_tie_group",
    "train_score",
    "fit_cpu_seconds",
    "model_bytes",
    "note",
)
# The default columns of `runs`; score and baseline are those on the validation set.
_RUNS_COLUMNS = [
    "run_id",
    "experiment",
    "started_at",
    "triggered_by",
    "status",
    "chosen",
    "score",
    "baseline",
    "version",
    "wall_seconds",
]
# A column of the last run, or of the champion → its name in `experiments`.
_OF_LAST_RUN = {
    "experiment": "experiment",
    "status": "last_status",
    "outcome": "last_outcome",
    "started_at": "last_started_at",
}
_OF_CHAMPION = {
    "experiment": "experiment",
    "version": "champion",
    "configuration": "champion_configuration",
    "headline": "champion_score",
}
# Names of files become paths, and an archive may contain forged ones.
_SAFE_NAME = re.compile(r"(code/[\w/]+|\w+)\.(py|yaml|patch)")


def experiments() -> pd.DataFrame:
    """Return a row per experiment that has run: its runs, its champion, its last run.

    >>> experiments()[["experiment", "runs", "champion", "last_status"]]
         experiment  runs champion last_status
    0  flight_delay     4    v0003    rejected
    """
    _notice_killed_runs()
    view = VIEWS["experiments"].table
    counts = _read(sa.select(view).order_by(view.c.experiment))
    last = _read(_last_runs())
    outcomes = [outcome_in_words(row) for row in plain_rows(last)]
    last = last.assign(outcome=pd.Series(outcomes, last.index, dtype="str"))
    last = last[[*_OF_LAST_RUN]].rename(columns=_OF_LAST_RUN)
    counts = counts.drop(columns="last_started_at")
    return counts.merge(_champions(), how="left").merge(last, how="left")


def _champions() -> pd.DataFrame:
    """The last version of each experiment that is approved, or needs no approval."""
    is_approved = VERSIONS.c.approval_required.is_not(True)
    is_approved |= VERSIONS.c.approved_by.is_not(None)
    query = sa.select(VERSIONS).where(is_approved)
    versions = _read(query.order_by(*_by_number(VERSIONS.c.version)))
    champions = versions.drop_duplicates("experiment", keep="last")
    return champions[[*_OF_CHAMPION]].rename(columns=_OF_CHAMPION)


def _by_number(version: sa.ColumnElement[str]) -> Sequence[sa.ColumnElement[Any]]:
    """Order versions by length first, so that v10000 comes after v9999."""
    return sa.func.length(version), version


def runs(
    experiment: str | None = None,
    *,
    status: str | Sequence[str] | None = None,
    since: pd.Timestamp | str | None = None,
    until: pd.Timestamp | str | None = None,
    limit: int | None = None,
    all_columns: bool = False,
) -> pd.DataFrame:
    """Return a row per run, the newest first; UnknownRun: the experiment has none.

    >>> accepted = runs("flight_delay", status="accepted", since="2026-02-03")
    >>> accepted[["run_id", "version"]]
                      run_id version
    0  00000002-flight_delay   v0003
    1  00000001-flight_delay   v0002

    Only runs with one of the statuses, started at `since` or later and before `until`;
    times without a zone are UTC. A status is a word of the column, or the outcome that
    people read: not accepted, no go, failed (which includes killed). `all_columns`:
    those of the table `runs` instead of a selection.
    """
    _notice_killed_runs()
    newest_first = (RUNS.c.started_at.desc(), RUNS.c.run_id)
    query = _runs_of(experiment).order_by(*newest_first).limit(limit)
    if status is not None:
        statuses = [status] if isinstance(status, str) else status
        query = query.where(sa.or_(*map(_has_status, statuses)))
    if since is not None:
        query = query.where(RUNS.c.started_at >= _moment(since))
    if until is not None:
        query = query.where(RUNS.c.started_at < _moment(until))
    frame = _read(query)
    return frame if all_columns else _selected_columns(frame)


def _has_status(status: str) -> sa.ColumnElement[bool]:
    """Compare a stored status, or the outcome that people read, see `outcome_of`."""
    was_stopped = RUNS.c.verdict.is_not_distinct_from("no go")
    was_rejected = RUNS.c.status == "rejected"
    outcomes = {
        "not accepted": was_rejected & ~was_stopped,
        "no go": was_rejected & was_stopped,
        "failed": RUNS.c.status.in_(["failed", "killed"]),
    }
    return outcomes.get(status, RUNS.c.status == status)


def run_of(experiment: str | None, run: str | None = None) -> Row:
    """Return the row of a run, of any experiment if that is None.

    `run`: its id, or a start of it that is unique, or without `experiment` the name of
    one, for its last run; None: the last complete run.
    UnknownRun: there is none, or there are several.
    """
    if run is not None and not run.strip():  # each id starts with nothing
        raise UnknownRun(
            repr(run),
            rule="is no run id; is a variable empty?",
            fix="`runs` lists them.",
        )
    _notice_killed_runs()
    query = _runs_of(experiment).order_by(*_LAST).limit(2)
    if run is not None:
        rows = _rows(query.where(RUNS.c.run_id.startswith(run, autoescape=True)))
        if not rows and experiment is None:
            of_experiment = sa.select(RUNS).where(RUNS.c.experiment == run)
            rows = _rows(of_experiment.order_by(*_LAST).limit(1))
        return _the_run(experiment, run, rows)
    for row in _rows(query):
        return row
    raise UnknownRun("the last run", rule="no run is recorded yet", fix=_RUN_IT)


def _the_run(experiment: str | None, run: str, rows: Sequence[Row]) -> Row:
    """Return the only one of the rows whose ids start with `run`, or that of this id.

    `rows`: at most two.
    """
    if rows and (len(rows) == 1 or rows[0]["run_id"] == run):
        return rows[0]
    if rows:
        ids = f"{rows[0]['run_id']}, {rows[1]['run_id']}"
        raise UnknownRun(
            run,
            rule=f"several run ids start with this: {ids}",
            fix="Write more of the id, or name the experiment.",
        )
    place = f" in {experiment}" if experiment else ""
    raise UnknownRun(
        run, rule=f"no run id starts with this{place}", fix="`runs` lists them."
    )


def results(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return a row per configuration of a run, with a typed column per hyperparameter.

    >>> found = results("flight_delay", run="00000002")
    >>> found[["algorithm", "status", "fit_cpu_seconds", "num_leaves", "C"]]
      algorithm   status  fit_cpu_seconds  num_leaves     C
    0  lightgbm  trained              2.5          31  <NA>
    1    linear  trained              0.2        <NA>   0.1
    2    linear   failed              NaN        <NA>   1.0

    They are in the order of the leaderboard. A hyperparameter with the name of another
    column is called `hyperparameter_<name>`. `run`: a beginning of its id; None: the
    last complete run with results.
    """
    row = run_of(experiment, run) if run else _last_run_with_results(experiment)
    rank = CONFIGURATIONS.c.rank
    query = _of_run(CONFIGURATIONS, row).order_by(
        rank.is_(None), rank, CONFIGURATIONS.c.key
    )
    rows = _read(query)
    columns = rows.drop(columns="hyperparameters")
    hyperparameters = pd.DataFrame(rows["hyperparameters"].tolist(), index=rows.index)
    renamed = {
        name: f"hyperparameter_{name}"
        for name in hyperparameters.columns
        if name in columns
    }
    hyperparameters = hyperparameters.rename(columns=renamed).convert_dtypes()
    return pd.concat([columns, hyperparameters], axis=1)


def _last_run_with_results(experiment: str) -> Row:
    has_results = sa.exists().where(
        CONFIGURATIONS.c.experiment == RUNS.c.experiment,
        CONFIGURATIONS.c.run_id == RUNS.c.run_id,
    )
    query = _runs_of(experiment).where(has_results)
    for row in _rows(query.order_by(*_LAST).limit(1)):
        return row
    raise UnknownRun(
        experiment,
        rule="none of its runs has results",
        fix="`runs` lists how they ended.",
    )


def leaderboard(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the ranked configurations of a run, the best first: scores, then settings.

    >>> leaderboard("flight_delay")[["rank", "key", "test_score", "in_tie_group"]]
       rank                 key  test_score  in_tie_group
    0     1  lightgbm__7f3a9c2e        0.60          True
    1     2       linear__C=0.1        0.55         False

    Arguments and errors as for `results`.
    """
    configurations = results(experiment, run)
    searched = configurations.columns.difference(CONFIGURATIONS.c.keys(), sort=False)
    ranked = configurations[configurations["rank"].notna()]
    board = ranked[[*_LEADERBOARD_COLUMNS, *searched]].reset_index(drop=True)
    return board.dropna(axis=1, how="all") if len(board) else board


def worst_rows(experiment: str, n: int = 50, run: str | None = None) -> pd.DataFrame:
    """Return the n rows of the validation set, then of the test set, with the largest
    loss of a run's model.

    >>> found = worst_rows("flight_delay", n=1).reset_index()
    >>> found[["row_number", "set", "flight", "target", "prediction", "loss"]]
       row_number         set flight target prediction  loss
    0          17  validation   UA 7    yes         no  3.21
    1           4        test   B6 2     no        yes  2.45

    The index picks the rows of the table as delivered. The loss is the log loss or the
    absolute error. Test rows are predicted by the fit on train rows.
    `run`: a beginning of its id.
    """
    return worst_of(predicted_rows(run_of(experiment, run)), n)


def predicted_rows(run: Row) -> pd.DataFrame:
    """Return the table PREDICTED_ROWS of a run, by its row of `runs`; UnknownRun: it
    has none.
    """
    return read_table(report_of(run, PREDICTED_ROWS))


def report_of(run: Row, name: str) -> Location:
    """Return the place of a run's report, given its row of `runs`; UnknownRun: it has
    none.
    """
    for report in plain_rows_of("reports", run):
        if report["name"] == name and report["place"]:  # empty: `clean` has removed it
            return location(report["place"])
    raise UnknownRun(
        run["run_id"],
        rule=f"this run has stored no {name.replace('_', ' ')}",
        fix="Name a run that reached its validation report with this version, or run "
        "it again.",
    )


def rows_of(table: str, run: Row) -> pd.DataFrame:
    """Return the rows in `table` of a run, given its row of `runs`; without `run_id`,
    those of all runs.
    """
    return _read(_of_run(TABLES[table], run))


def all_rows(table: sa.Table, experiments: Collection[str]) -> pd.DataFrame:
    """Return the rows of experiments in a table or view."""
    return _read(sa.select(table).where(table.c.experiment.in_(experiments)))


def plain_rows_of(table: str, run: Row) -> list[Row]:
    """The same as dicts, an order of magnitude faster than through a DataFrame."""
    return _rows(_of_run(TABLES[table], run))


def rows_by_run(table: str, runs: Rows) -> Mapping[tuple[str, str], list[Row]]:
    """Return (experiment, id) of each run → its rows in `table`, in one query."""
    columns = TABLES[table].c
    query = sa.select(TABLES[table]).where(
        columns.experiment.in_({run["experiment"] for run in runs}),
        columns.run_id.in_({run["run_id"] for run in runs}),
    )
    return _grouped(_rows(query), lambda row: (row["experiment"], row["run_id"]))


def rows_by_experiment(rows: Rows) -> Mapping[str, list[Row]]:
    """Return experiment → its rows, in their order."""
    return _grouped(rows, lambda row: row["experiment"])


def _grouped(rows: Rows, key: Callable[[Row], Key]) -> Mapping[Key, list[Row]]:
    groups = defaultdict[Key, list[Row]](list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def last_rows(experiment: str, limit: int, *criteria: sa.ColumnElement[bool]) -> Rows:
    """Return the rows of the newest runs as dicts, the newest first."""
    newest_first = (RUNS.c.started_at.desc(), RUNS.c.run_id)
    query = _runs_of(experiment).where(*criteria).order_by(*newest_first)
    return _rows(query.limit(limit))


def last_decided(experiment: str, until: datetime) -> Rows:
    """Return the row of the last decided run that started before a moment, if any."""
    is_decided = RUNS.c.status.in_(["accepted", "rejected"])
    return last_rows(experiment, 1, is_decided, RUNS.c.started_at < until)


def last_other(experiment: str, run_id: str, column: str) -> Rows:
    """Return the row of the last other run of an experiment with a value in a column
    of `runs`, if any.
    """
    has_value = RUNS.c[column].is_not(None)
    return last_rows(experiment, 1, has_value, RUNS.c.run_id != run_id)


def last_points(most: int) -> Rows:
    """Return the score of the newest runs of every experiment, oldest first."""
    newest_first = (RUNS.c.started_at.desc(), RUNS.c.run_id)
    place = sa.func.row_number().over(
        partition_by=RUNS.c.experiment, order_by=newest_first
    )
    columns = (RUNS.c.experiment, RUNS.c.metric, RUNS.c.validation_score)
    points = sa.select(*columns, place.label("place")).subquery()
    query = sa.select(points).where(points.c.place <= most)
    return _rows(query.order_by(points.c.place.desc()))


def totals_since(moment: datetime) -> Rows:
    """Return the number of runs of every experiment, and the cost and seconds of those
    that began since then.
    """
    is_new = RUNS.c.started_at >= moment
    query = sa.select(
        RUNS.c.experiment,
        sa.func.count().label("runs"),
        sa.func.sum(sa.case((is_new, RUNS.c.cost))).label("cost"),
        sa.func.sum(sa.case((is_new, RUNS.c.wall_seconds))).label("wall_seconds"),
    )
    return _rows(query.group_by(RUNS.c.experiment).order_by(RUNS.c.experiment))


def version_rows(experiment: str | None = None) -> Rows:
    """Return the rows of `versions` as dicts, the oldest first; None: those of all
    experiments.
    """
    return _rows(_versions_of(experiment))


def findings(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the findings of a run's data analysis, a row each.

    >>> findings("flight_delay")[["code", "severity", "column_names", "evidence"]]
                  code severity column_names          evidence
    0  constant_column     warn       [year]  year has 1 value

    `run`: a beginning of its id; None: the last one. Raises UnknownRun: there is none,
    or several.
    """
    return rows_of("findings", run_of(experiment, run))


def versions(experiment: str) -> pd.DataFrame:
    """Return the published versions of an experiment's model, the oldest first, with
    the validation score of the run that made each.

    >>> versions("flight_delay")[["version", "run_id", "validation_score"]]
      version                 run_id  validation_score
    0   v0001  00000000-flight_delay              0.69
    1   v0002  00000001-flight_delay              0.70
    2   v0003  00000002-flight_delay              0.71
    """
    return _read(_versions_of(experiment))


def _versions_of(experiment: str | None) -> sa.Select[Any]:
    history = VIEWS["champion_history"].table
    query = sa.select(history)
    if experiment is not None:
        query = query.where(history.c.experiment == experiment)
    return query.order_by(*_by_number(history.c.version))


def last_run_rows() -> Rows:
    """Return the last run of every experiment, a complete one if there is any."""
    return _rows(_last_runs())


def _last_runs() -> sa.Select[Any]:
    place = sa.func.row_number().over(partition_by=RUNS.c.experiment, order_by=_LAST)
    places = sa.select(RUNS.c.experiment, RUNS.c.run_id, place.label("place"))
    ranked = places.subquery()
    is_the_run = sa.and_(
        ranked.c.experiment == RUNS.c.experiment, ranked.c.run_id == RUNS.c.run_id
    )
    return sa.select(RUNS).join(ranked, is_the_run).where(ranked.c.place == 1)


def files_of(run: Row) -> dict[str, str]:
    """Return name → text of a run's YAML files, user modules (below `code/`) and patch,
    given its row.
    """
    [files] = files_of_runs([run])
    return files


def files_of_runs(runs: Rows) -> list[dict[str, str]]:
    """Return the same for each run, in one query."""
    digests = [_digests_of(run) for run in runs]
    files = TABLES["files"]
    wanted = {digest for of_run in digests for digest in of_run.values()}
    query = sa.select(files).where(files.c.digest.in_(wanted))
    texts = {row["digest"]: row["content"] for row in _rows(query)}
    return [
        {name: texts[digest] for name, digest in of_run.items() if digest in texts}
        for of_run in digests
    ]


def _digests_of(run: Row) -> dict[str, str]:
    """Name → digest of a run's files with a safe name."""
    digests = {
        **(run["code_files"] or {}),
        "defs.yaml": run["yaml_digest"],
        "schema.yaml": run["schema_digest"],
    }
    return {
        name: digest
        for name, digest in digests.items()
        if digest and _SAFE_NAME.fullmatch(name)
    }


def code_of(experiment: str, run: str) -> RunCode:
    """Return the code that a run recorded at its start; UnknownRun: there is no such
    run.
    """
    row = run_of(experiment, run)
    files = files_of(row)
    code = {name: text for name, text in files.items() if not name.endswith(".yaml")}
    provenance = CodeProvenance(row["code_commit"], row["code_dirty"])
    return RunCode(provenance, code, {}, row["code_left_out"] or "")


def check_experiment(experiment: str) -> None:
    """Raise UnknownRun if the experiment has no run."""
    rows = _rows(sa.select(RUNS.c.experiment).distinct())
    names = [row["experiment"] for row in rows]
    if experiment not in names:
        near = f"; {did_you_mean(experiment, names)}" if names else ""
        raise UnknownRun(
            experiment,
            rule=f"no run of this experiment is recorded{near}",
            fix=_RUN_IT,
        )


def check_begun(run: Row, since: pd.Timestamp) -> None:
    """Raise UnknownRun if a run, given by its row, began before `since` (UTC without a
    zone).
    """
    moment = _moment(since)
    if run["started_at"] is None or run["started_at"] < moment:
        raise UnknownRun(
            run["experiment"],
            rule=f"no run since {moment:%Y-%m-%d %H:%M:%S} UTC; "
            f"the last one is {run['run_id']}",
            fix="Look at the log of the job: it ended before its run was recorded.",
        )


def _notice_killed_runs() -> None:
    """Mark runs whose process is gone, and archive those of this storage; skipped if
    writing fails.
    """
    with suppress(StorageError):
        for run in mark_killed():
            if list_names(storage_root() / run.experiment):
                archive(run, storage_root())


def _selected_columns(frame: pd.DataFrame) -> pd.DataFrame:
    scores = [score_of(row, "validation") for row in plain_rows(frame)]
    texts = [score and str(score) for score in scores]
    selected = frame.assign(
        started_at=frame["started_at"].dt.floor("s"),
        score=pd.Series(texts, frame.index, dtype="str"),
        baseline=frame["validation_baseline"],
        wall_seconds=frame["wall_seconds"].round(1),
    )
    return selected[_RUNS_COLUMNS]


def _moment(moment: pd.Timestamp | str) -> datetime:
    return pd.to_datetime(moment, utc=True).to_pydatetime()


def _runs_of(experiment: str | None) -> sa.Select[Any]:
    if experiment is None:
        return sa.select(RUNS)
    check_experiment(experiment)
    return sa.select(RUNS).where(RUNS.c.experiment == experiment)


def _of_run(table: sa.Table, run: Row) -> sa.Select[Any]:
    scope = {name: run[name] for name in ("experiment", "run_id") if name in run}
    return sa.select(table).filter_by(**scope)


def _read(query: sa.Select[Any]) -> pd.DataFrame:
    """The result as a DataFrame with the dtypes of the columns, whatever the rows
    contain.
    """
    types = {
        column.name: dtype
        for column in query.selected_columns
        for sql_type, _, dtype in SHOWN_TYPES
        if isinstance(column.type, sql_type)
    }
    with reading() as connection:
        return pd.read_sql(query, connection, dtype=types)


def _rows(query: sa.Executable) -> list[Row]:
    with reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
