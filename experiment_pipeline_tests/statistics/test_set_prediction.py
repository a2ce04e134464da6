"""Predictions of a set beside the truth: scores, parts, decisions."""

from dataclasses import replace

import numpy as np

from experiment_pipeline.statistics.scores import SetPrediction

BINARY = SetPrediction(
    np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.5, 0.9]), np.array([0, 0, 1, 1])
)


def test_a_part_keeps_truth_prediction_and_cluster_together() -> None:
    """A mask and a slice choose the same rows of all three."""
    part = BINARY.rows(BINARY.y == 1)
    assert part.prediction.tolist() == [0.4, 0.9]
    assert part.clusters.tolist() == [0, 1]
    assert BINARY.rows(slice(None, None, 2)).y.tolist() == [0, 0]


def test_decisions_are_by_threshold_or_by_the_likeliest_class() -> None:
    """From the threshold on, itself included, a row is positive."""
    assert BINARY.decided(0.5).tolist() == [0, 0, 1, 1]
    several = SetPrediction(np.array([2]), np.array([[0.2, 0.3, 0.5]]), np.array([0]))
    assert several.decided(0.9).tolist() == [2]


def test_what_was_asked_once_is_known_for_these_rows_alone() -> None:
    """A part, and rows of other predictions, have scores of their own."""
    assert BINARY.spread("accuracy", 0.45) is BINARY.spread("accuracy", 0.45)
    assert BINARY.layout("roc_auc") is not BINARY.layout("accuracy")
    part = BINARY.rows(slice(0, 2))
    assert len(part.layout("accuracy").cluster) == 2
    other = replace(BINARY, prediction=1 - BINARY.prediction)
    assert other.spread("accuracy", 0.45).estimate != BINARY.spread("accuracy", 0.45).estimate
