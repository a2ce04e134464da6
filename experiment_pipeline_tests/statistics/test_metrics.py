"""Metrics by name: where they are undefined, their directions, the variance
of an AUC.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import linearise


def test_auc_influence_gives_the_variance_of_delong():
    """The row-wise variance of an AUC is that of DeLong et al. (1988), up to
    (n-1)/n.
    """
    generator = np.random.default_rng(0)
    y = (generator.random(80) < 0.4).astype(int)
    prediction = np.clip(
        np.round(0.3 * y + generator.normal(0.4, 0.2, 80), 1), 0.01, 0.99
    )
    positive, negative = prediction[y == 1], prediction[y == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    delong = wins.mean(axis=1).var() / len(positive) + wins.mean(axis=0).var() / len(
        negative
    )
    influence = linearise("roc_auc", y, prediction).influence
    assert (influence**2).sum() / len(y) ** 2 == pytest.approx(delong)


def test_a_score_that_does_not_exist_is_undefined():
    """An overflow, without a warning; one class alone; a negative count, but not a
    negative prediction of one.
    """
    y = np.array([0.0, 3.0, 2.0])
    assert scores.score("poisson_deviance", y, y + 0.1) < 1
    assert 10 < scores.score("poisson_deviance", y, np.array([0.1, -0.5, 0.0])) < np.inf
    assert np.isnan(scores.score("roc_auc", np.ones(5), np.linspace(0, 1, 5)))
    assert np.isnan(scores.score("poisson_deviance", np.array([-1.0, 2.0]), np.ones(2)))
    assert np.isnan(linearise("rmse", np.zeros(3), np.full(3, 1e200)).estimate)


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_that_is_not_finite_has_no_score(name: str):
    """One nan among the predictions makes a score undefined, never a number."""
    task = min(METRICS[name].tasks)
    y = np.array([0, 1, 2, 1]) if task == "multiclass" else np.array([0, 1, 0, 1])
    prediction = np.full((4, 3) if task == "multiclass" else 4, 0.3)
    prediction[2] = np.nan
    assert np.isnan(scores.score(name, y, prediction))
    assert np.isnan(linearise(name, y, prediction).influence).all()


@given(st.sampled_from(sorted(METRICS)), st.floats(), st.floats())
def test_better_is_a_strict_order_in_which_nan_never_wins(
    name: str, a: float, b: float
):
    """Of two scores at most one is better, and a score that is not finite never is."""
    assert not (metrics.better(name, a, b) and metrics.better(name, b, a))
    assert not (metrics.better(name, a, b) and not np.isfinite(a))
    assert metrics.better(name, 0.5, float("nan"))
    assert metrics.better("roc_auc", 0.7, 0.6)
    assert metrics.better("log_loss", 0.6, 0.7)
