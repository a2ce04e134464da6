"""Checks on the sets: disjoint, without leaks, alike."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.core.preparation import prepare
from experiment_pipeline.core.split_sets import (
    SETS,
    SplitSets,
    check_disjoint,
    check_leaks,
    check_look_alike,
    split,
)
from experiment_pipeline.core.validated_data import feature_columns, load_schema, validate
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.core.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    experiment,
    made,
)


@pytest.mark.parametrize("task", scenario.TARGETS)
@pytest.mark.parametrize("by", scenario.SPLITS)
def test_the_scenario_s_sets_pass_every_check(task, by):
    """Disjoint, without leaks and alike, with digests and a summary of each set."""
    spec = scenario.spec(task, by)
    raw = scenario.table()
    validated = validate(
        raw, prepare(raw, spec.preparation), load_schema(scenario.SCHEMA), spec
    ).validated
    features = feature_columns(validated, spec)
    sets = split(validated, spec, features)
    assert check_disjoint(sets, validated) == []
    assert check_leaks(sets, spec, features) == []
    assert not check_look_alike(sets, spec, features)["alarming"].any()
    assert len(set(sets.digests.values())) == 3
    assert sets.summary["set"].tolist() == list(SETS)


def tampered(sets: SplitSets, **tables) -> SplitSets:
    """Return the sets with other tables."""
    fields = {name: getattr(sets, name) for name in ("notes", "digests", "summary", "left_out")}
    return SplitSets(**{**sets.tables(), **tables}, **fields)


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (BY_ID, "1 ids .visit_id. are in both train and test"),
        (BY_GROUP, "groups .patient. are in both train and test"),
        (BY_TIME, "test begins before train ends"),
        (RANDOM, "equal a train row in every feature"),
    ],
)
def test_a_leak_is_found(by, said):
    """A train row among the test rows shows, whatever kept them apart."""
    frame = made(100)
    sets = split(frame, experiment(by), FEATURES)
    leaking = tampered(sets, test=pd.concat([sets.train.tail(1), sets.test]))
    problems = check_leaks(leaking, experiment(by), FEATURES)
    assert any(pd.Series([problem]).str.contains(said)[0] for problem in problems)
    assert "1 rows are in both train and test" in check_disjoint(leaking, frame)


def test_lost_twice_and_invented_rows_are_found():
    """The check on disjoint sets sees every way in which they can be wrong."""
    frame = made(100)
    sets = split(frame, experiment(BY_ID), FEATURES)
    assert "99 rows" in check_disjoint(tampered(sets, test=sets.test.iloc[1:]), frame)[0]
    twice = pd.concat([sets.test, sets.test.head(2)])
    assert "2 rows are in test twice" in check_disjoint(tampered(sets, test=twice), frame)
    invented = sets.test.set_axis(sets.test.index + 1000)
    assert "are no validated rows" in check_disjoint(tampered(sets, test=invented), frame)[0]


def test_a_few_copies_are_tolerated():
    """Up to one row in a hundred may equal a train row: it cannot lift a score by more."""
    frame = made(2_000)
    sets = split(frame, experiment(BY_ID), FEATURES)
    copied = sets.test.copy()
    copied.iloc[:2, :2] = sets.train.iloc[:2, :2].to_numpy()
    assert check_leaks(tampered(sets, test=copied), experiment(BY_ID), FEATURES) == []
    copied.iloc[:40, :2] = sets.train.iloc[:40, :2].to_numpy()
    assert len(check_leaks(tampered(sets, test=copied), experiment(BY_ID), FEATURES)) == 1


def test_sets_that_differ_raise_an_alarm():
    """A column that grows with time alarms under a split by time, a steady one does not."""
    frame = made(2_000, a=np.arange(2_000.0))
    table = check_look_alike(
        split(frame, experiment(BY_TIME), FEATURES), experiment(BY_TIME), FEATURES
    )
    assert set(table[table["alarming"]]["column"]) == {"a"}
    assert table["effect_size"].is_monotonic_decreasing
