"""The profile of a table: small, the same in every process, and silent about rare values."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.pandas import column, data_frames

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.validated_data.profile import profile
from experiment_pipeline_tests.stages.validated_data.validation import clinic, read_back

COLUMNS = {
    "number": [0.5 * n for n in range(60)],
    "few": [1, 2, 3] * 20,
    "text": ["a", "b", None] * 20,
    "flag": [True, False] * 30,
    "maybe": pd.array([True, None] * 30, dtype="boolean"),
    "whole": pd.array([*range(59), None], dtype="Int64"),
    "category": pd.Categorical(["x", "y"] * 30),
    "instant": pd.date_range("2024-01-01", periods=60, unit="us"),
    "zoned": pd.date_range("2024-01-01", periods=60, unit="us", tz="Europe/Berlin"),
    "nothing": [np.nan] * 60,
    "never": pd.Series([pd.NaT] * 60, dtype="datetime64[us]"),
    "nested": [[1, 2]] * 60,
    "infinite": [np.inf, -np.inf, *map(float, range(58))],
}
FRAME = pd.DataFrame(COLUMNS).rename_axis(index="row_number")


def test_every_type_can_be_counted():
    """Whatever a column holds, it can be counted in one of four ways."""
    kinds = {name: column.kind for name, column in profile(FRAME, 0.0).columns.items()}
    assert {name for name, kind in kinds.items() if kind == "instant"} == {
        "instant",
        "zoned",
        "never",
    }
    assert {name for name, kind in kinds.items() if kind == "nested"} == {"nested"}
    assert kinds["flag"] == kinds["maybe"] == kinds["text"] == "category"


@pytest.mark.parametrize("name", FRAME.columns)
def test_every_row_is_counted_once(name):
    """The counts of a column add up to the rows; the last one is the missing ones."""
    found = profile(FRAME, 0.0).columns[name]
    assert sum(found.counts) == len(FRAME)
    assert found.counts[-1] == FRAME[name].isna().sum()
    assert found.text


def test_a_profile_survives_storing():
    """As JSON and back it is the same profile, with the same digest."""
    for before in (profile(FRAME, 0.25), profile(clinic().validated, 10 / 480)):
        again = read_back(before.to_bytes())
        assert again == before
        assert again.digest == before.digest


def test_rare_values_are_not_named():
    """Ids and names of few rows do not leave the table; frequent values do."""
    found = profile(clinic().validated, 0.0)
    assert found.columns["visit_id"].categories == ()
    assert b"V0001" not in found.to_bytes()
    assert found.columns["ward"].categories == ("north", "south", "east", "day clinic")
    assert found.columns["ward"].text.startswith("north 4")


def test_a_column_in_a_line():
    """People read a median and a range, or the most frequent values, and what is missing."""
    texts = {name: column.text for name, column in profile(FRAME, 0.0).columns.items()}
    assert texts["number"] == "median 14.5 (0 to 29.5)"
    assert texts["text"] == "a 33.3%, b 33.3%, 33.3% missing"
    assert texts["instant"].startswith("median 2024-01-30 00:00:00 (2024-01-01")
    assert texts["nothing"] == "100.0% missing"


def test_what_is_no_profile_is_said():
    """A damaged file is an error that names it."""
    for content in (
        b"",
        b"[]",
        b'{"rows": 1}',
        b'{"rows": 1, "rejection_rate": 0, "columns": [3]}',
    ):
        with pytest.raises(EntryCorrupt, match="here"):
            read_back(content)


@given(
    data_frames(
        [
            column("x", elements=st.floats()),
            column("t", elements=st.one_of(st.none(), st.text(max_size=2)), dtype=object),
        ]
    )
)
def test_any_table_has_a_profile_that_counts_every_row(frame):
    """Whatever numbers and texts a table holds, it is profiled, stored and read back."""
    found = profile(frame, 0.0)
    assert all(sum(column.counts) == len(frame) for column in found.columns.values())
    assert read_back(found.to_bytes()).digest == found.digest
