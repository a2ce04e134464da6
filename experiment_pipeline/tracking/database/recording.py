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
from typing import Any, TypeVar

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
from experiment_pipeline.storage.masking import masked_yaml
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
SECONDS_BETWEEN_COSTS = 5.0
_SECONDS_AFTER_A_FAILURE = 30.0
_LIBRARIES = (
    "dagster",
    "lightgbm",
    "numpy",
    "pandas",
    "pandera",
    "pyarrow",
    "scikit-learn",
    "skops",
)
_LONGEST = 2_000  # characters of an error's text
_Row = TypeVar("_Row", bound=RecordRow)
_Item = TypeVar("_Item")
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
        changes: list[Mapping[str, Any]] = [dict.fromkeys(reset, sa.null())]
        other_rows = list[RecordRow]()
        for row in rows:
            if isinstance(row, RunFacts):
                changes.append(_not_none(row))
            elif isinstance(row, VersionRow):
                other_rows.append(replace(row, run_id=self.run_id))
            else:
                other_rows.append(row)

        def write(connection: sa.Connection) -> None:
            self._update(connection, *changes)
            _put(connection, other_rows, self.scope)

        transaction(write)

    def facts(self) -> RunFacts | None:
        """The run's own row; None: there is none."""
        with reading() as connection:
            query = sa.select(RUNS).filter_by(**self.scope)
            row = connection.execute(query).mappings().first()
        return None if row is None else from_row(RunFacts, row)

    def record_if_running(self, facts: RunFacts) -> bool:
        """Write facts of a run unless it has ended in the meantime; return whether they
        were written.
        """
        if_running = sa.update(RUNS).filter_by(**self.scope, status="running")
        update = if_running.values(_not_none(facts))
        return transaction(lambda connection: connection.execute(update).rowcount == 1)

    def add_cost(
        self,
        wall_seconds: float,
        cpu_seconds: float,
        peak_memory_bytes: int,
        seen_at: datetime | None = None,
    ) -> None:
        """Add to the cost of the run what was spent until `seen_at`."""
        wall = sa.func.coalesce(RUNS.c.wall_seconds, 0.0) + wall_seconds
        earlier_peak = sa.func.coalesce(RUNS.c.peak_memory_bytes, 0)
        peak = sa.case(
            (earlier_peak > peak_memory_bytes, earlier_peak), else_=peak_memory_bytes
        )
        values: dict[str, Any] = {
            "wall_seconds": wall,
            "cpu_seconds": sa.func.coalesce(RUNS.c.cpu_seconds, 0.0) + cpu_seconds,
            "peak_memory_bytes": peak,
            "cost": wall / 3600 * RUNS.c.price_per_hour,
        }
        if seen_at is not None:
            values["seen_at"] = seen_at
        transaction(lambda connection: self._update(connection, values))

    def _update(self, connection: sa.Connection, *changes: Mapping[str, Any]) -> None:
        """Update the run's row; insert it first if there is none."""
        insert = _INSERTS[connection.dialect.name](RUNS).values(**self.scope)
        connection.execute(insert.on_conflict_do_nothing())
        for values in filter(None, changes):
            connection.execute(sa.update(RUNS).filter_by(**self.scope).values(values))


def from_row(kind: type[_Row], row: Mapping[Any, Any]) -> _Row:
    """Return the row of a class from a row of its table."""
    return kind(**{str(name): row[name] for name in row if name not in kind.SCOPE})


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
    began = begin(run, stage, first)
    try:
        with _metered(run, began):
            yield
    except BaseException as error:
        # An interruption is no Exception.
        status: Status = "failed" if isinstance(error, Exception) else "killed"
        with suppress(DatabaseUnavailable):  # it must not hide the error
            end(run, status, _described(error))
        ended(run)
        raise


@contextmanager
def _metered(run: RunRecord, began: datetime) -> Iterator[None]:
    """Add to the cost of a run every few seconds, also of a stage that is killed."""
    seen_at = began
    cpu_seconds = time.process_time()

    def add() -> None:
        nonlocal seen_at, cpu_seconds
        now = datetime.now(UTC)
        cpu = time.process_time()
        wall_seconds = max((now - seen_at).total_seconds(), 0.0)
        with suppress(DatabaseUnavailable):
            run.add_cost(wall_seconds, cpu - cpu_seconds, peak_memory_bytes(), now)
            seen_at = now
            cpu_seconds = cpu

    def work(closed: threading.Event) -> None:
        while not closed.wait(SECONDS_BETWEEN_COSTS):
            add()

    try:
        with alongside(work, "cost"):
            yield
    finally:
        add()


@contextmanager
def alongside(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Run `work` in a thread until the block ends, which sets its event.

    A daemon thread, so that `work` cannot keep an ending process alive.
    """
    closed = threading.Event()
    thread = threading.Thread(target=work, args=(closed,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


def _described(error: BaseException) -> RunFacts:
    message = str(error)
    if isinstance(error, ExperimentPipelineError):
        message = f"{error.culprit}: {error.rule}"
        next_step = error.fix
    elif isinstance(error, Exception):
        next_step = "This is a bug: report it with its stack trace."
    else:
        message = message or CANCELLED
        next_step = "Run it again: it continues."
    name = type(error).__name__
    return RunFacts(error_type=name, error=message[:_LONGEST], fix=next_step)


@contextmanager
def in_batches(
    write: Callable[[Sequence[_Item]], object],
) -> Iterator[Callable[[Iterable[_Item]], None]]:
    """Take items many times a second; a separate thread writes them once a second.

    While the database is unavailable, items are kept; when the block ends, in whatever
    way, all are written. An error of writing is raised by the next call, or at the end.
    """
    waiting = list[_Item]()
    failed = list[Exception]()
    lock = threading.Lock()

    def take(items: Iterable[_Item]) -> None:
        if failed:
            raise failed[0]
        with lock:
            waiting.extend(items)

    def write_waiting() -> None:
        with lock:
            batch = [*waiting]
        if batch:
            write(batch)
            with lock:
                del waiting[: len(batch)]

    def work(closed: threading.Event) -> None:
        pause = SECONDS_BETWEEN_WRITES
        while not closed.wait(pause):
            pause = SECONDS_BETWEEN_WRITES
            try:
                write_waiting()
            except DatabaseUnavailable:
                pause = _SECONDS_AFTER_A_FAILURE
            except Exception as error:  # noqa: BLE001 - the next call, or the end, raises it
                failed.append(error)
                return

    try:
        with alongside(work, "batches"):
            yield take
    finally:
        write_waiting()


def begin(
    run: RunRecord, stage: str, first: Callable[[], Sequence[RecordRow]]
) -> datetime:
    """Record that a stage begins, and return when; a run that had ended is running
    again.
    """
    now = datetime.now(UTC)
    before = run.facts()
    rows = [] if before else [*first()]
    started_at = _started(rows) if before is None else before.started_at
    facts = RunFacts(
        status="running",
        stage=stage,
        seen_at=now,
        process=vars(Process.here()),
        started_at=now if started_at is None else None,
    )
    of_the_end = ("ended_at", "error_type", "error", "fix", "mlflow_run_id")
    run.record([*rows, facts], reset=of_the_end)
    began = started_at if before is None else _last_seen_at_work(before)
    _add_seconds_since(run, began, now)
    return now


def _started(rows: Iterable[RecordRow]) -> datetime | None:
    """When a run began that records its first stage."""
    times = [row.started_at for row in rows if isinstance(row, RunFacts)]
    return next(filter(None, times), None)


def _last_seen_at_work(facts: RunFacts) -> datetime | None:
    """When a run was seen last; None if it has ended, or its process is gone.

    Executors other than ours end a run as partial after each stage.
    """
    if facts.process is None:
        return None
    process = Process(**facts.process)
    goes_on = facts.status == "partial" and process == Process.here()
    if facts.status == "running":
        goes_on = process.is_here and not process.is_gone
    return facts.seen_at if goes_on else None


def _add_seconds_since(run: RunRecord, began: datetime | None, now: datetime) -> None:
    """Add the time between stages, which is no stage's."""
    if began is not None:
        seconds = max((now - began).total_seconds(), 0.0)
        run.add_cost(seconds, 0.0, peak_memory_bytes(), now)


def end(run: RunRecord, status: Status, facts: RunFacts | None = None) -> None:
    """Record how a run ended."""
    now = datetime.now(UTC)
    if (before := run.facts()) is not None:
        _add_seconds_since(run, _last_seen_at_work(before), now)
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
        rows = connection.execute(query)
        return [RunRecord(row.experiment, row.run_id) for row in rows]


def activity(experiment: str) -> tuple[Any, ...]:
    """Return values that change when a run of the experiment begins, writes or ends."""
    query = sa.select(sa.func.count(), sa.func.max(RUNS.c.seen_at))
    with reading() as connection:
        return tuple(connection.execute(query.filter_by(experiment=experiment)).one())


def declared(
    spec: ExperimentSpec, yaml_text: str, schema_text: str, trigger: RunFacts
) -> list[RecordRow]:
    """The first rows of a run: settings, trigger, code and software versions.

    The texts of the YAML files are empty for an experiment declared in Python.
    """
    yaml_text = masked_yaml(yaml_text)
    code = run_code(spec, Path.cwd())
    texts = (yaml_text, schema_text, *code.files.values())
    digests = {text: sha256(text.encode()) for text in texts if text}
    files = [FileRow(digest=digest, content=text) for text, digest in digests.items()]
    price = os.environ.get(PRICE_VARIABLE)
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
        libraries={
            **_library_versions(spec),
            **code.packages,
            "CPU kernel": cpu_kernel(),
        },
        price_per_hour=float(price) if price else spec.price_per_hour,
    )
    return [*files, facts]


def _library_versions(spec: ExperimentSpec) -> dict[str, str | None]:
    names = {*_LIBRARIES}
    for searched in spec.search:
        if algorithm := ALGORITHMS.get(searched.algorithm):
            names.update(algorithm.libraries)
    return {name: installed_version(name) for name in sorted(names)}


def mark_killed() -> list[RunRecord]:
    """Mark every running run of this host whose process is gone as killed, and return
    them.
    """
    killed = []
    for run in recorded_runs(status="running"):
        facts = run.facts()
        if facts is None or facts.process is None:
            continue
        process = Process(**facts.process)
        if not process.is_here or not process.is_gone:
            continue
        end_facts = RunFacts(
            status="killed",
            ended_at=facts.seen_at,
            error_type="Killed",
            error=f"{process} is gone: it was killed, ran out of memory, or the "
            "machine restarted",
            fix="Run it again: the models that it trained are reused.",
        )
        if run.record_if_running(end_facts):
            killed.append(run)
    return killed


def _values(row: RecordRow) -> dict[str, Any]:
    return {field.name: _plain(getattr(row, field.name)) for field in fields(row)}


def _not_none(row: RecordRow) -> dict[str, Any]:
    return {name: value for name, value in _values(row).items() if value is not None}


def _plain(value: Any) -> Any:
    """A value as databases store it."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            # No database stores lone surrogates, and PostgreSQL no NUL characters.
            text = value.encode(errors="backslashreplace").decode()
            return text.replace("\0", "\N{SYMBOL FOR NULL}")
        case Mapping():
            return {_plain(str(name)): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return value


def _table_name(row: RecordRow) -> str:
    return row.TABLE


def _put(
    connection: sa.Connection, rows: Iterable[RecordRow], scope: Mapping[str, str]
) -> None:
    """Insert rows, or replace those with the same keys.

    Every writer processes tables and rows in the same order, so that two cannot
    deadlock.
    """
    by_table = groupby(sorted(rows, key=_table_name), key=_table_name)
    for name, group in by_table:
        table_rows = list(group)
        kind = type(table_rows[0])
        by_keys = _by_keys(table_rows, scope)
        insert = _INSERTS[connection.dialect.name](TABLES[name])
        keys = (*kind.SCOPE, *kind.KEYS)
        changes = {}
        for column in TABLES[name].c:
            if column.name not in keys:
                value = insert.excluded[column.name]
                is_merged = kind.MERGED  # None keeps what an earlier row has written
                changes[column.name] = (
                    sa.func.coalesce(value, column) if is_merged else value
                )
        upsert = insert.on_conflict_do_update(index_elements=keys, set_=changes)
        connection.execute(upsert, [by_keys[values] for values in sorted(by_keys)])


def _by_keys(
    rows: Iterable[RecordRow], scope: Mapping[str, str]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Values of the keys → values of a row.

    One statement may write a row only once: of several with the same keys the last one
    counts, or, if rows are MERGED, the last value of each column.
    """
    by_keys = dict[tuple[Any, ...], dict[str, Any]]()
    for row in rows:
        values = {name: scope[name] for name in row.SCOPE} | _values(row)
        keys = tuple(values[name] for name in (*row.SCOPE, *row.KEYS))
        if row.MERGED and keys in by_keys:
            by_keys[keys] |= {k: v for k, v in values.items() if v is not None}
        else:
            by_keys[keys] = values
    return by_keys
