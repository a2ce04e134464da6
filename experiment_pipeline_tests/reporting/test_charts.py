"""Charts: numbers that JSON can hold, round ticks, names on one line."""

import json
import math

import pytest

from experiment_pipeline.reporting.charts import (
    MUTED,
    Axis,
    Intervals,
    Level,
    Mark,
    Plot,
    Points,
    Span,
    chart,
    log_axis,
    plain,
)

NAME = "<b>&amp;$x^$ `|` 漢 \x00"


def test_what_is_not_finite_is_not_drawn():
    """JSON has no nan, and a browser reads none."""
    points = Points([Mark(math.nan, 1), Mark(2, 0.5)], MUTED)
    intervals = Intervals([Span(0, 0.1, math.inf), Span(1, 0.1, 0.2)], MUTED)
    plot = Plot(Axis(), Axis(), [points, intervals, Level("y", math.nan)])
    option = chart("", "", plot).option
    json.dumps(option, allow_nan=False)
    drawn_points, drawn_intervals = option["series"]
    assert drawn_points["marks"] == [{"x": 2, "y": 0.5}]
    assert drawn_intervals["spans"] == [{"at": 1, "low": 0.1, "high": 0.2}]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.001, 100], [0.001, 0.01, 0.1, 1, 10, 100]),
        ([3, 9], [3, 4, 5, 6, 7, 8, 9, 10]),
        ([0.05, 0.051], [0.042, *(0.043 + 0.001 * n for n in range(19))]),
    ],
)
def test_a_logarithmic_axis_has_round_ticks(values: list[float], ticks: list[float]):
    """As few as tell the scale, at least three."""
    axis = log_axis(values, "")
    assert axis.ticks == pytest.approx(ticks)
    assert axis.low < min(values) <= max(values) < axis.high


def test_names_are_one_line_and_not_too_long():
    """What cannot be shown is replaced."""
    assert plain("a $x$\nb") == "a $x$ b"
    assert plain("x" * 99) == "x" * 39 + "…"
    assert plain("") == "''"
    assert plain(NAME).endswith("漢 ?")
