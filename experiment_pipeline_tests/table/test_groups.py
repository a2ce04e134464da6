"""The groups of an audit: values, ranges of numbers, and what is missing."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.table.features import check_target
from experiment_pipeline.table.kinds import groups_of
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of


def test_groups_are_values_ranges_and_what_is_missing():
    """Numbers of many values are cut into quarters; rare texts beyond the first twenty
    are one group.
    """
    names, codes = groups_of(pd.Series(["F", None, "M", "F", "F", "M"]))
    assert [names[code] for code in codes] == ["F", "missing", "M", "F", "F", "M"]
    frequent = [f"t{number}" for number in range(20)] * 2
    names, codes = groups_of(pd.Series([*frequent, "x", "y"]))
    assert (len(names), names[codes[-1]]) == (21, "other values")


@pytest.mark.parametrize("first", [0.0, 20_260_101])
def test_numbers_of_more_digits_than_shown_are_cut_into_quarters(first: float):
    """Their names differ."""
    names, codes = groups_of(pd.Series(first + np.arange(80)))
    assert (len({*names}), np.bincount(codes).tolist()) == (4, [20] * 4)


@pytest.mark.parametrize(
    "cells",
    [
        ["department of " * 5 + "north", "department of " * 5 + "south"],
        ["missing", None],
        ["other values", "a"],
    ],
)
def test_groups_whose_names_look_alike_stay_apart(cells: list):
    """Long names that begin alike, and a text `missing` beside a gap."""
    names, codes = groups_of(pd.Series(cells))
    assert (len({*names}), sorted(codes)) == (2, [0, 1])


@pytest.mark.parametrize(
    ("column", "rule"),
    [("sex", "the table has no column 'sex'"), ("at", "has no groups")],
)
def test_columns_that_form_no_groups_are_named_before_the_search(
    column: str, rule: str
):
    """A column that is not there, and times."""
    times = pd.to_datetime(["2026-01-01", "2026-01-02"])
    rows = pd.DataFrame({"y": [0, 1], "at": times})
    with pytest.raises(UnusableTable, match=rule):
        check_target(rows, spec_of(target="y", audit=[column]))
