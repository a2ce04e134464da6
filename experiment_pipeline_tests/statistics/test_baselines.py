"""Predicting without features: no constant is better, and differences are paired."""

import math

import numpy as np
import pytest

from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.statistics import scores as scoring
from experiment_pipeline.statistics.interval import ConsecutiveClusters, Interval
from experiment_pipeline.statistics.metrics import METRICS, names_of

NUMBERS = np.random.default_rng(0).lognormal(size=301)
LABELS = (np.random.default_rng(1).random(300) < 0.2).astype(int)


@pytest.mark.parametrize(
    ("task", "metric"),
    [(task, one) for task in ("regression", "binary") for one in names_of(task)],
)
def test_no_other_constant_suits_the_metric_better(task: str, metric: str):
    """Mean, median or weighted median; shares, 0 of a class that is lacking, the
    majority, or every row.
    """
    shares = scoring.best_constant("log_loss", np.array([0, 1, 2, 2]), "multiclass", 4)
    assert shares.tolist() == [0.25, 0.25, 0.5, 0]
    y, most = (NUMBERS, 4) if task == "regression" else (LABELS, 1)
    own = scoring.baseline_score(metric, y, y, task)
    others = [
        scores.score(metric, y, np.full(len(y), one))
        for one in np.linspace(0, most, 81)
    ]
    a_little_better = own + 1e-12 * METRICS[metric].sign
    assert not any(metrics.better(metric, other, a_little_better) for other in others)


def _difference(
    metric: str,
    y: np.ndarray,
    prediction: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Interval:
    task = "regression" if "regression" in METRICS[metric].tasks else "binary"
    rows = np.arange(len(y)) if clusters is None else clusters
    return scoring.difference_to_baseline(
        metric,
        scoring.SetPrediction(y, prediction, rows),
        scoring.best_constant(metric, y, task),
    )


def test_pairing_sees_what_two_intervals_hide():
    """A small part of the variance is a sure gain, although the score's own interval is
    wide.
    """
    generator = np.random.default_rng(3)
    signal = np.sqrt(0.05) * generator.normal(size=1_000)
    y = signal + np.sqrt(0.95) * generator.normal(size=1_000)
    assert metrics.significantly_better("rmse", _difference("rmse", y, signal))
    own = scoring.SetPrediction(y, signal, np.arange(1_000)).interval("rmse")
    assert own.high > scoring.baseline_score("rmse", y, y, "regression")


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "roc_auc", "mae"])
def test_the_baseline_itself_is_not_better(metric: str):
    """The same prediction differs by nothing, whichever the metric, and by rounding
    neither.
    """
    numbers = "regression" in METRICS[metric].tasks
    y, task = (NUMBERS, "regression") if numbers else (LABELS, "binary")
    constant = float(scoring.best_constant(metric, y, task))
    for nearly in (constant, np.nextafter(constant, 0), np.nextafter(constant, 9)):
        difference = _difference(metric, y, np.full(len(y), nearly))
        assert difference.estimate == pytest.approx(0, abs=1e-12)
        assert not metrics.significantly_better(metric, difference)


def test_one_cluster_and_one_class_say_nothing():
    """Without spread the bounds are those of the metric, without a score there is no
    difference.
    """
    one = np.zeros(300, dtype=int)
    decided = _difference("f1", LABELS, LABELS * 0.9, one)
    f1 = scoring.baseline_score("f1", LABELS, LABELS, "binary")
    assert (decided.low, decided.high) == (-f1, 1 - f1)
    mae = scoring.baseline_score("mae", NUMBERS, NUMBERS, "regression")
    loss = _difference("mae", NUMBERS, 0.9 * NUMBERS, np.zeros(301, dtype=int))
    assert (loss.low, loss.high) == (-mae, math.inf)
    assert math.isnan(_difference("roc_auc", np.ones(300), NUMBERS[:300]).low)


def test_a_few_lucky_decisions_are_not_significant():
    """None of 12 rows called negative is positive: that happens by chance with 5 %
    positives.
    """
    y = np.zeros(500, dtype=int)
    y[:25] = 1
    called = np.ones(500)
    called[-12:] = 0
    difference = _difference("f1", y, called)
    assert difference.estimate > 0
    assert not metrics.significantly_better("f1", difference)
    called[-300:] = 0
    assert metrics.significantly_better("f1", _difference("f1", y, called))


def _winner(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, predictions that explain 80 % and more, and clusters."""
    generator = np.random.default_rng([seed, 47])
    if kind == "trend":
        day = np.arange(146)
        level = np.repeat(450 + 6 * day + 120 * np.sin(day / 15), 24)
        hour = 80 * generator.normal(size=len(level))
        noise = 60 * generator.normal(size=len(level))
        codes = np.repeat(day, 24).view(ConsecutiveClusters)
        return level + hour + noise, level + hour, codes
    if kind == "prices":
        known, noise = generator.normal(size=(2, 1_000)) * [[0.9], [0.4]]
        return np.exp(known + noise), np.exp(known + 0.08), np.arange(1_000)
    features = generator.standard_t(2, size=(2, 1_000))
    known = features.sum(axis=0)
    y = known + 0.3 * generator.standard_t(2, size=1_000)
    return y, known, np.arange(1_000)


@pytest.mark.parametrize("metric", ["rmse", "r2"])
@pytest.mark.parametrize("kind", ["sums", "prices", "trend"])
def test_a_clear_winner_is_better_although_a_few_errors_are_large(
    kind: str, metric: str
):
    """Tails of two features, prices, and a trend of days: at the third look as well,
    and no bound is better than a perfect score.
    """
    level = 1 - 0.05 / 9
    accepted = 0
    for seed in range(12):
        y, prediction, clusters = _winner(kind, seed)
        predicted = scoring.SetPrediction(y, prediction, clusters)
        constant = scoring.best_constant(metric, y, "regression")
        gain = scoring.difference_to_baseline(metric, predicted, constant, level=level)
        accepted += metrics.significantly_better(metric, gain)
        baseline = scoring.baseline_score(metric, y, y, "regression")
        assert gain.low <= gain.estimate <= gain.high
        if metric == "rmse":
            assert gain.low >= -baseline
        else:
            assert gain.high <= 1 - baseline
    assert accepted == 12


def test_a_gain_of_one_row_is_not_significant():
    """One of two giants happens to be predicted a little better, and explains the share
    alone: it decides nothing.
    """
    generator = np.random.default_rng(5)
    y = generator.normal(size=200)
    prediction = 0.5 * generator.normal(size=200)
    y[7], prediction[7] = 300, 20
    y[8], prediction[8] = -300, 0
    difference = _difference("rmse", y, prediction)
    assert difference.estimate < -0.9
    assert not metrics.significantly_better("rmse", difference)


def test_what_rare_rows_lose_counts_in_full():
    """Better by a little on 95 % of the rows, and worse by far on the others: gains are
    counted less, losses are not.
    """
    y = np.random.default_rng(6).normal(size=400)
    prediction = 0.3 * y
    prediction[::20] += 3
    assert _difference("rmse", y, prediction).high > 0
