"""The inner slice and the unit of a split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.core.split_sets import (
    inner_slice,
    resampling_units,
    split,
)
from experiment_pipeline_tests.core.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    experiment,
    made,
)


@pytest.mark.parametrize("by", [RANDOM, BY_ID, BY_GROUP, BY_TIME])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_inner_slice_is_cut_as_the_sets_are(by, task):
    """About 15 %: the last rows, whole groups or whole units, with every class."""
    train, spec = made(2_000), experiment(by, task)
    held_out = inner_slice(train, spec, FEATURES)
    assert held_out.mean() == pytest.approx(0.15, abs=0.03)
    assert train[held_out]["readmitted"].unique().size == 2
    if by is BY_TIME:
        assert train[~held_out]["visited"].max() < train[held_out]["visited"].min()
    if by is BY_GROUP:
        assert not set(train[held_out]["patient"]) & set(train[~held_out]["patient"])


def test_the_inner_slice_has_a_salt_of_its_own():
    """Within the train set, a row's set says nothing about its inner slice."""
    frame = made(4_000)
    sets = split(frame, experiment(BY_ID), FEATURES)
    assert inner_slice(sets.train, experiment(BY_ID), FEATURES).mean() == pytest.approx(
        0.15, abs=0.03
    )


def test_the_inner_slice_of_a_time_keeps_every_class_if_it_can():
    """A class that ends early moves the cut back; the slice is longer then."""
    train = made(100, readmitted=["no", "yes"] * 30 + ["no"] * 40)
    held_out = inner_slice(train, experiment(BY_TIME), FEATURES)
    assert train[held_out]["readmitted"].unique().size == 2
    assert held_out.sum() == 41


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 30),
    distinct=st.integers(1, 30),
    by=st.sampled_from([RANDOM, BY_ID, BY_GROUP, BY_TIME]),
    task=st.sampled_from(["binary", "regression"]),
)
def test_the_inner_slice_is_never_empty_and_never_all(rows, distinct, by, task):
    """Any train set of two rows or more can be parted."""
    place = np.arange(rows) % distinct
    train = made(rows, a=place, b="x", patient=place, visit_id=place, visited=place)
    held_out = inner_slice(train, experiment(by, task), FEATURES)
    assert 0 < held_out.sum() < rows


def test_intervals_resample_the_unit_of_the_split():
    """Rows, ids, groups, or days: rows of one unit share a code."""
    frame = made(240)
    units = {
        "rows": resampling_units(frame, experiment(RANDOM), FEATURES),
        "groups": resampling_units(frame, experiment(BY_GROUP), FEATURES),
        "days": resampling_units(frame, experiment(BY_TIME), FEATURES),
        "six hours": resampling_units(frame, experiment({**BY_TIME, "unit": "6 hours"}), FEATURES),
        "ids": resampling_units(frame.assign(visit_id="x"), experiment(BY_ID), FEATURES),
    }
    assert {name: len(np.unique(codes)) for name, codes in units.items()} == {
        "rows": 240,
        "groups": 24,
        "days": 10,
        "six hours": 40,
        "ids": 1,
    }
