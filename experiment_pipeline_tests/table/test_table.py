"""What lies on maps is what it was, and not in memory."""

import gc
import tempfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.intake import raw_table
from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.storage import tables
from experiment_pipeline.storage.tables import read_table, to_parquet, write_table
from experiment_pipeline.table import table as large
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline_tests.bench.watching import anonymous_bytes
from experiment_pipeline_tests.orchestration.test_tables import (
    COLUMNS,
    one_column,
    sample,
)

ROWS = 600_000


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_any_type_is_the_same_on_a_map(kind: str):
    """Values, missing ones, type, index and digest; also of no rows, and of some."""
    frame = one_column(COLUMNS[kind])
    for rows in (frame, frame.iloc[:0]):
        read_back = large.on_map(rows)
        pd.testing.assert_frame_equal(read_back, rows)
        assert table_digest(read_back) == table_digest(rows)
        assert to_parquet(read_back) == to_parquet(rows)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.text(max_size=9) | st.none(), st.floats()), max_size=9),
    st.integers(1, 3),
)
def test_a_large_stored_table_is_read_as_a_small_one(cells, pieces):
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


def test_a_large_set_is_on_maps(tmp_path, monkeypatch):
    """With what is said of it; nobody can write into it, and some of its rows are an
    own table.
    """
    path = UPath(tmp_path / "set.parquet")
    held = SetTable(sample(), "ab", np.zeros(3, np.uint8), Origin("", {}, "", ()))
    write_table(path, held)
    monkeypatch.setattr(tables, "WHOLE_BYTES", 0)
    read_back = read_table(path, SetTable)
    assert (read_back.digest, read_back.origin) == (held.digest, held.origin)
    assert not read_back.rows["float64"].to_numpy().flags.writeable
    some = read_back.rows.iloc[[0, 1]]
    some.loc[some.index[0], "float64"] = 7.0
    pd.testing.assert_frame_equal(read_back.rows, held.rows)


def test_cells_on_maps_take_no_memory(tmp_path, monkeypatch):
    """Neither while somebody holds the table, nor for its columns, nor for a slice of
    its rows.
    """
    numbers = np.random.default_rng(0).random((8, ROWS))
    frame = pd.DataFrame({f"x{place}": row for place, row in enumerate(numbers)})
    frame["text"] = pd.Series(np.arange(ROWS)).astype("str")
    path = UPath(tmp_path / "table.parquet")
    write_table(path, frame)
    size = frame.memory_usage().sum()
    del frame, numbers
    monkeypatch.setattr(tables, "WHOLE_BYTES", 0)
    before = _anonymous()
    read_back = read_table(path)
    sums = [float(read_back[f"x{place}"].sum()) for place in range(8)]
    read_back["text"].iloc[1_000:2_000].str.len()
    assert min(sums) > 0.49 * ROWS
    assert _anonymous() - before < 0.5 * size


def test_no_file_is_left_and_none_can_be_read_back(tmp_path, monkeypatch):
    """Not even while the cells are read: so that a kill leaves none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cells = large.mapped(np.arange(1_000.0))
    assert list(tmp_path.iterdir()) == []
    assert cells.sum() == 499_500.0


def test_a_folder_without_space_is_named(tmp_path, monkeypatch):
    """The error says which, and what to do."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageUnreachable, match="TMPDIR") as caught:
        large.mapped(np.arange(1_000.0))
    assert "gone" in str(caught.value)


def _anonymous() -> int:
    """Bytes of memory of this process that no file stands behind."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    return anonymous_bytes()


def test_batches_on_a_map_are_read_without_a_copy(monkeypatch):
    """A column of texts is a view of the file: Arrow allocates nothing for it."""
    monkeypatch.setattr(raw_table, "HELD_BYTES", 0)
    texts = pa.array([f"text {number}" for number in range(100_000)], pa.large_string())
    batch = pa.record_batch({"a": texts, "b": texts})
    before = pa.total_allocated_bytes()
    table = raw_table.batches_as_table(iter([batch] * 3))
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert table["b"].equals(pa.chunked_array([texts] * 3))


@pytest.mark.parametrize("most", [0, 1_000_000])
def test_a_large_array_is_on_a_map(most: int, monkeypatch):
    """The same numbers; a small array is itself, a large one cannot be written to."""
    monkeypatch.setattr(large, "COLUMN_BYTES", most)
    cells = np.arange(1_000.0)
    spilled = large.spilled(cells)
    assert np.array_equal(spilled, cells)
    assert (spilled is cells) == spilled.flags.writeable == (most > 0)
