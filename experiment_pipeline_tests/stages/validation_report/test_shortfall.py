"""Why no configuration is good enough, in order of certainty, and a search that follows
from it.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline import run_experiment
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import NOT_STARTED, Conclusion
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners import check_hyperparameters, space
from experiment_pipeline.stages.validation_report.report import (
    NextSearch,
    Reason,
    ValidationReport,
)
from experiment_pipeline.stages.validation_report.shortfall import (
    FAMILIES,
    Evidence,
    LearningCurve,
    _too_few_validation_rows,
    next_search,
    reasons,
)
from experiment_pipeline.statistics.caveats import fewest_clusters, perfect_bound
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import better
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests import own_metrics
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    Search,
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.search.scenario import one as entry
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    TOO_HIGH,
    report_of,
    seen_through,
)

MEDIAN_ERROR = f"{own_metrics.__name__}:median_error"
REFUSED = spec_of(acceptance=TOO_HIGH)
REPORT_ROWS = seen_through(1, seed=1)
REPORT, SEARCH = report_of(REFUSED), search_of(REFUSED, [1] * 4)


def why(
    search: Search = SEARCH, report: ValidationReport = REPORT, **evidence: Any
) -> dict[str, Reason]:
    """Code → reason, in order."""
    explained = reasons(search.spec, search.rank(), report, Evidence(**evidence))
    return {reason.code: reason for reason in explained}


def too_few(
    spec: ExperimentSpec, predicted: SetPrediction | None = None
) -> Reason | None:
    """What is said about too few validation rows."""
    explained = why(search_of(spec, [1] * 4), report_of(spec, predicted))
    return explained.get("too_few_validation_rows")


def test_what_no_search_changes_is_a_reason():
    """Nothing learnt, before all else; labels that rule the limit out; a limit that
    different families share, while one family alone proves nothing.
    """
    first, *_ = why(search_of(REFUSED, [80] * 4))
    assert first == "nothing_learnt"
    assert "label_ceiling" in why(ceiling=0.9)
    assert "label_ceiling" not in why(ceiling=0.99)
    families = [entry("lightgbm", num_leaves=[4, 8, 16]), entry("linear", C=[0.1, 1.0])]
    two = spec_of(search=families, acceptance=TOO_HIGH)
    assert "families_agree" in why(search_of(two, [1] * 5), report_of(two))
    assert "one_family" in why()


def test_a_search_that_the_clock_ended_asks_for_seconds_first():
    """Where it left out a fifth of the configurations or more; nothing learnt then
    comes after it.
    """
    spent = "78 of the 120 seconds for search, refit and report were spent"

    def first(left_out: int, reason: str = spent) -> Reason:
        search = search_of(REFUSED, [80] * 4)
        waiting = [
            Conclusion(configuration.key, "lightgbm", NOT_STARTED, reason)
            for configuration in configurations(REFUSED)[-left_out:]
        ]
        keys = {conclusion.key for conclusion in waiting}
        full = [result for result in search.results if result.key not in keys]
        board = search.rank(*waiting, results=full)
        return reasons(REFUSED, board, REPORT, Evidence())[0]

    advised = first(2)
    assert advised.code == "out_of_time"
    assert advised.evidence.startswith("2 of 4 configurations had no time")
    assert "Raise budget.seconds" in advised.advice
    assert first(2, "not asked for in this run").code == "nothing_learnt"


def test_an_implausible_error_is_a_reason_before_others():
    """It says how to say that it is no leak; nothing asks for a better score."""
    y = REPORT_ROWS.y
    sure = report_of(exported=apart(y, np.abs(y - 1e-5)))
    explained = why(report=sure)
    assert next(iter(explained)) == "implausible_error"
    assert "probe_nearly_perfect: the reason" in explained["implausible_error"].advice
    assert not {"label_ceiling", "too_few_validation_rows"} & explained.keys()


def test_intervals_that_hold_too_few_rows_are_a_reason():
    """They are named where their gate fails, and only there: no search changes them."""
    promised = spec_of(coverage=0.9)
    refused = why(search_of(promised, [1] * 4), report_of(promised))
    assert "coverage_not_held" in refused
    assert "coverage_not_held" not in why()


def test_an_estimate_above_the_limit_asks_for_validation_rows():
    """Only the bound failed: the reason says how many rows it would take."""
    score = REPORT.score("roc_auc").interval
    criterion = {"metric": "roc_auc", "at_least": score.estimate - 0.005}
    advice = too_few(spec_of(acceptance=[criterion])).advice
    times = int(((score.estimate - score.low) / 0.005) ** 2) + 1
    assert f"about {times} times as many" in advice
    assert advice.endswith("or write judged_by: estimate below this criterion.")


def test_too_few_rows_for_even_a_perfect_score_are_a_reason():
    """36 validation rows cannot show an accuracy of 0.999, 4,000 can; the number that
    could is named.
    """
    criterion = {"metric": "accuracy", "at_least": 0.999}
    spec = spec_of(metric="accuracy", acceptance=[criterion])
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 4_000)
    good = apart(y, np.where(generator.random(4_000) < 0.9, y, 1 - y) / 1)
    assert too_few(spec, good) is None
    evidence = too_few(spec, good.rows(slice(36))).evidence
    counted = "In 36 validation rows, 36 clusters (row) count for accuracy"
    assert evidence.startswith(counted)
    needed = fewest_clusters("accuracy", 0.999)
    assert needed == pytest.approx(1.96**2 * 999, rel=0.01)
    assert evidence.endswith(f"it cannot reach 0.9990 with fewer than {needed:,}.")


def test_a_metric_without_a_perfect_score_asks_for_rows_not_for_the_impossible():
    """A user's own loss may be any number: a perfect score has no bound to compare."""
    generator = np.random.default_rng(3)
    y = generator.normal(size=300)
    predicted = apart(y, y + generator.normal(size=300))
    spec = spec_of(
        task="regression",
        metric=MEDIAN_ERROR,
        acceptance=[{"metric": MEDIAN_ERROR, "at_most": 0.6}],
    )
    report = report_of(spec, predicted, predicted, classes=None)
    assert not report.accepted
    explained = _too_few_validation_rows(report.failed_gates[0], spec, report)
    text = "".join(reason.evidence for reason in explained)
    assert "perfect score" not in text
    assert "infinity" not in text


def test_of_a_rare_class_its_clusters_count():
    """1,000 rows with 20 positives know an AUC from 20; rows of one class have none."""
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    y = (np.arange(1_000) < 20).astype(int)
    weak = apart(y, np.random.default_rng(0).random(1_000))
    counted = "In 1,000 validation rows, 20 clusters (row) count for roc_auc"
    assert too_few(spec, weak).evidence.startswith(counted)
    assert too_few(spec, weak.rows(y == 0)) is None


@pytest.mark.parametrize(
    ("metric", "limit"), [("accuracy", 0.9), ("roc_auc", 0.99), ("brier", 0.05)]
)
def test_the_fewest_clusters_are_those_of_the_interval(metric: str, limit: float):
    """At that number a perfect score just reaches the limit; one cluster less, and it
    does not.
    """
    fewest = fewest_clusters(metric, limit)
    assert better(metric, limit, perfect_bound(metric, fewest - 1))
    assert not better(metric, limit, perfect_bound(metric, fewest))
    assert fewest_clusters("accuracy", 1.0) is None
    assert fewest_clusters("rmse", 0.1) == 1


def test_drift_underfit_and_overfit_are_told_apart():
    """Each is seen in the numbers it is about."""
    bad, good = seen_through(3, seed=2), seen_through(0.3, seed=1)
    assert "drift" in why(report=report_of(REFUSED, exported=bad, test=good))
    fits = {"underfit", "overfit"}
    for train_score, fit in ((0.72, "underfit"), (1.0, "overfit")):
        search = search_of(REFUSED, [1] * 4, train_score=train_score)
        assert fits & why(search).keys() == {fit}


def test_a_train_score_of_few_rows_is_no_overfit_by_chance():
    """Of a hundred test rows for each of its own, it may lie ten times as far from the
    test score.
    """
    score = SEARCH.rank().score
    train = score.estimate + 1.5 * (score.high - score.low)
    high = search_of(REFUSED, [1] * 4, train_score=train)
    assert "overfit" in why(high, train_rows=10.0)
    assert "overfit" not in why(high, train_rows=0.01)


def test_a_learning_curve_that_still_rises_asks_for_train_rows():
    """More rows are advised only when the last step significantly helped."""
    for gain, helped in (((0.04, 0.01, 0.07), True), ((0.04, -0.01, 0.09), False)):
        curve = LearningCurve(1_000, 4_000, 0.6, 0.64, Interval(*gain), 5)
        assert ("few_train_rows" in why(curve=curve)) is helped
    assert "few_train_rows" not in why()


def test_flexible_models_of_few_rows_still_gain_and_a_line_does_not():
    """A refused search by halving knows what all train rows brought over its last small
    rung.
    """
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(4_000, 3)), columns=list("abc"))
    noise, straight = random.normal(size=4_000), frame["a"] + frame["c"]
    wave = np.sin(3 * frame["a"]) + np.cos(3 * frame["b"])
    leaves = [20, 25, 30, 35, 40, 45, 50, 55]
    trees = entry("lightgbm", num_leaves=leaves, n_estimators=40)
    lines = entry("linear", C=[0.1 * 2**power for power in range(8)])
    for search, y, gains in ((trees, wave, True), (lines, straight, False)):
        run = run_experiment(
            frame.assign(late=np.where(y + noise > 0, "yes", "no")),
            "late",
            search=[search],
            halving={"fractions": [0.2, 1.0], "keep": 0.5, "fewest_rows": 300},
            evaluation="test_set",
            acceptance=TOO_HIGH,
        )
        explained = run.evaluation.next_search.reasons
        texts = [why.evidence for why in explained if why.code == "few_train_rows"]
        assert len(texts) == gains
        if gains:
            rows = f"with {len(run.sets.train.rows):,} on the same test rows"
            assert rows in texts[0]
            assert "mean of 5 configurations" in texts[0]


# --- the next search ---


def following(
    spec: ExperimentSpec, noises: list[float], train_score: float = 0.8
) -> NextSearch:
    """The search to try after a refusal."""
    board = search_of(spec, noises, train_score=train_score).rank()
    return next_search(spec, board, report_of(spec), Evidence())


def added(
    spec: ExperimentSpec, noises: list[float], train_score: float = 0.8
) -> ExperimentSpec:
    """Return the experiment with what is new in the search, every name in it checked.

    It is pasted below `attributes:`, in the place of the old search, whose fits are
    reused.
    """
    text = following(spec, noises, train_score).yaml
    written = yaml.safe_load(f"attributes:\n  name: x\n{text}")["attributes"]["search"]
    fields = spec.model_dump(exclude_unset=True) | {"search": written}
    again = ExperimentSpec.model_validate(fields)
    declared = {configuration.key for configuration in configurations(spec)}
    assert declared <= {configuration.key for configuration in configurations(again)}
    for configuration in configurations(again):
        check_hyperparameters(configuration, again.task)
    return again.model_copy(update={"search": again.search[len(spec.search) :]})


def test_the_next_search_goes_beyond_an_edge():
    """The chosen value at the high end becomes the low part of the new range."""
    search = added(spec_of(3, acceptance=TOO_HIGH), [5, 5, 0.1]).search[0]
    leaves = search.hyperparameters["num_leaves"]
    assert (leaves.low, leaves.high) == (8, 32)


def test_an_overfit_asks_for_stiffer_models_an_underfit_for_flexible_ones():
    """The direction of the search follows the fit."""
    spec = spec_of(search=[{"algorithm": "lightgbm"}], acceptance=TOO_HIGH)
    stiff, loose = (
        added(spec, [1], train_score).search[0].hyperparameters
        for train_score in (1.0, 0.7)
    )
    assert stiff["num_leaves"].high <= loose["num_leaves"].low
    assert "lambda_l2" in stiff


def test_what_was_fixed_stays_fixed_under_its_own_name():
    """Fixed values and aliases of the YAML are kept, and never doubled."""
    fixed = entry("lightgbm", n_estimators=500, eta=0.05, max_leaves=[8, 16, 32])
    neither_over_nor_underfit = [{"metric": "average_precision", "at_least": 0.99}]
    spec = spec_of(search=[fixed], acceptance=neither_over_nor_underfit)
    new = added(spec, [1, 0.1, 1]).search[0].hyperparameters
    assert (new["n_estimators"], new["eta"]) == (500, 0.05)
    assert "max_leaves" in new
    assert not {"num_iterations", "learning_rate", "num_leaves"} & new.keys()


def test_one_family_is_joined_by_the_others_and_seeds_are_new():
    """The untried families are added, and no draw repeats the old seed."""
    drawn = entry("lightgbm", num_leaves={"low": 4, "high": 64, "scale": "log"})
    drawn |= {"method": "random", "draws": 4, "seed": 7}
    spec = spec_of(search=[drawn], acceptance=TOO_HIGH)
    searches = added(spec, [1] * 4).search
    assert [search.algorithm for search in searches] == list(FAMILIES)
    assert {search.seed for search in searches} == {8}
    extras = "  # pip install 'experiment-pipeline[catboost,xgboost]'\n"
    assert extras in following(spec, [1] * 4).yaml


@pytest.mark.parametrize("direction", ["stiffer", "as_is", "more_flexible"])
@pytest.mark.parametrize("algorithm", FAMILIES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_space_names_hyperparameters_that_exist(
    algorithm: str, task: str, direction: str
):
    """The built-in spaces are accepted by the algorithms, for every task and
    direction.
    """
    metric = "rmse" if task == "regression" else "log_loss"
    search = entry(algorithm, **space(algorithm, task, direction))
    search |= {"method": "random", "draws": 3}
    for configuration in configurations(
        spec_of(search=[search], task=task, metric=metric)
    ):
        check_hyperparameters(configuration, task)
