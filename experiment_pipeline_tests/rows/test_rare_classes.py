import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.rows.membership import (
    may_have_rare_classes,
    rare_classes_in,
    set_aside_in_words,
    too_rare,
)

NURSERY = np.array([[2592, 864, 864], [2560, 853, 853], [2426, 809, 809], [197, 66, 65], [1, 1, 0]])


def test_a_class_with_fewer_rows_than_sets_is_rare() -> None:
    """Two of 12,960 rows are set aside, and no other class."""
    assert too_rare(NURSERY).tolist() == [False, False, False, False, True]


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
def test_few_rows_and_a_set_without_them_make_a_class_rare(rows, rare) -> None:
    """A class of many rows that a set lacks is never set aside silently."""
    assert too_rare(np.array([[3000, 1000, 1000], [3000, 1000, 1000], rows]))[2] == rare


def test_two_classes_are_left_or_none_is_set_aside() -> None:
    """With all but one class rare there is nothing to learn, which others refuse."""
    assert not too_rare(np.array([[3000, 1000, 1000], [1, 0, 0], [1, 1, 0]])).any()
    assert not may_have_rare_classes(pd.Series(["yes"] * 99 + ["no"]))


def test_more_than_a_twentieth_is_no_remainder() -> None:
    """Many rare classes together are not set aside: the target is at fault."""
    frequent = [[30, 10, 10], [30, 10, 10]]
    assert too_rare(np.array([*frequent, *[[1, 0, 0]] * 5])).sum() == 5
    assert not too_rare(np.array([*frequent, *[[1, 0, 0]] * 6])).any()


def test_classes_are_counted_by_set_whatever_the_order_of_rows() -> None:
    """The same rows in another order set the same classes aside, and the gap counts for none."""
    target = pd.Series(["a", "b"] * 50 + ["c"] * 3)
    sets = pd.Series(["train", "train", "test", "test", "validation"] * 20 + ["gap"] * 3)
    order = np.random.default_rng(0).permutation(len(target))
    assert rare_classes_in(target, sets) == rare_classes_in(target.iloc[order], sets) == ["c"]


def test_what_was_set_aside_in_words() -> None:
    """Each class is named with its rows."""
    (first, second) = set_aside_in_words(pd.Series(["c", "c", "d"]))
    assert first.startswith("class c (2 rows) cannot be predicted")
    assert "class d (1 row)" in second
