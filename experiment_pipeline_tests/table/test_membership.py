"""Set membership: a pure function of the rows, where it cuts, and classes too rare for
it.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import EmptySet, UnusableTable
from experiment_pipeline.spec import CrossValidation
from experiment_pipeline.table import membership
from experiment_pipeline.table.schema import shared_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.table.made_rows import (
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
def test_the_fractions_are_met_whatever_the_order_of_rows_and_columns(by):
    """With many clusters each set has its share; shuffled rows and columns go where
    they went before.
    """
    shares = assigned(made(20_000), by).value_counts(normalize=True)
    assert shares[list(membership.SETS)].to_numpy() == pytest.approx(SHARES, abs=0.03)
    frame = made(500)
    shuffled = frame.sample(frac=1, random_state=1)[frame.columns[::-1]]
    other = membership.assign_sets(shuffled, experiment(by), FEATURES[::-1])
    pd.testing.assert_series_equal(other.sort_index(), assigned(frame, by))


def test_these_rows_are_cut_like_this_for_good():
    """A change of the hash would silently reshuffle every experiment: it must be seen
    here.
    """
    first = assigned(made(2_000), BY_ID).head(12).str[:2]
    assert " ".join(first) == "te te tr va tr va te va tr tr tr tr"


@settings(max_examples=4)
@given(added=st.integers(1, 600), by=st.sampled_from([RANDOM, BY_ID, BY_GROUP]))
def test_rows_that_are_added_move_no_other(added, by):
    """Under a random split or one by group, old rows stay where they are."""
    old, new = made(4_000), made(added, seed=1)
    both = pd.concat([new, old], ignore_index=True).rename_axis(index="row_number")
    pd.testing.assert_series_equal(
        assigned(both, by).iloc[added:].reset_index(drop=True),
        assigned(old, by).reset_index(drop=True),
    )


@settings(max_examples=15)
@given(cells=st.lists(st.sampled_from("xyz"), min_size=1, max_size=40))
def test_copies_never_straddle_two_sets(cells):
    """Rows equal in a measure and a category share a set, whatever their target."""
    once = pd.DataFrame({"a": np.arange(len(cells)) + 0.5, "b": cells})
    rows = pd.concat([once, once], ignore_index=True).rename_axis(index="row_number")
    rows["readmitted"] = ["no"] * len(cells) + ["yes"] * len(cells)
    sets = membership.assign_sets(rows, experiment(RANDOM), FEATURES)
    assert (sets.head(len(cells)).to_numpy() == sets.tail(len(cells)).to_numpy()).all()


def test_each_class_is_in_each_set_of_a_small_table():
    """Three rows of a class suffice: ranked within the class, one goes into
    each set.
    """
    frame = made(60, readmitted=["yes"] * 3 + ["no"] * 57)
    by_class = (
        assigned(frame, BY_ID).astype("str").groupby(frame["readmitted"]).value_counts()
    )
    assert by_class["yes"].to_dict() == dict.fromkeys(membership.SETS, 1)
    assert by_class["no"].reindex(membership.SETS).tolist() == [35, 11, 11]


def test_the_target_moves_no_group():
    """Groups are not stratified: a row that changes its class takes none elsewhere."""
    frame = made(600)
    relabelled = frame.assign(readmitted=np.where(frame.index < 300, "no", "yes"))
    pd.testing.assert_series_equal(
        assigned(relabelled, BY_GROUP), assigned(frame, BY_GROUP)
    )


@settings(max_examples=30)
@given(
    patients=st.lists(st.integers(0, 15), min_size=12, max_size=60),
    predicts=st.sampled_from(["new", "known", "both"]),
    gap=st.sampled_from(["0s", "3 hours"]),
)
def test_later_sets_hold_the_groups_that_the_model_will_meet(patients, predicts, gap):
    """New ones share no group with an earlier set, known ones no other; the rest of the
    rows stay where their time puts them.
    """
    frame = made(len(patients), patient=patients)
    by = BY_TIME | {"gap": gap}
    by_time = assigned(frame, by).astype("str")
    asked = by | {"group": "patient", "predicts": predicts}
    sets = assigned(frame, asked).astype("str")
    earlier: set[object] = set()
    for name in membership.SETS:
        at_the_time = frame["patient"][by_time == name]
        met = at_the_time.isin(earlier)
        expected = {"new": ~met, "known": met, "both": met | True}[predicts]
        if name == "train":
            expected = met | True
        kept = frame["patient"][sets == name]
        assert kept.index.tolist() == at_the_time.index[expected].tolist()
        earlier |= {*kept}
    assert set(sets[sets != by_time]) <= {"gap"}


@pytest.mark.parametrize(
    ("visited", "gap", "message"),
    [
        (np.arange(90), "1 day", "a duration cannot"),
        ([f"day {i}" for i in range(90)], "0s", "datetimes or numbers"),
    ],
)
def test_a_split_by_time_needs_time(visited, gap, message):
    """Texts are no times, and numbers know no days."""
    with pytest.raises(UnusableTable, match=message):
        assigned(made(90, visited=visited), {**BY_TIME, "gap": gap})


@settings(max_examples=30)
@given(places=st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_a_cut_by_order_is_a_cut(places):
    """Later places are in later sets, equal ones in one, and each set has a place if it
    can.
    """
    array = np.array(places)
    sets, _ = membership.cut_by_order(array, SHARES)
    table = pd.DataFrame({"place": array, "set": sets}).sort_values("place")
    assert table["set"].is_monotonic_increasing
    assert table.groupby("place")["set"].nunique().max() == 1
    assert table["set"].nunique() == min(3, table["place"].nunique())


@settings(max_examples=30)
@given(
    places=st.lists(st.integers(0, 20), min_size=2, max_size=60).filter(
        lambda p: len(set(p)) > 1
    ),
    classes=st.integers(1, 3),
)
def test_a_tail_keeps_every_class_on_both_sides_if_any_cut_does(places, classes):
    """Compared with every possible cut: when one keeps all classes, so does the chosen
    one.
    """
    array, strata = np.array(places), np.arange(len(places)) % classes
    held_out = membership.cut_tail(array, strata, 0.15)

    def keeps_all(mask):
        return len(set(strata[mask])) == len(set(strata[~mask])) == len(set(strata))

    cuts = [array > place for place in sorted(set(places))[:-1]]
    assert 0 < held_out.sum() < len(places)
    assert keeps_all(held_out) == any(keeps_all(cut) for cut in cuts)


@pytest.mark.parametrize(
    ("rows", "rare"),
    [
        ([3, 1, 1], False),  # five rows, one in every set: it can be learnt and judged
        ([2, 1, 1], True),  # of four rows a fifth is less than one
        ([30, 0, 12], True),  # few, and the test set lacks it
        ([60, 0, 12], False),  # 72 rows should be in every set: the split is at fault
        ([0, 0, 200], False),  # new in the validation set
    ],
)
def test_few_rows_and_a_set_without_them_make_a_class_rare(rows, rare):
    """A class of many rows that a set lacks is never set aside silently."""
    assert (
        membership.too_rare(np.array([[3000, 1000, 1000], [3000, 1000, 1000], rows]))[2]
        == rare
    )


def test_two_classes_are_left_and_a_twentieth_is_set_aside_at_most():
    """With all but one class rare there is nothing to learn, and with many rare ones
    the target is at fault.
    """
    assert not membership.too_rare(
        np.array([[3000, 1000, 1000], [1, 0, 0], [1, 1, 0]])
    ).any()
    assert not membership.may_have_rare_classes(pd.Series(["yes"] * 99 + ["no"]))
    frequent = [[30, 10, 10], [30, 10, 10]]
    assert membership.too_rare(np.array([*frequent, *[[1, 0, 0]] * 5])).sum() == 5
    assert not membership.too_rare(np.array([*frequent, *[[1, 0, 0]] * 6])).any()


def test_classes_are_counted_by_set_whatever_the_order_of_rows():
    """The same rows in another order set the same classes aside, and the gap counts for
    none.
    """
    target = pd.Series(["a", "b"] * 50 + ["c"] * 3)
    sets = pd.Series(
        ["train", "train", "test", "test", "validation"] * 20 + ["gap"] * 3
    )
    order = np.random.default_rng(0).permutation(len(target))
    assert (
        membership.rare_classes_in(target, sets)
        == membership.rare_classes_in(target.iloc[order], sets)
        == ["c"]
    )


# --- folds ---


WANTED = CrossValidation(folds=5, repeats=2)
WAYS = [RANDOM, BY_ID, BY_GROUP, BY_TIME | {"gap": "6 hours"}]


def cut(frame: pd.DataFrame, by: dict, wanted: CrossValidation = WANTED):
    """The folds of all these rows."""
    return membership.folds_of(frame, experiment(by), wanted, tuple(FEATURES))


@pytest.mark.parametrize("by", WAYS, ids=lambda by: by["by"])
def test_no_row_is_fitted_on_and_predicted(by: dict):
    """Nor a group, or anything within the gap; but by time each repeat predicts every
    row once, in another cut.
    """
    frame = made(300)
    folds = cut(frame, by)
    if by["by"] != "time":
        for repeat in (0, 1):
            masks = [fold.predicted for fold in folds if fold.repeat == repeat]
            assert (np.sum(masks, axis=0) == 1).all()
        assert not np.array_equal(folds[0].predicted, folds[5].predicted)
    for fold in folds:
        assert fold.fitted.any()
        assert fold.predicted.any()
        assert not (fold.fitted & fold.predicted).any()
        fitted = frame[fold.fitted]
        predicted = frame[fold.predicted]
        if by["by"] == "group":
            assert set(fitted["patient"]).isdisjoint(predicted["patient"])
        if by["by"] == "time":
            distance = predicted["visited"].min() - fitted["visited"].max()
            assert distance >= pd.Timedelta("6h")


def test_by_time_the_later_half_is_predicted_once_from_all_before_it():
    """There is one order to cut, so repeats have no place."""
    folds = cut(made(300), BY_TIME, CrossValidation(folds=5, repeats=1))
    assert [int(fold.fitted.sum()) for fold in folds] == [150, 180, 210, 240, 270]
    assert np.array_equal(
        np.sum([fold.predicted for fold in folds], axis=0), np.arange(300) >= 150
    )


@pytest.mark.parametrize("predicts", ["new", "known"])
def test_folds_ask_what_the_sets_ask(predicts: str):
    """No fold predicts a row of the past, or of a group of the other kind."""
    frame = made(300, patient=np.random.default_rng(0).integers(0, 150, 300))
    by = BY_TIME | {"group": "patient", "predicts": predicts}
    folds = cut(frame, by, CrossValidation(folds=5, repeats=1))
    assert len(folds) == 5
    for fold in folds:
        fitted, predicted = frame[fold.fitted], frame[fold.predicted]
        assert fitted["visited"].max() < predicted["visited"].min()
        known = predicted["patient"].isin(fitted["patient"])
        assert known.all() if predicts == "known" else not known.any()


@pytest.mark.parametrize("by", [RANDOM, BY_TIME], ids=lambda by: by["by"])
def test_the_order_and_number_of_rows_do_not_matter(by: dict):
    """A shuffled, renumbered table has the same folds."""
    frame = made(300)
    order = np.random.default_rng(0).permutation(300)
    shuffled = cut(frame.iloc[order].reset_index(drop=True), by)
    for fold, other in zip(cut(frame, by), shuffled, strict=True):
        assert np.array_equal(fold.predicted[order], other.predicted)
        assert np.array_equal(fold.fitted[order], other.fitted)


def test_one_cluster_cannot_be_left_out():
    """The error says what to write instead."""
    with pytest.raises(EmptySet, match="300 train and test rows are one cluster"):
        cut(made(300, patient="the only one"), BY_GROUP)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=5, max_size=120)
)
def test_clusters_stay_whole_and_classes_come_out_even(rows: list[tuple[int, int]]):
    """Of clusters of one row each class differs by one between folds at most."""
    cluster, label = (
        np.unique(one, return_inverse=True)[1] for one in np.array(rows).T
    )
    together = membership.deal(cluster.astype(np.uint64), label, 5)
    for one in np.unique(cluster):
        assert len(np.unique(together[cluster == one])) == 1
    apart = membership.deal(np.arange(len(cluster), dtype=np.uint64), label, 5)
    for one in np.unique(label):
        assert np.ptp(np.bincount(apart[label == one], minlength=5)) <= 1


def test_named_columns_decide_the_sets_whatever_the_features():
    """A dropped feature moves no row; a column that the table lacks is named."""
    frame = made(1_000, c=np.arange(1_000.0))
    by = {"by": "random", "columns": ["a", "b"]}
    spec = experiment(by)
    identity = frame[["a", "b", spec.target]]
    sets = [
        membership.assign_sets(frame, spec, features, identity)
        for features in (["a", "b", "c"], ["a"])
    ]
    pd.testing.assert_series_equal(*sets)
    pd.testing.assert_series_equal(sets[0], assigned(frame, RANDOM))
    absent = scenario.spec("binary", {"by": "random", "columns": ["ward", "absent"]})
    schema = shared_schema(scenario.SCHEMA, "schema.yaml")
    with pytest.raises(UnusableTable, match=r"split\.columns\.1"):
        membership.prepare_and_assign(scenario.table(), schema, absent)
