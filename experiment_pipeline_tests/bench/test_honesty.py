"""What tools promise is compared with what unseen rows gave, in the direction of better."""

from functools import partial

import pytest

from experiment_pipeline_tests.bench.automl import honesty
from experiment_pipeline_tests.bench.automl.tools import Done
from experiment_pipeline_tests.bench.tables import HONESTY

NAMES = ["ours", "FLAML"]
done = partial(Done, identity="", seed=0, rows="", seconds=30.0)
ours, rival = partial(done, "ours"), partial(done, "FLAML")
RESULTS = [
    # An error that was promised too small, and an AUC that was promised too great.
    ours(table="rooms", claimed=18.0, score=20.0, low=17.0, high=19.0),
    rival(table="rooms", claimed=15.0, score=20.0),
    ours(table="callbacks", claimed=0.7, score=0.8, low=0.6, high=0.9),
    rival(table="callbacks", claimed=0.9, score=0.75),
    ours(table="visits", claimed=2.0, score=2.0, low=0.0, high=float("inf")),
    rival(table="visits", failure="out of memory"),
    ours(table="fares", claimed=1.0, score=2.0),
]


def cells_of(text: str, first: str) -> list[str]:
    """The cells of the first row that begins so."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return row.strip("| ").split(" | ")


def test_a_promise_that_is_too_good_is_above_zero_for_errors_and_for_scores():
    """Medians and shares are over the tables where each tool has been; an interval
    without bounds does not count as one that held.
    """
    text = honesty.written(NAMES, RESULTS)
    tool, tables, median, _, too_good, off, best, *held = cells_of(
        text, "ours, all tables"
    )
    assert (tool, tables, median) == ("ours, all tables", "3", "**+0.0%**")
    assert (too_good, off, best, *held) == ("1 of 3", "10.0%", "3", "1 of 2", "1 of 2")
    _, tables, median, *_ = cells_of(text, "FLAML, all tables")
    assert (tables, median) == ("2", "**+22.5%**")
    assert cells_of(text, "FLAML, by group")[2] == "**+20.0%**"
    assert "18.00 → 20.00 (+10.0%)" in cells_of(text, "rooms")
    assert "17.00 to 19.00, got worse" in cells_of(text, "rooms")


def test_a_tool_that_failed_is_named_and_a_table_that_not_all_have_seen_is_left_out():
    """Nothing is counted where the tools cannot be compared."""
    text = honesty.written(NAMES, RESULTS)
    assert "visits, seed 0: FLAML failed: out of memory" in text
    assert "failed" in cells_of(text, "visits")
    assert "fares" not in text


def test_half_of_the_tables_are_split_by_time_and_half_by_group():
    """Twenty tables, each named once."""
    kinds = [table.declared["split"]["by"] for table in HONESTY]
    assert (kinds.count("time"), kinds.count("group")) == (10, 10)
    assert len({table.name for table in HONESTY}) == len(HONESTY)


@pytest.mark.parametrize(("claimed", "expected"), [(2.2, -0.1), (1.8, 0.1)])
def test_the_gap_is_in_parts_of_the_score_on_unseen_rows(claimed, expected):
    """Of an error, less than was promised is better."""
    found = honesty.gap(ours(table="visits", claimed=claimed, score=2.0))
    assert found == pytest.approx(expected)
