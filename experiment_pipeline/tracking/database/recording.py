"""Record a run in the metadata database while it runs: its start, rows, cost and end.

`recorded` is a context manager around a stage, whoever executes it. A row replaces the
one with the same keys, so that a retry, a reused result or a reindex has the same
effect as writing once. A run whose process is gone is marked as killed at the next
query about runs.
"""

import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from experiment_pipeline.errors import DatabaseUnavailable, ExperimentPipelineError
from experiment_pipeline.reporting.run_record import (
    FileRow,
    RecordRow,
    RunFacts,
    Status,
    VersionRow,
)
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.storage.processes import Process, peak_memory_bytes
from experiment_pipeline.storage.provenance import cpu_kernel, installed_version
from experiment_pipeline.storage.run_code import run_code
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.tracking.database.connection import reading, transaction
from experiment_pipeline.tracking.database.tables import RUNS, TABLES

# What an hour of the machine costs, in any currency; takes precedence over the YAML.
PRICE_VARIABLE = "EXPERIMENT_PIPELINE_PRICE_PER_HOUR"
CANCELLED = "the run was cancelled"
SECONDS_BETWEEN_WRITES = 1.0
_SECONDS_AFTER_A_FAILURE = 30.0
_LIBRARIES = frozenset(
    [
        "dagster",
        "lightgbm",
        "numpy",
        "pandas",
        "pandera",
        "pyarrow",
        "scikit-learn",
        "skops",
    ]
)
_LONGEST = 2_000  # characters of an error's text
# SQLAlchemy leaves INSERT … ON CONFLICT to each dialect.
_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True)
class RunRecord:
    """Access to the rows of one run of one experiment; `run_id`: Dagster's, or a UUID
    in a notebook.
    """

    experiment: str
    run_id: str

    @property
    def scope(self) -> dict[str, str]:
        """The key columns that all rows of the run share."""
        return {"experiment": self.experiment, "run_id": self.run_id}

    def record(self, rows: Iterable[RecordRow], reset: Sequence[str] = ()) -> None:
        """Write rows of this run, all or none; fields of `RunFacts` that are None are
        not changed.

        The columns `reset` of the run's row are set to null first. Raises
        DatabaseUnavailable.
        """
        own = [
            replace(r, run_id=self.run_id) if isinstance(r, VersionRow) else r
            for r in rows
        ]
        facts = [_stated(row) for row in own if isinstance(row, RunFacts)]

        def write(connection: sa.Connection) -> None:
            self._update(
                connection,
                *([dict.fromkeys(reset, sa.null())] if reset else []),
                *facts,
            )
            _put(
                connection,
                [row for row in own if not isinstance(row, RunFacts)],
                self.scope,
            )

        transaction(write)

    def facts(self) -> RunFacts | None:
        """The run's own row; None: there is none."""
        with reading() as connection:
            found = (
                connection.execute(sa.select(RUNS).filter_by(**self.scope))
                .mappings()
                .first()
            )
        if found is None:
            return None
        return RunFacts(**{str(k): v for k, v in found.items() if k not in self.scope})

    def record_if_running(self, facts: RunFacts) -> bool:
        """Write facts of a run unless it has ended in the meantime; return whether they
        were written.
        """
        running = (
            sa.update(RUNS)
            .filter_by(**self.scope, status="running")
            .values(_stated(facts))
        )
        return transaction(lambda connection: connection.execute(running).rowcount == 1)

    def add_cost(
        self, wall_seconds: float, cpu_seconds: float, peak_memory_bytes: int
    ) -> None:
        """Add the cost of a stage to that of the run."""
        wall = sa.func.coalesce(RUNS.c.wall_seconds, 0.0) + wall_seconds
        peak = sa.func.coalesce(RUNS.c.peak_memory_bytes, 0)
        values = {
            "wall_seconds": wall,
            "cpu_seconds": sa.func.coalesce(RUNS.c.cpu_seconds, 0.0) + cpu_seconds,
            "peak_memory_bytes": sa.case(
                (peak > peak_memory_bytes, peak), else_=peak_memory_bytes
            ),
            "cost": wall / 3600 * RUNS.c.price_per_hour,
        }
        transaction(lambda connection: self._update(connection, values))

    def _update(self, connection: sa.Connection, *changes: Mapping[str, Any]) -> None:
        """Update the run's row; insert it first if there is none."""
        insert = _INSERTS[connection.dialect.name](RUNS).values(**self.scope)
        connection.execute(insert.on_conflict_do_nothing())
        for values in filter(None, changes):
            connection.execute(sa.update(RUNS).filter_by(**self.scope).values(values))


def record_rows(rows: Sequence[RecordRow], experiment: str) -> None:
    """Write rows that belong to an experiment (or to no experiment) but not
    to a run.
    """
    transaction(lambda connection: _put(connection, rows, {"experiment": experiment}))


@contextmanager
def recorded(
    run: RunRecord,
    stage: str,
    first: Callable[[], Sequence[RecordRow]],
    ended: Callable[[RunRecord], object],
) -> Iterator[None]:
    """Record a stage: its start, its cost, and the error that ended it.

    `first` returns the rows that describe the whole run, at its first stage; `ended` is
    called after an error has ended the run. Raises DatabaseUnavailable before the stage
    begins.
    """
    begin(run, stage, first)
    wall, cpu = time.perf_counter(), time.process_time()
    status: Status = "failed"
    try:
        yield
    except BaseException as error:
        message, fix = str(error), "This is a bug: report it with its stack trace."
        if isinstance(error, ExperimentPipelineError):
            message, fix = f"{error.culprit}: {error.rule}", error.fix
        elif not isinstance(error, Exception):
            status, message, fix = (
                "killed",
                message or CANCELLED,
                "Run it again: it continues.",
            )
        facts = RunFacts(
            error_type=type(error).__name__, error=message[:_LONGEST], fix=fix
        )
        with suppress(DatabaseUnavailable):  # it must not hide the error
            end(run, status, facts)
        ended(run)
        raise
    finally:
        with suppress(DatabaseUnavailable):
            run.add_cost(
                time.perf_counter() - wall,
                time.process_time() - cpu,
                peak_memory_bytes(),
            )


@contextmanager
def in_batches(run: RunRecord) -> Iterator[Callable[[Iterable[RecordRow]], None]]:
    """Take rows many times a second; a separate thread writes them once a second.

    While the database is unavailable, rows are kept; when the block ends, in whatever
    way, all are written. An error of writing is raised by the next call, or at the end.
    """
    waiting, failed = list[RecordRow](), list[Exception]()
    lock, closed = threading.Lock(), threading.Event()

    def take(rows: Iterable[RecordRow]) -> None:
        if failed:
            raise failed[0]
        with lock:
            waiting.extend(rows)

    def write() -> None:
        with lock:
            some = [*waiting]
        if some:
            run.record([*some, RunFacts(seen_at=datetime.now(UTC))])
            with lock:
                del waiting[: len(some)]

    def work() -> None:
        pause = SECONDS_BETWEEN_WRITES
        while not closed.wait(pause):
            pause = SECONDS_BETWEEN_WRITES
            try:
                write()
            except DatabaseUnavailable:
                pause = _SECONDS_AFTER_A_FAILURE
            except Exception as error:  # noqa: BLE001 - the next row, or the end, raises it
                failed.append(error)
                return

    # A daemon thread, so that pending writes cannot keep an ending process alive.
    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        yield take
    finally:
        closed.set()
        thread.join()
        write()


def begin(run: RunRecord, stage: str, first: Callable[[], Sequence[RecordRow]]) -> None:
    """Record that a stage begins; a run that had ended is running again."""
    now, known = datetime.now(UTC), run.facts()
    facts = RunFacts(
        status="running",
        stage=stage,
        seen_at=now,
        process=vars(Process.here()),
        started_at=now if known is None or known.started_at is None else None,
    )
    old = ("ended_at", "error_type", "error", "fix", "mlflow_run_id")
    run.record([*(first() if known is None else ()), facts], reset=old)


def end(run: RunRecord, status: Status, facts: RunFacts | None = None) -> None:
    """Record how a run ended."""
    now = datetime.now(UTC)
    run.record([replace(facts or RunFacts(), status=status, ended_at=now, seen_at=now)])


def end_open(run_id: str, status: Status) -> list[RunRecord]:
    """End the records of a run that are still running, one per experiment;
    return them.
    """
    begun = recorded_runs(run_id=run_id, status="running")
    for run in begun:
        end(run, status)
    return begun


def recorded_runs(**where: str) -> list[RunRecord]:
    """The runs whose rows have these values."""
    with reading() as connection:
        query = sa.select(RUNS.c.experiment, RUNS.c.run_id).filter_by(**where)
        return [
            RunRecord(experiment, run_id)
            for experiment, run_id in connection.execute(query)
        ]


def activity(experiment: str) -> tuple[Any, ...]:
    """Return values that change whenever a run of the experiment begins, writes or
    ends.
    """
    with reading() as connection:
        counted = sa.select(sa.func.count(), sa.func.max(RUNS.c.seen_at))
        return tuple(connection.execute(counted.filter_by(experiment=experiment)).one())


def declared(
    spec: ExperimentSpec, yaml_text: str, schema_text: str, trigger: RunFacts
) -> list[RecordRow]:
    """The first rows of a run: settings (empty texts: from Python), trigger, code and
    software versions.
    """
    code = run_code(spec, Path.cwd())
    texts = (yaml_text, schema_text, *code.files.values())
    digests = {text: sha256(text.encode()) for text in texts if text}
    price = os.environ.get(PRICE_VARIABLE)
    algorithms = (ALGORITHMS.get(entry.algorithm) for entry in spec.search)
    libraries = {
        *_LIBRARIES,
        *(name for one in algorithms if one for name in one.libraries),
    }
    facts = replace(
        trigger,
        task=spec.task,
        target=spec.target,
        metric=spec.metric,
        greater_is_better=metric_of(spec.metric).greater_is_better,
        record=spec.record.model_dump(mode="json"),
        yaml_digest=digests.get(yaml_text),
        schema_digest=digests.get(schema_text),
        code_commit=code.provenance.commit,
        code_dirty=code.provenance.dirty,
        code_files={name: digests[text] for name, text in code.files.items()} or None,
        code_left_out=code.left_out or None,
        package_version=metadata.version("experiment-pipeline"),
        python_version=platform.python_version(),
        libraries={name: installed_version(name) for name in sorted(libraries)}
        | {**code.packages, "CPU kernel": cpu_kernel()},
        price_per_hour=float(price) if price else spec.price_per_hour,
    )
    return [
        *(FileRow(digest=digest, content=text) for text, digest in digests.items()),
        facts,
    ]


def mark_killed() -> list[RunRecord]:
    """Mark every running run of this host whose process is gone as killed, and return
    them.
    """
    gone = []
    for run in recorded_runs(status="running"):
        known = run.facts()
        process = (
            None if known is None or known.process is None else Process(**known.process)
        )
        if (
            known is None
            or process is None
            or not process.is_here
            or not process.is_gone
        ):
            continue
        facts = RunFacts(
            status="killed",
            ended_at=known.seen_at,
            error_type="Killed",
            error=f"{process} is gone: it was killed, ran out of memory, or the machine restarted",
            fix="Run it again: the models that it trained are reused.",
        )
        if run.record_if_running(facts):
            gone.append(run)
    return gone


def _stated(row: RecordRow) -> dict[str, Any]:
    return {name: value for name, value in _values(row).items() if value is not None}


def _values(row: RecordRow) -> dict[str, Any]:
    return {field.name: _plain(getattr(row, field.name)) for field in fields(row)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        # No database stores lone surrogates, and PostgreSQL no NUL characters.
        return (
            value.encode(errors="backslashreplace")
            .decode()
            .replace("\0", "\N{SYMBOL FOR NULL}")
        )
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _put(
    connection: sa.Connection, rows: Iterable[RecordRow], scope: Mapping[str, str]
) -> None:
    """Insert rows, or replace those with the same keys.

    Every writer processes tables and rows in the same order, so that two cannot
    deadlock.
    """

    def table_of(row: RecordRow) -> str:
        return row.TABLE

    for name, group in groupby(sorted(rows, key=table_of), key=table_of):
        of_table, table = list(group), TABLES[name]
        kind = type(of_table[0])
        keys = (*kind.SCOPE, *kind.KEYS)
        # One statement may write a row only once: of several with the same keys the
        # last one counts, or, if rows are MERGED, the last value of each column.
        once: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in of_table:
            values = {one: scope[one] for one in kind.SCOPE} | _values(row)
            same = tuple(values[one] for one in keys)
            new = {k: v for k, v in values.items() if v is not None or not kind.MERGED}
            once[same] = {**dict.fromkeys(values), **once.get(same, {}), **new}
        insert = _INSERTS[connection.dialect.name](table)
        changes = {
            one.name: insert.excluded[one.name]
            for one in table.c
            if one.name not in keys
        }
        if kind.MERGED:
            changes = {
                k: sa.func.coalesce(new, table.c[k]) for k, new in changes.items()
            }
        upsert = insert.on_conflict_do_update(index_elements=keys, set_=changes)
        connection.execute(upsert, [once[same] for same in sorted(once)])
