"""A whole run of an experiment, and the MLflow server that a team has."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.tracking import mlflow, questions
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.ports import free_port
from experiment_pipeline_tests.runs import run
from experiment_pipeline_tests.tracking.test_mlflow import client_of, runs_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of the same version, whose packages have an environment of their own: they would
    turn some of this one's back.
    """
    port = free_port()
    version = metadata.version("mlflow-skinny")
    command = [
        *(str(Path(sys.executable).parent / "uv"), "tool", "run", "--from", f"mlflow=={version}"),
        *("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
        *("--artifacts-destination", str(tmp_path / "artifacts_of_mlflow")),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = (tmp_path / "server.log").open("wb")
    with log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | quiet, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", process)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the server answers; its first start downloads what it needs."""
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            assert process.poll() is None, "the server has ended"
            time.sleep(1)
        else:
            return
    pytest.fail("the server does not answer")


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_a_run_is_in_mlflow_when_it_ends(
    server: str, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parent, children, artifacts and champion are on the server; a rerun adds a run, no version."""
    assert not storage.exists()
    monkeypatch.setattr(mlflow, "SECONDS", 300)  # of a busy machine
    given = scenario.spec(url=str(scenario.write_csv(tmp_path / "visits.csv")))
    keys = given.model_dump(exclude_unset=True) | {"mlflow": {"tracking_uri": server}}
    spec = ExperimentSpec.model_validate(keys)
    assert run(spec, scenario.SCHEMA).success
    row = questions.run_of(spec.name)
    (parent,), children = runs_in(mlflow.Mlflow(tracking_uri=server), spec.name)
    assert row["mlflow_run_id"] == parent.info.run_id
    assert len(children) == row["declared"]
    score = parent.data.metrics[f"validation_{spec.metric}"]
    assert score == pytest.approx(row["validation_score"])
    client = client_of(server)
    champion = client.get_model_version_by_alias(spec.name, "champion")
    assert champion.run_id == parent.info.run_id
    files = {one.path for one in client.list_artifacts(parent.info.run_id, "model")}
    assert {"model/model.skops", "model/manifest.json", "model/README.md"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle"))]
    pages = {one.path for one in client.list_artifacts(parent.info.run_id, "reports")}
    assert {"reports/leaderboard.html", "reports/validation_report.html"} <= pages
    assert run(spec, scenario.SCHEMA).success
    parents, _ = runs_in(mlflow.Mlflow(tracking_uri=server), spec.name)
    assert len(parents) == 2
    assert len(client.search_model_versions(f"name = '{spec.name}'")) == 1
