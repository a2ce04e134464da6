"""The sets as tables and the early-stopping set: cut as declared, or an error that says
what to change.
"""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import EmptySet, UnusableTable
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.split_sets import page
from experiment_pipeline.stages.split_sets.sets import (
    BETWEEN,
    FITTED,
    STOPS,
    SplitSets,
    early_stopping_roles,
    split,
)
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import SETS, prepare_and_assign
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.intake.validation import clinic
from experiment_pipeline_tests.table.made_rows import (
    BY_GROUP,
    BY_ID,
    BY_TIME,
    FEATURES,
    RANDOM,
    SHARES,
    assigned,
    cut_rows,
    experiment,
    leaks_of,
    made,
    shuffled,
)


def test_people_who_equal_each_other_are_told_apart_and_said():
    """Where equal rows are to be expected they are no copies, and the sets keep their
    shares.
    """
    frame = made(600, a=np.arange(600) % 4)
    sets = cut_rows(frame, experiment(RANDOM))
    assert any(
        "600 of 600 rows" in note and "different cases" in note for note in sets.notes
    )
    assert sets.summary["share"].tolist() == pytest.approx(SHARES, abs=0.05)
    assert leaks_of(sets, experiment(RANDOM)) == []
    # What is in their rows tells them apart: the same ones are in a set after a
    # shuffle.
    frame = made(900, a=np.arange(900) % 8)
    usual, other = (
        cut_rows(rows, experiment(RANDOM)) for rows in (frame, shuffled(frame))
    )
    assert usual.test.digest == other.test.digest
    assert usual.validation.digest == other.validation.digest


def test_copies_stay_together_and_are_said():
    """A file that was concatenated is one in its sets, and the notes count its rows."""
    twice = pd.concat([made(300)] * 2, ignore_index=True).rename_axis(
        index="row_number"
    )
    sets = cut_rows(twice, experiment(RANDOM))
    assert any("600 of 600 rows" in note and "copies" in note for note in sets.notes)
    assert not set(sets.train.rows["a"]) & set(sets.test.rows["a"])


def test_the_gap_keeps_its_distance():
    """Rows after a cut that lie within the gap are in no set, and are counted."""
    spec = experiment({**BY_TIME, "gap": "12 hours"})
    sets = cut_rows(made(1_000), spec)
    assert sets.test.rows["visited"].min() - sets.train.rows[
        "visited"
    ].max() >= pd.Timedelta("12h")
    assert sets.left_out == 22
    assert any("22 rows" in note for note in sets.notes)
    assert page.check_disjoint(sets, made(1_000)) == []
    assert leaks_of(sets, spec) == []


def test_a_column_can_name_the_sets():
    """Values are compared as values: 1 in the YAML is 1.0 in the table."""
    by = {
        "by": "column",
        "column": "fold",
        "train": [1, 2],
        "test": [3],
        "validation": [4],
    }
    frame = made(80, fold=np.repeat([1.0, 2.0, 3.0, 4.0], 20))
    assert cut_rows(frame, experiment(by)).summary["rows"].tolist() == [40, 20, 20]
    with pytest.raises(UnusableTable, match=r"'5\.0'"):
        cut_rows(frame.assign(fold=np.repeat([1.0, 2.0, 3.0, 5.0], 20)), experiment(by))


NO_YES = r"train set: its 30 rows lack 1 class of.*'yes' \(10 rows in all\)"


@pytest.mark.parametrize(
    ("frame", "by", "message"),
    [
        (made(2), BY_ID, "validation set: 0 of 2 rows"),
        (made(50, patient="one"), BY_GROUP, "test set: 0 of 50 rows"),
        (made(50, visited=pd.Timestamp("2024-01-01")), BY_TIME, "test set: 0 of 50"),
        (made(50), {**BY_TIME, "gap": "30 days"}, "test set: 0 of 50"),
        (made(50, readmitted=["no"] * 40 + ["yes"] * 10), BY_TIME, NO_YES),
        (
            made(50, readmitted=["yes"] * 2 + ["no"] * 48),
            BY_ID,
            "validation set.*'yes'",
        ),
    ],
)
def test_an_empty_set_or_a_lacking_class_is_an_error(frame, by, message):
    """The error names the set, the counts and what to change."""
    with pytest.raises(EmptySet, match=message) as error:
        cut_rows(frame, experiment(by))
    assert error.value.fix


def test_a_row_without_the_value_to_split_by():
    """It is in no set for the analysis, and an error once it passed the validation."""
    frame = made(90, visited=[pd.NaT, *pd.date_range("2024-01-01", periods=89)])
    assert assigned(frame, BY_TIME)[0] == "gap"
    with pytest.raises(UnusableTable, match=r"no value in 1 row, the first is row 0"):
        cut_rows(frame, experiment(BY_TIME))


def test_the_sets_of_the_prepared_rows_are_kept():
    """What the analysis did not look at stays the validation set after rows are
    rejected.
    """
    spec = scenario.spec(split="time")
    raw, schema = scenario.table(), load_schema(scenario.SCHEMA)
    prepared = prepare_and_assign(raw, schema, spec)
    data = validate(raw, prepared, schema, spec)
    sets = split(data.to_split(prepared), spec, feature_columns(data.validated, spec))
    assert (prepared.sets[sets.validation.rows.index] == "validation").all()
    assert page.check_disjoint(sets, data.validated) == []


def test_a_new_column_that_the_schema_leaves_out_moves_no_row():
    """Sets are assigned by the columns that validated rows will have."""
    spec, schema = scenario.spec(split={"by": "random"}), load_schema(scenario.SCHEMA)
    raw = scenario.table()
    usual, wider = (
        prepare_and_assign(t, schema, spec) for t in (raw, raw.assign(new=raw.index))
    )
    pd.testing.assert_series_equal(usual.sets, wider.sets)
    assert any("'new'" in note for note in wider.notes)


NEW_PATIENTS = BY_TIME | {"group": "patient", "predicts": "new"}


@pytest.mark.parametrize("by", [RANDOM, BY_ID, BY_GROUP, BY_TIME])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_inner_slice_is_cut_as_the_sets_are(by, task):
    """About 15 %: the last rows, whole groups or whole clusters, with every class."""
    train, spec = made(2_000), experiment(by, task)
    held_out = early_stopping_roles(train, spec, FEATURES) == STOPS
    assert held_out.mean() == pytest.approx(0.15, abs=0.03)
    assert train[held_out]["readmitted"].unique().size == 2
    if by is BY_TIME:
        assert train[~held_out]["visited"].max() < train[held_out]["visited"].min()
    if by is BY_GROUP:
        assert not set(train[held_out]["patient"]) & set(train[~held_out]["patient"])


@settings(max_examples=60)
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
    roles = early_stopping_roles(train, experiment(by, task), FEATURES)
    assert 0 < (roles == STOPS).sum() < rows


def test_intervals_resample_the_cluster_of_the_split():
    """Rows, ids, groups, or days: rows of one cluster share a code."""
    frame = made(240)
    hours = {**BY_TIME, "unit": "6 hours"}
    for by, number in (
        (RANDOM, 240),
        (BY_GROUP, 24),
        (BY_TIME, 10),
        (hours, 40),
        (BY_ID, 240),
    ):
        codes = resampling_clusters(frame, experiment(by), FEATURES)
        assert len(np.unique(codes)) == number


def test_the_inner_slice_keeps_the_gap_of_the_split():
    """Under a split by time no row that is fitted on is nearer to the slice than the
    gap.
    """
    train, spec = made(2_000), experiment({**BY_TIME, "gap": "2 days"})
    roles = early_stopping_roles(train, spec, FEATURES)
    fitted = train["visited"][roles == FITTED].max()
    assert train["visited"][roles == STOPS].min() - fitted == pd.Timedelta("2 days")
    assert (roles == BETWEEN).sum() == 47


@pytest.mark.parametrize(
    "by", [RANDOM, BY_ID, BY_GROUP, BY_TIME, {**BY_TIME, "gap": "60 days"}]
)
def test_without_a_gap_or_the_rows_for_it_no_row_is_left_out(by):
    """Other splits have none; one that would take most of the rows is not kept."""
    train, spec = made(2_000), experiment(by)
    assert BETWEEN not in early_stopping_roles(train, spec, FEATURES)


def test_a_fit_stops_on_groups_that_the_model_will_meet():
    """Later rows of other groups neither stop nor are fitted on; where most are others,
    all stop it.
    """
    patient = np.random.default_rng(0).integers(0, 3_000, 2_000)
    train = made(2_000, patient=patient)
    roles = early_stopping_roles(train, experiment(NEW_PATIENTS), FEATURES)
    fitted, stops, left = (train[roles == role] for role in (FITTED, STOPS, BETWEEN))
    assert not stops["patient"].isin(fitted["patient"]).any()
    assert left["patient"].isin(fitted["patient"]).all()
    assert len(stops) + len(left) == 300
    few = train.assign(patient=patient % 10)
    roles = early_stopping_roles(few, experiment(NEW_PATIENTS), FEATURES)
    assert (roles == STOPS).sum() == 300


def test_rows_of_groups_that_are_not_asked_for_are_counted():
    """The sets say how many rows are in none, and why."""
    frame = made(400, patient=np.random.default_rng(0).integers(0, 400, 400))
    sets = cut_rows(frame, experiment(NEW_PATIENTS))
    assert sets.left_out > 0
    (note,) = (note for note in sets.notes if note.startswith("In no set"))
    assert note.startswith(f"In no set: {sets.left_out} rows within the gap of 0s, or ")
    assert note.endswith("of patient that earlier sets have (predicts: new).")


def test_a_fit_that_stops_early_leaves_the_gap_out():
    """What stands in the gap's rows changes nothing about the model, what is before
    them does.
    """
    spec = scenario.spec(
        "regression", "time", search=[{"algorithm": "lightgbm"}], exclude={}
    )
    rows = made(900)[["a", "b", "cost", "visited", "visit_id"]]
    sets = scenario.to_train_on(rows, rows, spec)
    gap = sets.early_stopping_gap
    assert gap.sum() == 23

    def model(elsewhere: np.ndarray) -> bytes:
        train = rows.assign(cost=rows["cost"].mask(elsewhere, 7.0))
        (trained,) = train_configurations(
            configurations(spec), replace(sets, train=train), spec, workers=1
        )
        return trained.model

    assert model(gap) == model(gap & False)
    assert model(~(sets.early_stopping | gap)) != model(gap)


# --- checks on the sets ---


@pytest.mark.parametrize("task", scenario.TARGETS)
@pytest.mark.parametrize("by", scenario.SPLITS)
def test_the_scenario_s_sets_pass_every_check(task, by):
    """Disjoint, without leaks and alike, with digests and a summary of each set."""
    spec = scenario.spec(task, by)
    validated = clinic(spec).validated
    features = feature_columns(validated, spec)
    sets = cut_rows(validated, spec, features)
    assert page.check_disjoint(sets, validated) == []
    assert leaks_of(sets, spec, features) == []
    assert not page.check_look_alike(sets, spec, features)["alarming"].any()
    assert len({table.digest for table in sets.by_name().values()}) == 3
    assert sets.summary["set"].tolist() == list(SETS)


def tampered(sets: SplitSets, **tables) -> SplitSets:
    """Return the sets with other tables."""
    changed = {
        name: replace(getattr(sets, name), rows=rows) for name, rows in tables.items()
    }
    return replace(sets, **changed)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (BY_ID, "train and test share 1 id .visit_id."),
        (BY_GROUP, "train and test share [0-9]+ groups? .patient."),
        (BY_TIME, "test begins before train ends"),
        (NEW_PATIENTS, "train and test share [0-9]+ groups? .patient."),
        (RANDOM, "equal a train row in every feature"),
    ],
)
def test_a_leak_is_found(by, message):
    """A train row among the test rows shows, whatever kept them apart."""
    frame = made(100)
    sets = cut_rows(frame, experiment(by))
    leaking = tampered(sets, test=pd.concat([sets.train.rows.tail(1), sets.test.rows]))
    assert re.search(message, "\n".join(leaks_of(leaking, experiment(by))))
    assert "train and test share 1 row" in page.check_disjoint(leaking, frame)


def test_lost_twice_and_invented_rows_are_found():
    """The check on disjoint sets sees every way in which they can be wrong."""
    frame = made(100)
    sets = cut_rows(frame, experiment(BY_ID))
    assert (
        "99 rows"
        in page.check_disjoint(tampered(sets, test=sets.test.rows.iloc[1:]), frame)[0]
    )
    twice = pd.concat([sets.test.rows, sets.test.rows.head(2)])
    assert "test has 2 rows twice" in page.check_disjoint(
        tampered(sets, test=twice), frame
    )
    invented = sets.test.rows.set_axis(sets.test.rows.index + 1000)
    assert (
        "that are not validated"
        in page.check_disjoint(tampered(sets, test=invented), frame)[0]
    )


NAMED = np.resize(["train", "train", "test", "validation"], 2_000)
BY_COLUMN = {"by": "column", "column": "part"}


def copied(rows: int, **columns) -> pd.DataFrame:
    """Return rows in named sets, of which some test rows copy the train row two before
    them.
    """
    frame = made(2_000, part=NAMED, **columns)
    to = np.flatnonzero(NAMED == "test")[:rows]
    features = [*FEATURES, "readmitted"]
    frame.loc[to, features] = frame.loc[to - 1, features].to_numpy()
    return frame


def test_a_few_copies_are_tolerated():
    """Up to one row in a hundred may equal a train row: it cannot lift a
    score by more.
    """
    spec = experiment(BY_COLUMN)
    assert leaks_of(cut_rows(copied(5), spec), spec) == []
    (problem,) = leaks_of(cut_rows(copied(40), spec, FEATURES), spec)
    assert "40 of 500 test rows (8.0%) equal a train row" in problem


TITLE = np.random.default_rng(0).integers(0, 800, 2_000) + 0.5
COPIES = {"a": np.arange(2_000) % 800 / 7, "b": "x"}


@pytest.mark.parametrize(
    ("by", "columns", "message"),
    [
        (BY_ID, COPIES, "their ids (visit_id) differ"),
        (BY_GROUP, COPIES, "their groups differ"),
        (BY_TIME, COPIES, "their times differ"),
        # People who share a title but not their fate were not copied.
        (BY_COLUMN, {"part": NAMED, "a": TITLE, "b": "x"}, "have another target"),
        # Four wards and three letters: chance explains every equal row.
        (
            BY_COLUMN,
            {"part": NAMED, "a": np.arange(2_000) % 7},
            "chance can explain 500 of them",
        ),
    ],
)
def test_equal_rows_that_are_no_copies_are_a_note(by, columns, message):
    """What the YAML, the target or chance tells apart is no leak: it is counted and
    said, and blocks nothing.
    """
    spec = experiment(by)
    sets = cut_rows(made(2_000, **columns), spec)
    assert leaks_of(sets, spec) == []
    _, caveats, notes = page.check_copies(sets, spec, FEATURES)
    assert all(message in text for text in caveats or notes)
    assert bool(caveats) is ("chance" not in message)


def test_equal_rows_with_equal_targets_are_copies():
    """Who shares a title and their fate was copied."""
    fate = np.where(TITLE * 7 % 5 < 2, "yes", "no")
    alike = made(2_000, part=NAMED, a=TITLE, b="x", readmitted=fate)
    assert leaks_of(cut_rows(alike, experiment(BY_COLUMN)), experiment(BY_COLUMN))


def test_sets_that_differ_raise_an_alarm():
    """A column that grows with time alarms under a split by time, a steady one does
    not.
    """
    frame = made(2_000, a=np.arange(2_000.0))
    table = page.check_look_alike(
        cut_rows(frame, experiment(BY_TIME)), experiment(BY_TIME), FEATURES
    )
    assert set(table[table["alarming"]]["column"]) == {"a"}
    assert table["effect_size"].is_monotonic_decreasing
