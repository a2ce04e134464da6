"""The spread of a score over clusters, consecutive ones and overlapping fits
included.
"""

import numpy as np
import pytest
from scipy.signal import lfilter

from experiment_pipeline.statistics import interval


def _spread(sums: np.ndarray, *, consecutive: bool) -> interval.Spread:
    """Return the spread of a sum over clusters of one row each."""
    codes = np.arange(len(sums))
    clusters = codes.view(interval.ConsecutiveClusters) if consecutive else codes
    return interval.spread_of(
        interval.Linearised(0.0, len(sums) * sums),
        interval.Layout.of(clusters, 0 * codes),
    )


def _series(clusters: int, memory: float, seed: int) -> np.ndarray:
    """Return an autoregressive series of variance 1 and mean zero."""
    shocks = np.sqrt(1 - memory**2) * np.random.default_rng(seed).normal(size=clusters)
    values = lfilter([1.0], [1.0, -memory], shocks)
    return values - values.mean()


def test_independent_clusters_have_the_usual_variance():
    """G/(G-1) times the sum of squares, with about G-1 degrees of freedom, or those of
    the few that count.
    """
    sums = _series(400, 0, seed=1)
    found = _spread(sums, consecutive=False)
    assert found.standard_error**2 == pytest.approx(400 / 399 * (sums**2).sum())
    assert 250 < found.degrees_of_freedom <= 399
    assert abs(found.skewness) < 0.02
    assert found.persistence == 0
    # Of 2,000 clusters 6 add nearly all: about 12 degrees of freedom are left.
    sums = np.where(np.arange(2_000) < 6, np.tile([1.0, -1.0], 1_000), 1e-3)
    found = _spread(sums - sums.mean(), consecutive=False)
    assert found.degrees_of_freedom == pytest.approx(12, abs=0.5)


@pytest.mark.parametrize(("memory", "truth"), [(0.0, 1.0), (0.5, 3.0)])
def test_neighbours_that_resemble_one_another_widen_the_variance(
    memory: float, truth: float
):
    """With autocorrelation 0.5 the sum of 200 days varies 3 times as much as without
    it.
    """
    found = [
        _spread(_series(200, memory, seed), consecutive=True) for seed in range(200)
    ]
    assert np.mean([one.standard_error**2 for one in found]) / 200 == pytest.approx(
        truth, rel=0.1
    )
    persistent = np.mean([one.persistence > 0.9 for one in found])
    assert persistent == pytest.approx(float(memory > 0), abs=0.02)


def test_a_memory_that_noise_hides_widens_the_variance():
    """Where 30 % of the variance remembers at 0.95, neighbours correlate by 0.29, the
    sum varies 12-fold.
    """
    noise = [np.random.default_rng([1, seed]).normal(size=400) for seed in range(200)]
    mixed = [
        np.sqrt(0.3) * _series(400, 0.95, n) + np.sqrt(0.7) * e
        for n, e in enumerate(noise)
    ]
    found = [_spread(one - one.mean(), consecutive=True) for one in mixed]
    assert np.median([one.standard_error**2 for one in found]) / 400 > 6
    assert np.mean([one.persistence > 0.9 for one in found]) > 0.95


@pytest.mark.parametrize(
    ("folds", "repeats", "factor"), [(5, 1, 2.25), (5, 3, 1.25 + 1 / 3)]
)
def test_the_factor_is_nadeau_and_bengios(folds: int, repeats: int, factor: float):
    """(1/J + predicted/fitted) · S² over the S²/K that the rows of one repeat show."""
    several = folds * repeats
    found = interval.variance_factor([400] * several, [100] * several, repeats)
    assert found == pytest.approx(factor)
    by_folds = (1 / several + 100 / 400) / (1 / folds)
    assert found == pytest.approx(by_folds)
