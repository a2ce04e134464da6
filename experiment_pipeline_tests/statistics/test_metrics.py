"""Metrics by name: scores as scikit-learn has them, directions, words."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.statistics.metrics import METRICS, names_of
from experiment_pipeline.statistics.scores import linearise

REFERENCE = {
    "roc_auc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
    "brier": reference.brier_score_loss,
    "f1": lambda y, p: reference.f1_score(y, p >= 0.5),
    "accuracy": lambda y, p: reference.accuracy_score(y, p >= 0.5),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p >= 0.5),
    "log_loss": reference.log_loss,
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
    "r2": reference.r2_score,
    "mape": reference.mean_absolute_percentage_error,
    "poisson_deviance": reference.mean_poisson_deviance,
    **{
        f"pinball_{level:g}": partial(reference.mean_pinball_loss, alpha=level)
        for level in metrics.PINBALL_LEVELS
    },
}
REFERENCE_OF_CLASSES = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p.argmax(axis=1)),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p.argmax(axis=1)),
    "f1_macro": lambda y, p: reference.f1_score(y, p.argmax(axis=1), average="macro"),
    "log_loss": reference.log_loss,
    "roc_auc_ovr": lambda y, p: reference.roc_auc_score(y, p, multi_class="ovr"),
}


def _binary(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = (generator.random(n) < 0.3).astype(int)
    # Two digits: ties within and between the classes.
    return y, np.clip(np.round(0.3 * y + generator.normal(0.4, 0.2, n), 2), 0, 1)


@pytest.mark.parametrize("name", names_of("binary"))
@pytest.mark.parametrize("seed", range(5))
def test_binary_scores_are_those_of_scikit_learn(name: str, seed: int) -> None:
    """A binary score equals scikit-learn's, ties included."""
    y, prediction = _binary(seed)
    assert scores.score(name, y, prediction) == pytest.approx(REFERENCE[name](y, prediction))


@pytest.mark.parametrize("name", names_of("regression"))
def test_regression_scores_are_those_of_scikit_learn(name: str) -> None:
    """A regression score equals scikit-learn's, targets of zero included."""
    generator = np.random.default_rng(0)
    y = np.round(generator.normal(size=100), 1)
    prediction = y + generator.normal(size=100)
    if METRICS[name].lowest_target == 0:
        y, prediction = abs(y), abs(prediction) + 0.1
    assert (y == 0).any()
    assert scores.score(name, y, prediction) == pytest.approx(REFERENCE[name](y, prediction))


def test_a_deviance_of_negative_targets_is_undefined():
    """Where no Poisson law fits there is no score, not a wrong one."""
    assert np.isnan(scores.score("poisson_deviance", np.array([-1.0, 2.0]), np.ones(2)))


def test_a_prediction_of_no_count_or_less_is_a_bad_one_and_not_the_end():
    """A linear model may predict below zero; its deviance is large and finite."""
    y = np.array([0.0, 3.0, 2.0])
    good, bad = y + 0.1, np.array([0.1, -0.5, 0.0])
    assert scores.score("poisson_deviance", y, good) < 1
    assert 10 < scores.score("poisson_deviance", y, bad) < np.inf


@pytest.mark.parametrize("name", names_of("multiclass"))
def test_multiclass_scores_are_those_of_scikit_learn(name: str) -> None:
    """A score over several classes equals scikit-learn's."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 4, 300)
    prediction = generator.dirichlet(np.ones(4), 300) + 0.5 * np.eye(4)[y]
    prediction /= prediction.sum(axis=1, keepdims=True)
    expected = REFERENCE_OF_CLASSES[name](y, prediction)
    assert scores.score(name, y, prediction) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_that_is_not_finite_has_no_score(name: str) -> None:
    """One nan among the predictions makes a score undefined, never a number."""
    task = min(METRICS[name].tasks)
    y = np.array([0, 1, 2, 1]) if task == "multiclass" else np.array([0, 1, 0, 1])
    prediction = np.full((4, 3) if task == "multiclass" else 4, 0.3)
    prediction[2] = np.nan
    assert np.isnan(scores.score(name, y, prediction))
    assert np.isnan(linearise(name, y, prediction).influence).all()


def test_an_auc_of_one_class_is_undefined() -> None:
    """Without a positive or without a negative there is no ROC AUC."""
    for y in (np.zeros(5), np.ones(5)):
        assert np.isnan(scores.score("roc_auc", y, np.linspace(0, 1, 5)))


@given(st.sampled_from(sorted(METRICS)), st.floats(), st.floats())
def test_better_is_a_strict_order_in_which_nan_never_wins(name: str, a: float, b: float) -> None:
    """Of two scores at most one is better, and a score that is not finite never is."""
    assert not (metrics.better(name, a, b) and metrics.better(name, b, a))
    assert not (metrics.better(name, a, b) and not np.isfinite(a))
    assert metrics.better(name, 0.5, float("nan"))


def test_the_direction_decides_what_is_better() -> None:
    """A greater AUC and a smaller loss are better."""
    assert metrics.better("roc_auc", 0.7, 0.6)
    assert metrics.better("log_loss", 0.6, 0.7)


def test_names_cost_little_to_import() -> None:
    """Looking up a metric's name imports numpy and nothing heavier: every YAML load does it."""
    code = (
        "import sys, experiment_pipeline.spec; "
        "sys.exit(bool({'scipy', 'pandas', 'sklearn'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
