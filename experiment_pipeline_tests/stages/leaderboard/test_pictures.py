"""What the page of a search draws: every configuration, every rung, what was spent, in
numbers.
"""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.reporting.document import Chart, render
from experiment_pipeline.stages.leaderboard.page import document
from experiment_pipeline.stages.leaderboard.pictures import (
    SearchShown,
    hyperparameter_charts,
)
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    search_of,
    shown_of,
    spec_of,
)
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search


@pytest.fixture(scope="module")
def shown() -> SearchShown:
    return finished_search(32)


def charts_of(shown: SearchShown) -> dict[str, Chart]:
    """Title → chart of the whole page."""
    sections = document(shown, "flights").sections
    blocks = [block for section in sections for block in section.blocks]
    return {block.title: block for block in blocks if isinstance(block, Chart)}


def test_the_page_says_where_the_time_went(shown: SearchShown):
    """Each phase until the search had ended, and what was left; nothing without
    phases.
    """
    text = render(document(shown, "f"))
    for line in ("before the search | 4.5 s", "fits | 18.0 s", "report | 7.5 s"):
        assert line in text
    results = replace(shown.results, phases={}, seconds_left=None)
    assert "| Time" not in render(document(replace(shown, results=results), "f"))


def test_a_hyperparameter_that_matters_comes_first_and_noise_has_no_chart():
    """Its share of the ranking is in the title; of ten searches without any effect
    few show one.
    """
    spec = spec_of(
        0,
        search=[
            {
                "algorithm": "lightgbm",
                "method": "random",
                "draws": 40,
                "hyperparameters": {
                    "num_leaves": {"low": 4, "high": 64, "scale": "log"},
                    "feature_fraction": {"low": 0.4, "high": 1.0},
                },
            }
        ],
    )
    board = search_of(spec, [1.0] * 40).rank()

    def titles(effect: float, seed: int) -> list[str]:
        noise = np.random.default_rng(seed).normal(size=40)
        keys = [key for key in board.rows["key"] if key.startswith("lightgbm")]
        scores = dict(zip(keys, noise, strict=True))
        first = shown_of(spec, board)
        paths = {
            key: (
                Step(
                    1.0,
                    scores[key] - effect * first.settings(key)["num_leaves"] / 20,
                    0.9,
                    1.0,
                ),
            )
            for key in keys
        }
        charts = hyperparameter_charts(shown_of(spec, board, paths), "lightgbm")
        return [chart.title for chart in charts if isinstance(chart, Chart)]

    (title,) = titles(3, seed=0)
    assert re.fullmatch(r"num_leaves: explains [6-9]\d %", title)
    assert sum(len(titles(0, seed)) for seed in range(10)) <= 3  # of 20


def rows_in(chart: Chart) -> list[int]:
    """The rows of the table that a chart shows."""
    rows = []
    for series in chart.option["series"]:
        for shape in ("marks", "spans"):
            drawn = series.get(shape, ())
            rows += [item["row"] for item in drawn if "row" in item]
    return rows


def test_an_undefined_score_is_left_out(shown: SearchShown):
    """JSON has no nan, and a browser reads none."""
    key = shown.board.rows["key"].iloc[-10]
    paths = {**shown.results.paths, key: (Step(0.25, math.nan, math.inf, 1.0),)}
    results = replace(shown.results, paths=paths)
    for chart in charts_of(replace(shown, results=results)).values():
        json.dumps(chart.option, allow_nan=False)


def test_axes_are_what_varies_on_the_scale_that_was_searched(
    shown: SearchShown,
):
    """By ratios where values span a factor of ten; what is not a number, or not always,
    is a list of values.
    """
    axes = {axis.title: axis for axis in shown.axes["lightgbm"]}
    assert set(axes) == {"learning_rate", "num_leaves", "feature_fraction", "max_depth"}
    logarithmic = {name for name, axis in axes.items() if axis.ticks}
    assert logarithmic == {"learning_rate", "num_leaves"}
    assert axes["max_depth"].names == ["-1", "4", "8", "none"]
    assert [axis.title for axis in shown.axes["linear"]] == ["C"]
    assert shown.axes["dummy"] == []


def test_one_configuration_of_defaults_leaves_the_axes_of_numbers_as_they_are():
    """It has no mark there; beside other values `not set` is one of them."""
    space = {
        "num_leaves": {"low": 4, "high": 64, "scale": "log"},
        "extra_trees": [False, True],
    }
    drawn = {"algorithm": "lightgbm", "method": "random", "draws": 8}
    first = {"algorithm": "lightgbm", "configurations": [{}, {"extra_trees": True}]}
    spec = spec_of(0, search=[first, {**drawn, "hyperparameters": space}])

    def charts_of_first(count: int) -> dict[str, Chart]:
        shown = shown_of(spec, search_of(spec, [1.0] * count).rank())
        charts = hyperparameter_charts(shown, "lightgbm")
        return {chart.title: chart for chart in charts if isinstance(chart, Chart)}

    charts = charts_of_first(10)
    assert charts["num_leaves"].option["x"]["ticks"]
    names = charts["extra_trees"].option["x"]["names"]
    assert sorted(names) == ["false", "not set", "true"]
    assert len(rows_in(charts["num_leaves"])) == 8
    assert charts["num_leaves"].alt.endswith("2 that do not set it have no mark.")
    assert len(rows_in(charts["extra_trees"])) == 10
    # The budget ended before others were fitted: a mark or two show nothing.
    assert charts_of_first(2) == {}
