"""What a column is, in one vocabulary, whatever type carries it."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.table.kinds import kind_of

COLUMNS = {
    "boolean": [[True, False], pd.array([True, None], dtype="boolean")],
    "integer": [[1, 2], pd.array([1, None], dtype="Int64"), np.array([1, 2], dtype="uint8")],
    "float": [[1.0, None], np.array([1, 2], dtype="float32"), pd.array([0.5, None])],
    "complex": [[1j, 2j]],
    "datetime": [pd.date_range("2024", periods=2), pd.date_range("2024", periods=2, tz="UTC")],
    "duration": [pd.to_timedelta([1, 2], unit="s")],
    "category": [pd.Categorical(["a", None]), pd.Categorical([True, False])],
    "text": [["a", None], pd.array(["a", None], dtype="string"), np.array(["a", 1], dtype=object)],
    "nested": [[[1], [2]], [{"a": 1}, None], [(1, 2), "a"], [None, np.array([1])]],
    "other": [pd.period_range("2024", periods=2), pd.interval_range(0, 2)],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_type_has_a_kind(kind):
    """A column's kind goes by its type, and for Python objects by what they are."""
    assert {kind_of(pd.Series(values)) for values in COLUMNS[kind]} == {kind}
