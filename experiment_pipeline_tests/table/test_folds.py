"""Folds: every row is predicted by models that have not seen it, nor what belongs to it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment_pipeline.errors import EmptySet
from experiment_pipeline.spec import CrossValidation
from experiment_pipeline.table.membership import deal, folds_of
from experiment_pipeline_tests.table.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    experiment,
    made,
)

WANTED = CrossValidation(folds=5, repeats=2)
WAYS = [RANDOM, BY_ID, BY_GROUP, BY_TIME | {"gap": "6 hours"}]


def cut(frame: pd.DataFrame, by: dict, wanted: CrossValidation = WANTED):
    """The folds of all these rows."""
    return folds_of(frame, experiment(by), wanted, tuple(FEATURES))


@pytest.mark.parametrize("by", WAYS, ids=lambda by: by["by"])
def test_no_row_is_fitted_on_and_predicted(by: dict) -> None:
    """Whatever the split; and no group, and nothing within the gap, is on both sides."""
    frame = made(300)
    for fold in cut(frame, by):
        assert fold.fitted.any()
        assert fold.predicted.any()
        assert not (fold.fitted & fold.predicted).any()
        known, asked = frame[fold.fitted], frame[fold.predicted]
        if by["by"] == "group":
            assert set(known["patient"]).isdisjoint(asked["patient"])
        if by["by"] == "time":
            assert asked["visited"].min() - known["visited"].max() >= pd.Timedelta("6h")


@pytest.mark.parametrize("by", WAYS[:3], ids=lambda by: by["by"])
def test_each_repeat_predicts_every_row_once(by: dict) -> None:
    """And the second repeat is another cut."""
    folds = cut(made(300), by)
    for repeat in (0, 1):
        times = np.sum([fold.predicted for fold in folds if fold.repeat == repeat], axis=0)
        assert (times == 1).all()
    assert not np.array_equal(folds[0].predicted, folds[5].predicted)


def test_by_time_the_later_half_is_predicted_once_from_all_before_it() -> None:
    """There is one order to cut, so repeats have no place."""
    folds = cut(made(300), BY_TIME, CrossValidation(folds=5, repeats=1))
    assert [int(fold.fitted.sum()) for fold in folds] == [150, 180, 210, 240, 270]
    assert np.array_equal(np.sum([fold.predicted for fold in folds], axis=0), np.arange(300) >= 150)


@pytest.mark.parametrize("by", WAYS, ids=lambda by: by["by"])
def test_the_order_and_number_of_rows_do_not_matter(by: dict) -> None:
    """A shuffled, renumbered table has the same folds."""
    frame = made(300)
    order = np.random.default_rng(0).permutation(300)
    shuffled = cut(frame.iloc[order].reset_index(drop=True), by)
    for fold, other in zip(cut(frame, by), shuffled, strict=True):
        assert np.array_equal(fold.predicted[order], other.predicted)
        assert np.array_equal(fold.fitted[order], other.fitted)


def test_one_cluster_cannot_be_left_out() -> None:
    """The error says what to write instead."""
    with pytest.raises(EmptySet, match="300 train and test rows are one cluster"):
        cut(made(300, patient="the only one"), BY_GROUP)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=5, max_size=120))
def test_clusters_stay_whole_and_classes_come_out_even(rows: list[tuple[int, int]]) -> None:
    """Of clusters of one row each class differs by one between folds at most."""
    cluster, label = (np.unique(one, return_inverse=True)[1] for one in np.array(rows).T)
    together = deal(cluster.astype(np.uint64), label, 5)
    for one in np.unique(cluster):
        assert len(np.unique(together[cluster == one])) == 1
    apart = deal(np.arange(len(cluster), dtype=np.uint64), label, 5)
    for one in np.unique(label):
        assert np.ptp(np.bincount(apart[label == one], minlength=5)) <= 1
