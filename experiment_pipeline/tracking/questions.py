"""Queries of the metadata database: experiments, runs, results, leaderboards, versions.

Results are DataFrames with the columns of the database's tables (`docs/database.md`). A
run is named by its id, or the start of it.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from experiment_pipeline.errors import StorageError, UnknownRun, did_you_mean
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import PREDICTED_ROWS, worst_of
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

_RUN_IT = "Run it, or name the database that holds it in EXPERIMENT_PIPELINE_DATABASE."
# The order in which the last run comes first: complete runs before partial ones
# (selected stages or partitions, without a decision), and runs that a wrong clock dated
# in the future at the end.
_SOON = sa.bindparam("soon", callable_=soon, type_=RUNS.c.started_at.type)
_FUTURE = sa.case((RUNS.c.started_at > _SOON, 1), else_=0)
_LAST = (_FUTURE, RUNS.c.status == "partial", RUNS.c.started_at.desc(), RUNS.c.run_id)
# The columns of `leaderboard` before the hyperparameters.
_BOARD = (
    *("rank", "key", "algorithm", "is_chosen", "test_score", "test_low", "test_high"),
    *(
        "difference_to_best",
        "in_tie_group",
        "train_score",
        "fit_cpu_seconds",
        "model_bytes",
    ),
    "note",
)
# The default columns of `runs`; score and baseline are those on the validation set.
_FIRST = (
    *(
        "run",
        "experiment",
        "started_at",
        "triggered_by",
        "status",
        "chosen",
        "score",
        "baseline",
    ),
    *("version", "wall_seconds"),
)


def experiments() -> pd.DataFrame:
    """Return a row per experiment that has run: its runs, its champion, its last run.

    >>> experiments()[["experiment", "runs", "accepted_runs", "champion", "last_status"]]
         experiment  runs  accepted_runs champion last_status
    0  flight_delay     4              3    v0003    rejected
    """
    _notice_killed_runs()
    view = VIEWS["experiments"].table
    counted = _read(sa.select(view).order_by(view.c.experiment))
    approved = VERSIONS.c.approval_required.is_not(
        True
    ) | VERSIONS.c.approved_by.is_not(None)
    # By length first, so that v10000 comes after v9999.
    by_number = (sa.func.length(VERSIONS.c.version), VERSIONS.c.version)
    champions = _read(sa.select(VERSIONS).where(approved).order_by(*by_number))
    named = {
        "experiment": "experiment",
        "version": "champion",
        "configuration": "champion_configuration",
        "headline": "champion_score",
    }
    champions = (
        champions[[*named]]
        .drop_duplicates("experiment", keep="last")
        .rename(columns=named)
    )
    whole = {
        "status": "last_status",
        "outcome": "last_outcome",
        "started_at": "last_started_at",
    }
    last = last_runs()
    outcomes = [ended_as(row["status"], row["decision"]) for row in plain_rows(last)]
    last = last.assign(outcome=outcomes)[["experiment", *whole]].rename(columns=whole)
    counted = counted.drop(columns=["last_started_at"])
    return counted.merge(champions, how="left").merge(last, how="left")


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

    >>> runs("flight_delay", status="accepted", since="2026-02-03")[["run", "version"]]
            run version
    0  00000002   v0003
    1  00000001   v0002

    Only runs with one of the statuses, started at `since` or later and before `until`;
    times without a zone are UTC. `all_columns`: those of the table `runs` instead of a
    selection.
    """
    _notice_killed_runs()
    query = (
        sa.select(RUNS).order_by(RUNS.c.started_at.desc(), RUNS.c.run_id).limit(limit)
    )
    if experiment is not None:
        check_experiment(experiment)
        query = query.where(RUNS.c.experiment == experiment)
    if status is not None:
        query = query.where(
            RUNS.c.status.in_([status] if isinstance(status, str) else status)
        )
    if since is not None:
        query = query.where(RUNS.c.started_at >= _moment(since))
    if until is not None:
        query = query.where(RUNS.c.started_at < _moment(until))
    found = _read(query)
    return found if all_columns else _first_columns(found)


def run_of(experiment: str | None, run: str | None = None) -> Mapping[str, Any]:
    """Return the row of one run, of any experiment if that is None; UnknownRun: there
    is none.

    `run`: its id, or a start of it that is unique; None: the last complete run.
    """
    _notice_killed_runs()
    query = sa.select(RUNS).order_by(*_LAST).limit(2)
    if experiment is not None:
        check_experiment(experiment)
        query = query.where(RUNS.c.experiment == experiment)
    if run is not None:
        query = query.where(RUNS.c.run_id.startswith(run, autoescape=True))
    found = _rows(query)
    if not found:
        if run is None:
            raise UnknownRun("the last run", "no run is recorded yet", _RUN_IT)
        place = f" in {experiment}" if experiment else ""
        fix = "List the runs: experiment-pipeline runs; or the versions: experiment-pipeline models."
        raise UnknownRun(run, f"no run id starts with this{place}", fix)
    if run is not None and len(found) > 1 and found[0]["run_id"] != run:
        rule = f"several run ids start with this: {found[0]['run_id']}, {found[1]['run_id']}"
        fix = "Write more of the id, or name the experiment."
        raise UnknownRun(run, rule, fix)
    return found[0]


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
    last whole run with results.
    """
    if run is None:
        check_experiment(experiment)
        same = [
            CONFIGURATIONS.c[one] == RUNS.c[one] for one in ("experiment", "run_id")
        ]
        with_results = sa.select(RUNS).where(
            RUNS.c.experiment == experiment,
            sa.select(CONFIGURATIONS.c.key).where(*same).exists(),
        )
        found_runs = _rows(with_results.order_by(*_LAST).limit(1))
        if not found_runs:
            fix = "See how its runs ended: experiment-pipeline runs."
            raise UnknownRun(experiment, "none of its runs has results", fix)
        row = found_runs[0]
    else:
        row = run_of(experiment, run)
    order = (
        CONFIGURATIONS.c.rank.is_(None),
        CONFIGURATIONS.c.rank,
        CONFIGURATIONS.c.key,
    )
    found = _read(_of_run(CONFIGURATIONS, row).order_by(*order))
    own = found.drop(columns=["hyperparameters"])
    wide = pd.DataFrame(found["hyperparameters"].tolist(), index=found.index)
    names = {
        name: f"hyperparameter_{name}" for name in wide.columns if name in own.columns
    }
    return pd.concat([own, wide.rename(columns=names).convert_dtypes()], axis=1)


def leaderboard(experiment: str, run: str | None = None) -> pd.DataFrame:
    """Return the ranked configurations of a run, the best first: scores, then
    hyperparameters.

    >>> leaderboard("flight_delay")[["rank", "key", "test_score", "in_tie_group"]]
       rank                 key  test_score  in_tie_group
    0     1  lightgbm__7f3a9c2e        0.60          True
    1     2       linear__C=0.1        0.55         False

    Arguments and errors as for `results`.
    """
    found = results(experiment, run)
    searched = [name for name in found.columns if name not in CONFIGURATIONS.c]
    board = found.loc[found["rank"].notna(), [*_BOARD, *searched]].reset_index(
        drop=True
    )
    return board.dropna(axis=1, how="all") if len(board) else board


def worst_rows(experiment: str, n: int = 50, run: str | None = None) -> pd.DataFrame:
    """Return the rows on which a run's model has the largest loss: n of the validation,
    then of the test set.

    >>> found = worst_rows("flight_delay", n=1).reset_index()
    >>> found[["row_number", "set", "flight", "target", "prediction", "loss"]]
       row_number         set flight target prediction  loss
    0          17  validation   UA 7    yes         no  3.21
    1           4        test   B6 2     no        yes  2.45

    The index picks the rows of the table as delivered. The loss is the log loss or the
    absolute error. Test rows are predicted by the fit on train rows; 1,000 are kept.
    `run`: a beginning of its id.
    """
    return worst_of(predicted_rows(run_of(experiment, run)), n)


def predicted_rows(run: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table PREDICTED_ROWS of a run, by its row of `runs`; UnknownRun: it
    has none.
    """
    return read_table(report_of(run, PREDICTED_ROWS))


def report_of(run: Mapping[str, Any], name: str) -> Location:
    """Return the place of a run's report, given its row of `runs`; UnknownRun: it has
    none.
    """
    places = rows_of("reports", run).set_index("name")["place"]
    if not places.get(name):  # empty if `clean` has removed it
        fix = "Name a run that reached its validation report with this version, or run it again."
        raise UnknownRun(
            run["run_id"], f"this run has stored no {name.replace('_', ' ')}", fix
        )
    return location(places[name])


def rows_of(table: str, run: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows in `table` of a run, given its row of `runs`; without `run_id`,
    those of all runs.
    """
    return _read(_of_run(TABLES[table], run))


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
    history = VIEWS["champion_history"].table
    query = sa.select(history).where(history.c.experiment == experiment)
    return _read(query.order_by(history.c.created_at, history.c.version))


def last_runs() -> pd.DataFrame:
    """Return the last run of every experiment, a complete one if there is any."""
    place = sa.func.row_number().over(partition_by=RUNS.c.experiment, order_by=_LAST)
    ranked = sa.select(
        RUNS.c.experiment, RUNS.c.run_id, place.label("place")
    ).subquery()
    same = [ranked.c[name] == RUNS.c[name] for name in ("experiment", "run_id")]
    return _read(
        sa.select(RUNS).join(ranked, sa.and_(*same)).where(ranked.c.place == 1)
    )


def ended_as(status: str | None, decision: str | None) -> str:
    """Return a run's status in words; for an accepted one with the conditions of its
    decision.
    """
    found = re.findall(rf"(?:^|; ){numbers.CONDITION}(\w+)", decision or "")
    return numbers.accepted_under(found) if status == "accepted" else status or ""


def files_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Return name → text of a run's YAML files, user modules (below `code/`) and patch,
    given its row.
    """
    files, digests = TABLES["files"], dict(run["code_files"] or {})
    digests |= {"defs.yaml": run["yaml_digest"], "schema.yaml": run["schema_digest"]}
    found = _rows(
        sa.select(files).where(files.c.digest.in_([*filter(None, digests.values())]))
    )
    texts = {row["digest"]: row["content"] for row in found}
    # Names become paths, and an archive may contain forged ones.
    safe = [
        name
        for name in digests
        if re.fullmatch(r"(code/[\w/]+|\w+)\.(py|yaml|patch)", name)
    ]
    return {name: texts[digests[name]] for name in safe if digests[name] in texts}


def code_of(experiment: str, run: str) -> RunCode:
    """Return the code that a run recorded at its start; UnknownRun: there is no such
    run.
    """
    row = run_of(experiment, run)
    known = CodeProvenance(row["code_commit"], row["code_dirty"])
    texts = {
        name: text for name, text in files_of(row).items() if not name.endswith(".yaml")
    }
    return RunCode(known, texts, {}, row["code_left_out"] or "")


def check_experiment(experiment: str) -> None:
    """Raise UnknownRun if the experiment has no run."""
    names = [
        row["experiment"] for row in _rows(sa.select(RUNS.c.experiment).distinct())
    ]
    if experiment not in names:
        near = f"; {did_you_mean(experiment, names)}" if names else ""
        raise UnknownRun(
            experiment, f"no run of this experiment is recorded{near}", _RUN_IT
        )


def check_begun(run: Mapping[str, Any], since: pd.Timestamp) -> None:
    """Raise UnknownRun if a run, given by its row, began before `since` (UTC without a
    zone).
    """
    moment = _moment(since)
    if run["started_at"] is None or run["started_at"] < moment:
        rule = f"no run since {moment:%Y-%m-%d %H:%M:%S} UTC; the last one is {run['run_id']}"
        fix = "Look at the log of the job: it ended before its run was recorded."
        raise UnknownRun(run["experiment"], rule, fix)


def _notice_killed_runs() -> None:
    """Mark runs whose process is gone, and archive those of this storage; skipped if
    writing fails.
    """
    with suppress(StorageError):
        for run in mark_killed():
            if list_names(storage_root() / run.experiment):
                archive(run, storage_root())


def _first_columns(found: pd.DataFrame) -> pd.DataFrame:
    scores = [
        f"{row['metric']} {numbers.score_of(row, 'validation')}"
        if row["validation_score"] is not None
        else None
        for row in plain_rows(found)
    ]
    return found.assign(
        run=found["run_id"].str[:8],
        started_at=found["started_at"].dt.floor("s"),
        score=pd.Series(scores, found.index, dtype="str"),
        baseline=found["validation_baseline"],
        wall_seconds=found["wall_seconds"].round(1),
    )[[*_FIRST]]


def _moment(given: pd.Timestamp | str) -> datetime:
    return pd.to_datetime(given, utc=True).to_pydatetime()


def _of_run(table: sa.Table, run: Mapping[str, Any]) -> sa.Select[Any]:
    scope = {name: run[name] for name in ("experiment", "run_id") if name in run}
    return sa.select(table).filter_by(**scope)


def _read(query: sa.Select[Any]) -> pd.DataFrame:
    """The result as a DataFrame with the dtypes of the columns, whatever the rows
    contain.
    """
    types = {
        column.name: dtype
        for column in query.selected_columns
        for base, _, dtype in SHOWN_TYPES
        if isinstance(column.type, base)
    }
    with reading() as connection:
        return pd.read_sql(query, connection, dtype=types)


def _rows(query: sa.Select[Any]) -> list[Mapping[str, Any]]:
    with reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
