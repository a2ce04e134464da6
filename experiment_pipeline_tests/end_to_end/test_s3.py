"""An experiment with data, storage and registry on a real S3 server."""

import pytest
import s3fs

from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline_tests import runs, scenario

pytestmark = pytest.mark.slow


@pytest.fixture
def files(s3, s3_bucket, monkeypatch):
    """The bucket with the table, which the environment names as storage."""
    monkeypatch.setenv(STORAGE_VARIABLE, f"s3://{s3_bucket}/lab")
    files = s3fs.S3FileSystem(endpoint_url=s3.endpoint, use_listings_cache=False)
    files.pipe(f"{s3_bucket}/in/visits.csv", scenario.table().to_csv(index=False).encode())
    yield files
    s3fs.S3FileSystem.clear_instance_cache()


def spec_in(bucket):
    return scenario.spec(
        url=f"s3://{bucket}/in/visits.csv", export={"url": f"s3://{bucket}/models"}
    )


def test_an_experiment_runs_reruns_and_predicts_on_s3(files, s3_bucket, tmp_path, monkeypatch):
    """Everything is stored in the bucket, reused from there, and the model works from there."""
    monkeypatch.chdir(tmp_path)
    first = runs.run(spec_in(s3_bucket), scenario.SCHEMA)
    assert first.success, first.failure
    version = f"s3://{s3_bucket}/models/clinic/registry/v0001"
    assert files.exists(f"{version}/model.skops")
    assert not (tmp_path / "artifacts").exists()
    again = runs.run(spec_in(s3_bucket), scenario.SCHEMA)
    assert again.metadata("search_results")["reused"] == 4
    source, target, rejected = (
        f"s3://{s3_bucket}/{name}.csv" for name in ("in/visits", "out", "rejected")
    )
    load_model(version).predict_table(source, target, rejected)
    assert files.cat_file(target).count(b"\n") > 400


def test_wrong_credentials_are_one_clear_error_without_the_secret(files, s3_bucket, monkeypatch):
    """The bucket is named, the key is not shown, and the run ends."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-0123456789")
    s3fs.S3FileSystem.clear_instance_cache()
    done = runs.run(spec_in(s3_bucket), scenario.SCHEMA)
    assert not done.success
    assert s3_bucket in done.failure
    assert "fix:" in done.failure
    assert "wrong-secret" not in str(done.result.all_events)
