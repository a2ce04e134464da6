"""Weights of an ensemble: what is taken, in which order, and what leaving rows out does to scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.stages.leaderboard.ensemble import (
    KEPT,
    folds_of,
    forward_selection,
    without_dispensable,
)
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import score


def _library(seed: int, models: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Noisy views of a truth, the best first."""
    generator = np.random.default_rng(seed)
    y = generator.normal(size=n)
    seen = y + generator.normal(size=(models, n)) * generator.uniform(0.5, 1.5, (models, 1))
    return y, seen[np.argsort([score("rmse", y, one) for one in seen])]


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_the_mean_is_never_worse_than_the_best_alone_and_has_few_members(seed, models, members):
    """Weights sum to 1, none is negative, at most so many are above 0."""
    y, library = _library(seed, models)
    judge = lambda prediction: -score("rmse", y, prediction)  # noqa: E731
    weights = forward_selection(library, judge, members)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert (weights > 0).sum() <= members
    assert judge(weights @ library) >= judge(library[0])


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_who_hardly_helps_goes_and_nearly_all_of_the_gain_stays(seed: int, models: int) -> None:
    """The weights of those who stay keep their ratios; none of them could go as well."""
    y, library = _library(seed, models)
    judge = lambda prediction: -score("rmse", y, prediction)  # noqa: E731
    chosen = forward_selection(library, judge, 6)
    kept = without_dispensable(library, chosen, judge, [1.0] * models)
    gained = judge(chosen @ library) - judge(library[0])
    needed = judge(library[0]) + KEPT * gained
    assert judge(kept @ library) >= needed - 1e-12
    stays = kept > 0
    assert kept[stays] == pytest.approx(chosen[stays] / chosen[stays].sum())
    for one in np.flatnonzero(kept) if stays.sum() > 1 else ():
        left = np.where(np.arange(models) == one, 0, kept)
        assert judge(left @ library / left.sum()) < needed


@pytest.mark.parametrize("consecutive", [False, True])
@pytest.mark.parametrize("n_clusters", [1, 3, 17, 5_000])
def test_clusters_stay_whole_and_folds_are_five_at_most(n_clusters: int, *, consecutive: bool):
    """Every row is in one fold, rows of a cluster in the same; days in blocks, as neighbours are alike."""
    clusters = np.arange(n_clusters).repeat(3)
    y = np.random.default_rng(0).normal(size=len(clusters))
    folds = folds_of(y, clusters.view(ConsecutiveClusters) if consecutive else clusters)
    assert folds.count == min(5, n_clusters)
    assert set(folds.of_row) == set(range(folds.count))
    assert (
        folds.of_row.reshape(-1, 3).min(axis=1) == folds.of_row.reshape(-1, 3).max(axis=1)
    ).all()
    if consecutive:
        assert (np.diff(folds.of_row) >= 0).all()
