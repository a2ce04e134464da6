"""Decision thresholds: the best cut on the test set, and which metric decides."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.spec import Costs
from experiment_pipeline.stages.search.results import Predictions
from experiment_pipeline.stages.search.scoring import scores
from experiment_pipeline.statistics import thresholds
from experiment_pipeline.statistics.scores import SetPrediction, score
from experiment_pipeline_tests.bench.statistics_choice import (
    coverage_of_costs,
    coverage_of_worth,
)
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of

COSTS = st.builds(
    Costs,
    false_positive=st.floats(0.01, 100),
    false_negative=st.floats(0.01, 100),
    true_positive=st.floats(-100, 0),
)
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=1, max_size=40)


@settings(max_examples=150)
@given(ROWS, COSTS)
def test_no_other_threshold_is_cheaper(rows: list[tuple[bool, int]], costs: Costs):
    """Against every cut there is, by brute force; of equal ones the highest."""
    y = np.array([positive for positive, _ in rows], dtype=int)
    prediction = np.array([tenth / 10 for _, tenth in rows])
    chosen = thresholds.cheapest_threshold(costs, y, prediction)
    assert chosen.metric == thresholds.EXPECTED_COST
    reached = thresholds.cost_of(costs, y, prediction >= chosen.value).mean()
    assert reached == pytest.approx(chosen.test_score)
    cuts = [*np.linspace(0, 1, 21), 1.1]
    brute = [thresholds.cost_of(costs, y, prediction >= cut).mean() for cut in cuts]
    assert reached == pytest.approx(min(brute))
    higher = [
        cost for cut, cost in zip(cuts, brute, strict=True) if cut > chosen.value + 0.05
    ]
    assert all(cost > reached - 1e-9 for cost in higher)


@pytest.mark.parametrize("metric", ["f1", "accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_scores_better(metric: str, seed: int):
    """The chosen threshold maximises the metric, and reports what it reaches."""
    generator = np.random.default_rng(seed)
    # Seed 0 has one class alone, as a rung or a fold may.
    y = np.append([0, 1], generator.integers(0, 2, 60)) | (seed == 0)
    prediction = np.round(np.clip(0.2 * y + generator.normal(0.4, 0.2, 62), 0, 1), 1)
    chosen = thresholds.choose_threshold(metric, y, prediction)
    assert score(metric, y, prediction, chosen.value) == pytest.approx(
        chosen.test_score
    )
    others = [score(metric, y, prediction, cut) for cut in np.linspace(0, 1, 41)]
    assert chosen.test_score >= max(others) - 1e-12


def test_a_threshold_lies_between_two_probabilities():
    """Halfway to the next row: a refit that moves probabilities a little decides the
    same.
    """
    chosen = thresholds.choose_threshold(
        "f1", np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.8])
    )
    assert chosen.value == pytest.approx(0.4)
    assert chosen.test_score == 1
    # Below all probabilities halfway to zero, where all rows are best called positive.
    assert (
        thresholds.choose_threshold("f1", np.array([1, 1, 0, 1]), np.full(4, 0.5)).value
        == 0.25
    )


def test_a_configuration_is_scored_at_its_own_threshold():
    """Every metric of the experiment is at the threshold that serves the deciding one
    best.
    """
    spec = spec_of(metric="f1", acceptance=[{"metric": "accuracy", "at_least": 0.5}])
    y, prediction = np.array([0, 0, 0, 1, 1]), np.array([0.05, 0.1, 0.2, 0.3, 0.4])
    assert (
        score("f1", y, prediction, thresholds.scoring_threshold(["f1"], y, prediction))
        == 1
    )
    fit = Predictions(test=prediction, train=prediction)
    truth: Any = SimpleNamespace(y_train=y, y_test=y, w_train=None, w_test=None)
    assert scores(fit, truth, spec, (0, 1)).test_scores == {"f1": 1, "accuracy": 1}
    ranked_by_auc = spec_of(acceptance=[{"metric": "f1", "at_least": 0.5}])
    assert scores(fit, truth, ranked_by_auc, (0, 1)).test_scores == {
        "roc_auc": 1,
        "f1": 1,
    }


def test_cross_fitting_removes_the_optimism_of_a_threshold():
    """Noise scores better at its own best threshold, and not at those of other rows."""
    generator = np.random.default_rng(0)
    optimistic, fair = [], []
    for _ in range(60):
        y, noise = np.arange(60) % 2, generator.random(60)
        optimistic.append(thresholds.choose_threshold("accuracy", y, noise).test_score)
        fair.append(thresholds.cross_fitted("accuracy", apart(y, noise)).score.estimate)
    assert np.mean(optimistic) > 0.54
    assert np.mean(fair) == pytest.approx(0.5, abs=0.03)


def test_cross_fitting_keeps_clusters_together_and_needs_no_threshold_for_others():
    """Rows of one cluster are decided alike; a rank metric is as it was."""
    y, prediction = (
        np.array([0, 1, 0, 1, 1, 0]),
        np.array([0.2, 0.2, 0.4, 0.4, 0.9, 0.9]),
    )
    ranked = thresholds.cross_fitted("roc_auc", apart(y, prediction)).score.estimate
    assert ranked == score("roc_auc", y, prediction)
    one_cluster = thresholds.cross_fitted(
        "f1", SetPrediction(y, prediction, np.zeros(6))
    )
    assert np.isfinite(one_cluster.score.estimate)
    assert np.isnan(
        thresholds.cross_fitted("f1", apart(y, np.full(6, np.nan))).score.estimate
    )


def test_the_experiment_decides_which_metric_a_threshold_serves():
    """A named threshold metric decides; else f1, and balanced accuracy for frequent
    positives.
    """

    def deciding(metrics: list[str], y: list[int]) -> str:
        return thresholds.decision_threshold(
            metrics, np.array(y), np.array([0.2, 0.4, 0.6])
        ).metric

    rare, frequent = [0, 0, 1], [0, 1, 1]
    assert deciding(["roc_auc"], rare) == "f1"
    assert deciding(["roc_auc"], frequent) == "balanced_accuracy"
    assert deciding(["roc_auc", "accuracy"], rare) == "accuracy"
    assert deciding(["f1", "accuracy"], frequent) == "f1"


def test_the_error_of_a_threshold_is_the_spread_of_its_choices():
    """Noise has no best threshold, so its score depends on the choice; separated
    classes do not.
    """
    generator = np.random.default_rng(1)
    y, noise = np.arange(300) % 2, generator.random(300)
    others = apart(generator.integers(0, 2, 300), generator.random(300))
    clear, noisy = apart(y, 0.25 + 0.5 * y), apart(y, noise)
    assert thresholds.cross_fitted("f1", clear).threshold_error("f1", clear) == 0
    assert (
        thresholds.cross_fitted("accuracy", noisy).threshold_error("accuracy", others)
        > 0.005
    )
    assert (
        thresholds.cross_fitted("roc_auc", noisy).threshold_error("roc_auc", noisy) == 0
    )


@pytest.mark.parametrize("against", ["nothing", "all"])
def test_the_worth_of_a_model_has_an_interval_that_holds(against: str):
    """With about 8 of 200 rows positive, of 300 samples at least 93 % hold the truth."""
    assert coverage_of_worth(300, 0, against=against) >= 0.93


def test_costs_of_few_positives_have_intervals_that_hold():
    """Of 300 samples with about 8 positives, which cost 20 when missed, 94 % hold the
    true cost.
    """
    assert coverage_of_costs(300, 0) >= 0.93
