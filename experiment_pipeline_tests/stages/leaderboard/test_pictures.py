"""What the page of a search draws: every configuration, every rung, what was spent, in
numbers.
"""

import itertools
import json
import math
from dataclasses import replace

import pytest

from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.stages.leaderboard.page import document
from experiment_pipeline.stages.leaderboard.pictures import (
    SearchShown,
    hyperparameter_charts,
    score_charts,
)
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline_tests.stages.leaderboard import board_examples
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search


@pytest.fixture(scope="module")
def shown() -> SearchShown:
    return finished_search(32)


def charts_of(shown: SearchShown) -> dict[str, Chart]:
    """Title → chart of the whole page."""
    blocks = [
        block
        for section in document(shown, "flights").sections
        for block in section.blocks
    ]
    return {block.title: block for block in blocks if isinstance(block, Chart)}


def rows_in(chart: Chart) -> list[int]:
    """The rows of the table that a chart shows."""
    items = [
        item
        for series in chart.option["series"]
        for shape in ("marks", "spans", "traces")
        for item in series.get(shape, ())
    ]
    return [item["row"] for item in items if "row" in item]


def test_each_configuration_is_drawn_under_the_number_of_its_row(
    shown: SearchShown,
) -> None:
    """Score against cost has those on all rows, the rungs all that were fitted."""
    charts, keys = charts_of(shown), shown.board.rows["key"].tolist()
    full = {key for key, path in shown.paths.items() if path[-1].fraction == 1} - {
        "dummy"
    }
    assert {keys[row] for row in rows_in(charts["Score against cost"])} == full
    rungs = charts["Scores at each rung of halving"]
    assert {keys[row] for row in rows_in(rungs)} == set(shown.paths)
    series = [drawn.get("traces", ()) for drawn in rungs.option["series"]]
    for trace in itertools.chain(*series):
        path = shown.paths[keys[trace["row"]]]
        assert [y for _, y in trace["points"]] == pytest.approx(
            [s.test_score for s in path], 1e-5
        )


def test_an_undefined_score_is_left_out(shown: SearchShown) -> None:
    """JSON has no nan, and a browser reads none."""
    key = shown.board.rows["key"].iloc[-10]
    paths = {**shown.paths, key: (Step(0.25, math.nan, math.inf, 1.0),)}
    for chart in charts_of(replace(shown, paths=paths)).values():
        json.dumps(chart.option, allow_nan=False)


def test_axes_are_what_varies_on_the_scale_that_was_searched(
    shown: SearchShown,
) -> None:
    """By ratios where values span a factor of ten; what is not a number, or not always,
    is a list of values.
    """
    axes = {axis.name: axis for axis in shown.axes["lightgbm"]}
    assert set(axes) == {"learning_rate", "num_leaves", "feature_fraction", "max_depth"}
    assert [axes[name].log for name in ("learning_rate", "num_leaves")] == [True, True]
    assert not axes["feature_fraction"].log
    assert axes["max_depth"].names == ("-1", "4", "8", "none")
    assert [axis.name for axis in shown.axes["linear"]] == ["C"]
    assert shown.axes["dummy"] == ()


def test_one_configuration_of_defaults_leaves_the_axes_of_numbers_as_they_are() -> None:
    """As scaffolded: it has no mark there; beside other values `not set` is one of
    them.
    """
    drawn = {"algorithm": "lightgbm", "method": "random", "draws": 8}
    space = {
        "num_leaves": {"low": 4, "high": 64, "scale": "log"},
        "extra_trees": [False, True],
    }
    first = {"algorithm": "lightgbm", "configurations": [{}, {"extra_trees": True}]}
    spec = board_examples.spec_of(
        0, search=[first, {**drawn, "hyperparameters": space}]
    )
    found = board_examples.shown_of(
        spec, board_examples.search_of(spec, [1.0] * 10).rank()
    )
    axes = {axis.name: axis for axis in found.axes["lightgbm"]}
    assert (axes["num_leaves"].names, axes["num_leaves"].log) == ((), True)
    assert sorted(axes["extra_trees"].names) == ["false", "not set", "true"]
    charts = {
        block.title: block for block in [*hyperparameter_charts(found, "lightgbm")][1:]
    }
    assert len(rows_in(charts["num_leaves"])) == 8
    assert charts["num_leaves"].alt.endswith("2 that do not set it have no mark.")
    assert len(rows_in(charts["extra_trees"])) == 10
    found = board_examples.shown_of(
        spec, board_examples.search_of(spec, [1.0] * 2).rank()
    )
    charts = {
        block.title: block for block in [*hyperparameter_charts(found, "lightgbm")][1:]
    }
    assert set(charts) == {
        "extra_trees"
    }  # the budget ended before a value of the other was fitted


@pytest.mark.parametrize(("metric", "best"), [("roc_auc", max), ("log_loss", min)])
def test_spending_begins_with_the_smaller_rungs_and_ends_with_all(
    shown, metric, best
) -> None:
    """Only scores on all train rows count, in the order of the YAML; the best never
    gets worse.
    """
    first, spent = score_charts(
        replace(shown, board=replace(shown.board, metric=metric))
    )
    assert first.said.startswith("Lower" if best is min else "Higher")
    paths = {key: shown.paths.get(key, ()) for key in shown.declared if key != "dummy"}
    full = [path[-1] for path in paths.values() if path and path[-1].fraction == 1]
    line = [(mark["x"], mark["y"]) for mark in spent.option["series"][0]["marks"]]
    scores = [step.test_score for step in full]
    assert [y for _, y in line] == pytest.approx(
        [best(scores[: n + 1]) for n in range(len(full))]
    )
    every = sum(step.fit_cpu_seconds for path in paths.values() for step in path)
    assert line[-1][0] == pytest.approx(every, rel=1e-4)
    assert line[0][0] == pytest.approx(
        every - sum(s.fit_cpu_seconds for s in full[1:]), rel=1e-4
    )
