"""The sets: a pure function of the rows, disjoint, without leaks, stable when rows are added."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.core.errors import EmptySet, UnusableTable
from experiment_pipeline.core.preparation import prepare
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.split_sets import (
    SETS,
    SplitSets,
    assign_sets,
    check_disjoint,
    check_leaks,
    check_look_alike,
    inner_slice,
    resampling_units,
    split,
)
from experiment_pipeline.core.split_sets.cuts import cut_by_hash, cut_by_order, cut_tail
from experiment_pipeline.core.split_sets.units import few_combinations
from experiment_pipeline.core.validated_data import feature_columns, load_schema, validate
from experiment_pipeline_tests import scenario

FEATURES = ["a", "b"]
SHARES = (0.6, 0.2, 0.2)


def made(rows: int, seed: int = 0, **columns) -> pd.DataFrame:
    """Return random rows: two features, a target, an id, a group of ten rows, a time."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.choice(["x", "y", "z"], rows),
            "readmitted": rng.choice(["no", "yes"], rows),
            "cost": rng.normal(size=rows),
            "visit_id": [f"{seed}-{number}" for number in range(rows)],
            "patient": [f"{seed}-{number // 10}" for number in range(rows)],
            "visited": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), unit="h"),
        }
    )
    return frame.assign(**columns).rename_axis(index="row_number")


def experiment(by: dict, task: str = "binary"):
    """Return an experiment on such rows that is split as given."""
    mapping = scenario.spec_mapping(task, exclude={}, preparation={}) | {"split": by}
    return ExperimentSpec.model_validate({"name": "made", **mapping})


RANDOM = {"by": "random"}
BY_ID = {"by": "random", "id_columns": ["visit_id"]}
BY_GROUP = {"by": "group", "column": "patient"}
BY_TIME = {"by": "time", "column": "visited"}


def assigned(frame: pd.DataFrame, by: dict, task: str = "binary") -> pd.Series:
    """Return the set of each row."""
    return assign_sets(frame, experiment(by, task), FEATURES)


@pytest.mark.parametrize("by", [RANDOM, BY_ID, BY_GROUP, BY_TIME])
def test_the_fractions_are_met(by):
    """With many units each set has its share of the rows."""
    shares = assigned(made(20_000), by).value_counts(normalize=True)
    assert shares[list(SETS)].to_numpy() == pytest.approx(SHARES, abs=0.03)


@pytest.mark.parametrize("by", [RANDOM, BY_ID, BY_GROUP, BY_TIME])
def test_the_order_of_rows_and_columns_does_not_matter(by):
    """Shuffled rows, and columns in another order, go where they went before."""
    frame = made(500)
    shuffled = frame.sample(frac=1, random_state=1)[frame.columns[::-1]]
    other = assign_sets(shuffled, experiment(by), FEATURES[::-1])
    pd.testing.assert_series_equal(other.sort_index(), assigned(frame, by))


def test_another_process_cuts_the_same_sets():
    """No state of the process, its hash seed least of all, decides."""
    code = (
        "from experiment_pipeline_tests.core.test_split_sets import *;"
        "print(*assigned(made(200), RANDOM), sep=',')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."},
    )
    assert run.stdout.strip().split(",") == assigned(made(200), RANDOM).tolist()


def test_these_rows_are_cut_like_this_for_good():
    """A change of the hash would silently reshuffle every experiment: it must be seen here."""
    first = assigned(made(2_000), BY_ID).head(12).str[:2]
    assert " ".join(first) == "te te tr va tr va te va tr tr tr tr"


@settings(max_examples=15, deadline=None)
@given(added=st.integers(1, 600), by=st.sampled_from([RANDOM, BY_ID, BY_GROUP]))
def test_rows_that_are_added_move_no_other(added, by):
    """Under a random split or one by group, old rows stay where they are."""
    old, new = made(4_000), made(added, seed=1)
    both = pd.concat([new, old], ignore_index=True).rename_axis(index="row_number")
    pd.testing.assert_series_equal(
        assigned(both, by).iloc[added:].reset_index(drop=True),
        assigned(old, by).reset_index(drop=True),
    )


def test_in_a_small_table_an_added_row_moves_few():
    """Ranking within the class shifts a cut by a row, it does not reshuffle."""
    old = made(100)
    both = pd.concat([old, made(5, seed=1)], ignore_index=True).rename_axis(index="row_number")
    assert (assigned(both, BY_ID).head(100) != assigned(old, BY_ID)).sum() <= 10


def test_a_corrected_label_moves_no_row():
    """The target has no part in the hash."""
    frame = made(4_000)
    corrected = frame.assign(readmitted=np.where(frame.index == 7, "no", frame["readmitted"]))
    pd.testing.assert_series_equal(assigned(corrected, RANDOM), assigned(frame, RANDOM))


def test_another_type_of_the_same_values_moves_no_row():
    """5, 5.0 and a nullable 5 are one value, a category is its text."""
    frame = made(500, a=np.arange(500))
    for other in (
        frame.astype({"a": "float64"}),
        frame.astype({"a": "Int64"}),
        frame.astype({"b": "category"}),
        frame.astype({"b": object}),
    ):
        pd.testing.assert_series_equal(assigned(other, RANDOM), assigned(frame, RANDOM))


@settings(max_examples=40, deadline=None)
@given(cells=st.lists(st.tuples(st.floats(-2, 2), st.sampled_from("xyz")), min_size=1, max_size=40))
def test_equal_rows_never_straddle_two_sets(cells):
    """Rows equal in every feature share a set, whatever their target."""
    rows = pd.DataFrame([*cells, *cells], columns=FEATURES).rename_axis(index="row_number")
    # A third feature keeps combinations plenty: few ones are told apart by position.
    rows["c"] = rows["a"] * 3 + 1
    rows["readmitted"] = ["no", "yes"] * len(cells)
    sets = assign_sets(rows, experiment(RANDOM), [*FEATURES, "c"])
    if not few_combinations((rows[name] for name in "abc"), len(rows)):
        assert (sets.head(len(cells)).to_numpy() == sets.tail(len(cells)).to_numpy()).all()


def test_few_combinations_are_split_by_position_and_say_so():
    """Where equal rows are unavoidable they are no copies, and the sets keep their shares."""
    frame = made(600, a=np.arange(600) % 4)
    sets = split(frame, experiment(RANDOM), FEATURES)
    assert "position" in sets.notes[0]
    assert sets.summary["share"].tolist() == pytest.approx(SHARES, abs=0.05)
    assert check_leaks(sets, experiment(RANDOM), FEATURES) == []


def test_each_class_is_in_each_set_of_a_small_table():
    """Three rows of a class suffice: ranked within the class, one goes into each set."""
    frame = made(60, readmitted=["yes"] * 3 + ["no"] * 57)
    by_class = assigned(frame, BY_ID).groupby(frame["readmitted"]).value_counts()
    assert by_class["yes"].to_dict() == dict.fromkeys(SETS, 1)
    assert by_class["no"].reindex(SETS).tolist() == [35, 11, 11]


def test_another_seed_draws_other_sets():
    """The seed is a salt."""
    other = assigned(made(500), {**BY_ID, "seed": 1})
    assert (other != assigned(made(500), BY_ID)).mean() > 0.3


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


@pytest.mark.parametrize(
    ("visited", "gap", "said"),
    [
        (np.arange(90), "1 day", "no duration"),
        ([f"day {i}" for i in range(90)], "0s", "datetimes or numbers"),
    ],
)
def test_a_split_by_time_needs_time(visited, gap, said):
    """Texts are no times, and numbers know no days."""
    with pytest.raises(UnusableTable, match=said):
        assigned(made(90, visited=visited), {**BY_TIME, "gap": gap})


def test_numbers_are_times_without_a_gap():
    """A split by year works on numbers; each number is a unit."""
    frame = made(90, visited=2000 + np.arange(90) // 9)
    sets = split(frame, experiment(BY_TIME), FEATURES)
    assert sets.train["visited"].max() == 2005
    assert len(np.unique(resampling_units(sets.train, experiment(BY_TIME)))) == 6


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
            r"train set: its 30 rows lack 1 classes.*'yes' \(10 rows in all\)",
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
        "rows": resampling_units(frame, experiment(RANDOM)),
        "groups": resampling_units(frame, experiment(BY_GROUP)),
        "days": resampling_units(frame, experiment(BY_TIME)),
        "six hours": resampling_units(frame, experiment({**BY_TIME, "unit": "6 hours"})),
        "ids": resampling_units(frame.assign(visit_id="x"), experiment(BY_ID)),
    }
    assert {name: len(np.unique(codes)) for name, codes in units.items()} == {
        "rows": 240,
        "groups": 24,
        "days": 10,
        "six hours": 40,
        "ids": 1,
    }


@settings(max_examples=100, deadline=None)
@given(
    hashes=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60),
    classes=st.integers(1, 4),
)
def test_a_cut_by_hash_keeps_units_whole_and_fills_sets(hashes, classes):
    """One hash, one set; a class with three units or more is in every set."""
    array = np.array(hashes * 2, dtype=np.uint64)
    strata = (array % np.uint64(classes)).astype(np.int64)
    sets = cut_by_hash(array, strata, SHARES)
    table = pd.DataFrame({"hash": array, "stratum": strata, "set": sets})
    assert table.groupby("hash")["set"].nunique().max() == 1
    for _, units in table.drop_duplicates("hash").groupby("stratum"):
        assert units["set"].nunique() == min(3, len(units))


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_a_cut_by_order_is_a_cut(places):
    """Later places are in later sets, equal ones in one, and each set has a place if it can."""
    array = np.array(places)
    sets, _ = cut_by_order(array, SHARES)
    table = pd.DataFrame({"place": array, "set": sets}).sort_values("place")
    assert table["set"].is_monotonic_increasing
    assert table.groupby("place")["set"].nunique().max() == 1
    assert table["set"].nunique() == min(3, table["place"].nunique())


@settings(max_examples=100, deadline=None)
@given(
    places=st.lists(st.integers(0, 20), min_size=2, max_size=60).filter(lambda p: len(set(p)) > 1),
    classes=st.integers(1, 3),
)
def test_a_tail_keeps_every_class_on_both_sides_if_any_cut_does(places, classes):
    """Compared with every possible cut: when one keeps all classes, so does the chosen one."""
    array, strata = np.array(places), np.arange(len(places)) % classes
    held_out = cut_tail(array, strata, 0.15)

    def keeps_all(mask):
        return len(set(strata[mask])) == len(set(strata[~mask])) == len(set(strata))

    cuts = [array > place for place in sorted(set(places))[:-1]]
    assert 0 < held_out.sum() < len(places)
    assert keeps_all(held_out) == any(keeps_all(cut) for cut in cuts)
