"""What lies on maps, and arrays in files, are what they were, and not in memory."""

import gc
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.storage import mapped as mapping
from experiment_pipeline.storage import mapped as maps
from experiment_pipeline.storage import tables
from experiment_pipeline.storage.tables import read_table, to_parquet, write_table
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline_tests.bench.watching import anonymous_bytes
from experiment_pipeline_tests.orchestration.test_tables import (
    COLUMNS,
    one_column,
    sample,
)

ROWS = 1_000_000


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_any_type_is_the_same_on_a_map(kind: str) -> None:
    """Values, missing ones, type, index and digest; also of no rows, and of some."""
    frame = one_column(COLUMNS[kind])
    for rows in (frame, frame.iloc[:0], frame.iloc[[2, 0]]):
        found = maps.on_map(rows)
        pd.testing.assert_frame_equal(found, rows)
        assert table_digest(found) == table_digest(rows)
        assert to_parquet(found) == to_parquet(rows)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=9) | st.none(), st.floats()), max_size=9),
    st.integers(1, 3),
)
def test_a_large_stored_table_is_read_as_a_small_one(cells, pieces) -> None:
    """Whether it was written at once or in pieces, texts and bits of numbers are those
    of the file.
    """
    frame = pd.DataFrame(
        {
            "text": pd.Series([text for text, _ in cells], dtype="str"),
            "number": np.array([number for _, number in cells], np.float64),
        }
    )
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(tables, "GROUP_ROWS", pieces)
        path = UPath(folder) / "table.parquet"
        write_table(path, frame)
        small = read_table(path)
        patch.setattr(tables, "WHOLE_BYTES", 0)
        large = read_table(path)
    pd.testing.assert_frame_equal(large, small)
    assert large["number"].to_numpy().tobytes() == small["number"].to_numpy().tobytes()


def test_a_large_set_is_on_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is said of it; nobody can write into it, and some of its rows are an
    own table.
    """
    path = UPath(tmp_path / "set.parquet")
    held = SetTable(sample(), "ab", np.zeros(3, np.uint8), Origin("", {}, "", ()))
    write_table(path, held)
    monkeypatch.setattr(tables, "WHOLE_BYTES", 0)
    found = read_table(path, SetTable)
    pd.testing.assert_frame_equal(found.rows, held.rows)
    assert (found.digest, found.origin, len(found.early_stopping)) == (
        held.digest,
        held.origin,
        3,
    )
    assert not found.rows["float64"].to_numpy().flags.writeable
    some = found.rows.iloc[[0, 1]]
    some.loc[some.index[0], "float64"] = 7.0
    pd.testing.assert_frame_equal(found.rows, held.rows)


def test_cells_on_maps_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while somebody holds the table, nor for its columns, nor for a slice of
    its rows.
    """
    numbers = np.random.default_rng(0).random((8, ROWS))
    frame = pd.DataFrame({f"x{place}": row for place, row in enumerate(numbers)})
    frame = frame.assign(
        text=pd.Series(np.arange(ROWS)).astype("str"),
        day=pd.Series(np.arange(ROWS)).astype("datetime64[s]"),
        flag=pd.Series(np.arange(ROWS) % 2 == 0).astype("boolean"),
    )
    path, index = UPath(tmp_path / "table.parquet"), frame.index.to_numpy() + 1
    write_table(path, frame.set_axis(pd.Index(index, name="row_number")))
    size = frame.memory_usage().sum()
    del frame, numbers
    monkeypatch.setattr(tables, "WHOLE_BYTES", 0)
    before = _anonymous()
    found = read_table(path)
    sums = [float(found[f"x{place}"].sum()) for place in range(8)]
    found["text"].iloc[1_000:2_000].str.len()
    assert min(sums) > 0.49 * ROWS
    assert _anonymous() - before < 0.3 * size


def test_no_file_is_left_and_none_can_be_found(tmp_path, monkeypatch) -> None:
    """Not even while the cells are read: so that a kill leaves none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cells = maps.mapped(np.arange(1_000.0))
    assert list(tmp_path.iterdir()) == []
    assert cells.sum() == 499_500.0


def test_a_folder_without_space_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which, and what to do."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageUnreachable, match="TMPDIR") as caught:
        maps.mapped(np.arange(1_000.0))
    assert "gone" in str(caught.value)


def _anonymous() -> int:
    """Bytes of memory of this process that no file stands behind."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    return anonymous_bytes()


def test_batches_on_a_map_are_read_without_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A column of texts is a view of the file: Arrow allocates nothing for it."""
    monkeypatch.setattr(mapping, "HELD_BYTES", 0)
    texts = pa.array([f"text {number}" for number in range(10_000)], pa.large_string())
    batch = pa.record_batch({"a": texts, "b": texts})
    before = pa.total_allocated_bytes()
    table = maps.batches_as_table(iter([batch] * 3), batch.schema)
    assert pa.total_allocated_bytes() - before < 10_000
    assert table["b"].equals(pa.chunked_array([texts] * 3))


@pytest.mark.parametrize("most", [0, 1_000_000])
def test_what_is_large_is_put_aside(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers; a small array is itself, a large one lies in a file and is
    locked.
    """
    monkeypatch.setattr(mapping, "HELD_BYTES", most)
    cells = np.arange(1_000.0)
    found = mapping.aside(cells)
    assert np.array_equal(found, cells)
    assert (found is cells) == found.flags.writeable == (most > 0)


# --- arrays as files ---

TYPES = st.sampled_from(["float64", "float32", "int64", "bool", "U3"])
TABLES = TYPES.flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=3, min_side=0))
)


def written(tables: dict, folder: Path) -> dict[str, Path]:
    """Name → path of the files of some tables."""
    maps.write_tables(tables, folder)
    return {path.name: path for path in folder.iterdir()}


@given(table=TABLES, columns_first=st.booleans())
def test_an_array_comes_back_as_it_was(
    table: np.ndarray, columns_first: bool, tmp_path_factory
):
    """Type, shape, values and the order in memory, on which sums depend."""
    table = np.asfortranarray(table) if columns_first else table
    found = maps.read_tables(written({"a": table}, tmp_path_factory.mktemp("arrays")))[
        "a"
    ]
    for back in (found, maps.array_of(maps.npy(table))):
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
    found = maps.read_tables(written(tables, tmp_path))
    assert found.keys() == tables.keys()
    assert type(found["a"]) is kind
    assert (found["a"] != made).nnz == 0
    assert found["none"].shape == (2, 2)
    assert not found["b-data"].flags.writeable


@dataclass(frozen=True)
class Counting:
    """Rows that nobody holds: 100 blocks of 1,000, in which each cell is one more than
    the last.
    """

    shape: tuple[int, int] = (100_000, 4)

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, 400_000, 4_000):
            yield np.arange(start, start + 4_000, dtype=np.float64).reshape(1_000, 4)


def test_a_table_in_blocks_is_written_as_an_array_is_and_never_whole(
    tmp_path: Path,
) -> None:
    """The bytes of the array, from memory for some blocks; and an array is not copied
    to be written.
    """
    whole = np.arange(400_000.0).reshape(100_000, 4)
    for table in (Counting(), whole):
        tracemalloc.start()
        maps.write_tables({"a": table}, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 200_000
        assert (tmp_path / "a.npy").read_bytes() == maps.npy(whole)


def test_objects_are_refused() -> None:
    """They could only be pickled, and whoever reads a pickle runs it."""
    with pytest.raises(ValueError, match="pickle"):
        maps.npy(np.array([object()]))
