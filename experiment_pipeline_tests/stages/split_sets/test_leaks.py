"""Checks on the sets: disjoint, without leaks, alike."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.split_sets.page import (
    check_copies,
    check_disjoint,
    check_look_alike,
)
from experiment_pipeline.stages.split_sets.sets import SplitSets
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import SETS
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.table.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    cut_rows,
    experiment,
    leaks_of,
    made,
)


@pytest.mark.parametrize("task", scenario.TARGETS)
@pytest.mark.parametrize("by", scenario.SPLITS)
def test_the_scenario_s_sets_pass_every_check(task, by):
    """Disjoint, without leaks and alike, with digests and a summary of each set."""
    spec = scenario.spec(task, by)
    raw, schema = scenario.table(), load_schema(scenario.SCHEMA)
    prepared = scenario.prepared_rows(raw, spec.preparation, schema)
    validated = validate(raw, prepared, schema, spec).validated
    features = feature_columns(validated, spec)
    sets = cut_rows(validated, spec, features)
    assert check_disjoint(sets, validated) == []
    assert leaks_of(sets, spec, features) == []
    assert not check_look_alike(sets, spec, features)["alarming"].any()
    assert len({table.digest for table in sets.by_name().values()}) == 3
    assert sets.summary["set"].tolist() == list(SETS)


def tampered(sets: SplitSets, **tables) -> SplitSets:
    """Return the sets with other tables."""
    changed = {name: replace(getattr(sets, name), rows=rows) for name, rows in tables.items()}
    return replace(sets, **changed)


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (BY_ID, "train and test share 1 id .visit_id."),
        (BY_GROUP, "train and test share [0-9]+ groups? .patient."),
        (BY_TIME, "test begins before train ends"),
        (RANDOM, "equal a train row in every feature"),
    ],
)
def test_a_leak_is_found(by, said):
    """A train row among the test rows shows, whatever kept them apart."""
    frame = made(100)
    sets = cut_rows(frame, experiment(by), FEATURES)
    leaking = tampered(sets, test=pd.concat([sets.train.rows.tail(1), sets.test.rows]))
    problems = leaks_of(leaking, experiment(by), FEATURES)
    assert any(pd.Series([problem]).str.contains(said)[0] for problem in problems)
    assert "train and test share 1 row" in check_disjoint(leaking, frame)


def test_lost_twice_and_invented_rows_are_found():
    """The check on disjoint sets sees every way in which they can be wrong."""
    frame = made(100)
    sets = cut_rows(frame, experiment(BY_ID), FEATURES)
    assert "99 rows" in check_disjoint(tampered(sets, test=sets.test.rows.iloc[1:]), frame)[0]
    twice = pd.concat([sets.test.rows, sets.test.rows.head(2)])
    assert "test has 2 rows twice" in check_disjoint(tampered(sets, test=twice), frame)
    invented = sets.test.rows.set_axis(sets.test.rows.index + 1000)
    assert "that nobody validated" in check_disjoint(tampered(sets, test=invented), frame)[0]


NAMED = np.resize(["train", "train", "test", "validation"], 2_000)
BY_COLUMN = {"by": "column", "column": "part"}


def copied(rows: int, **columns) -> pd.DataFrame:
    """Return rows in named sets, of which some test rows copy the train row two before them."""
    frame = made(2_000, part=NAMED, **columns)
    to = np.flatnonzero(NAMED == "test")[:rows]
    features = [*FEATURES, "readmitted"]
    frame.loc[to, features] = frame.loc[to - 1, features].to_numpy()
    return frame


def test_a_few_copies_are_tolerated():
    """Up to one row in a hundred may equal a train row: it cannot lift a score by more."""
    spec = experiment(BY_COLUMN)
    assert leaks_of(cut_rows(copied(5), spec, FEATURES), spec, FEATURES) == []
    (problem,) = leaks_of(cut_rows(copied(40), spec, FEATURES), spec, FEATURES)
    assert "40 of 500 test rows (8.0%) equal a train row" in problem


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (BY_ID, "their ids (visit_id) differ"),
        (BY_GROUP, "their groups differ"),
        (BY_TIME, "their times differ"),
    ],
)
def test_copies_with_another_id_group_or_time_are_a_note(by, said):
    """What the YAML tells apart is no leak: it is counted and said, and blocks nothing."""
    spec = experiment(by)
    sets = cut_rows(made(2_000, a=np.arange(2_000) % 800 / 7, b="x"), spec, FEATURES)
    assert leaks_of(sets, spec, FEATURES) == []
    _, caveats, _ = check_copies(sets, spec, FEATURES)
    assert caveats
    assert all(said in text for text in caveats)


def test_equal_people_in_named_sets_are_a_note():
    """Four wards and three letters: chance explains every equal row, and the note says so."""
    spec = experiment(BY_COLUMN)
    sets = cut_rows(made(2_000, part=NAMED, a=np.arange(2_000) % 7), spec, FEATURES)
    assert leaks_of(sets, spec, FEATURES) == []
    _, caveats, notes = check_copies(sets, spec, FEATURES)
    assert all("chance can explain 500 of them" in text for text in notes)
    assert caveats == []


def test_equal_rows_with_other_targets_are_no_copies():
    """People who share a title but not their fate were not copied; who shares both was."""
    spec = experiment(BY_COLUMN)
    title = np.random.default_rng(0).integers(0, 800, 2_000) + 0.5
    sets = cut_rows(made(2_000, part=NAMED, a=title, b="x"), spec, FEATURES)
    assert leaks_of(sets, spec, FEATURES) == []
    _, caveats, _ = check_copies(sets, spec, FEATURES)
    assert any("have another target" in text for text in caveats)
    fate = np.where(title * 7 % 5 < 2, "yes", "no")
    alike = cut_rows(made(2_000, part=NAMED, a=title, b="x", readmitted=fate), spec, FEATURES)
    assert leaks_of(alike, spec, FEATURES)


def test_sets_that_differ_raise_an_alarm():
    """A column that grows with time alarms under a split by time, a steady one does not."""
    frame = made(2_000, a=np.arange(2_000.0))
    table = check_look_alike(
        cut_rows(frame, experiment(BY_TIME), FEATURES), experiment(BY_TIME), FEATURES
    )
    assert set(table[table["alarming"]]["column"]) == {"a"}
    assert table["effect_size"].is_monotonic_decreasing
