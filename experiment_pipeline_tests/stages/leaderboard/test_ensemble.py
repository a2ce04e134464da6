"""The ensemble of the best few: its row, its cross-fitted score, and when it
is chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard import ensemble, page
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.stages.leaderboard import board_examples
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    Search,
    failure_of,
    shown_of,
    spec_of,
)
from experiment_pipeline_tests.stages.search.halving_scenario import experiment, sets_of


def numbers_spec(count: int, **changes: object) -> ExperimentSpec:
    """Return an experiment of so many configurations, ranked by rmse."""
    return spec_of(count, task="regression", metric="rmse", **changes)


def search_of(
    spec: ExperimentSpec, noises: list[float], shared: float = 0.3, **options: Any
) -> Search:
    """Return regressions that an ensemble can average."""
    return board_examples.search_of(
        spec, noises, shared=shared, distinct=True, **options
    )


def row_of(board: Leaderboard) -> dict:
    """Return the ensemble's row."""
    (row,) = board.rows[board.rows["key"] == ENSEMBLE].to_dict("records")
    return row


def test_models_with_different_errors_are_averaged_and_chosen():
    """The row has rank, interval, the sums of its members' costs, and its members."""
    board = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 4.0]).rank()
    row, members = row_of(board), board.ensemble.members
    count = len(members)
    assert board.chosen == ENSEMBLE
    assert (row["rank"], row["status"], row["algorithm"]) == (1, "trained", ENSEMBLE)
    assert row["low"] < row["test_score"] < row["high"]
    assert sum(member.weight for member in members) == pytest.approx(1)
    assert row["fit_cpu_seconds"] == 2.0 * count
    assert row["predict_microseconds_per_row"] == pytest.approx(3 * count)
    assert row["reason"] == f"chosen: {board.ensemble.in_words}"
    assert f"{count} models, {count}.0 times the prediction time" in board.reason
    assert board.fingerprint == board.ensemble.fingerprint == row["fingerprint"]
    assert len(board.rows) == 5
    assert from_parquet(to_parquet(board), Leaderboard).ensemble == board.ensemble


def test_its_score_is_that_of_predictions_by_weights_of_other_rows():
    """Later stages compute the same from what is stored: the weights without each
    fold.
    """
    search = search_of(numbers_spec(5), [1.0, 1.0, 1.1, 1.3, 1.2])
    board = search.rank()
    predictions = {
        result.fingerprint: search.predictions[result.key] for result in search.results
    }
    again = board.ensemble.cross_fitted(
        predictions.__getitem__, search.y_test, search.clusters
    )
    assert score("rmse", search.y_test, again) == row_of(board)["test_score"]
    assert len(board.ensemble.folds) == 5
    assert all(sum(fold.values()) == pytest.approx(1) for fold in board.ensemble.folds)


def test_it_is_compared_with_a_model_that_was_picked_by_other_rows_as_well():
    """Of 60 equals on 60 rows one is best by luck: the mean of a few, which is better,
    is chosen.
    """
    spec = numbers_spec(0, search=_many(60))
    boards = [
        search_of(spec, [0.6] * 60, seed=seed, n=60, shared=1.0).rank()
        for seed in range(4)
    ]
    chosen, behind = [], []
    for board in boards:
        assert board.rows["key"].iloc[0] == board.chosen
        assert board.rows["difference_to_best"].iloc[0] == 0
        if board.rows["test_score"].min() < row_of(board)["test_score"]:
            behind.append(board)
            chosen += [board] if board.chosen == ENSEMBLE else []
    assert len(chosen) > len(behind) / 2 > 0
    start = "ensemble of the best few of 60 configurations on the"
    for board in chosen:
        assert board.reason.startswith(start)
        assert "score is cross-fitted and hardly optimistic" in str(board.notes)


@given(st.permutations(range(6)), st.integers(0, 3))
@settings(max_examples=5)
def test_neither_order_nor_keys_of_the_results_matter(order: list[int], seed: int):
    """The same results in any order have the same members, weights and scores."""
    search = search_of(numbers_spec(6), [1.0, 1.0, 1.1, 0.9, 1.3, 1.0], seed=seed)
    shuffled = search.rank(results=[search.results[place] for place in order])
    usual = search.rank()
    assert shuffled.ensemble == usual.ensemble
    assert shuffled.rows.equals(usual.rows)


@pytest.mark.parametrize(("setting", "members"), [({"members": 2}, 2), ("on", 5)])
def test_the_yaml_says_how_many_are_averaged(setting: object, members: int):
    """At most five unless it says otherwise."""
    board = search_of(numbers_spec(8, ensemble=setting), [1.0] * 8).rank()
    assert len(board.ensemble.members) == members


@pytest.mark.parametrize(
    ("settings", "noises"),
    [({"ensemble": "off"}, [1.0] * 8), ({}, [0.1, 5.0, 6.0]), ({}, [1.0])],
)
def test_without_an_ensemble_there_is_no_row(settings: dict, noises: list[float]):
    """Off; one model is better by far; or there is only one."""
    spec = numbers_spec(len(noises), **settings)
    board = search_of(spec, noises, shared=0).rank()
    assert board.ensemble is None
    assert ENSEMBLE not in set(board.rows["key"])


def test_predicting_without_features_and_what_failed_are_never_members():
    """The dummy errs apart from all others, and is no model."""
    three = {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": [4, 8, 16]}}
    spec = numbers_spec(0, search=[three, {"algorithm": "dummy"}])
    search = search_of(spec, [1.0, 1.0, 1.0, 1.0])
    failed = "lightgbm__num_leaves=16"
    trained = [result for result in search.results if result.key != failed]
    board = search.rank(failure_of(failed), results=trained)
    members = [member.configuration.algorithm for member in board.ensemble.members]
    assert members == ["lightgbm"] * 2
    assert "1 of 4 configurations failed with ValueError: no such tree" in board.notes


def test_the_smallest_of_a_tie_group_is_a_configuration_if_any_is_in_it():
    """An ensemble is chosen there only beyond the tie rule."""
    spec = numbers_spec(3, choice="smallest_in_tie_group")
    close = search_of(spec, [0.2, 0.2, 0.2], n=60, shared=1.0).rank()
    assert close.ensemble is not None
    assert close.chosen != ENSEMBLE
    assert ENSEMBLE not in close.reason.partition(";")[0]
    apart = search_of(spec, [1.0, 1.0, 1.0], n=4_000, shared=0).rank()
    assert apart.tie_group == (ENSEMBLE,)
    assert apart.chosen == ENSEMBLE


def test_the_page_shows_the_ensemble_and_counts_configurations_alone():
    """It has a row that names its members, no hyperparameters and no rungs."""
    search = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 4.0])
    board = search.rank()
    paths = {result.key: (Step(1.0, 1.0, 0.9, 2.0),) for result in search.results}
    shown = shown_of(search.spec, board, paths)
    text = page.page_html(shown, "board").decode()
    of_them = len(board.ensemble.members)
    assert f"Chosen: the weighted mean of {of_them} configurations, with" in text
    assert "4 configurations: 4 trained" in text
    assert shown.best != ENSEMBLE
    outcome = page.outcome(shown, "place")
    assert board.ensemble.in_words in outcome.facts["ensemble"]
    (row,) = (row for row in outcome.record if getattr(row, "key", "") == ENSEMBLE)
    assert row.hyperparameters["members"]


def _many(models: int) -> list[dict]:
    sizes = list(range(2, models + 2))
    return [{"algorithm": "lightgbm", "hyperparameters": {"num_leaves": sizes}}]


def test_a_budget_without_time_for_its_refit_leaves_it_out_and_says_so():
    """The best configuration is chosen then, as if there were no ensemble; with time
    nothing changes.
    """
    search = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 4.0])
    estimate = AfterSearch(sets_of(experiment()), workers=2).of
    board = search.rank(time=ensemble.RefitTime(1.0, estimate))
    off = replace(search, spec=numbers_spec(4, ensemble="off")).rank()
    assert board.chosen == off.chosen != ENSEMBLE
    assert board.rows.equals(off.rows)
    assert board.reason.endswith("seconds, and 1.0 are left of the budget")
    in_time = search.rank(time=ensemble.RefitTime(60.0, estimate))
    assert in_time.reason == search.rank().reason


def test_a_slow_member_leaves_its_place_to_quicker_ones():
    """Better than no ensemble at all; the best is fitted again in any case."""
    search = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 1.1])
    best, *others, slow = search.rank().ensemble.keys

    def members(slowest: str) -> list[str] | None:
        def estimate(results: Sequence[ModelResult]) -> float:
            return sum(95.0 if result.key == slowest else 5.0 for result in results)

        board = search.rank(time=ensemble.RefitTime(60.0, estimate))
        return board.ensemble and sorted(board.ensemble.keys)

    assert members(slow) == sorted([best, *others])
    assert members(best) is None


def test_where_the_mean_is_worse_on_other_rows_the_best_alone_is_chosen():
    """Its row stands there all the same."""
    spec = numbers_spec(2)
    boards = [
        search_of(spec, [0.05, 0.25], seed=seed, n=60).rank() for seed in range(12)
    ]
    worse = [board for board in boards if board.ensemble and board.chosen != ENSEMBLE]
    assert worse
    for board in worse:
        single = board.rows["key"][board.rows["key"] != ENSEMBLE]
        assert board.chosen == single.iloc[0]


def test_what_reweights_a_member_is_said_of_the_whole():
    """Its probabilities are moved by each of them."""
    search = search_of(numbers_spec(2), [1.0, 1.0])
    first, second = search.results
    settings = {**first.hyperparameters, "scale_pos_weight": 3.0}
    board = search.rank(results=[replace(first, hyperparameters=settings), second])
    settings = board.ensemble.configuration.hyperparameters
    assert settings["members__scale_pos_weight"] == 3.0


# --- weights ---


Judge = Callable[[np.ndarray], float]


def _library(seed: int, models: int, n: int = 200) -> tuple[Judge, np.ndarray]:
    """Noisy views of a truth, the best first, and how a view is scored."""
    generator = np.random.default_rng(seed)
    y = generator.normal(size=n)
    size = generator.uniform(0.5, 1.5, (models, 1))
    views = y + generator.normal(size=(models, n)) * size

    def judge(view: np.ndarray) -> float:
        return -score("rmse", y, view)

    return judge, np.array(sorted(views, key=judge, reverse=True))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 6))
@settings(max_examples=25)
def test_the_mean_is_never_worse_than_the_best_alone_and_has_few_members(
    seed: int, models: int, members: int
):
    """Weights sum to 1, none is negative, at most so many are above 0. Who hardly helps
    goes, and nearly all of the gain stays: the others keep their ratios, and none of
    them could go as well.
    """
    judge, library = _library(seed, models)
    chosen = ensemble.forward_selection(library, judge, members)
    assert chosen.sum() == pytest.approx(1)
    assert (chosen >= 0).all()
    assert (chosen > 0).sum() <= members
    alone = judge(library[0])
    assert judge(chosen @ library) >= alone
    weights = ensemble.without_dispensable(library, chosen, judge, [1.0] * models)
    needed = alone + ensemble.KEPT * (judge(chosen @ library) - alone)
    assert judge(weights @ library) >= needed - 1e-12
    stays = weights > 0
    assert weights[stays] == pytest.approx(chosen[stays] / chosen[stays].sum())
    for member in np.flatnonzero(weights) if stays.sum() > 1 else ():
        without = np.where(np.arange(models) == member, 0, weights)
        assert judge(without @ library / without.sum()) < needed


@pytest.mark.parametrize("consecutive", [False, True])
@pytest.mark.parametrize("n_clusters", [1, 3, 17, 5_000])
def test_clusters_stay_whole_and_folds_are_five_at_most(
    n_clusters: int, *, consecutive: bool
):
    """Rows of a cluster are in the same fold; days in blocks, as neighbours are
    alike.
    """
    clusters = np.arange(n_clusters).repeat(3)
    if consecutive:
        clusters = clusters.view(ConsecutiveClusters)
    y = np.random.default_rng(0).normal(size=len(clusters))
    folds = ensemble.folds_of(y, clusters)
    assert folds.count == min(5, n_clusters)
    assert set(folds.of_row) == set(range(folds.count))
    assert not np.ptp(folds.of_row.reshape(-1, 3), axis=1).any()
    if consecutive:
        assert (np.diff(folds.of_row) >= 0).all()
