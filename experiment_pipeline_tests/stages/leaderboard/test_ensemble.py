"""The ensemble of the best few: its row, its cross-fitted score, and when it
is chosen.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard import ensemble, page
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.ranking import RankedRows, measure
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import Step
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.stages.leaderboard import board_examples
from experiment_pipeline_tests.stages.search.halving_scenario import experiment, sets_of


def search_of(
    spec: ExperimentSpec,
    noises: list[float],
    seed: int = 0,
    n: int = 300,
    shared: float = 0.3,
) -> board_examples.Search:
    """Return regressions that see the truth through a noise of their own, and one they
    share.
    """
    generator = np.random.default_rng(seed)
    y, common = generator.normal(size=n), shared * generator.normal(size=n)
    predictions, results = {}, []
    for number, (one, noise) in enumerate(
        zip(configurations(spec), noises, strict=True)
    ):
        predictions[one.key] = y + common + noise * generator.normal(size=n)
        results.append(
            board_examples.result_of(
                one, 0.0, spec, fingerprint=f"{number:064d}", model_bytes=1_000 + number
            )
        )
    rows = RankedRows(y, np.arange(n), generator.normal(size=900))
    return board_examples.Search(
        spec, results, predictions, rows.y, rows.y_train, rows.clusters
    )


def numbers_spec(count: int, **changes: object) -> ExperimentSpec:
    """Return an experiment of so many configurations, ranked by rmse."""
    return board_examples.spec_of(
        count, **({"task": "regression", "metric": "rmse"} | changes)
    )


def row_of(board: Leaderboard) -> dict:
    """Return the ensemble's row."""
    (row,) = board.rows[board.rows["key"] == ENSEMBLE].to_dict("records")
    return row


def test_models_with_different_errors_are_averaged_and_chosen() -> None:
    """The row has rank, interval, the sums of its members' costs, and its members."""
    board = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 4.0]).rank()
    row = row_of(board)
    assert board.chosen == ENSEMBLE
    assert (row["rank"], row["status"], row["algorithm"]) == (1, "trained", ENSEMBLE)
    assert row["low"] < row["test_score"] < row["high"]
    members = board.ensemble.members
    assert sum(one.weight for one in members) == pytest.approx(1)
    assert row["fit_cpu_seconds"] == 2.0 * len(members)
    assert row["predict_microseconds_per_row"] == pytest.approx(3 * len(members))
    assert row["reason"] == f"chosen: {board.ensemble.in_words}"
    assert "its cross-fitted rmse (" in board.reason
    assert "is better than the best single model's (" in board.reason
    assert (
        f"{len(members)} models, {len(members)}.0 times the prediction time"
        in board.reason
    )
    assert board.fingerprint == board.ensemble.fingerprint == row["fingerprint"]
    assert len(board.rows) == 5
    assert from_parquet(to_parquet(board), Leaderboard).ensemble == board.ensemble


def test_its_score_is_that_of_predictions_by_weights_of_other_rows() -> None:
    """Downstream finds them again from what is stored: of each fold, who was chosen
    without it.
    """
    search = search_of(numbers_spec(5), [1.0, 1.0, 1.1, 1.3, 1.2])
    board = search.rank()
    known = {one.fingerprint: search.predictions[one.key] for one in search.results}
    again = board.ensemble.cross_fitted(
        known.__getitem__, search.y_test, search.clusters
    )
    assert score("rmse", search.y_test, again) == row_of(board)["test_score"]
    assert len(board.ensemble.folds) == 5
    assert all(sum(fold.values()) == pytest.approx(1) for fold in board.ensemble.folds)


def test_it_is_held_against_one_that_was_picked_by_other_rows_as_well() -> None:
    """Of 60 equals on 60 rows one is best by luck: the mean of a few, which is better,
    is chosen.
    """
    spec = numbers_spec(0, search=_many(60))
    boards = [
        search_of(spec, [0.6] * 60, seed, n=60, shared=1.0).rank() for seed in range(6)
    ]
    behind = [
        one
        for one in boards
        if one.rows["test_score"].min() < row_of(one)["test_score"]
    ]
    chosen = [board for board in behind if board.chosen == ENSEMBLE]
    assert len(chosen) > len(behind) / 2 > 0
    for board in boards:
        assert board.rows["key"].iloc[0] == board.chosen
        assert board.rows["difference_to_best"].iloc[0] == 0
    for board in chosen:
        assert board.reason.startswith(
            "ensemble of the best few of 60 configurations on the"
        )
        assert any(
            "score is cross-fitted and hardly optimistic" in note
            for note in board.notes
        )


@given(st.permutations(range(6)), st.integers(0, 3))
@settings(max_examples=5, deadline=None)
def test_neither_order_nor_keys_of_the_results_matter(
    order: list[int], seed: int
) -> None:
    """The same results in any order have the same members, weights and scores."""
    search = search_of(numbers_spec(6), [1.0, 1.0, 1.1, 0.9, 1.3, 1.0], seed)
    shuffled = search.rank(results=[search.results[i] for i in order])
    usual = search.rank()
    assert shuffled.ensemble == usual.ensemble
    assert shuffled.rows.equals(usual.rows)


def test_the_yaml_says_whether_and_how_many() -> None:
    """Off is a board without that row; so is one that is better by far, or alone: it
    has its row already.
    """
    for written, members in (({"members": 2}, 2), ("on", 5)):
        board = search_of(numbers_spec(8, ensemble=written), [1.0] * 8).rank()
        assert len(board.ensemble.members) == members
    off = search_of(numbers_spec(8, ensemble="off"), [1.0] * 8).rank()
    assert ENSEMBLE not in set(off.rows["key"])
    far = search_of(numbers_spec(3), [0.1, 5.0, 6.0], shared=0).rank()
    alone = search_of(numbers_spec(1), [1.0]).rank()
    assert [one.ensemble for one in (off, far, alone)] == [None] * 3


def test_predicting_without_features_and_what_failed_are_never_members() -> None:
    """The dummy errs apart from all others, and is no model."""
    three = {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": [4, 8, 16]}}
    spec = numbers_spec(0, search=[three, {"algorithm": "dummy"}])
    made = search_of(spec, [1.0, 1.0, 1.0, 1.0])
    kept = [one for one in made.results if not one.key.endswith("=16")]
    board = made.rank(
        board_examples.failure_of("lightgbm__num_leaves=16"), results=kept
    )
    names = {one.configuration.algorithm for one in board.ensemble.members}
    assert names == {"lightgbm"}
    assert len(board.ensemble.members) == 2
    assert "1 of 4 configurations failed with ValueError: no such tree" in board.notes


def test_the_smallest_of_a_tie_group_is_a_configuration_if_any_is_in_it() -> None:
    """An ensemble is chosen there only beyond the tie rule."""
    spec = numbers_spec(3, choice="smallest_in_tie_group")
    close = search_of(spec, [0.2, 0.2, 0.2], n=60, shared=1.0).rank()
    assert close.ensemble is not None
    assert close.chosen != ENSEMBLE
    assert ENSEMBLE not in close.reason.partition(";")[0]
    apart = search_of(spec, [1.0, 1.0, 1.0], n=4_000, shared=0).rank()
    assert apart.tie_group == (ENSEMBLE,)
    assert apart.chosen == ENSEMBLE


def test_the_page_shows_members_and_what_it_brings_and_counts_configurations_alone() -> (
    None
):
    """It has a row in the table, no hyperparameters and no rungs."""
    search = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 4.0])
    board = search.rank()
    paths = {
        one.key: (Step(1.0, 1.0, 0.9, 2.0),) for one in configurations(search.spec)
    }
    shown = board_examples.shown_of(search.spec, board, paths)
    text = page.page_html(shown, "board").decode()
    assert board.ensemble.in_words in text.partition("Reason")[0]
    assert "4 configurations: 4 trained" in text
    assert (
        "of them for its members; encoding, predicting and scoring are not included"
        in text
    )
    assert shown.best != ENSEMBLE
    outcome = page.outcome(shown, "place")
    assert board.ensemble.in_words in outcome.facts["ensemble"]
    (row,) = (row for row in outcome.record if getattr(row, "key", "") == ENSEMBLE)
    assert row.hyperparameters["members"]


def test_the_score_does_not_flatter_itself() -> None:
    """On fresh rows the score of weights on their own rows is worse; the cross-fitted
    one is not.
    """
    models, rows = 8, 250
    honest, naive = [], []
    for seed in range(40):
        search = search_of(
            numbers_spec(0, search=_many(models)), [1.0] * models, seed, n=rows + 4_000
        )
        fresh = {key: one[rows:] for key, one in search.predictions.items()}
        seen = {key: one[:rows] for key, one in search.predictions.items()}
        y = search.y_test
        some = replace(
            search, predictions=seen, y_test=y[:rows], clusters=np.arange(rows)
        )
        held = RankedRows(y[:rows], some.clusters, search.y_train)
        told = lambda one, seen=seen: seen[one.key]  # noqa: E731
        measured = list(measure(some.results, told, held, some.spec))
        found = ensemble.find_ensemble(measured, told, held, some.spec, {})
        weights = {one.configuration.key: one.weight for one in found.ensemble.members}
        naive_mean, mean = (
            sum(weight * of[key] for key, weight in weights.items())
            for of in (seen, fresh)
        )
        truth = score("rmse", y[rows:], mean)
        honest.append(score("rmse", y[:rows], found.on_test) - truth)
        naive.append(score("rmse", y[:rows], naive_mean) - truth)
    error = np.std(honest) / np.sqrt(len(honest))
    assert np.mean(naive) < -3 * np.std(naive) / np.sqrt(len(naive))
    assert np.mean(honest) > -2.5 * error
    # It costs no more than what a fifth of the rows less costs the weights.
    assert np.mean(honest) < abs(np.mean(naive))


def _many(models: int) -> list[dict]:
    sizes = list(range(2, models + 2))
    return [{"algorithm": "lightgbm", "hyperparameters": {"num_leaves": sizes}}]


def test_a_budget_without_time_for_its_refit_leaves_it_out_and_says_so() -> None:
    """The best configuration is chosen then, as if there were no ensemble; with time
    nothing changes.
    """
    made = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 4.0])
    after = AfterSearch(sets_of(experiment()), workers=2).of
    board, usual = made.rank(time=ensemble.RefitTime(1.0, after)), made.rank()
    without = made.rank(spec=numbers_spec(4, ensemble="off"))
    assert board.chosen == without.chosen != ENSEMBLE
    assert board.rows.equals(without.rows)
    assert board.reason.startswith(f"{without.reason}; an ensemble of ")
    assert board.reason.endswith("seconds, and 1.0 are left of the budget")
    hurried = made.rank(time=ensemble.RefitTime(60.0, after))
    assert (hurried.chosen, hurried.reason) == (usual.chosen, usual.reason)


def test_a_slow_member_leaves_its_place_to_quicker_ones() -> None:
    """Better than no ensemble at all; the best is fitted again in any case."""
    made = search_of(numbers_spec(4), [1.0, 1.0, 1.1, 1.1])
    best, *_, slow = made.rank().ensemble.keys
    for one, members in ((slow, made.rank().ensemble.keys[:-1]), (best, None)):
        after = lambda of, one=one: sum(5.0 + 90.0 * (each.key == one) for each in of)  # noqa: E731
        board = made.rank(time=ensemble.RefitTime(60.0, after))
        assert (board.ensemble and sorted(board.ensemble.keys)) == (
            members and sorted(members)
        )


def test_where_the_mean_is_worse_on_other_rows_the_best_alone_is_chosen() -> None:
    """Its row stands there all the same."""
    boards = [
        search_of(numbers_spec(2), [0.05, 0.25], seed, n=60).rank()
        for seed in range(12)
    ]
    worse = [
        one for one in boards if one.ensemble is not None and one.chosen != ENSEMBLE
    ]
    assert worse
    assert all(
        one.chosen == one.rows["key"][one.rows["key"] != ENSEMBLE].iloc[0]
        for one in worse
    )


def test_what_reweights_a_member_is_said_of_the_whole() -> None:
    """Its probabilities are moved by each of them."""
    search = search_of(numbers_spec(2), [1.0, 1.0])
    some = search.results[0]
    moved = replace(
        some, hyperparameters={**some.hyperparameters, "scale_pos_weight": 3.0}
    )
    board = search.rank(results=[moved, search.results[1]])
    assert (
        board.ensemble.configuration.hyperparameters["members__scale_pos_weight"] == 3.0
    )


# --- weights ---


def _library(seed: int, models: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Noisy views of a truth, the best first."""
    generator = np.random.default_rng(seed)
    y = generator.normal(size=n)
    seen = y + generator.normal(size=(models, n)) * generator.uniform(
        0.5, 1.5, (models, 1)
    )
    return y, seen[np.argsort([score("rmse", y, one) for one in seen])]


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_the_mean_is_never_worse_than_the_best_alone_and_has_few_members(
    seed, models, members
):
    """Weights sum to 1, none is negative, at most so many are above 0."""
    y, library = _library(seed, models)
    judge = lambda prediction: -score("rmse", y, prediction)  # noqa: E731
    weights = ensemble.forward_selection(library, judge, members)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert (weights > 0).sum() <= members
    assert judge(weights @ library) >= judge(library[0])


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_who_hardly_helps_goes_and_nearly_all_of_the_gain_stays(
    seed: int, models: int
) -> None:
    """The weights of those who stay keep their ratios; none of them could go
    as well.
    """
    y, library = _library(seed, models)
    judge = lambda prediction: -score("rmse", y, prediction)  # noqa: E731
    chosen = ensemble.forward_selection(library, judge, 6)
    kept = ensemble.without_dispensable(library, chosen, judge, [1.0] * models)
    gained = judge(chosen @ library) - judge(library[0])
    needed = judge(library[0]) + ensemble.KEPT * gained
    assert judge(kept @ library) >= needed - 1e-12
    stays = kept > 0
    assert kept[stays] == pytest.approx(chosen[stays] / chosen[stays].sum())
    for one in np.flatnonzero(kept) if stays.sum() > 1 else ():
        left = np.where(np.arange(models) == one, 0, kept)
        assert judge(left @ library / left.sum()) < needed


@pytest.mark.parametrize("consecutive", [False, True])
@pytest.mark.parametrize("n_clusters", [1, 3, 17, 5_000])
def test_clusters_stay_whole_and_folds_are_five_at_most(
    n_clusters: int, *, consecutive: bool
):
    """Every row is in one fold, rows of a cluster in the same; days in blocks, as
    neighbours are alike.
    """
    clusters = np.arange(n_clusters).repeat(3)
    y = np.random.default_rng(0).normal(size=len(clusters))
    folds = ensemble.folds_of(
        y, clusters.view(ConsecutiveClusters) if consecutive else clusters
    )
    assert folds.count == min(5, n_clusters)
    assert set(folds.of_row) == set(range(folds.count))
    assert not np.ptp(folds.of_row.reshape(-1, 3), axis=1).any()
    if consecutive:
        assert (np.diff(folds.of_row) >= 0).all()
