"""Set membership: a pure function of the rows, stable when rows are added."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.rows.membership import SETS, assign_sets
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
        "from experiment_pipeline_tests.rows.test_membership import *;"
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
@given(cells=st.lists(st.sampled_from("xyz"), min_size=1, max_size=40))
def test_copies_never_straddle_two_sets(cells):
    """Rows equal in a measure and a category share a set, whatever their target."""
    once = pd.DataFrame({"a": np.arange(len(cells)) + 0.5, "b": cells})
    rows = pd.concat([once, once], ignore_index=True).rename_axis(index="row_number")
    rows["readmitted"] = ["no"] * len(cells) + ["yes"] * len(cells)
    sets = assign_sets(rows, experiment(RANDOM), FEATURES)
    assert (sets.head(len(cells)).to_numpy() == sets.tail(len(cells)).to_numpy()).all()


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
