"""The inner slice and the unit of a split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import inner_gap, inner_slice, split
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.rows.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    experiment,
    made,
)

DIGESTS = {"train": "a", "test": "b"}


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


def test_the_inner_slice_keeps_the_gap_of_the_split():
    """Under a split by time no row that is fitted on is nearer to the slice than the gap."""
    train, spec = made(2_000), experiment({**BY_TIME, "gap": "2 days"})
    inner = inner_slice(train, spec, FEATURES)
    gap = inner_gap(train, inner, spec)
    first, fitted = train["visited"][inner].min(), train["visited"][~(inner | gap)]
    assert first - fitted.max() == pd.Timedelta("2 days")
    assert not (inner & gap).any()
    assert gap.sum() == 47


@pytest.mark.parametrize("by", [RANDOM, BY_ID, BY_GROUP, BY_TIME, {**BY_TIME, "gap": "60 days"}])
def test_without_a_gap_or_the_rows_for_it_no_row_is_left_out(by):
    """Other splits have none; one that would take most of the rows is not kept."""
    train, spec = made(2_000), experiment(by)
    assert not inner_gap(train, inner_slice(train, spec, FEATURES), spec).any()


def test_a_fit_that_stops_early_leaves_the_gap_out():
    """What stands in the gap's rows changes nothing about the model, what is before them does."""
    spec = scenario.spec("regression", "time", search=[{"algorithm": "lightgbm"}], exclude={})
    frame = made(900)
    train = frame[["a", "b", "cost", "visited"]]
    columns = {"train": train, "test": train, "features": ("a", "b"), "target": "cost"}
    inner = inner_slice(train, spec, FEATURES)
    gap = inner_gap(train, inner, spec)
    assert gap.sum() == 23

    def model(**changes) -> bytes:
        sets = TrainingSets(
            **{**columns, **changes},
            task="regression",
            classes=None,
            inner=inner,
            digests=DIGESTS,
            inner_gap=gap,
        )
        (trained,) = train_configurations(configurations(spec), sets, spec, workers=1)
        return trained.model

    assert model(train=train.assign(cost=train["cost"].mask(gap, 7.0))) == model()
    before = ~(inner | gap)
    assert model(train=train.assign(cost=train["cost"].mask(before, 7.0))) != model()
