"""Influence values: the derivative of every metric with respect to every row's weight."""

import numpy as np
import pytest

from experiment_pipeline.statistics.metrics import METRICS, names_of
from experiment_pipeline.statistics.scores import linearise

COPIES = 40


def _case(name: str, seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    if "regression" in METRICS[name].tasks:
        y = generator.normal(3, 1, n)
        prediction = y + generator.normal(size=n)
        if METRICS[name].lowest_target == 0:
            return abs(y), abs(prediction) + 0.1
        return y, prediction
    if name in names_of("binary"):
        y = (generator.random(n) < 0.4).astype(int)
        return y, np.clip(np.round(0.3 * y + generator.normal(0.4, 0.2, n), 1), 0.01, 0.99)
    y = generator.integers(0, 3, n)
    return y, generator.dirichlet(np.ones(3), n)


@pytest.mark.parametrize("name", METRICS)
def test_influence_has_mean_zero(name: str) -> None:
    """The rows' influence values cancel out: the score is where it is."""
    assert linearise(name, *_case(name)).influence.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_influence_is_what_one_more_copy_of_a_row_does(name: str) -> None:
    """Repeating one row among many moves the score by about its influence / n.

    Every row stands there COPIES times, so that one more copy is a small change of weight.
    """
    y, prediction = _case(name)
    many = np.repeat(np.arange(len(y)), COPIES)
    before = linearise(name, y[many], prediction[many])
    for row in range(0, len(y), 7):
        more = np.append(many, row)
        moved = linearise(name, y[more], prediction[more]).estimate - before.estimate
        expected = before.influence[row * COPIES] / len(more)
        assert moved == pytest.approx(expected, rel=0.05, abs=2e-6)


def test_multiclass_metrics_shared_with_binary_are_differentiated_too() -> None:
    """Accuracy, balanced accuracy and log loss of several classes have mean-zero influence."""
    generator = np.random.default_rng(1)
    y, prediction = generator.integers(0, 3, 50), generator.dirichlet(np.ones(3), 50)
    for name in ("accuracy", "balanced_accuracy", "log_loss"):
        assert linearise(name, y, prediction).influence.mean() == pytest.approx(0, abs=1e-12)


def test_auc_influence_gives_the_variance_of_delong() -> None:
    """The row-wise variance of an AUC is that of DeLong et al. (1988), up to (n-1)/n."""
    y, prediction = _case("roc_auc", n=80)
    positive, negative = prediction[y == 1], prediction[y == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    delong = wins.mean(axis=1).var() / len(positive) + wins.mean(axis=0).var() / len(negative)
    influence = linearise("roc_auc", y, prediction).influence
    assert (influence**2).sum() / len(y) ** 2 == pytest.approx(delong)


def test_a_score_too_large_for_a_number_is_undefined() -> None:
    """An overflow ends as undefined, without a warning."""
    assert np.isnan(linearise("rmse", np.zeros(3), np.full(3, 1e200)).estimate)
