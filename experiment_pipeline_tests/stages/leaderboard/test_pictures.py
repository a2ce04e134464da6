"""What the page of a search draws: every configuration, every rung, what was spent, in numbers."""

import json
import math
from dataclasses import replace

import pytest

from experiment_pipeline.stages.leaderboard.pictures import SearchShown, data
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline_tests.stages.leaderboard.search_examples import finished_search

RUNGS = {"rungs", "learning"}


@pytest.fixture(scope="module")
def shown() -> SearchShown:
    return finished_search(32)


def names(shown: SearchShown) -> set[str]:
    """The pictures that are drawn."""
    return {caption["name"] for caption in data(shown)["pictures"]}


def test_each_row_of_the_table_is_drawn_with_its_rungs(shown: SearchShown) -> None:
    """In the order of the board; whoever was stopped has a path that ends there."""
    rows = data(shown)["rows"]
    assert [row["key"] for row in rows] == shown.board.rows["key"].tolist()
    for row in rows:
        path = shown.paths.get(row["key"], ())
        assert [step[0] for step in row["path"]] == [step.fraction for step in path]
        if row["status"] == "stopped early":
            assert row["path"][-1][0] < 1
            assert (row["low"], row["tied"]) == (None, False)


def test_an_undefined_score_is_missing_and_not_a_number(shown: SearchShown) -> None:
    """JSON has no nan, and a browser reads none."""
    key = shown.board.rows["key"].iloc[-10]
    paths = {**shown.paths, key: (Step(0.25, math.nan, math.inf, 1.0),)}
    row = next(row for row in data(replace(shown, paths=paths))["rows"] if row["key"] == key)
    assert row["path"] == [[0.25, None, None]]
    json.dumps(data(replace(shown, paths=paths)), allow_nan=False)


def test_axes_are_what_varies_on_the_scale_that_was_searched(shown: SearchShown) -> None:
    """By ratios where the YAML says log; what is no number, or not always, is a list of values."""
    axes = {axis.name: axis for axis in shown.axes["lightgbm"]}
    assert set(axes) == {"learning_rate", "num_leaves", "feature_fraction", "max_depth"}
    assert [axes[name].log for name in ("learning_rate", "num_leaves")] == [True, True]
    assert not axes["feature_fraction"].log
    assert axes["max_depth"].values == ("-1", "4", "8", "none")
    assert [axis.name for axis in shown.axes["linear"]] == ["C"]
    assert shown.axes["dummy"] == ()


def test_spending_begins_with_the_smaller_rungs_and_ends_with_all(shown: SearchShown) -> None:
    """Only scores on all train rows count, in the order of the YAML; the best never gets worse."""
    spend = data(shown)["spend"]
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
    drawn = data(lower)
    best = [point[2] for point in drawn["spend"]]
    assert best == sorted(best, reverse=True)
    assert not drawn["higher"]
    assert drawn["pictures"][0]["said"].startswith("Lower is better")


def test_without_halving_there_are_no_pictures_of_rungs(shown: SearchShown) -> None:
    """One rung is no curve."""
    paths = {k: path[-1:] for k, path in shown.paths.items() if path[-1].fraction == 1}
    assert names(shown) >= RUNGS
    assert not names(replace(shown, paths=paths)) & RUNGS


def test_each_picture_says_its_numbers(shown: SearchShown) -> None:
    """Whoever does not see it is told the chosen score, the rungs' counts, the best settings."""
    said = {caption["name"]: caption["alt"] for caption in data(shown)["pictures"]}
    assert f"{shown.board.score.estimate:.4f}" in said["cost"]
    assert "on 6.25 %, 10 on 25 %, 6 on all rows" in said["rungs"]
    best = shown.settings(shown.board.rows["key"].iloc[0])
    assert f"learning_rate {best['learning_rate']:.6g}" in said["together"]
    assert "tried were" in said["each"]
