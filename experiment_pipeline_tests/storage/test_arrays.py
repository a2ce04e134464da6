"""Arrays and tables in files are what they were; objects are refused."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from experiment_pipeline.storage.arrays import array_of, npy, read_tables, write_tables

TYPES = st.sampled_from(["float64", "float32", "int64", "bool", "U3"])
TABLES = TYPES.flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=3, min_side=0))
)


def written(tables: dict, folder: Path) -> dict[str, Path]:
    """Name → path of the files of some tables."""
    write_tables(tables, folder)
    return {path.name: path for path in folder.iterdir()}


@given(table=TABLES, columns_first=st.booleans())
def test_an_array_comes_back_as_it_was(
    table: np.ndarray, columns_first: bool, tmp_path_factory
):
    """Type, shape, values and the order in memory, on which sums depend."""
    table = np.asfortranarray(table) if columns_first else table
    found = read_tables(written({"a": table}, tmp_path_factory.mktemp("arrays")))["a"]
    for back in (found, array_of(npy(table))):
        assert back.dtype == table.dtype
        assert back.shape == table.shape
        assert back.flags.f_contiguous == table.flags.f_contiguous
        assert back.tobytes() == table.tobytes()
    assert type(found) is np.ndarray


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
def test_a_sparse_table_comes_back_as_its_parts(kind: type, tmp_path):
    """Beside dense ones, and also where it holds nothing."""
    made = kind(np.eye(4, 3))
    tables = {"a": made, "none": kind((2, 2)), "b-data": np.arange(3.0)}
    found = read_tables(written(tables, tmp_path))
    assert found.keys() == tables.keys()
    assert type(found["a"]) is kind
    assert (found["a"] != made).nnz == 0
    assert found["none"].shape == (2, 2)
    assert not found["b-data"].flags.writeable


@dataclass(frozen=True)
class Counting:
    """Rows that nobody holds: 100 blocks of 16,000, in which each cell is one more than
    the last.
    """

    shape: tuple[int, int] = (1_600_000, 4)

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, 6_400_000, 64_000):
            yield np.arange(start, start + 64_000, dtype=np.float64).reshape(16_000, 4)


def test_a_table_in_blocks_is_written_as_an_array_is_and_never_whole(tmp_path):
    """The bytes of the array, from memory for some blocks; and an array is not copied
    to be written.
    """
    whole = np.arange(6_400_000.0).reshape(1_600_000, 4)
    for table in (Counting(), whole):
        tracemalloc.start()
        write_tables({"a": table}, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # A block has 1 % of the 51 MB; what threads of other tests hold is in the peak.
        assert peak < whole.nbytes / 2
        assert (tmp_path / "a.npy").read_bytes() == npy(whole)


def test_objects_are_refused():
    """They could only be pickled, and whoever reads a pickle runs it."""
    with pytest.raises(ValueError, match="pickle"):
        npy(np.array([object()]))
