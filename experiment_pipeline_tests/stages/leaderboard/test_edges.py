"""Search edges: which ends of a search matter, and how far beyond them to look."""

import pytest

from experiment_pipeline.stages.leaderboard.notes import search_edges
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of


def _edges(hyperparameters: dict, chosen: dict, method: str = "grid", algorithm: str = "lightgbm"):
    entry = {"algorithm": algorithm, "method": method, "hyperparameters": hyperparameters}
    if method == "random":
        entry["draws"] = 5
    return search_edges(spec_of(search=[entry]), algorithm, chosen)


def test_the_end_of_a_list_is_an_edge_and_its_middle_is_not() -> None:
    """Only the smallest and largest value end a list."""
    assert _edges({"num_leaves": [15, 31, 63]}, {"num_leaves": 31}) == ()
    (edge,) = _edges({"num_leaves": [15, 31, 63]}, {"num_leaves": 63})
    assert (edge.end, edge.wider) == ("high", 129)
    assert "search 15 to 129" in edge.in_words()


def test_a_draw_near_the_end_of_a_range_is_an_edge() -> None:
    """Within 5 % of the range, on its own scale, a draw counts as at the end."""
    space = {"learning_rate": {"low": 0.01, "high": 1.0, "scale": "log"}}
    assert _edges(space, {"learning_rate": 0.02}, "random") == ()
    (edge,) = _edges(space, {"learning_rate": 0.011}, "random")
    assert (edge.end, edge.wider) == ("low", pytest.approx(0.001))


@pytest.mark.parametrize(
    ("hyperparameters", "chosen"),
    [
        ({"lambda_l2": [0, 1, 10]}, {"lambda_l2": 0}),
        ({"min_data_in_leaf": [1, 20]}, {"min_data_in_leaf": 1}),
        ({"feature_fraction": [0.5, 0.8, 1.0]}, {"feature_fraction": 1.0}),
        ({"max_depth": [-1, 4, 8]}, {"max_depth": -1}),
        ({"max_depth": [-1, 4, 8]}, {"max_depth": 8}),
        ({"max_depth": [None, 4, 8]}, {"max_depth": 8}),
        ({"max_depth": [None, 4, 8]}, {"max_depth": None}),
        ({"extra_trees": [True, False]}, {"extra_trees": True}),
        ({"boosting": ["gbdt", "dart"]}, {"boosting": "dart"}),
        ({"num_leaves": 31}, {"num_leaves": 31}),
        ({"num_leaves": [2, 31]}, {"num_leaves": 2}),
    ],
)
def test_ends_with_nothing_beyond_are_none(hyperparameters: dict, chosen: dict) -> None:
    """Zero, the smallest count, a share of one, no limit, words and fixed values end nothing."""
    assert _edges(hyperparameters, chosen) == ()


def test_all_entries_of_the_algorithm_count_as_one_search() -> None:
    """What a second entry searched is no edge of the first."""
    entries = [
        {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}},
        {"algorithm": "linear", "configurations": [{"C": 10.0}]},
        {"algorithm": "lightgbm", "hyperparameters": {"lambda_l1": [0.1, 100.0]}},
    ]
    spec = spec_of(search=entries)
    assert search_edges(spec, "linear", {"C": 1.0}) == ()
    (edge,) = search_edges(spec, "linear", {"C": 10.0})
    assert edge.wider == 100.0
