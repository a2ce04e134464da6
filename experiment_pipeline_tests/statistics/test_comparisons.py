"""Comparisons with the best: paired, simultaneous, and valid for the best of many."""

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from experiment_pipeline.statistics.comparisons import (
    MOST_CLUSTERS,
    Comparison,
    Drawn,
    compare_with_best,
    compare_with_control,
    comparison_codes,
)
from experiment_pipeline.statistics.interval import ConsecutiveClusters

CLUSTERS = 80


def _lows(*given: Any) -> np.ndarray:
    """Return the lower bounds of differences from a control, (C,)."""
    return np.array([one.low for one in compare_with_control(*given)])


def _accuracies(
    generator: np.random.Generator, truth: np.ndarray, shared: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and contributions of configurations whose clusters are alike in
    luck.
    """
    luck = generator.normal(size=(CLUSTERS, 1)) * shared
    own = generator.normal(size=(CLUSTERS, len(truth))) * (1 - shared)
    values = truth + luck + own
    scores = values.mean(axis=0)
    return scores, (values - scores) / CLUSTERS


def _compared(
    generator: np.random.Generator, truth: np.ndarray
) -> tuple[np.ndarray, Comparison]:
    scores, contributions = _accuracies(generator, truth)
    return scores, compare_with_best(scores, contributions, Drawn(0))


def test_the_best_and_its_equals_are_tied_and_a_clearly_worse_one_is_not():
    """Equal predictions without width, a single cluster without a bound; alone there is
    no optimism.
    """
    scores, comparison = _compared(np.random.default_rng(0), np.array([1.0, 1.0, 0.0]))
    assert comparison.tied.tolist() == [True, True, False]
    assert comparison.difference.max() == comparison.difference[scores.argmax()] == 0
    assert comparison.low[2] < comparison.high[2] < -0.5
    scores, parts = _accuracies(np.random.default_rng(6), np.zeros(1))
    assert compare_with_best(scores, parts, Drawn(0)).optimism == 0
    twice = compare_with_best(
        np.repeat(scores, 2), np.repeat(parts, 2, axis=1), Drawn(0)
    )
    assert (twice.tied.all(), twice.high[1]) == (True, 0)
    single = compare_with_best(np.array([1.0, 0.0]), np.zeros((1, 2)), Drawn(0))
    assert (single.tied.all(), single.low[1]) == (True, -np.inf)


def test_pairing_finds_differences_that_single_intervals_hide():
    """Shared luck cancels out: a lead smaller than each score's own error is seen."""
    generator = np.random.default_rng(1)
    scores, contributions = _accuracies(generator, np.array([0.15, 0.0]), shared=0.95)
    own_error = np.sqrt((contributions**2).sum(axis=0))
    comparison = compare_with_best(scores, contributions, Drawn(0))
    assert scores[0] - scores[1] < 2 * own_error[0]
    assert comparison.tied.tolist() == [True, False]


def test_equal_configurations_stay_tied_however_many_there_are():
    """The truly best one is lost from the tie group in at most about 5 % of
    experiments.
    """
    generator = np.random.default_rng(2)
    kept = [_compared(generator, np.zeros(15))[1].tied[0] for _ in range(80)]
    assert np.mean(kept) >= 0.92


def test_all_differences_to_the_truly_best_are_covered_at_once():
    """Although the control was selected, 93 % of searches cover all differences."""
    generator = np.random.default_rng(8)
    truth = np.concatenate([np.zeros(6), -np.linspace(0.005, 0.2, 6)])
    covered = []
    for _ in range(80):
        _, found = _compared(generator, truth)
        covered.append(((found.low <= truth) & (truth <= found.high)).all())
        assert (found.high[found.tied] == 0).all()
        assert (
            (found.low <= found.difference) & (found.difference <= found.high)
        ).all()
    assert np.mean(covered) >= 0.93


def test_the_best_of_many_equals_rarely_beats_a_control():
    """Of 20 that equal the control, one is significantly better in at most
    about 2.5 %.
    """
    generator = np.random.default_rng(10)
    found = []
    for _ in range(80):
        scores, parts = _accuracies(generator, np.zeros(21), shared=0.5)
        low = _lows(scores[1:] - scores[0], parts[:, 1:], parts[:, 0], Drawn(0))
        found.append((low > 0).any())
    assert np.mean(found) <= 0.05


def test_a_control_is_beaten_by_a_real_lead_and_never_by_itself():
    """One is clearly better, one is the control, one differs from it by rounding."""
    scores, parts = _accuracies(np.random.default_rng(11), np.array([0.0, 0.3]))
    leads = np.array([scores[1] - scores[0], 0.0, 1e-17])
    several = np.column_stack([parts[:, 1], parts[:, 0], parts[:, 0] * (1 + 1e-16)])
    low = _lows(leads, several, parts[:, 0], Drawn(0))
    assert (low > 0).tolist() == [True, False, False]


def test_optimism_is_the_mean_lead_of_the_best_of_equals():
    """Among equals the expected optimism is the mean lead of the best score over the
    truth.
    """
    generator = np.random.default_rng(4)
    lead, expected = [], []
    for _ in range(100):
        scores, comparison = _compared(generator, np.zeros(20))
        lead.append(scores.max())
        expected.append(comparison.optimism)
    assert np.mean(expected) == pytest.approx(np.mean(lead), rel=0.25)


def test_clusters_beyond_the_limit_are_put_together():
    """Memory stays bounded: 2,048 groups at most; consecutive ones stay in the order of
    time.
    """
    days = comparison_codes(np.arange(2 * MOST_CLUSTERS).view(ConsecutiveClusters))
    assert days.tolist() == np.repeat(np.arange(MOST_CLUSTERS), 2).tolist()
    codes = comparison_codes(np.arange(3 * MOST_CLUSTERS))
    assert np.bincount(codes).tolist() == [3] * MOST_CLUSTERS
    assert comparison_codes(np.array([5, 9, 5])).tolist() == [0, 1, 0]


def test_a_control_is_rarely_beaten_by_autocorrelated_noise():
    """Of 10 that equal the control one is significantly better in about 2.5 % of
    series, not 30.
    """
    generator = np.random.default_rng(12)
    found = []
    for _ in range(100):
        values = lfilter(
            [1.0], [1.0, -0.5], generator.normal(size=(CLUSTERS, 11)), axis=0
        )
        scores = values.mean(axis=0)
        parts, leads = (values - scores) / CLUSTERS, scores[1:] - scores[0]
        given = leads, parts[:, 1:], parts[:, 0]
        found.append(
            [_lows(*given, Drawn(0, consecutive=one)) > 0 for one in (False, True)]
        )
    strangers, neighbours = np.any(found, axis=2).mean(axis=0)
    assert strangers > 0.1
    assert neighbours <= 0.06
