"""The comparison gives every way the same work, and chooses on test what it judges elsewhere."""

import pytest

from experiment_pipeline_tests.bench import surrogate
from experiment_pipeline_tests.bench.surrogate import Known, Winners
from experiment_pipeline_tests.bench.tables import TABLES

KNOWN = {"a": Known(0.7, 0.6, 1.0), "b": Known(0.6, 0.9, 2.0), "c": Known(0.8, 0.5, 1.0)}


def test_a_fit_that_is_more_than_the_work_left_is_not_made():
    """Nor any after it: a search does not know what a fit will cost."""
    assert surrogate._within(3.0, ["a", "b", "c"], KNOWN) == ["a", "b"]
    assert surrogate._within(2.5, ["a", "b", "c"], KNOWN) == ["a"]


def test_the_winner_is_chosen_on_test():
    """Not by what it is judged on."""
    assert surrogate._winner(["a", "b"], KNOWN) is KNOWN["a"]


def test_differences_are_paired_by_seed():
    """A level that moves with the seed drops out."""
    found = [
        Winners(
            surrogate=Known(level, level, 0),
            halving=Known(level - 0.1, level - 0.2, 0),
            random=level,
            random_on_test=level + 0.3,
            fits=20,
            rung_rows=1_500,
            rung_tells=level,
        )
        for level in (0.1, 0.5, 0.9)
    ]
    paired = surrogate._paired(TABLES[0], found)
    assert paired.halving.value == pytest.approx(0.2)
    assert paired.halving_on_test.value == pytest.approx(0.1)
    assert paired.random_on_test.value == pytest.approx(-0.3)
    assert paired.random_on_test.verdict == "worse"
    assert paired.row().startswith(
        "| stops (roc_auc) | 1,500 | 0.50 | 20 of 120 | **+0.2** (+0.2 to +0.2)"
    )


def test_a_rung_tells_the_order_of_those_it_has():
    """1 = the same order as on all rows, -1 = the opposite."""
    assert surrogate.told({"a": 5.0, "c": 6.0}, KNOWN) == pytest.approx(1.0)
    assert surrogate.told({"a": 5.0, "b": 7.0, "c": 3.0}, KNOWN) == pytest.approx(-1.0)
