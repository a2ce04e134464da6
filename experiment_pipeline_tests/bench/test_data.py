"""The benchmark of the stages before training measures what it says."""

import pandas as pd

from experiment_pipeline_tests.bench import data


def test_the_made_up_table_is_the_same_in_every_process():
    """Its shape is as asked, it holds every type, and some rows break its schema."""
    frame = data.wide_table(2_000, 12)
    assert frame.shape == (2_000, 12)
    assert frame.equals(data.wide_table(2_000, 12))
    assert {str(dtype) for dtype in frame.dtypes} == {"str", "float64", "int64", "datetime64[us]"}
    assert "less_than" in data.wide_schema(frame)


def test_a_file_of_batches_is_made_once(tmp_path, monkeypatch):
    """Its ids run on, and no batch repeats another."""
    monkeypatch.setattr(data, "BATCH", 400)
    path = data.wide_file(tmp_path, 1_000, 6)
    made, frame = path.stat().st_mtime_ns, pd.read_parquet(path)
    assert frame.shape == (1_000, 6)
    assert list(frame["id"]) == [f"R{n:08d}" for n in range(1_000)]
    assert frame["c00"].dropna().is_unique
    assert data.wide_file(tmp_path, 1_000, 6).stat().st_mtime_ns == made
