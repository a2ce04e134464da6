"""A leaderboard on its way: what later stages learn from it is what they are told it is."""

from dataclasses import replace

import pytest

from experiment_pipeline.errors import TrainingError
from experiment_pipeline.stages.leaderboard.board import (
    Leaderboard,
    board_digest,
    check_same_metric,
)
from experiment_pipeline.stages.search.conclusions import SearchResults
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.stages.leaderboard.board_examples import search_of, spec_of


def test_everything_of_a_board_counts() -> None:
    """The same board has one digest wherever it is read; another row or reason has another."""
    spec = spec_of(3)
    board = search_of(spec, [1, 2, 3]).rank()
    digest = board_digest(board)
    assert board_digest(from_parquet(to_parquet(board), Leaderboard)) == digest
    others = [
        replace(board, reason="by chance"),
        replace(board, notes=("one configuration is stopped early",)),
        replace(board, rows=board.rows.iloc[:2]),
    ]
    assert len({digest, *map(board_digest, others)}) == 4


def test_a_note_of_the_chosen_fit_stands_on_the_board() -> None:
    """Who was trained in a second attempt, or not as asked for, does not hide it."""
    search = search_of(spec_of(2), [1, 2])
    noted = [replace(one, notes=("a first attempt ended",)) for one in search.results]
    board = search.rank(results=noted)
    assert board.notes[0] == "the chosen lightgbm: a first attempt ended"


def test_results_of_another_metric_are_not_ranked() -> None:
    """Scores of one metric under the name of another would be a wrong answer."""
    board = search_of(spec_of(2), [1, 2]).rank()
    results = SearchResults(board.rows, "roc_auc", digests={}, paths={})
    check_same_metric(results, "roc_auc")
    with pytest.raises(TrainingError, match="scored by roc_auc, the experiment's metric is brier"):
        check_same_metric(results, "brier")
