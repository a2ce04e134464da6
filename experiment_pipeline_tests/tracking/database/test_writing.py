"""Writing the record of a run: the same rows, however often."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.reporting.run_record import (
    ConfigurationRow,
    RecordRow,
    RunFacts,
    SetRow,
)
from experiment_pipeline.tracking.database.connection import database
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.database.tables import TABLES
from experiment_pipeline_tests.tracking.history import run_rows

pytestmark = pytest.mark.usefixtures("each_database")


def all_rows(table: str) -> list[dict[str, object]]:
    """What a table holds."""
    with database().connect() as connected:
        return [
            dict(row) for row in connected.execute(sa.select(TABLES[table])).mappings()
        ]


def everything() -> dict[str, list[dict[str, object]]]:
    """What all tables hold, in an order of its own."""
    return {name: sorted(all_rows(name), key=repr) for name in TABLES}


@settings(max_examples=5)
@given(order=st.permutations(run_rows(3)), repeated=st.integers(1, 3))
def test_the_rows_of_a_run_do_not_depend_on_how_often_or_in_which_order(
    order: list[RecordRow], repeated: int
):
    """A kill, a retry and a second look leave what one writing leaves."""
    RunRecord("flight_delay", "r").record(run_rows(3))
    once = everything()
    for _ in range(repeated):
        for row in order:
            RunRecord("flight_delay", "r").record([row])
    assert everything() == once


def test_what_says_nothing_leaves_what_was_said():
    """A later stage adds to a run's facts, and takes none away."""
    run = RunRecord("e", "r")
    run.record([RunFacts(status="running", metric="rmse")])
    run.record([RunFacts(status="accepted")])
    (row,) = all_rows("runs")
    assert (row["status"], row["metric"]) == ("accepted", "rmse")


def test_a_failed_writing_leaves_nothing_behind():
    """All rows or none: a row that the database refuses takes the others with it."""
    run = RunRecord("e", "r")
    bad = SetRow(set_name="train", rows=None, columns=1, digest="x")  # type: ignore[arg-type]
    with pytest.raises(sa.exc.IntegrityError):
        run.record([RunFacts(status="running"), bad])
    assert all_rows("runs") == []


def test_numbers_that_sql_lacks_are_null():
    """An undefined score is no score, in a column and in JSON alike."""
    row = ConfigurationRow(
        key="k",
        algorithm="a",
        hyperparameters={"C": float("inf"), "deep": [float("nan"), 1.0]},
        status="trained",
        test_score=float("nan"),
    )
    RunRecord("e", "r").record([row])
    (stored,) = all_rows("configurations")
    assert stored["test_score"] is None
    assert stored["hyperparameters"] == {"C": None, "deep": [None, 1.0]}


def test_stages_add_up_and_the_highest_peak_stays():
    """The cost of a run is that of all its stages, at the machine's price, where it is
    known.
    """
    run = RunRecord("e", "r")
    run.add_cost(wall_seconds=10.0, cpu_seconds=15.0, peak_memory_bytes=200)
    assert all_rows("runs")[0]["cost"] is None
    run.record([RunFacts(status="running", price_per_hour=3.6)])
    run.add_cost(wall_seconds=20.0, cpu_seconds=5.0, peak_memory_bytes=100)
    (row,) = all_rows("runs")
    assert (row["wall_seconds"], row["cpu_seconds"]) == (30.0, 20.0)
    assert row["peak_memory_bytes"] == 200
    assert row["cost"] == 30.0 / 3600 * 3.6


def test_rows_of_the_same_keys_in_one_writing_are_one_row():
    """A configuration that passes two rungs within a second says of both what
    it knows.
    """
    first = ConfigurationRow(
        key="k", algorithm="a", hyperparameters={}, status="stopped early", rung=0.25
    )
    second = replace(first, status="trained", rung=None, test_score=0.5)
    RunRecord("e", "r").record([first, second])
    (row,) = all_rows("configurations")
    assert (row["status"], row["rung"], row["test_score"]) == ("trained", 0.25, 0.5)


def test_any_text_can_be_kept():
    """No character of a name or an error stops a run."""
    odd, stored_as = "a\0b half \ud800 漢字 🛫", "a␀b half \\ud800 漢字 🛫"
    row = ConfigurationRow(
        key=odd, algorithm="a", hyperparameters={odd: odd}, status="failed"
    )
    RunRecord("e", "r").record([row, RunFacts(error=odd)])
    (stored,) = all_rows("configurations")
    assert stored["key"] == stored_as
    assert stored["hyperparameters"] == {stored_as: stored_as}
    assert all_rows("runs")[0]["error"] == stored_as
