"""The sets as tables: cut as declared, or an error that says what to change."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.preparation import prepare
from experiment_pipeline.columns.schema import load_schema
from experiment_pipeline.errors import EmptySet, UnusableTable
from experiment_pipeline.rows.membership import assign_sets
from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.stages.split_sets.checks import check_disjoint, check_leaks
from experiment_pipeline.stages.split_sets.sets import split
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.rows.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    SHARES,
    assigned,
    experiment,
    made,
)


def test_people_who_equal_each_other_are_told_apart_and_said():
    """Where equal rows are to be expected they are no copies, and the sets keep their shares."""
    frame = made(600, a=np.arange(600) % 4)
    sets = split(frame, experiment(RANDOM), FEATURES)
    assert any("600 of 600 rows" in note and "different people" in note for note in sets.notes)
    assert sets.summary["share"].tolist() == pytest.approx(SHARES, abs=0.05)
    assert check_leaks(sets, experiment(RANDOM), FEATURES) == []


def test_copies_stay_together_and_are_said():
    """A file that was concatenated is one in its sets, and the notes count its rows."""
    twice = pd.concat([made(300)] * 2, ignore_index=True).rename_axis(index="row_number")
    sets = split(twice, experiment(RANDOM), FEATURES)
    assert any("600 of 600 rows" in note and "copies" in note for note in sets.notes)
    assert not set(sets.train["a"]) & set(sets.test["a"])


def test_time_is_cut_between_distinct_timestamps():
    """Rows of one instant stay together, and no set overlaps another."""
    frame = made(
        100, visited=pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(100) // 7, "D")
    )
    sets = split(frame, experiment(BY_TIME), FEATURES)
    assert sets.train["visited"].max() < sets.test["visited"].min()
    assert sets.test["visited"].max() < sets.validation["visited"].min()
    assert check_leaks(sets, experiment(BY_TIME), FEATURES) == []


def test_the_gap_keeps_its_distance():
    """Rows after a cut that lie within the gap are in no set, and are counted."""
    spec = experiment({**BY_TIME, "gap": "12 hours"})
    sets = split(made(1_000), spec, FEATURES)
    assert sets.test["visited"].min() - sets.train["visited"].max() >= pd.Timedelta("12h")
    assert sets.left_out == 22
    assert any("22 rows" in note for note in sets.notes)
    assert check_disjoint(sets, made(1_000)) == []
    assert check_leaks(sets, spec, FEATURES) == []


def test_numbers_are_times_without_a_gap():
    """A split by year works on numbers; each number is a unit."""
    frame = made(90, visited=2000 + np.arange(90) // 9)
    sets = split(frame, experiment(BY_TIME), FEATURES)
    assert sets.train["visited"].max() == 2005
    assert len(np.unique(resampling_units(sets.train, experiment(BY_TIME), FEATURES))) == 6


def test_calendar_values_that_training_never_saw_are_noted():
    """Under a split by time a month that only the test set has is a warning."""
    spec = scenario.spec(split="time", preparation={"calendar": {"visited": ["month"]}})
    frame = made(8_000).assign(visited_month=lambda t: t["visited"].dt.month.astype(float))
    notes = split(frame, spec, [*FEATURES, "visited_month"]).notes
    assert any("visited_month" in note and "validation" in note for note in notes)


def test_a_column_can_name_the_sets():
    """Values are compared as values: 1 in the YAML is 1.0 in the table."""
    by = {"by": "column", "column": "fold", "train": [1, 2], "test": [3], "validation": [4]}
    frame = made(80, fold=np.repeat([1.0, 2.0, 3.0, 4.0], 20))
    sets = split(frame, experiment(by), FEATURES)
    assert sets.summary["rows"].tolist() == [40, 20, 20]
    with pytest.raises(UnusableTable, match=r"'5\.0'"):
        split(frame.assign(fold=np.repeat([1.0, 2.0, 3.0, 5.0], 20)), experiment(by), FEATURES)


@pytest.mark.parametrize(
    ("frame", "by", "said"),
    [
        (made(2), BY_ID, "validation set: 0 of 2 rows"),
        (made(50, patient="one"), BY_GROUP, "test set: 0 of 50 rows"),
        (made(50, visited=pd.Timestamp("2024-01-01")), BY_TIME, "test set: 0 of 50"),
        (made(50), {**BY_TIME, "gap": "30 days"}, "test set: 0 of 50"),
        (
            made(50, readmitted=["no"] * 40 + ["yes"] * 10),
            BY_TIME,
            r"train set: its 30 rows lack 1 class of.*'yes' \(10 rows in all\)",
        ),
        (made(50, readmitted=["yes"] * 2 + ["no"] * 48), BY_ID, "validation set.*'yes'"),
    ],
)
def test_an_empty_set_or_a_lacking_class_is_an_error(frame, by, said):
    """The error names the set, the counts and what to change."""
    with pytest.raises(EmptySet, match=said) as error:
        split(frame, experiment(by), FEATURES)
    assert error.value.fix


def test_a_row_without_the_value_to_split_by():
    """It is in no set for the analysis, and an error once it passed the validation."""
    frame = made(90, visited=[pd.NaT, *pd.date_range("2024-01-01", periods=89)])
    assert assigned(frame, BY_TIME)[0] == "gap"
    with pytest.raises(UnusableTable, match=r"1 rows lack a value, the first is row 0"):
        split(frame, experiment(BY_TIME), FEATURES)


def test_the_sets_of_the_prepared_rows_are_kept():
    """What the analysis did not look at stays the validation set after rows are rejected."""
    spec = scenario.spec(split="time")
    raw = scenario.table()
    prepared = prepare(raw, spec.preparation)
    features = feature_columns(prepared.frame, spec)
    membership = assign_sets(prepared.frame, spec, features)
    validated = validate(raw, prepared, load_schema(scenario.SCHEMA), spec).validated
    sets = split(validated, spec, features, membership)
    assert (membership[sets.validation.index] == "validation").all()
    assert check_disjoint(sets, validated) == []
