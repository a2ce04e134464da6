"""The examples of the documentation run as they stand."""

import runpy
from pathlib import Path

import dagster as dg
import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


@pytest.mark.slow
def test_partitions_as_configurations_in_plain_dagster(tmp_path, monkeypatch):
    """One run trains every configuration, each partition has its score, and the best one is chosen."""
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "hyperparameter_partitions.py"))
    with dg.instance_for_test() as instance:
        job = names["defs"].resolve_job_def("search")
        assert job.execute_in_process(instance=instance).success
        scores = {}
        for key in names["CONFIGURATIONS"]:
            wanted = dg.AssetRecordsFilter(dg.AssetKey("model"), asset_partitions=[key])
            (record,) = instance.fetch_materializations(wanted, limit=1).records
            scores[key] = record.asset_materialization.metadata["auc"].value
        best = instance.get_latest_materialization_event(dg.AssetKey("leaderboard"))
    assert len(scores) == 9
    assert scores[best.asset_materialization.metadata["best"].value] == max(scores.values())
