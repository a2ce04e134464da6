"""A whole experiment whose fits run on a cluster: what is remembered of each, and the same model."""

from pathlib import Path

import pytest

from experiment_pipeline.tracking.questions import rows_of, run_of
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.stages.search.scenario import one

SEARCH = [one("lightgbm", num_leaves=[3, 7], n_estimators=20), one("linear", C=[0.1, 1.0])]


@pytest.mark.slow
def test_a_run_on_a_cluster_says_where_its_fits_ran_and_chooses_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local cluster by the environment; then in threads everything is found again."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", str(tmp_path / "stored"))
    monkeypatch.setenv("EXPERIMENT_PIPELINE_DASK", "local")
    spec = scenario.spec(url=str(scenario.write_csv(tmp_path / "t.csv")), search=SEARCH, workers=2)
    done = runs.run(spec, scenario.SCHEMA)
    assert done.success, done.failure
    assert "in the queue" in done.metadata("trained_model")["fitted by"]
    rows = rows_of("configurations", run_of(spec.name)).set_index("key")
    fitted = rows[rows["algorithm"] != "ensemble"]
    assert fitted["worker"].str.startswith("tcp://127.0.0.1:").all()
    assert (fitted["attempts"] == 1).all()
    assert (fitted[["queue_seconds", "read_seconds"]] >= 0).all(axis=None)
    assert list((tmp_path / "stored" / spec.name / "shared").rglob("*")) == []

    monkeypatch.delenv("EXPERIMENT_PIPELINE_DASK")
    again = runs.run(spec, scenario.SCHEMA)
    assert again.metadata("search_results")["reused"] == len(fitted)

    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", str(tmp_path / "others"))
    threads = runs.run(spec, scenario.SCHEMA)
    assert "fitted by" not in threads.metadata("trained_model")
    stored = [
        {path.name for path in (tmp_path / root / spec.name / "trained_model").rglob("model.*")}
        for root in ("stored", "others")
    ]
    assert stored[0] == stored[1]
