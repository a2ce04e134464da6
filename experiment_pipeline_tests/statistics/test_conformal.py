"""Conformal bounds: what a share of new rows does not exceed, by independent rows and
by clusters.
"""

import numpy as np
import pytest

from experiment_pipeline.statistics.calibration import (
    IN_EVERY_SET,
    conformal_bounds,
    fewest_for,
    least_probabilities,
    sets_of,
)
from experiment_pipeline.statistics.scores import SetPrediction

LEVELS = np.array([0.5, 0.9, 0.95])


def bounds(scores: np.ndarray, clusters: np.ndarray | None = None) -> list[float]:
    """The bounds of scores at LEVELS."""
    codes = np.arange(len(scores)) if clusters is None else clusters
    rows = SetPrediction(scores, 0 * scores, codes)
    return conformal_bounds(rows, scores, LEVELS).tolist()


def test_of_n_independent_rows_the_new_one_is_one_more():
    """The k-th smallest of n holds k/(n + 1), as with crepes and MAPIE; no bound holds
    95 % with 18 rows.
    """
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert bounds(scores) == [10.0, 18.0, 19.0]
    assert bounds(scores[scores < 19]) == [10.0, 18.0, np.inf]


def test_rows_of_a_cluster_tell_less():
    """Copies are one row, what differs within a cluster is several, and nine clusters
    are nine rows.
    """
    luck, own = np.random.default_rng(1).normal(size=(2, 600))
    codes = np.arange(600) // 20
    assert bounds(luck[codes], codes) == bounds(luck[:30])
    assert bounds(own, codes) == pytest.approx(bounds(own), abs=0.1)
    assert np.isinf(bounds(own[:180], codes[:180])[2])


def test_each_class_has_a_bound_and_a_rare_one_is_in_every_set():
    """Nine tenths of each are held where its rows suffice; the likeliest class is
    always in the set, and so is one with fewer than nine rows, or without any.
    """
    generator, y = np.random.default_rng(2), np.repeat([0, 1, 2], [900, 92, 8])
    p = generator.dirichlet([6, 2, 2, 1], 1_000)
    p[y == 1] = generator.dirichlet([4, 4, 2, 1], 92)
    tested = SetPrediction(y, p, np.arange(1_000))
    (least,) = least_probabilities(tested, LEVELS[1:2])
    shares = [(p[y == k, k] >= least[k]).mean() for k in (0, 1)]
    assert shares == pytest.approx([0.9, 0.9], abs=0.02)
    assert least[2:].tolist() == [IN_EVERY_SET, IN_EVERY_SET]
    assert sets_of(p, least)[:, 2:].all()
    one_more = SetPrediction(np.append(y, 2), p[[*range(1_000), -1]], np.arange(1_001))
    assert 0 <= least_probabilities(one_more, LEVELS[1:2])[0, 2] < 0.2
    assert [fewest_for(coverage) for coverage in LEVELS.tolist()] == [1, 9, 19]
    assert sets_of(np.array([0.2, 0.8]), [0.9, 0.1]).tolist() == [
        [True, True],
        [False, True],
    ]


def test_without_enough_rows_of_all_classes_no_set_is_promised():
    """Eight rows promise one half, not nine tenths."""
    tested = SetPrediction(np.arange(8) % 2, np.full(8, 0.5), np.arange(8))
    half, most = least_probabilities(tested, LEVELS[:2])
    assert np.isfinite(half).all()
    assert np.isinf(most).all()
