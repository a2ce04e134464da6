"""Intervals: as wide as a bootstrap of the clusters, wide where little is known."""

import math

import numpy as np
import pytest

from experiment_pipeline.statistics.caveats import few_clusters_note
from experiment_pipeline.statistics.interval import ConsecutiveClusters, difference
from experiment_pipeline.statistics.metrics import METRICS, names_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    net_share,
    paired_difference,
    score,
)
from experiment_pipeline_tests.bench.statistics_coverage import amounts, labels, numbers

CLUSTERS, ROWS = 60, 15
RESAMPLES = 600


def _clustered(name: str, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, prediction and clusters: rows of one cluster share luck, and clusters
    differ in size.
    """
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(CLUSTERS), generator.integers(5, 2 * ROWS, CLUSTERS))
    n, luck = len(clusters), generator.normal(size=CLUSTERS)[clusters]
    if "regression" in METRICS[name].tasks:
        y = 10 + luck + generator.normal(size=n)
        return y, 10 + 0.3 * luck + generator.normal(scale=0.5, size=n), clusters
    if name in names_of("binary"):
        y = (generator.normal(size=n) + luck > 0.8).astype(int)
        logit = 1.5 * y - 1 - 0.8 * luck + generator.normal(size=n)
        return y, 1 / (1 + np.exp(-logit)), clusters
    y = generator.integers(0, 3, n)
    score = np.eye(3)[y] + 0.5 * luck[:, None] * np.array([1, 0, -1])
    score += generator.normal(size=(n, 3))
    return y, np.exp(score) / np.exp(score).sum(axis=1, keepdims=True), clusters


def _bootstrap_error(
    name: str, y: np.ndarray, p: np.ndarray, clusters: np.ndarray
) -> float:
    generator = np.random.default_rng(2)
    members = [np.flatnonzero(clusters == cluster) for cluster in range(CLUSTERS)]
    scores = []
    for _ in range(RESAMPLES):
        rows = np.concatenate(
            [members[u] for u in generator.integers(0, CLUSTERS, CLUSTERS)]
        )
        scores.append(score(name, y[rows], p[rows]))
    return float(np.std(scores))


@pytest.mark.parametrize("name", METRICS)
def test_standard_error_is_that_of_a_cluster_bootstrap(name: str):
    """The spread by influence values agrees with 600 resamples of whole clusters."""
    y, prediction, clusters = _clustered(name)
    brute_force = _bootstrap_error(name, y, prediction, clusters)
    found = SetPrediction(y, prediction, clusters).spread(name).standard_error
    assert found == pytest.approx(brute_force, rel=0.12)


@pytest.mark.parametrize("name", ["pinball_0.9", "poisson_deviance"])
def test_the_difference_of_two_models_is_covered_as_often_as_promised(name: str):
    """The paired interval holds the true difference of two fixed models in 95 of 100
    samples.
    """
    generator = np.random.default_rng(5)

    def sample(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        known = 0.6 * generator.normal(size=n)
        y = generator.poisson(np.exp(known)) * 1.0
        return y, np.exp(0.8 * known), np.exp(0.5 * known + 0.1)

    y, one, other = sample(400_000)
    truth = score(name, y, other) - score(name, y, one)
    held = 0
    for _ in range(400):
        y, one, other = sample(300)
        first, second = (SetPrediction(y, p, np.arange(300)) for p in (one, other))
        drawn = first.layout(name)
        found = paired_difference(first.linearise(name), second.linearise(name), drawn)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98


# Independent rows, of which so many are positive.
_usual, _rare = labels(0.25), labels(0.05)


def _counts(generator: np.random.Generator, n: int) -> SetPrediction:
    """Return counts of about 1, whose mean is known but for a third of its variance."""
    known = 0.8 * generator.normal(size=n)
    mean = np.exp(known + 0.5 * generator.normal(size=n) - 0.4)
    return SetPrediction(
        generator.poisson(mean) * 1.0, np.exp(known - 0.3), np.arange(n)
    )


def _days(generator: np.random.Generator, n: int) -> SetPrediction:
    """Return rows of days, 30 each, whose luck has a correlation of 0.5 with the day
    before's.
    """
    days = numbers(np.random.Generator.standard_normal, 30, luck=1.0, memory=0.5)
    return days(generator, n // 30)


@pytest.mark.parametrize(
    ("name", "sample", "rows", "least"),
    [
        ("log_loss", _rare, 200, 0.93),
        ("roc_auc", _rare, 200, 0.93),
        ("rmse", amounts, 300, 0.89),
        ("r2", amounts, 300, 0.90),
        ("mae", _days, 1_800, 0.91),
        ("pinball_0.9", amounts, 300, 0.92),
        ("poisson_deviance", _counts, 300, 0.93),
        *(
            (name, _usual, 120, 0.92)
            for name in ("roc_auc", "accuracy", "average_precision", "f1")
        ),
    ],
)
def test_interval_covers_the_truth_in_95_of_100_samples(name, sample, rows, least):
    """Nearly as often with few positives, skewed errors and days with a memory, which a
    normal one misses.
    """
    generator = np.random.default_rng(6)
    truth = sample(generator, 400_000 if sample is _usual else 1_000_000).score(name)
    intervals = [sample(generator, rows).interval(name) for _ in range(300)]
    held = np.mean([one.low <= truth <= one.high for one in intervals])
    assert least <= held <= 0.985


def test_a_perfect_score_and_a_class_without_a_hit_are_no_certainty():
    """30 of 30 leaves room for 0.89; none of 10 found may be a balanced accuracy of
    0.6.
    """
    y = (np.arange(200) < 10).astype(int)
    prediction = np.where(np.arange(200) % 50 == 49, 0.9, 0.1)
    interval = SetPrediction(y, prediction, np.arange(200)).interval(
        "balanced_accuracy"
    )
    assert interval.estimate < 0.5
    assert interval.high > 0.57
    y = np.repeat([1, 0], [5, 25])
    accuracy = SetPrediction(y, y.astype(float), np.arange(30)).interval("accuracy")
    auc = SetPrediction(y, y.astype(float), np.arange(30)).interval("roc_auc")
    assert 0.85 < accuracy.low < 0.95
    assert auc.low < accuracy.low
    assert accuracy.high == auc.high == 1


def test_intervals_stay_inside_the_range_of_the_metric():
    """No bound lies where no score can lie."""
    for name, metric in METRICS.items():
        y, prediction, clusters = _clustered(name)
        few = clusters < 3
        interval = SetPrediction(y[few], prediction[few], clusters[few]).interval(name)
        assert metric.lowest <= interval.low <= interval.estimate
        assert interval.estimate <= interval.high <= metric.highest


def test_one_cluster_has_no_interval():
    """It is the whole range; that of an undefined score is undefined."""
    y = np.array([0, 1, 0, 1])
    interval = SetPrediction(y, np.array([0.1, 0.9, 0.8, 0.7]), np.zeros(4)).interval(
        "roc_auc"
    )
    assert (interval.low, interval.high) == (0, 1)
    undefined = SetPrediction(np.zeros(4), np.linspace(0, 1, 4), np.arange(4)).interval(
        "roc_auc"
    )
    assert np.isnan([undefined.estimate, undefined.low, undefined.high]).all()
    regression = SetPrediction(y * 1.0, y * 0.5, np.zeros(4)).interval("rmse")
    assert (regression.low, regression.high) == (0, math.inf)


def test_difference_of_two_sets_adds_their_variances():
    """A gap between independent sets is less certain than either score, unbounded with
    one cluster.
    """
    y, prediction, clusters = _clustered("accuracy")
    early = clusters < CLUSTERS // 2
    first = SetPrediction(y[early], prediction[early], clusters[early]).spread(
        "accuracy"
    )
    second = SetPrediction(y[~early], prediction[~early], clusters[~early]).spread(
        "accuracy"
    )
    gap = difference(first, second)
    assert gap.estimate == pytest.approx(second.estimate - first.estimate)
    unknown = difference(
        first, SetPrediction(y, prediction, np.zeros(len(y))).spread("accuracy")
    )
    assert (unknown.low, unknown.high) == (-math.inf, math.inf)
    half = (gap.high - gap.low) / 2
    assert half > 1.96 * math.hypot(first.standard_error, second.standard_error)


def test_few_clusters_are_noted():
    """Fewer than ten clusters make a note, of consecutive ones fewer than 150."""
    assert "7 resampling clusters (day)" in str(
        few_clusters_note(np.arange(7), "day", "test")
    )
    assert "no interval" in str(few_clusters_note(np.zeros(7), "day", "test"))
    assert few_clusters_note(np.arange(10), "day", "test") is None
    days = np.arange(29).view(ConsecutiveClusters)
    said = str(few_clusters_note(days, "day", "test"))
    assert "29 consecutive clusters (day), fewer than 150" in said
    assert (
        few_clusters_note(np.arange(150).view(ConsecutiveClusters), "day", "test")
        is None
    )


@pytest.mark.parametrize(
    ("days", "at_half", "at_most"),
    [(10, 91, 78), (20, 92, 79), (59, 95, 81), (60, 95, 85), (149, 94, 89)],
)
def test_few_consecutive_clusters_are_noted_with_the_simulation_of_so_few(
    days: int, at_half: int, at_most: int
):
    """The largest simulated number of clusters that the set reaches tells how many
    intervals hold.
    """
    clusters = np.arange(days).view(ConsecutiveClusters)
    said = str(few_clusters_note(clusters, "day", "test"))
    assert f"{at_half} % of the intervals" in said
    assert said.endswith(f"and {at_most} % where it is 0.9")


def test_intervals_by_day_and_customer_hold_for_new_customers():
    """Of 100 panels of 150 customers on 60 days, 90 hold the truth; by day alone they
    do not.
    """
    held = {"by day": 0, "by both": 0}
    for seed in range(100):
        generator = np.random.default_rng(seed)
        days, who = np.repeat(np.arange(60), 40), generator.integers(0, 150, 2_400)
        error = generator.normal(size=2_400) + generator.normal(size=150)[who]
        for name, clusters in (
            ("by day", days),
            ("by both", np.column_stack([days, who])),
        ):
            consecutive = clusters.view(ConsecutiveClusters)
            found = SetPrediction(error, np.zeros(2_400), consecutive).interval("mae")
            held[name] += found.low <= 2 / np.sqrt(np.pi) <= found.high
    assert held["by day"] < 85
    assert held["by both"] >= 90


def test_what_a_customer_shares_over_a_few_days_is_counted_once():
    """Days allow for what customers of a few days share: with customers beside them
    intervals hardly widen.
    """
    widened = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        customer = np.repeat(np.arange(300), 5)
        day = generator.integers(0, 190, 300)[customer] + generator.integers(
            0, 10, 1500
        )
        error = generator.normal(size=1_500) + generator.normal(size=300)[customer]
        widths = []
        for clusters in (day, np.column_stack([day, customer])):
            consecutive = clusters.view(ConsecutiveClusters)
            predicted = SetPrediction(error, np.zeros(1_500), consecutive)
            interval = predicted.interval("mae")
            widths.append(interval.high - interval.low)
        widened.append(widths[1] / widths[0])
    assert np.mean(widened) < 1.1


def test_few_rows_that_change_sides_have_a_wide_enough_interval():
    """It holds the true net share in about 95 % of draws; where nothing changes it is
    no point.
    """
    draws = np.random.default_rng(0).choice(
        [1.0, -1.0, 0.0], (1_000, 50), p=[0.03, 0.005, 0.965]
    )
    found = [net_share(draw, np.arange(50)) for draw in draws]
    assert np.mean([one.low <= 0.025 <= one.high for one in found]) > 0.93
    nothing = net_share(np.zeros(200), np.arange(200))
    assert nothing.low < nothing.estimate == 0 < nothing.high
