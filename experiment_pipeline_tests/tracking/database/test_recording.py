"""A run as it goes: began, went on, ended, was killed."""

import threading
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from experiment_pipeline.errors import DatabaseUnavailable, DataError
from experiment_pipeline.reporting.run_record import FileRow, RecordRow, RunFacts
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests.ports import wait_until

RUN = recording.RunRecord("e", "r")


class Clock(datetime):
    """A clock that goes on when it is told to."""

    moment = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, _: object = None) -> datetime:
        return cls.moment

    @classmethod
    def go_on(cls, seconds: float) -> None:
        cls.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch) -> type[Clock]:
    """The clock of everything that is recorded."""
    monkeypatch.setattr(recording, "datetime", Clock)
    return Clock


def facts() -> RunFacts:
    """What is known of the run."""
    recorded = RUN.facts()
    assert recorded is not None
    return recorded


def declared() -> list[RunFacts]:
    """What a run says first."""
    return [RunFacts(metric="rmse", price_per_hour=1.0)]


@pytest.mark.usefixtures("storage")
def test_a_run_is_there_from_its_first_stage_on_and_adds_up(clock):
    """What was declared is kept, the stages' costs add up, the start stays the first
    stage's.
    """
    with recording.recorded(RUN, "raw_data", declared, print):
        during = facts()
        clock.go_on(2)
    with recording.recorded(RUN, "leaderboard", declared, print):
        clock.go_on(3)
    after = facts()
    assert (during.status, during.stage, during.metric) == (
        "running",
        "raw_data",
        "rmse",
    )
    assert (after.status, after.stage) == ("running", "leaderboard")
    assert after.started_at == during.started_at
    assert after.wall_seconds == 2 + 3
    assert after.peak_memory_bytes


@pytest.mark.usefixtures("storage")
def test_a_run_takes_the_time_from_its_start_to_its_end(clock):
    """Also that between stages and before the first one; not a pause after an end."""
    began = clock.now()
    first = lambda: [RunFacts(metric="rmse", started_at=began)]  # noqa: E731
    clock.go_on(7)
    with recording.recorded(RUN, "raw_data", first, print):
        clock.go_on(5)
    clock.go_on(3)
    recording.end(RUN, "failed")
    ended = facts()
    assert ended.started_at == began
    assert ended.ended_at == clock.now()
    assert ended.wall_seconds == 7 + 5 + 3
    clock.go_on(60)
    with recording.recorded(RUN, "raw_data", first, print):
        clock.go_on(1)
    assert facts().wall_seconds == 7 + 5 + 3 + 1


@pytest.mark.usefixtures("storage")
def test_a_stage_that_is_killed_has_cost_what_it_took_so_far(monkeypatch, clock):
    """The cost grows while the stage works."""
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_COSTS", 0.02)
    with recording.recorded(RUN, "search", declared, print):
        clock.go_on(36)
        wait_until(lambda: facts().wall_seconds == 36, 60)
        during = facts()
    assert during.cost == pytest.approx(36 / 3600)
    assert facts().wall_seconds == 36


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("x", "is bad", "Mend it."), "failed", "x: is bad"),
        (KeyboardInterrupt(), "killed", "cancelled"),
    ],
)
def test_the_error_that_ends_a_run_is_kept(
    error: BaseException, status: str, message: str
):
    """What went wrong and what to do is in the row; the error itself goes on its way.
    A retry under the same id begins clean.
    """
    with (
        pytest.raises(type(error)),
        recording.recorded(RUN, "raw_data", declared, print),
    ):
        raise error
    end = facts()
    assert (end.status, end.error_type) == (status, type(error).__name__)
    assert message in str(end.error)
    assert end.fix
    assert end.ended_at is not None
    with recording.recorded(RUN, "raw_data", declared, print):
        pass
    recording.end(RUN, "accepted")
    end = facts()
    assert (end.status, end.error, end.error_type) == ("accepted", None, None)


def test_a_database_that_is_away_stops_a_stage_before_it_begins(monkeypatch):
    """Nothing is computed whose outcome could not be remembered."""
    monkeypatch.setenv(VARIABLE, "sqlite:////proc/none/x.sqlite")
    began = False
    with (
        pytest.raises(DatabaseUnavailable),
        recording.recorded(RUN, "raw_data", declared, print),
    ):
        began = True
    assert not began


def test_a_database_that_goes_away_hides_no_error(monkeypatch, storage: Path):
    """The stage's own error is raised, not that of noting it."""

    def loses_it() -> None:
        with recording.recorded(RUN, "raw_data", declared, print):
            monkeypatch.setenv(VARIABLE, "sqlite:////proc/none/x.sqlite")
            raise DataError("x", "is bad", "Mend it.")

    with pytest.raises(DataError):
        loses_it()
    assert not storage.exists()


def test_a_run_of_another_host_is_left_to_that_host():
    """From here nobody can see whether its process lives."""
    process = {"host": "elsewhere", "pid": 1, "started": ""}
    RUN.record([RunFacts(status="running", process=process)])
    assert recording.mark_killed() == []


# --- rows that come many times a second ---


class Away(DatabaseUnavailable):
    """A database that comes back."""

    def __init__(self) -> None:
        super().__init__("database", "is away", "wait")


@pytest.fixture
def written(monkeypatch) -> list[list[RecordRow]]:
    """What was written together."""
    batches: list[list[RecordRow]] = []

    def record(_: recording.RunRecord, rows: list[RecordRow]) -> None:
        batches.append(rows)

    monkeypatch.setattr(recording.RunRecord, "record", record)
    return batches


def batches() -> list[threading.Thread]:
    """The threads that write rows."""
    return [thread for thread in threading.enumerate() if thread.name == "batches"]


def files(*names: str) -> list[FileRow]:
    return [FileRow(digest=name, content="") for name in names]


def test_rows_that_come_together_are_written_together_and_in_order(
    written: list, monkeypatch
):
    """Hundreds of rows in a moment are one writing, and none is lost or moved."""
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 600)
    rows = files(*map(str, range(300)))
    with recording.in_batches(RUN.record) as take:
        for row in rows:
            take([row])
    assert written == [rows]


def test_the_last_row_does_not_wait_for_the_next(written: list, monkeypatch):
    """It is written within the time between two writings; an interruption loses
    nothing.
    """
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 0.02)
    with suppress(KeyboardInterrupt), recording.in_batches(RUN.record) as take:
        take(files("first"))
        wait_until(lambda: written, 60)
        assert written == [files("first")]
        take(files("second"))
        raise KeyboardInterrupt
    assert written == [files("first"), files("second")]


@pytest.mark.parametrize("error", [Away(), ValueError("no such table")])
def test_rows_that_cannot_be_written_wait_or_end_the_stage(
    error: Exception, monkeypatch
):
    """While the database is away all rows wait; a mistake reaches who brings the next
    row.
    """
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 0.02)
    failed, arrived = threading.Event(), list[RecordRow]()

    def record(_: recording.RunRecord, rows: list[RecordRow]) -> None:
        if not failed.is_set():
            failed.set()
            raise error
        arrived.extend(rows)

    monkeypatch.setattr(recording.RunRecord, "record", record)
    waits = isinstance(error, Away)
    with nullcontext() if waits else pytest.raises(ValueError, match="no such"):  # noqa: SIM117
        with recording.in_batches(RUN.record) as take:
            take(files("a"))
            assert failed.wait(60)
            if not waits:
                wait_until(lambda: not batches(), 60)  # what failed, ended its thread
            take(files("b"))
    assert [row for row in arrived if isinstance(row, FileRow)] == files(
        "a", *("b" if waits else "")
    )


def test_a_database_that_stays_away_is_reported_at_the_end(monkeypatch):
    """Rows that could not be written are an error."""

    def record(*_: object) -> None:
        raise Away

    monkeypatch.setattr(recording.RunRecord, "record", record)
    with pytest.raises(DatabaseUnavailable), recording.in_batches(RUN.record) as take:
        take(files("a"))
