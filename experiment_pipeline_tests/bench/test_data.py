"""The benchmark of the stages before training measures what it says."""

import pandas as pd

from experiment_pipeline_tests.bench import data


def test_a_file_of_batches_is_made_once(tmp_path, monkeypatch):
    """Its ids run on, no batch repeats another, and it holds every type; the same in
    every process.
    """
    monkeypatch.setattr(data, "BATCH", 400)
    path = data.wide_file(tmp_path, 1_000, 12)
    made, frame = path.stat().st_mtime_ns, pd.read_parquet(path)
    assert frame.shape == (1_000, 12)
    assert {str(dtype) for dtype in frame.dtypes} == {
        "str",
        "float64",
        "int64",
        "datetime64[us]",
    }
    assert list(frame["id"]) == [f"R{n:08d}" for n in range(1_000)]
    assert frame["c00"].dropna().is_unique
    assert data.wide_file(tmp_path, 1_000, 12).stat().st_mtime_ns == made
    assert frame[:400].equals(data.wide_table(400, 12).reset_index(drop=True))
