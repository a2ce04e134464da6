"""What the page of a search draws: every configuration, every rung, what was spent, in numbers."""

import json
import math
from dataclasses import replace

import pytest

from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.stages.leaderboard.page import document
from experiment_pipeline.stages.leaderboard.pictures import (
    SearchShown,
    _spend,
    hyperparameter_charts,
    rung_charts,
    score_charts,
)
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search


@pytest.fixture(scope="module")
def shown() -> SearchShown:
    return finished_search(32)


def charts_of(shown: SearchShown) -> dict[str, Chart]:
    """Title → chart of the whole page."""
    blocks = [block for section in document(shown, "flights").sections for block in section.blocks]
    return {block.title: block for block in blocks if isinstance(block, Chart)}


def rows_in(chart: Chart) -> list[int]:
    """The rows of the table that a chart shows."""
    data = [item for one in chart.option["series"] for item in one.get("data", ())]
    return [item["row"] for item in data if isinstance(item, dict) and "row" in item]


def test_each_configuration_is_drawn_under_the_number_of_its_row(shown: SearchShown) -> None:
    """Score against cost has those on all rows, the rungs all that were fitted."""
    charts, keys = charts_of(shown), shown.board.rows["key"].tolist()
    full = {key for key, path in shown.paths.items() if path[-1].fraction == 1} - {"dummy"}
    assert {keys[row] for row in rows_in(charts["Score against cost"])} == full
    rungs = charts["Scores at each rung of halving"]
    assert {keys[row] for row in rows_in(rungs)} == set(shown.paths)
    for line in rungs.option["series"][0]["data"]:
        path = shown.paths[keys[line["row"]]]
        assert [y for _, y in line["coords"]] == pytest.approx([s.test_score for s in path], 1e-5)


def test_an_undefined_score_is_left_out(shown: SearchShown) -> None:
    """JSON has no nan, and a browser reads none."""
    key = shown.board.rows["key"].iloc[-10]
    paths = {**shown.paths, key: (Step(0.25, math.nan, math.inf, 1.0),)}
    for chart in charts_of(replace(shown, paths=paths)).values():
        json.dumps(chart.option, allow_nan=False)


def test_axes_are_what_varies_on_the_scale_that_was_searched(shown: SearchShown) -> None:
    """By ratios where the YAML says log; what is no number, or not always, is a list of values."""
    axes = {axis.name: axis for axis in shown.axes["lightgbm"]}
    assert set(axes) == {"learning_rate", "num_leaves", "feature_fraction", "max_depth"}
    assert [axes[name].log for name in ("learning_rate", "num_leaves")] == [True, True]
    assert not axes["feature_fraction"].log
    assert axes["max_depth"].kinds == ("-1", "4", "8", "none")
    assert [axis.name for axis in shown.axes["linear"]] == ["C"]
    assert shown.axes["dummy"] == ()


def test_spending_begins_with_the_smaller_rungs_and_ends_with_all(shown: SearchShown) -> None:
    """Only scores on all train rows count, in the order of the YAML; the best never gets worse."""
    spend = _spend(shown)
    costs, scores, best, places = (list(part) for part in zip(*spend, strict=True))
    small = sum(s.fit_cpu_seconds for p in shown.paths.values() for s in p if s.fraction < 1)
    own = [shown.paths[key][-1].fit_cpu_seconds for key in shown.paths if key == "dummy"]
    assert costs == sorted(costs)
    assert costs[0] > small
    assert costs[-1] == pytest.approx(sum(shown.spent.values()) - sum(own), rel=1e-4)
    assert best == [max(scores[: number + 1]) for number in range(len(scores))]
    declared = list(shown.declared)
    order = [declared.index(shown.rows[place]["key"]) for place in places]
    assert order == sorted(order)


def test_where_lower_is_better_the_best_so_far_falls(shown: SearchShown) -> None:
    """The direction is the metric's."""
    lower = replace(shown, board=replace(shown.board, metric="log_loss"))
    best = [point[2] for point in _spend(lower)]
    assert best == sorted(best, reverse=True)
    assert next(score_charts(lower)).said.startswith("Lower is better")


def test_without_halving_there_are_no_charts_of_rungs(shown: SearchShown) -> None:
    """One rung is no curve."""
    paths = {k: path[-1:] for k, path in shown.paths.items() if path[-1].fraction == 1}
    assert len(list(rung_charts(shown))) == 2
    assert not list(rung_charts(replace(shown, paths=paths)))


def test_each_chart_states_its_numbers(shown: SearchShown) -> None:
    """The chosen score, the rungs' counts, the best settings, what is outside of the range."""
    charts = charts_of(shown)
    assert f"{shown.board.score.estimate:.4f}" in charts["Score against cost"].alt
    assert "Baseline 0.5000 is outside the plotted range." in charts["Score against cost"].said
    assert "10 on 25 %, 6 on all rows" in charts["Scores at each rung of halving"].alt
    best = shown.settings(shown.best)
    together = charts["Hyperparameters of lightgbm together"]
    assert f"learning_rate {best['learning_rate']:.6g}" in together.alt
    assert "tried were" in charts["learning_rate"].alt


def test_what_was_not_started_is_counted_and_not_drawn() -> None:
    """Lines are of what was tried; the sentence above counts the others."""
    wide = finished_search(209, unstarted=150)
    together = next(hyperparameter_charts(wide, "lightgbm"))
    assert isinstance(together, Chart)
    assert len(together.option["series"][0]["data"]) == 58
    assert "124 configurations that were not started are left out." in together.said
