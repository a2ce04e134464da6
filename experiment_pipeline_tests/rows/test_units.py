"""What an interval resamples: the units that a split keeps together."""

import pandas as pd

from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.statistics.spread import ConsecutiveUnits
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of


def test_units_of_a_split_by_time_know_that_they_are_consecutive() -> None:
    """Days may resemble their neighbours; rows of a random split are strangers."""
    rows = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=6, freq="12h")})
    by_day = resampling_units(rows, spec_of(split={"by": "time", "column": "day"}), [])
    assert isinstance(by_day, ConsecutiveUnits)
    assert by_day.tolist() == [0, 0, 1, 1, 2, 2]
    assert not isinstance(resampling_units(rows, spec_of(), ["day"]), ConsecutiveUnits)
