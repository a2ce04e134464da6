"""Row hashes: equal values, equal numbers, for good."""

import numpy as np
import pandas as pd

from experiment_pipeline.rows.digests import row_hashes, uniform, value_hashes

FROZEN = ["0x959097bb95049971", "0xd388fb756dc6ae98", "0xf9e598093303e56b"]
TABLE = pd.DataFrame(
    {
        "a": [1, 2, 3],
        "b": ["x", None, "é"],
        "c": [0.5, np.nan, -0.0],
        "d": pd.to_datetime(["2024-01-01", None, "1969-12-31"]),
    }
)


def test_hashes_never_change():
    """Sets of existing experiments rest on these numbers."""
    assert [hex(value) for value in row_hashes(TABLE, list("abcd"), "salt")] == FROZEN


def test_a_value_hashes_the_same_in_every_type():
    """Integers, floats, nullables, booleans, categories and objects agree on equal values."""
    ones = [pd.Series([1]), pd.Series([1.0]), pd.Series([1], dtype="Int64"), pd.Series([True])]
    assert len({value_hashes(column)[0] for column in ones}) == 1
    texts = pd.Series(["x", None])
    for other in (texts.astype(object), texts.astype("category"), texts.astype("string")):
        assert (value_hashes(other) == value_hashes(texts)).all()
    instants = pd.Series(pd.to_datetime(["2024-01-01"]))
    for other in (instants.astype("datetime64[ns]"), instants.dt.tz_localize("UTC")):
        assert (value_hashes(other) == value_hashes(instants)).all()


def test_different_values_differ():
    """Neighbouring long integers, signs, text and number, missing and zero are apart."""
    values = [pd.Series([2**53, 2**53 + 1]), pd.Series([0.5, -0.5]), pd.Series([0.0, np.nan])]
    assert all(len(set(value_hashes(column))) == 2 for column in values)
    assert value_hashes(pd.Series(["1"]))[0] != value_hashes(pd.Series([1]))[0]
    assert value_hashes(pd.Series([0.0]))[0] == value_hashes(pd.Series([-0.0]))[0]


def test_columns_are_told_apart_but_not_ordered():
    """Swapping two columns' values changes the hash, swapping the columns does not."""
    one = pd.DataFrame({"a": [1], "b": [2]})
    other = pd.DataFrame({"a": [2], "b": [1]})
    assert row_hashes(one, ["a", "b"], "s")[0] == row_hashes(one, ["b", "a"], "s")[0]
    assert row_hashes(one, ["a", "b"], "s")[0] != row_hashes(other, ["a", "b"], "s")[0]
    assert row_hashes(one, ["a", "b"], "s")[0] != row_hashes(one, ["a", "b"], "t")[0]


def test_consecutive_numbers_spread_evenly():
    """Ids that count upwards are as good as random ones."""
    frame = pd.DataFrame({"id": np.arange(100_000)})
    places = uniform(row_hashes(frame, ["id"], "s"))
    counts, _ = np.histogram(places, bins=20, range=(0, 1))
    assert counts.min() > 4_700
    assert counts.max() < 5_300


def test_nested_cells_can_be_hashed():
    """Lists and mappings count as their text; they stop nothing here."""
    assert len(set(value_hashes(pd.Series([[1], [2], {"a": 1}])))) == 3
