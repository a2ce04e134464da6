"""Writers that are killed between any two statements, and several at once."""

import itertools
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.context import ForkServerContext

import pytest
import sqlalchemy as sa

from experiment_pipeline.reporting.run_record import FileRow, RecordRow, RunFacts
from experiment_pipeline.tracking.database.connection import (
    VARIABLE,
    database,
    opened,
)
from experiment_pipeline.tracking.database.recording import (
    RunRecord,
    begin,
    end,
    mark_killed,
)
from experiment_pipeline_tests.tracking.database.test_writing import everything
from experiment_pipeline_tests.tracking.history import run_rows, version_row

RUN = RunRecord("flight_delay", "r")
# What depends on the clock and the process.
_PASSING = {
    "started_at",
    "ended_at",
    "seen_at",
    "process",
    "cost",
    "cpu_seconds",
    "wall_seconds",
    "peak_memory_bytes",
}


def stages() -> list[tuple[str, list[RecordRow]]]:
    """What the stages of a run find out, in the order of the flow."""
    rows = run_rows(3)
    first = [row for row in rows if isinstance(row, FileRow | RunFacts)]
    first = [replace(r, status=None) if isinstance(r, RunFacts) else r for r in first]
    rest = [row for row in rows if not isinstance(row, FileRow | RunFacts)]
    last = [*rest[7:], version_row("v0004")]
    return [
        ("raw_data", first),
        ("trained_model", rest[:7]),
        ("exported_model", last),
    ]


def write(run: RunRecord) -> None:
    """A run from its first stage to its end, as the stages write it."""
    for stage, rows in stages():
        begin(run, stage, list)
        run.record(rows)
        run.add_cost(1.0, 1.0, 1)
    end(run, "accepted")


def lasting() -> dict[str, list[dict[str, object]]]:
    """What the tables hold, without what depends on the clock."""
    return {
        table: [{k: v for k, v in row.items() if k not in _PASSING} for row in rows]
        for table, rows in everything().items()
    }


def write_until(environment: dict[str, str], statement: int) -> None:
    """In a process of its own: write to this test's database, and be killed before a
    statement.
    """
    os.environ.update(environment)
    opened.cache_clear()
    statements_left = statement

    def count(*_: object) -> None:
        nonlocal statements_left
        statements_left -= 1
        if statements_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(database(), "before_cursor_execute", count)
    write(RUN)


def write_runs(environment: dict[str, str], name: str) -> None:
    """In a process of its own: write runs that share their YAML files and a version."""
    os.environ.update(environment)
    opened.cache_clear()
    for number in range(4):
        write(RunRecord("flight_delay", f"{name}{number}"))


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that start with this module imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.usefixtures("each_database")
def test_a_writer_may_be_killed_between_statements(processes: ForkServerContext):
    """The run is there as running or not at all; it is told to be killed, and made
    right again.
    """
    write(RUN)
    whole = lasting()
    _forget_everything()
    killed = 0
    for statement in itertools.count(step=8):
        process = processes.Process(
            target=write_until, args=(dict(os.environ), statement)
        )
        process.start()
        process.join(600)
        if process.exitcode == 0:
            break
        killed += 1
        assert process.exitcode == -signal.SIGKILL
        facts = RUN.facts()
        if facts is not None and facts.status == "running":
            assert mark_killed() == [RUN]
            facts = RUN.facts()
        assert facts is None or facts.status in {"killed", "accepted"}
        write(RUN)
        assert lasting() == whole
        _forget_everything()
    assert killed > 3
    assert lasting() == whole


@pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def test_processes_that_write_to_a_new_database_at_once_can(
    kind, request, tmp_path, monkeypatch, processes: ForkServerContext
):
    """Of four at once one makes the tables; runs share files and a version, and no row
    is lost.
    """
    if kind == "sqlite":
        monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path}/new.sqlite")
    else:
        request.getfixturevalue("postgres_database")
    writers = [
        processes.Process(target=write_runs, args=(dict(os.environ), name))
        for name in "abcd"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {writer.exitcode for writer in writers} == {0}
    tables = everything()
    assert {row["status"] for row in tables["runs"]} == {"accepted"}
    assert (len(tables["runs"]), len(tables["configurations"])) == (16, 16 * 3)
    assert (len(tables["files"]), len(tables["versions"])) == (2, 1)


def _forget_everything() -> None:
    with database().begin() as connected:
        for table in ("runs", "files", "versions"):
            connected.execute(sa.text(f"DELETE FROM {table}"))
