"""An experiment with data, storage and registry on a real S3 server."""

import pytest
import s3fs

from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline_tests import runs, scenario

pytestmark = pytest.mark.slow


def test_an_experiment_runs_reruns_and_predicts_on_s3(s3, s3_bucket, tmp_path, monkeypatch):
    """Everything is stored in the bucket, reused from there, and the model works from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STORAGE_VARIABLE, f"s3://{s3_bucket}/lab")
    files = s3fs.S3FileSystem(endpoint_url=s3.endpoint, use_listings_cache=False)
    source, target, rejected = (
        f"s3://{s3_bucket}/{name}.csv" for name in ("in/visits", "out", "rejected")
    )
    files.pipe(source, scenario.table().to_csv(index=False).encode())
    spec = scenario.spec(url=source, export={"url": f"s3://{s3_bucket}/models"})
    runs.succeeded(spec, scenario.SCHEMA)
    version = f"s3://{s3_bucket}/models/clinic/registry/v0001"
    assert files.exists(f"{version}/model.skops")
    assert not (tmp_path / "artifacts").exists()
    again = runs.run(spec, scenario.SCHEMA)
    assert again.metadata("search_results")["reused"] == 4
    load_model(version).predict_table(source, target, rejected)
    assert files.cat_file(target).count(b"\n") > 400
