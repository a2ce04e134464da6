"""The leaderboard: order, ties, the choice and its reason, a row for every
configuration, edges of a search.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from experiment_pipeline.errors import TrainingError
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.board import (
    ChoiceByHand,
    Leaderboard,
    board_digest,
    check_same_metric,
    rank,
)
from experiment_pipeline.stages.leaderboard.notes import SearchEdge, search_edges
from experiment_pipeline.stages.leaderboard.ranking import COLUMNS
from experiment_pipeline.stages.search.conclusions import NOT_STARTED, Conclusion
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.statistics.thresholds import choose_threshold
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    N_TEST,
    Search,
    failure_of,
    result_of,
    search_of,
    spec_of,
    stopped,
)
from experiment_pipeline_tests.stages.search.scenario import one

Y = np.array([0.0, 1.0, 2.0, 3.0])


def _board(
    errors: list[float], sizes: list[int], metric: str, order: list[int], choice: str
) -> tuple[Leaderboard, dict[str, float]]:
    """Rank regressions that are off by a constant; nan among the errors is a
    nan score.
    """
    spec = spec_of(len(errors), task="regression", metric=metric, choice=choice)
    predictions, results = {}, []
    for declared, error, size in zip(configurations(spec), errors, sizes, strict=True):
        predictions[declared.key] = Y + error
        test_score = score(metric, Y, Y + error)
        results.append(result_of(declared, test_score, spec, model_bytes=size))
    shuffled = [results[place] for place in order]
    search = Search(spec, shuffled, predictions, Y, Y, np.arange(4))
    return search.rank(), {result.key: result.test_score for result in results}


Drawn = tuple[list[float], list[int], list[int]]


@st.composite
def _boards(draw: st.DrawFn) -> Drawn:
    """Errors with many ties and some nan, sizes with ties, and an order."""
    error = st.sampled_from([0.5, 1.0, -1.0, 2.0, 2.25, math.nan])
    errors = draw(st.lists(error, min_size=1, max_size=7))
    assume(not np.isnan(errors).all())
    count = len(errors)
    sizes = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    return errors, sizes, draw(st.permutations(range(count)))


@given(_boards(), st.sampled_from(["rmse", "r2"]))
@settings(max_examples=30)
def test_the_choice_is_the_best_score_in_any_order(board: Drawn, metric: str):
    """Whatever the order, nan, direction and ties: no configuration beats the chosen
    one.
    """
    errors, sizes, order = board
    chosen, scores = _board(errors, sizes, metric, order, "best_score")
    best = scores[chosen.chosen]
    assert not any(metrics.better(metric, score, best) for score in scores.values())
    by_size = dict(zip(scores, sizes, strict=True))
    equal = [key for key in scores if scores[key] == best]
    assert chosen.chosen == min(equal, key=lambda key: (by_size[key], key))
    is_noted = "have exactly the same score: the smallest model " in chosen.reason
    assert is_noted is (len(equal) > 1)


@given(
    kind=st.sampled_from(
        [("regression", "rmse"), ("binary", "log_loss"), ("binary", "f1")]
    ),
    noises=st.lists(st.sampled_from([0.5, 2.0, 8.0]), min_size=2, max_size=5),
    with_dummy=st.booleans(),
    seed=st.integers(0, 99),
)
@example(kind=("regression", "rmse"), noises=[8.0, 8.0, 8.0], with_dummy=True, seed=0)
@settings(max_examples=10, deadline=None)
def test_the_choice_has_rank_1(
    kind: tuple[str, str], noises: list[float], with_dummy: bool, seed: int
):
    """Single models, their ensemble or a baseline that the search contains: the best
    score of the board is chosen, and the reason is that of its kind.
    """
    task, metric = kind
    algorithms = ["dummy"] * with_dummy + ["linear"] * (len(noises) - with_dummy)
    grids = [
        {"algorithm": "linear", "hyperparameters": {"C": [1.0, 2.0, 3.0, 4.0, 5.0]}}
        if task == "binary"
        else {"algorithm": "linear", "hyperparameters": {"alpha": [1, 2, 3, 4, 5]}},
        {"algorithm": "dummy"},
    ]
    spec = spec_of(task=task, metric=metric, search=grids)
    declared = {name: [] for name in ("dummy", "linear")}
    for configuration in configurations(spec):
        declared[configuration.algorithm].append(configuration)
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=60)
    y = truth if task == "regression" else (truth > 0).astype(int)
    predictions, results = {}, []
    for number, (algorithm, noise) in enumerate(zip(algorithms, noises, strict=True)):
        prediction = truth + noise * rng.normal(size=60)
        if algorithm == "dummy":
            prediction = np.full(60, y.mean())
        elif task == "binary":
            prediction = expit(prediction)
        configuration = declared[algorithm].pop()
        predictions[configuration.key] = prediction
        result = result_of(configuration, score(metric, y, prediction, 0.5), spec)
        results.append(replace(result, fingerprint=f"{number:064}"))
    board = Search(spec, results, predictions, y, y, np.arange(60)).rank()
    rank = board.rows.set_index("key")["rank"][board.chosen]
    assert rank == 1, board.reason
    is_ensemble = board.chosen == ENSEMBLE
    assert board.reason.startswith("ensemble of" if is_ensemble else f"best {metric}")


@given(_boards())
@settings(max_examples=15)
def test_the_smallest_choice_is_the_smallest_of_the_tie_group(board: Drawn):
    """With smallest_in_tie_group nothing smaller is tied with the best; its plausible
    loss is said.
    """
    errors, sizes, order = board
    chosen, scores = _board(errors, sizes, "rmse", order, "smallest_in_tie_group")
    by_key = dict(zip(scores, sizes, strict=True))
    assert chosen.chosen in chosen.tie_group
    assert by_key[chosen.chosen] == min(by_key[key] for key in chosen.tie_group)
    is_noted = "rmse worse than the best is plausible" in chosen.reason
    assert is_noted is (len(chosen.tie_group) > 1)


def test_a_nan_score_never_wins_and_stands_below_every_score():
    """A configuration whose predictions are not finite has no rank and says why."""
    search = search_of(spec_of(3), [1, 1, 1])
    broken = search.results[0].key
    search.predictions[broken][5] = np.nan
    board = search.rank()
    last = board.rows.iloc[-1]
    assert (last["key"], last["reason"]) == (broken, "roc_auc is undefined")
    assert board.rows["rank"].isna().tolist() == [False, False, True]
    assert "have no rank" in str(board.notes)


def test_a_row_holds_score_interval_difference_and_cost():
    """Columns in their order, with their types; in the tie group a difference
    may be 0.
    """
    board = search_of(spec_of(4), [0.5, 0.55, 0.6, 6]).rank()
    rows = board.rows
    score, difference = rows["test_score"], rows["difference_to_best"]
    assert {name: str(dtype) for name, dtype in rows.dtypes.items()} == COLUMNS
    assert rows["rank"].tolist() == [1, 2, 3, 4]
    assert rows["overfit_gap"].tolist() == (0.9 - score).tolist()
    assert (rows["low"] < score).all()
    assert (score < rows["high"]).all()
    assert difference[0] == 0
    assert (rows["difference_low"] <= difference).all()
    assert (rows["difference_high"] <= 0).all()
    assert rows["predict_microseconds_per_row"].tolist() == [3.0] * 4
    assert rows["in_tie_group"].tolist() == [True, True, True, False]
    assert (rows["difference_high"] == 0).tolist() == [True, True, True, False]
    assert board.tie_group == tuple(rows["key"][:3])
    assert board.reason.startswith(
        "best roc_auc of 4 configurations on the test set: 0."
    )
    assert "statistically tied with 2 others" in board.reason


def test_a_notebook_shows_the_choice_and_the_first_rows():
    """In a few lines, however many configurations and digests there are."""
    board = search_of(spec_of(20), [1] * 20).rank()
    title, header, *rows = repr(board).splitlines()
    assert title.startswith(f"20 rows; chosen: {board.chosen}, roc_auc 0.")
    assert header.split()[:3] == ["rank", "key", "test_score"]
    assert len(rows) == 10


def test_every_configuration_is_accounted_for():
    """Failed ones come after the ranked, same reasons together; then those
    not started.
    """
    search = search_of(spec_of(6), [1, 1])
    keys = [declared.key for declared in configurations(search.spec)]
    board = search.rank(
        Conclusion(keys[5], "lightgbm", NOT_STARTED, "the budget was spent"),
        failure_of(keys[4], "b"),
        failure_of(keys[3], "a"),
        failure_of(keys[2], "b"),
    )
    assert sorted(board.rows["key"]) == sorted(keys)
    assert board.rows["reason"].tolist()[2:] == [
        "ValueError: a",
        "ValueError: b",
        "ValueError: b",
        "the budget was spent",
    ]
    assert "2 of 6 configurations failed with ValueError: b" in board.notes


def test_a_configuration_stopped_early_is_never_ranked_with_full_ones():
    """A better score from a rung does not win."""
    search = search_of(spec_of(2), [1, 1])
    first, second = search.results
    early = stopped(replace(first, test_score=0.99), "at rung 1")
    board = search.rank(early, failure_of("x", "a"), results=[second])
    assert board.chosen == second.key
    assert board.rows["status"].tolist() == ["trained", "stopped early", "failed"]
    assert board.rows["rank"].isna().tolist() == [False, True, True]
    assert board.rows["reason"][1] == "at rung 1"
    assert "1 more were stopped early by scores on a part" in str(board.notes)


@pytest.mark.parametrize(
    ("unranked", "reason"),
    [
        (
            [failure_of("a", "x"), failure_of("b", "y"), failure_of("c", "y")],
            "2 of 3: ValueError: y",
        ),
        (
            [stopped(model_result("a", 0.7), "the budget of 1 seconds was spent")],
            "budget of 1 seconds",
        ),
        ([], "no configuration was trained"),
    ],
)
def test_nothing_to_rank_is_an_error_with_its_most_frequent_reason(
    unranked: list[Conclusion], reason: str
):
    """Failures, a budget that ended before the last rung, or no training."""
    with pytest.raises(TrainingError, match=reason):
        search_of(spec_of(1), [1]).rank(*unranked, results=[])


def test_undefined_scores_are_nothing_to_rank():
    """A test set of one class has no AUC."""
    search = search_of(spec_of(1), [1])
    with pytest.raises(TrainingError, match="roc_auc is undefined"):
        replace(search, y_test=np.zeros(N_TEST, dtype=int)).rank()


def test_the_winner_is_held_against_predicting_without_features():
    """The baseline is the train set's, scored on test; beating it takes the paired
    worse bound.
    """
    good = search_of(spec_of(1), [0.2]).rank()
    assert good.baseline == 0.5
    assert good.beats_baseline
    lead = good.difference_to_baseline
    assert lead.estimate == pytest.approx(good.score.estimate - 0.5)
    assert 0 < lead.low < lead.estimate < lead.high
    noise = search_of(spec_of(1), [500]).rank()
    assert not noise.beats_baseline
    assert "no configuration is significantly better than" in noise.notes[0]


def test_the_lead_over_the_baseline_counts_how_many_were_tried():
    """The same winner's lead has a wider interval among many: it was selected among
    them.
    """
    search = search_of(spec_of(40), [3] * 40)
    many = search.rank().difference_to_baseline
    best = search.rank().chosen
    winner = next(result for result in search.results if result.key == best)
    alone = search.rank(results=[winner])
    assert alone.difference_to_baseline.estimate == many.estimate
    assert many.low < alone.difference_to_baseline.low


def test_a_choice_by_hand_may_be_worse_by_what_its_tie_allows():
    """Only a person's choice, only of a tied model, and it is stored."""
    search = search_of(spec_of(2), [1, 1.01])
    key = search.rank().tie_group[1]

    def taken(search: Search, key: str) -> Leaderboard:
        ends = [*map(Conclusion.trained, search.results)]
        return rank(ends, search.rows, by_hand=ChoiceByHand(key, "smaller", "Ada"))

    board = taken(search, key)
    row = board.rows.set_index("key").loc[key]
    assert board.tolerance_of_tie == pytest.approx(-row["difference_low"])
    assert board.tolerance_of_tie > 0 == search.rank().tolerance_of_tie
    again = from_parquet(to_parquet(board), Leaderboard)
    assert again.tolerance_of_tie == board.tolerance_of_tie
    apart = search_of(spec_of(2), [0.2, 9])
    assert taken(apart, apart.results[1].key).tolerance_of_tie == 0


@pytest.mark.parametrize("metric", ["rmse", "r2", "mae"])
def test_a_clear_winner_of_a_heavy_tailed_target_beats_the_baseline(metric: str):
    """Of ten, all told together: the difference of two losses is decided by a few rows,
    the share that is explained is not. No bound is better than a perfect score.
    """
    search = search_of(spec_of(10, task="regression", metric=metric), [1] * 10)
    for seed in range(5):
        generator = np.random.default_rng([seed, 2])
        known = generator.standard_t(2, size=len(search.y_test))
        y = known + 0.2 * generator.standard_t(2, size=len(known))
        for spread, key in enumerate(search.predictions, start=1):
            noise = 0.02 * spread * generator.normal(size=len(known))
            search.predictions[key] = known + noise
        board = replace(search, y_test=y, y_train=y).rank()
        assert board.beats_baseline
        lead, perfect = board.difference_to_baseline, float(metric == "r2")
        bound = metrics.better_bound(metric, lead) + board.baseline
        assert metrics.metric_of(metric).sign * (bound - perfect) < 1e-9
        assert lead.low < lead.estimate < lead.high


def test_configurations_are_ranked_at_cross_fitted_thresholds():
    """Better order wins below 0.5; the score is at thresholds of other rows, below the
    best one's.
    """
    search = search_of(spec_of(2, metric="f1"), [0.3, 3])
    better, worse = (result.key for result in search.results)
    search.predictions[better] = search.predictions[better] * 0.4
    assert score("f1", search.y_test, search.predictions[better]) == 0
    assert score("f1", search.y_test, search.predictions[worse]) > 0.4
    board = search.rank()
    assert board.chosen == better
    best = choose_threshold("f1", search.y_test, search.predictions[better]).test_score
    assert best - 0.1 < board.score.estimate < best
    lead = board.difference_to_baseline.estimate
    assert lead == pytest.approx(board.score.estimate - board.baseline)


def test_optimism_is_a_number_unless_the_split_is_by_time():
    """Under a time split drift and optimism are confounded, which a note says; another
    one says that later scores are mostly worse, which holds for a single model, too.
    """
    by_row = search_of(spec_of(4), [1.5] * 4).rank()
    assert 0 < by_row.optimism < 0.05
    assert "expect its roc_auc to be worse by up to" in str(by_row.notes)
    timed = spec_of(4, split={"by": "time", "column": "day"})
    by_time = search_of(timed, [1.5] * 4).rank()
    assert by_time.optimism is None
    assert "cannot be separated from drift" in str(by_time.notes)
    assert "later is mostly harder" in str(by_time.notes)
    assert "later is mostly harder" not in str(by_row.notes)


def test_what_is_odd_about_the_choice_is_noted():
    """A second attempt of its fit; that it is at the end of the search, with the
    hyperparameter.
    """
    search = search_of(spec_of(3), [5, 5, 0.1])
    attempts = ("a first attempt ended",)
    results = [replace(result, notes=attempts) for result in search.results]
    board = search.rank(results=results)
    assert board.notes[0] == "the chosen lightgbm: a first attempt ended"
    assert [edge.hyperparameter for edge in board.edges] == ["num_leaves"]
    assert "num_leaves = 16 is at the high end" in str(board.notes)


def test_caveats_of_the_test_set_are_noted():
    """One day separates no configurations; an AUC of 5 positives has a narrow interval;
    weights count.
    """
    weighted = search_of(spec_of(2, sample_weight="size"), [1, 1]).rank()
    assert "weight each row by size" in str(weighted.notes)
    search = search_of(spec_of(2), [0.1, 5])
    board = replace(search, clusters=np.zeros(len(search.clusters), dtype=int)).rank()
    assert len(board.tie_group) == 2
    assert "no interval can be computed" in str(board.notes)
    assert "too narrow" not in str(search.rank().notes)
    rare = np.where(np.cumsum(search.y_test) <= 5, search.y_test, 0)
    notes = replace(search, y_test=rare).rank().notes
    assert "is in 5 clusters (row)" in str(notes)


def test_of_the_stopped_the_furthest_comes_first():
    """By rung, then by score at the rung; an undefined score comes last there."""
    search = search_of(spec_of(5), [1, 1, 1, 1, 1])
    fractions, scores = (0.25, 0.25, 0.5, 0.25), (0.7, math.nan, 0.6, 0.8)
    *first, last = search.results
    early = [
        stopped(replace(result, test_score=score), fraction=fraction)
        for result, fraction, score in zip(first, fractions, scores, strict=True)
    ]
    rows = search.rank(*early, results=[last]).rows
    assert rows["test_score"].tolist()[1:4] == [0.6, 0.8, 0.7]
    assert math.isnan(rows["test_score"].iloc[4])


def test_everything_of_a_board_counts():
    """The same board has one digest wherever it is read; another row or reason has
    another.
    """
    board = search_of(spec_of(3), [1, 2, 3]).rank()
    digest = board_digest(board)
    assert board_digest(from_parquet(to_parquet(board), Leaderboard)) == digest
    changes = [
        {"reason": "by chance"},
        {"notes": ("one configuration is stopped early",)},
        {"rows": board.rows.iloc[:2]},
    ]
    changed = {board_digest(replace(board, **change)) for change in changes}
    assert len({digest, *changed}) == 4


def test_results_of_another_metric_are_not_ranked():
    """Scores of one metric under the name of another would be a wrong answer."""
    check_same_metric("search_results", "roc_auc", "roc_auc")
    with pytest.raises(
        TrainingError, match="scored by roc_auc, the experiment's metric is brier"
    ):
        check_same_metric("search_results", "roc_auc", "brier")


# --- the edges of a search ---


def _edges(
    hyperparameters: dict, chosen: dict, method: str = "grid"
) -> tuple[SearchEdge, ...]:
    entry = one("lightgbm", **hyperparameters) | {"method": method}
    if method == "random":
        entry["draws"] = 5
    return search_edges(spec_of(search=[entry]), "lightgbm", chosen)


def test_the_ends_of_a_list_and_of_a_range_are_edges():
    """Its middle is none; a draw counts as at the end within 5 % of the range, on its
    own scale.
    """
    assert _edges({"num_leaves": [15, 31, 63]}, {"num_leaves": 31}) == ()
    (edge,) = _edges({"num_leaves": [15, 31, 63]}, {"num_leaves": 63})
    assert (edge.end, edge.wider) == ("high", 129)
    assert "search 15 to 129" in edge.in_words()
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
def test_ends_with_nothing_beyond_are_none(hyperparameters: dict, chosen: dict):
    """Zero, the smallest count, a share of one, no limit, words and fixed values end
    nothing.
    """
    assert _edges(hyperparameters, chosen) == ()


def test_all_entries_of_the_algorithm_count_as_one_search():
    """What a second entry searched is no edge of the first."""
    listed = {"algorithm": "linear", "configurations": [{"C": 10.0}]}
    lightgbm = one("lightgbm", lambda_l1=[0.1, 100.0])
    spec = spec_of(search=[one("linear", C=[0.1, 1.0]), listed, lightgbm])
    assert search_edges(spec, "linear", {"C": 1.0}) == ()
    (edge,) = search_edges(spec, "linear", {"C": 10.0})
    assert edge.wider == 100.0
