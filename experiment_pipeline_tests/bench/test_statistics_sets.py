"""The simulated sets: intervals hold, clean tables run, leaks are blocked, rows stay."""

import pytest

from experiment_pipeline_tests.bench import statistics_sets
from experiment_pipeline_tests.bench.statistics_sets import (
    coverage_of_score,
    flags,
    four_times,
    jobs,
    measures,
    moved_by_adding,
    share_blocked,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "population", "metric"),
    [(flags, flags, "roc_auc"), (four_times, measures, "log_loss")],
    ids=["14 skewed flags", "rows four times"],
)
def test_intervals_cover_the_true_score(table, population, metric, monkeypatch):
    """Of 25 intervals that promise 95 %, less than 21 cover in one simulation of 50."""
    # 25 times as many as are scored: what is taken for the truth adds 2 % to an interval's error.
    monkeypatch.setattr(statistics_sets, "TRUE_ROWS", 20_000)
    arguments = {"table": table, "population": population, "metric": metric, "rows": 4_000}
    assert coverage_of_score(25, 0, **arguments) >= 21 / 25


@pytest.mark.parametrize("by", ["id", "time", "column", "random"])
@pytest.mark.parametrize("table", [flags, jobs, measures])
def test_no_clean_table_is_blocked(table, by):
    """People who are alike are no leak, however the sets are cut."""
    assert share_blocked(4, 0, table=table, by=by, rows=4_000) == 0


@pytest.mark.parametrize("leaked", [0.05, 0.2])
def test_copies_in_two_named_sets_are_blocked(leaked):
    """Records that were copied before the sets were named stop the run."""
    assert share_blocked(4, 0, table=measures, by="column", rows=4_000, leaked=leaked) == 1


@pytest.mark.parametrize("table", [flags, jobs, measures, four_times])
def test_two_more_rows_move_a_handful_at_most(table):
    """No switch flips for the whole table."""
    assert moved_by_adding(4, 0, table=table) <= 5 / 5_000
