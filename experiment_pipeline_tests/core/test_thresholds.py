"""Decision thresholds: the best cut on the test set, and which metric decides."""

import numpy as np
import pytest

from experiment_pipeline.core import metrics
from experiment_pipeline.core.thresholds import choose_threshold, deciding_metric
from experiment_pipeline_tests.core.board_examples import spec_of


@pytest.mark.parametrize("metric", ["f1", "accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_scores_better(metric: str, seed: int) -> None:
    """The chosen threshold maximises the metric, and reports what it reaches."""
    generator = np.random.default_rng(seed)
    y = np.append([0, 1], generator.integers(0, 2, 60))
    prediction = np.round(np.clip(0.2 * y + generator.normal(0.4, 0.2, 62), 0, 1), 1)
    chosen = choose_threshold(metric, y, prediction)
    assert metrics.score(metric, y, prediction, chosen.value) == pytest.approx(chosen.test_score)
    others = [metrics.score(metric, y, prediction, cut) for cut in np.linspace(0, 1, 41)]
    assert chosen.test_score >= max(others) - 1e-12


def test_a_threshold_lies_between_two_probabilities() -> None:
    """Halfway to the next row: a refit that moves probabilities a little decides the same."""
    chosen = choose_threshold("f1", np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.8]))
    assert chosen.value == pytest.approx(0.4)
    assert chosen.test_score == 1


def test_when_every_row_is_called_positive_the_threshold_is_below_all() -> None:
    """The lowest cut lies halfway to zero."""
    chosen = choose_threshold("f1", np.array([1, 1, 0, 1]), np.array([0.5, 0.5, 0.5, 0.5]))
    assert chosen.value == 0.25


def test_the_experiment_decides_which_metric_a_threshold_serves() -> None:
    """A named threshold metric decides; else f1, and balanced accuracy for frequent positives."""
    rare, frequent = np.array([0, 0, 1]), np.array([0, 1, 1])
    assert deciding_metric(spec_of(), rare) == "f1"
    assert deciding_metric(spec_of(), frequent) == "balanced_accuracy"
    criteria = [{"metric": "accuracy", "at_least": 0.7}]
    assert deciding_metric(spec_of(acceptance=criteria), rare) == "accuracy"
    assert deciding_metric(spec_of(metric="f1", acceptance=criteria), frequent) == "f1"
