"""Arrays as files: what comes back is what went in, mapped and locked."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from experiment_pipeline.storage.arrays import array_of, files_of, mapped, npy

TYPES = st.sampled_from(["float64", "float32", "int64", "bool", "U3"])
TABLES = TYPES.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=3, min_side=0)))


def written(tables: dict, folder: Path) -> dict[str, Path]:
    """Name → path of the files of some tables."""
    for name, content in files_of(tables).items():
        (folder / name).write_bytes(content)
    return {path.name: path for path in folder.iterdir()}


@given(table=TABLES, columns_first=st.booleans())
def test_an_array_comes_back_as_it_was(
    table: np.ndarray, columns_first: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Type, shape, values and the order in memory, on which sums depend."""
    table = np.asfortranarray(table) if columns_first else table
    found = mapped(written({"a": table}, tmp_path_factory.mktemp("arrays")))["a"]
    for back in (found, array_of(npy(table))):
        assert back.dtype == table.dtype
        assert back.shape == table.shape
        assert back.flags.f_contiguous == table.flags.f_contiguous
        assert back.tobytes() == table.tobytes()
    assert type(found) is np.ndarray


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
def test_a_sparse_table_comes_back_as_its_parts(kind: type, tmp_path: Path) -> None:
    """Beside dense ones, and also where it holds nothing."""
    made = kind(np.eye(4, 3))
    tables = {"a": made, "none": kind((2, 2)), "b-data": np.arange(3.0)}
    found = mapped(written(tables, tmp_path))
    assert found.keys() == tables.keys()
    assert type(found["a"]) is kind
    assert (found["a"] != made).nnz == 0
    assert found["none"].shape == (2, 2)
    assert not found["b-data"].flags.writeable


def test_objects_are_refused() -> None:
    """They could only be pickled, and whoever reads a pickle runs it."""
    with pytest.raises(ValueError, match="pickle"):
        npy(np.array([object()]))
