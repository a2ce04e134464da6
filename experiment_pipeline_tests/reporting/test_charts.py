"""Options of charts: numbers that JSON can hold, colours of the page, pictures that
leave nothing open.
"""

import json
import math

import pytest

from experiment_pipeline.reporting.charts import (
    MUTED,
    SERIES,
    estimates,
    level,
    log_axis,
    plain,
)
from experiment_pipeline.statistics.interval import Interval

NAME = "<b>&amp;$x^$ `|` 漢 \x00"


def test_what_is_not_finite_is_not_drawn() -> None:
    """JSON has no nan, and a browser reads none."""
    undefined = Interval(math.nan, math.nan, math.nan)
    rows = [(NAME, Interval(0.7, 0.6, 0.8), SERIES[0]), ("undefined", undefined, MUTED)]
    option = estimates("", "", rows, "roc_auc $", 0.5).option
    json.dumps(option, allow_nan=False)
    intervals, marks, reference = option["series"]
    assert [one["value"] for one in intervals["data"]] == [[0, 0.6, 0.8]]
    assert [one["value"] for one in marks["data"]] == [[0.7, 0]]
    assert marks["data"][0]["tip"] == f"{NAME}: 0.7000 (0.6000 to 0.8000)"
    assert reference["markLine"]["data"] == [{"xAxis": 0.5}]
    assert level(math.nan, "xAxis", "")["markLine"]["data"] == []


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.001, 100], [0.001, 0.01, 0.1, 1, 10, 100]),
        ([3, 60], [5, 10, 20, 50]),
        ([3, 9], [3, 4, 5, 6, 7, 8, 9, 10]),
        ([0.05, 0.051], [0.042, *(0.043 + 0.001 * n for n in range(19))]),
    ],
)
def test_an_axis_by_ratios_has_round_ticks(
    values: list[float], ticks: list[float]
) -> None:
    """As few as tell the scale, at least three."""
    axis = log_axis(values)
    assert axis["axisLabel"]["customValues"] == pytest.approx(ticks)
    assert axis["min"] < min(values) <= max(values) < axis["max"]


def test_names_are_one_line_and_not_too_long() -> None:
    """What cannot be shown is replaced."""
    assert plain("a $x$\nb") == "a $x$ b"
    assert plain("x" * 99) == "x" * 39 + "…"
    assert plain("") == "''"
    assert plain(NAME).endswith("漢 ?")
