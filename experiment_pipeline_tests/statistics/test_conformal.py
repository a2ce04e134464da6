"""Conformal bounds: what a share of new rows does not exceed, by independent rows and by clusters."""

import numpy as np
import pytest

from experiment_pipeline.statistics.conformal import conformal_bounds, least_probabilities, sets_of
from experiment_pipeline.statistics.scores import SetPrediction

LEVELS = np.array([0.5, 0.9, 0.95])


def rows_of(scores: np.ndarray, clusters: np.ndarray | None = None) -> SetPrediction:
    """Rows whose errors are these scores."""
    codes = np.arange(len(scores)) if clusters is None else clusters
    return SetPrediction(scores, np.zeros(len(scores)), codes)


def bounds(scores: np.ndarray, clusters: np.ndarray | None = None) -> list[float]:
    """Their bounds at LEVELS."""
    return conformal_bounds(rows_of(scores, clusters), scores, LEVELS).tolist()


def test_of_n_independent_rows_the_new_one_is_one_more() -> None:
    """The k-th smallest of n holds k/(n + 1): as crepes and MAPIE, and nothing holds 95 % of 18 rows."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert bounds(scores) == [10.0, 18.0, 19.0]
    assert bounds(scores[scores < 19]) == [10.0, 18.0, np.inf]


def test_rows_of_a_cluster_tell_less() -> None:
    """Copies of a row are one row, luck of its own makes them several, and nine clusters are nine rows."""
    luck, own = np.random.default_rng(1).normal(size=(2, 600))
    codes = np.arange(600) // 20
    assert bounds(luck[codes], codes) == bounds(luck[:30])
    alone, shared = bounds(own), bounds(own, codes)
    assert alone == pytest.approx(shared, abs=0.1)
    assert np.isinf(bounds(own[:180], codes[:180])[2])


def test_a_row_of_weight_three_is_three_copies_of_one() -> None:
    """As in every score: it counts three times, and tells once."""
    scores = np.random.default_rng(4).normal(size=400)
    times = np.repeat([1, 3], 200)
    weighted = SetPrediction(scores, 0 * scores, np.arange(400), times * 1.0)
    copies = np.repeat(np.arange(400), times)
    found = conformal_bounds(weighted, scores, LEVELS).tolist()
    assert found == bounds(scores[copies], copies) != bounds(scores)


def test_each_class_has_a_bound_and_a_rare_one_that_of_all() -> None:
    """Nine tenths of each are held where its rows suffice; the likeliest class is always in the set."""
    generator = np.random.default_rng(2)
    y = np.r_[np.zeros(900), np.ones(95), np.full(5, 2)].astype(int)
    p = generator.dirichlet([6, 2, 2], len(y))
    p[y == 1] = generator.dirichlet([4, 4, 2], 95)
    tested = SetPrediction(y, p, np.arange(len(y)))
    (least,) = least_probabilities(tested, np.array([0.9]))
    assert [(p[y == k, k] >= least[k]).mean() for k in (0, 1)] == pytest.approx(
        [0.9, 0.9], abs=0.02
    )
    (of_all,) = -conformal_bounds(tested, -p[np.arange(1000), y], np.array([0.9]))
    assert least[2] == pytest.approx(of_all, abs=1e-5)
    held = sets_of(p, least)
    assert held[np.arange(1000), p.argmax(axis=1)].all()
    assert sets_of(np.array([0.2, 0.8]), [0.9, 0.1]).tolist() == [[True, True], [False, True]]
