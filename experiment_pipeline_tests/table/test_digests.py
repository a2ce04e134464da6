"""Row hashes and table digests: equal values, equal numbers, for good."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.table.digests import row_hashes, table_digest, value_hashes

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
    """Integers, floats, nullables, booleans, categories and objects agree on equal
    values.
    """
    ones = [[1], [1.0], pd.array([1], "Int64"), [True]]
    assert len({value_hashes(pd.Series(cells))[0] for cells in ones}) == 1
    texts = pd.Series(["x", None])
    for dtype in ("object", "category", "string"):
        assert (value_hashes(texts.astype(dtype)) == value_hashes(texts)).all()
    gap = pd.Series([1, None], dtype="Int64")
    assert (value_hashes(gap.astype("category")) == value_hashes(gap)).all()
    instants = pd.Series(pd.to_datetime(["2024-01-01"]))
    for other in (instants.astype("datetime64[ns]"), instants.dt.tz_localize("UTC")):
        assert (value_hashes(other) == value_hashes(instants)).all()


def test_different_values_differ_and_columns_are_told_apart_but_not_ordered():
    """Neighbouring long integers, signs, text and number, missing and zero; values that
    swap their columns.
    """
    for cells in ([2**53, 2**53 + 1], [0.5, -0.5], [0.0, np.nan]):
        assert len({*value_hashes(pd.Series(cells))}) == 2
    assert value_hashes(pd.Series(["1"]))[0] != value_hashes(pd.Series([1]))[0]
    assert len({*value_hashes(pd.Series([0.0, -0.0]))}) == 1

    def row_hash(a: int, b: int, names: str, salt: str) -> int:
        return row_hashes(pd.DataFrame({"a": [a], "b": [b]}), list(names), salt)[0]

    usual = row_hash(1, 2, "ab", "s")
    assert usual == row_hash(1, 2, "ba", "s")
    assert usual not in {row_hash(2, 1, "ab", "s"), row_hash(1, 2, "ab", "t")}


ROWS = pd.RangeIndex(3, name="row_number")
FRAME = TABLE.set_axis(ROWS)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.assign(a=[1, 2, 4]),
        FRAME.assign(b=["x", "", "é"]),
        FRAME.assign(a=FRAME["a"].astype("int32")),
        FRAME.rename(columns={"a": "A"}),
        FRAME[["c", "a", "b", "d"]],
        FRAME.iloc[::-1].set_index(ROWS),
        FRAME.set_index(pd.Index([0, 1, 3], name="row_number")),
    ],
)
def test_every_difference_changes_the_digest(other: pd.DataFrame):
    """Values, types, names, and the order of rows and columns count."""
    assert table_digest(other) != table_digest(FRAME)


def test_names_are_told_apart_and_only_the_row_number_counts_as_index():
    """Two columns are not one with a longer name; an index of another name is no part
    of the table.
    """
    assert (
        len({table_digest(pd.DataFrame({text: [1]})) for text in ("ab\nint64", "ab")})
        == 2
    )
    plain = FRAME.reset_index(drop=True)
    assert table_digest(plain) == table_digest(plain.set_index(pd.Index([7, 8, 9])))
    assert table_digest(plain) != table_digest(FRAME)


@settings(max_examples=25)
@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_texts_differ_exactly_when_digests_do(first: list[str], second: list[str]):
    """Any two text columns have equal digests when, and only when, they are equal."""
    one, two = (
        pd.DataFrame({"a": pd.Series(values, dtype="str")})
        for values in (first, second)
    )
    assert (table_digest(one) == table_digest(two)) == (first == second)


def nested(*cells: object) -> str:
    """The digest of one object column."""
    return table_digest(pd.DataFrame({"a": pd.Series(cells, dtype="object")}))


def test_lists_and_mappings_have_a_digest():
    """Nested cells count by value: the order of a mapping's keys and numpy's types do
    not.
    """
    first = nested({"x": 1, "y": [1.5, None]}, [1, 2])
    assert first == nested({"y": [1.5, np.nan], "x": 1}, np.array([1, 2]))
    assert first != nested({"x": 1, "y": [1.5, None]}, [2, 1])
    assert first != nested({"x": 1, "z": [1.5, None]}, [1, 2])
    assert nested([[1], [2]]) != nested([[1, 2]]) != nested(["1, 2"])
    of_arrow = pd.DataFrame(
        {"a": [[1], [2]]}, dtype=pd.ArrowDtype(pa.list_(pa.int64()))
    )
    assert table_digest(of_arrow) != table_digest(of_arrow.iloc[::-1])
