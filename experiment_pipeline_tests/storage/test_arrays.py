"""Arrays in files are what they were; objects are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from experiment_pipeline.storage.arrays import array_of, npy

TYPES = st.sampled_from(["float64", "float32", "int64", "bool", "U3"])
TABLES = TYPES.flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=3, min_side=0))
)


@settings(max_examples=30)
@given(table=TABLES, columns_first=st.booleans())
def test_an_array_comes_back_as_it_was(table: np.ndarray, columns_first: bool):
    """Type, shape, values and the order in memory, on which sums depend."""
    table = np.asfortranarray(table) if columns_first else table
    back = array_of(npy(table))
    assert back.dtype == table.dtype
    assert back.shape == table.shape
    assert back.flags.f_contiguous == table.flags.f_contiguous
    assert back.tobytes() == table.tobytes()


def test_objects_are_refused():
    """They could only be pickled, and whoever reads a pickle runs it."""
    with pytest.raises(ValueError, match="pickle"):
        npy(np.array([object()]))
