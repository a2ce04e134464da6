"""The same experiment with data, storage and registry on a real S3 server."""

import pytest
import s3fs

from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, s3, s3_bucket):
    """A project whose table, storage and registry are in a bucket."""
    env = {**s3.environment, "EXPERIMENT_PIPELINE_STORAGE": f"s3://{s3_bucket}/lab"}
    project = Project(tmp_path / "project", env)
    files = s3fs.S3FileSystem(
        endpoint_url=s3.environment["AWS_ENDPOINT_URL"], use_listings_cache=False
    )
    files.pipe(f"{s3_bucket}/in/visits.csv", scenario.table().to_csv(index=False).encode())
    mapping = scenario.spec_mapping(
        url=f"s3://{s3_bucket}/in/visits.csv", export={"url": f"s3://{s3_bucket}/models"}
    )
    project.add_experiment("clinic", mapping, scenario.SCHEMA)
    project.files, project.bucket = files, s3_bucket
    return project


def test_an_experiment_runs_reruns_and_predicts_on_s3(project):
    """Everything is stored in the bucket, reused from there, and the model works from there."""
    first = project.execute("clinic")
    assert first.returncode == 0, first.stdout
    version = f"s3://{project.bucket}/models/clinic/registry/v0001"
    assert f"v0001 published: {version}" in first.stdout
    assert not (project.folder / "artifacts").exists()
    again = project.execute("clinic")
    assert "reused 4 of 4 configurations" in again.stdout, again.stdout
    source, target = f"s3://{project.bucket}/in/visits.csv", f"s3://{project.bucket}/out.csv"
    done = project.run("experiment-pipeline", "predict", version, source, "--output", target)
    assert done.returncode == 0, done.stdout
    assert project.files.cat_file(f"{project.bucket}/out.csv").count(b"\n") > 400


def test_wrong_credentials_are_one_clear_error_without_the_secret(project):
    """The bucket is named, the key is not shown, and the run ends within a minute."""
    project.env["AWS_SECRET_ACCESS_KEY"] = "wrong-secret-0123456789"
    done = project.execute("clinic", seconds=90)
    assert done.returncode == 1
    assert "fix:" in done.stdout
    assert "wrong-secret" not in done.stdout
