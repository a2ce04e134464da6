"""A user's own metric: scores, intervals by a cluster bootstrap, thresholds, baselines,
errors.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from sklearn.metrics import get_scorer, get_scorer_names, make_scorer

import experiment_pipeline as ep
from experiment_pipeline.errors import InvalidExperiment, UnusableMetric
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.caveats import caveats
from experiment_pipeline.statistics.interval import (
    MOST_DRAWN,
    ConsecutiveClusters,
    drawn_together,
)
from experiment_pipeline.statistics.metrics import METRICS, metric_of, written
from experiment_pipeline.statistics.thresholds import choose_threshold
from experiment_pipeline_tests import own_metrics
from experiment_pipeline_tests.bench.statistics_coverage import labels, panel
from experiment_pipeline_tests.bench.statistics_gates import coin_flips_pass
from experiment_pipeline_tests.spec.spec_scenario import VALID, changed, spec_of, told

HERE = own_metrics.__name__
PROFIT, BRIER, MEAN = (f"{HERE}:{name}" for name in ("profit", "brier", "mean_error"))


def _rows(
    clusters: int, each: int = 1, luck: float = 0.0, seed: int = 0
) -> scores.SetPrediction:
    return labels(0.3, each, luck)(np.random.default_rng(seed), clusters)


@pytest.mark.parametrize(("each", "luck"), [(1, 0.0), (10, 1.0)])
def test_its_interval_is_that_of_the_same_built_in_metric(each: int, luck: float):
    """Of rows and of clusters; as a difference it is wider, for what is a loss is not
    known of it.
    """
    rows, share = _rows(120, each, luck), np.array(0.3)
    own, known = rows.interval(BRIER), rows.interval("brier")
    assert own.estimate == pytest.approx(known.estimate)
    assert own.high - own.low == pytest.approx(known.high - known.low, rel=0.1)
    own, known = (
        scores.difference_to_baseline(name, rows, share) for name in (BRIER, "brier")
    )
    assert own.estimate == pytest.approx(known.estimate)
    assert own.high >= known.high


def test_it_covers_the_truth_also_where_no_derivative_exists():
    """The median error of 200 rows with a normal error, and the profit of 40 groups of
    ten.
    """
    generator, held = np.random.default_rng(1), []
    for seed in range(60):
        median = scores.SetPrediction(
            generator.normal(size=200), np.zeros(200), np.arange(200)
        )
        profit = _rows(40, 10, 0.8, seed).interval(PROFIT, 0.4)
        for one, truth in (
            (median.interval(f"{HERE}:median_error"), 0.6745),
            (profit, 3.49),
        ):
            held.append(one.low <= truth <= one.high)
    assert 0.9 <= np.mean(held) < 1
    # A model that knows nothing seldom passes the gate, which is paired with the best
    # constant.
    assert coin_flips_pass(20, 0, metric=f"{HERE}:top_tenth", share=0.3) <= 0.05


def test_many_clusters_are_drawn_in_few_groups():
    """Consecutive ones with their neighbours; the ids beside them are a caveat."""
    days = np.asarray(drawn_together(np.arange(1_000).view(ConsecutiveClusters)))
    assert (days.max(), np.diff(days).min()) == (MOST_DRAWN - 1, 0)
    rows = panel(2.5, 1.0)(np.random.default_rng(0), 30)
    assert any(
        f"{BRIER} on the test set" in caveat
        for caveat in caveats([BRIER], rows, "day", "test")
    )


def test_threshold_and_baseline_are_those_that_it_likes_best():
    """All or none called, the share of positives, the median of numbers; and weights
    count.
    """
    rows = _rows(20_000)
    chosen = choose_threshold(PROFIT, rows.y, rows.prediction)
    assert chosen.test_score == rows.score(PROFIT, chosen.value)
    assert chosen.test_score > max(rows.score(PROFIT, 0.1), rows.score(PROFIT, 0.8))
    y = np.array([0, 0, 1, 1, 1])
    assert scores.best_constant(PROFIT, y, "binary") >= 0.5
    assert scores.best_constant(BRIER, y, "binary") == pytest.approx(0.6)
    assert scores.best_constant(MEAN, np.array([1.0, 2.0, 30.0]), "regression") == 2
    assert scores.best_constant(f"{HERE}:equal", y + 1, "multiclass", 3).argmax() == 2
    # A row of weight 2 counts twice; a function that takes no weights is refused beside
    # them.
    y, weights = np.array([1.0, 2, 4]), np.array([1.0, 1, 2])
    assert (
        scores.SetPrediction(y, np.zeros(3), np.arange(3), weights).score(MEAN)
        == 11 / 4
    )
    (problem,) = told({**VALID, "metric": PROFIT, "sample_weight": "size"})
    assert "profit has no argument sample_weight for size; add" in problem


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            MEAN,
            (
                "(a user's own function of values) is not a metric of task binary; "
                "allowed: roc"
            ),
        ),
        (f"{HERE}:profits", f"{HERE} has no metric 'profits'; did you mean 'profit'?"),
        (
            "shop.metrics:profit",
            "shop.metrics cannot be imported: ModuleNotFoundError: No module",
        ),
        (
            "statistics:mean",
            "statistics:mean is a function without a direction; write @",
        ),
        (
            "__main__:profit",
            "__main__:profit cannot be imported by another process; move it",
        ),
        ("profit", "or your own as module:name"),
        (PROFIT, "is a metric that needs at_least"),
    ],
)
def test_what_is_no_metric_of_the_task_is_named_at_its_line(name: str, said: str):
    """With the rule and what to write, for the ranking metric and for a criterion."""
    keys = {"metric": name, "acceptance": [{"metric": name, "at_most": 1}]}
    for problem in [
        one for key, value in keys.items() for one in told(changed(key, value))
    ]:
        assert problem.startswith("defs.yaml:")
        assert said in problem
    assert told(changed("acceptance", keys["acceptance"]))


def test_in_python_it_is_given_as_it_is():
    """It becomes its import path; a lambda has none, and a built-in name stays the
    built-in's.
    """
    assert metric_of("brier") is METRICS["brier"]
    assert own_metrics.brier(np.array([0, 1]), np.array([0.5, 0.5])) == 0.25
    assert spec_of(changed("metric", own_metrics.profit)).metric == PROFIT
    with pytest.raises(InvalidExperiment, match="move it into a module"):
        spec_of(changed("metric", own_metrics.equal))
    with pytest.raises(InvalidExperiment, match="did you mean 'labels'"):
        ep.metric(greater_is_better=True, takes="label")  # type: ignore[arg-type]


def test_an_error_and_nan_are_named_with_the_metric():
    """Where all targets are equal, nan means that there is no score."""
    rows = _rows(50)
    with pytest.raises(
        UnusableMetric, match=f"{HERE}:nothing: raised ZeroDivisionError"
    ):
        rows.interval(f"{HERE}:nothing", 2.0)
    with pytest.raises(UnusableMetric, match="returned nan for 50 rows"):
        rows.score(f"{HERE}:nothing")
    assert np.isnan(
        replace(rows, y=np.zeros(50, dtype=np.int64)).score(f"{HERE}:nothing")
    )


def test_functions_and_scorers_of_scikit_learn_are_metrics():
    """A built-in metric where there is the same one, else the function with the
    direction and the predictions that scikit-learn's own scorers use.
    """
    assert written(sklearn.metrics.roc_auc_score) == "roc_auc"
    assert written(sklearn.metrics.root_mean_squared_error) == "rmse"
    assert written(get_scorer("neg_log_loss")) == "log_loss"
    kappa = metric_of("sklearn.metrics:cohen_kappa_score")
    assert (kappa.greater_is_better, kappa.takes_labels) == (True, True)
    agreed = 0
    for name in get_scorer_names():
        scorer: Any = get_scorer(name)
        if scorer._kwargs or ".cluster" in scorer._score_func.__module__:
            continue
        if name.endswith("likelihood_ratio"):  # their names give no direction
            continue
        metric = metric_of(written(scorer))
        agreed += 1
        assert metric.sign == scorer._sign, name
        if metric.is_own and "regression" not in metric.tasks:
            assert metric.takes_labels == (scorer._response_method == "predict"), name
    assert agreed > 20


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (make_scorer(sklearn.metrics.fbeta_score, beta=2), r"arguments \(beta\)"),
        (sklearn.metrics.adjusted_rand_score, "without a direction"),
        (make_scorer(np.mean), "without a direction"),
        (lambda y, called: 0.0, "cannot be imported by another process"),
    ],
)
def test_what_has_no_direction_or_path_is_refused(metric: Any, says: str):
    """With what to write instead."""
    with pytest.raises(InvalidExperiment, match=says):
        metric_of(written(metric))
