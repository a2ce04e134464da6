"""Runs in MLflow: what is there, once, and that its absence stops nothing."""

import contextlib
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pandas.testing import assert_frame_equal

import experiment_pipeline as ep
from experiment_pipeline.experiment.reporter import LOG, ProgressReporter
from experiment_pipeline.reporting.run_record import FileRow, ReportRow
from experiment_pipeline.spec.operation import Mlflow
from experiment_pipeline.storage.files import location, write_bytes
from experiment_pipeline.storage.registry import PublishedVersion, Registry
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking import mlflow, questions
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline.tracking.outcomes import finish_run
from experiment_pipeline_tests import exported, scenario
from experiment_pipeline_tests.ports import wait_until
from experiment_pipeline_tests.tracking import history

# The tables of a tracking store, and MLflow's imports, take seconds.
pytestmark = pytest.mark.slow
SECRET = "hunter2"
ADDRESS = f"http://me:{SECRET}@host"


def client_of(uri: str) -> Any:
    """MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """The tables of a tracking store, which take MLflow some seconds, made once."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own imports
        client_of(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path, monkeypatch) -> Iterator[Mlflow]:
    """A tracking store of the test's own."""
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the artifacts of a local store
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        yield Mlflow(tracking_uri=uri, experiment="flights")


def runs_in(store: Mlflow) -> tuple[list[Any], list[Any]]:
    """Parents and children, the oldest first."""
    client = client_of(store.tracking_uri)
    experiment_id = client.get_experiment_by_name("flights").experiment_id
    runs = client.search_runs([experiment_id], order_by=["attributes.start_time"])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in runs if run not in parents]


def test_runs_have_their_facts_where_mlflow_shows_them(store: Mlflow, monkeypatch):
    """A process of its own writes parameters, scores with interval, digests, commit and
    decision, once; configurations are children of their run, each with its own; one has
    failed. Undecided runs wait.
    """
    for status in ("running", "partial"):
        history.write_run(status, status=status)
    ids = history.write_history(runs=2)
    monkeypatch.setattr(mlflow, "SECONDS", 300)  # of a busy machine
    run = RunRecord("flight_delay", ids[1])
    mlflow.expect(run, store)
    assert mlflow.export(run) == ""
    assert mlflow.export_runs("flight_delay", store) == 0
    parents, children = runs_in(store)
    assert [run.data.tags["experiment_pipeline.run_id"] for run in parents] == ids
    first, rejected = parents
    assert first.data.params["chosen"] == history.KEYS[2]
    assert first.data.metrics["validation_roc_auc"] == pytest.approx(0.69)
    assert first.data.metrics["validation_roc_auc_low"] == pytest.approx(0.67)
    assert first.data.tags["experiment_pipeline.data_digest"] == "data0"
    assert first.data.tags["mlflow.source.git.commit"] == f"{0:040x}"
    assert rejected.data.tags["mlflow.note.content"] == history.FAILED
    by_key = {
        run.data.tags["experiment_pipeline.configuration"]: run
        for run in children
        if run.data.tags["mlflow.parentRunId"] == first.info.run_id
    }
    assert set(by_key) == set(history.KEYS)
    assert len(children) == 2 * len(by_key)
    best = by_key[history.KEYS[2]].data
    assert best.params["num_leaves"] == "31"
    assert best.metrics["test_score"] == pytest.approx(0.70)
    assert by_key[history.KEYS[1]].info.status == "FAILED"


def export_a_version(store: Mlflow, storage: Path) -> PublishedVersion:
    """A run with a page that has published a version, in MLflow."""
    page = storage / "board.html"
    write_bytes(location(str(page)), b"<h1>board</h1>")
    registry = Registry(location(str(storage)), "flight_delay")
    published = registry.publish(exported.package(), lambda _: None)
    history.write_history(runs=1)
    yaml = f"data: https://host/flights.csv?token={SECRET}\n"
    history.write_run(
        "r1",
        ReportRow(name="leaderboard", place=str(page)),
        FileRow(digest="secret", content=yaml),
        status="accepted",
        version="v0001",
        version_is_new=True,
        package_version="0.1.0",
        yaml_digest="secret",
        metric="roc_auc",
    )
    version = history.version_row("v0001", run_id="r1", place=published.path)
    record_rows([version], "flight_delay")
    mlflow.export_runs("flight_delay", store)
    return published


def test_pages_and_the_version_are_artifacts_and_a_model_that_mlflow_loads(
    store: Mlflow, storage: Path, monkeypatch
):
    """Reports and YAML files hang on the run without secrets; the champion predicts as
    this package, with a rejected row's reason in the place of a prediction. While a
    version waits for approval, there is no champion.
    """
    from mlflow.pyfunc import load_model

    published = export_a_version(store, storage)
    client = client_of(store.tracking_uri)
    champion = client.get_model_version_by_alias("flight_delay", "champion")
    assert champion.tags["experiment_pipeline.version"] == "v0001"
    paths = {
        artifact.path
        for folder in ("", "model", "reports")
        for artifact in client.list_artifacts(champion.run_id, folder)
    }
    assert paths >= {"defs.yaml", "model/model.skops", "reports/leaderboard.html"}
    assert not [path for path in paths if path.endswith(".pkl")]
    yaml = Path(client.download_artifacts(champion.run_id, "defs.yaml")).read_text()
    assert yaml == "data: https://host/flights.csv?token=***\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri)
    model = load_model("models:/flight_delay@champion")
    rows = exported.delivered()
    expected = ep.load_model(published.path).predict(rows).predictions
    assert_frame_equal(model.predict(rows), expected)
    rows.loc[3, "distance"] = -1.0
    predictions = model.predict(rows)
    valid = predictions.drop(3)
    assert (valid[expected.columns] == expected.drop(3)).all(axis=None)
    assert valid["rejection_reasons"].isna().all()
    assert predictions.loc[3, "prediction"] is None
    assert predictions.loc[3, "rejection_reasons"].startswith("distance: ")

    waiting = history.version_row(
        "v0001", run_id="r1", place=published.path, approval_required=True
    )
    record_rows([waiting], "flight_delay")
    RunRecord("flight_delay", "r1").record([], reset=("mlflow_run_id",))
    mlflow.export_runs("flight_delay", store)
    assert client.get_registered_model("flight_delay").aliases == {}
    assert len(client.search_model_versions("name = 'flight_delay'")) == 1


def test_an_upload_that_was_killed_leaves_the_champion_on_a_run(
    store: Mlflow, storage: Path, monkeypatch
):
    """Killed after any call, the next upload ends with one model, of a run that is
    there.
    """

    class Killed(BaseException): ...

    client = client_of(store.tracking_uri)
    for name in ("create_model_version", "delete_run"):
        usual = getattr(type(client), name)

        def killed(*given: Any, usual: Any = usual, **options: Any) -> None:
            usual(*given, **options)
            raise Killed

        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            patched.setattr(type(client), name, killed)
            if name == "create_model_version":
                export_a_version(store, storage)
            else:
                mlflow.export_runs("flight_delay", store)
        mlflow.export_runs("flight_delay", store)
        champion = client.get_model_version_by_alias("flight_delay", "champion")
        assert client.get_run(champion.run_id).info.lifecycle_stage == "active"
        assert len(client.search_model_versions("name = 'flight_delay'")) == 1
        place = client.get_run(champion.run_id).info.experiment_id
        left = client.search_runs([place], "tags.`experiment_pipeline.run_id` = 'r1'")
        assert [run.info.run_id for run in left] == [champion.run_id]
        RunRecord("flight_delay", "r1").record([], reset=("mlflow_run_id",))


def printed(run: RunRecord, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed when a run of a script without logging has ended."""
    named = NamedColumns(scenario.spec("binary"), scenario.SCHEMA)
    reporter = ProgressReporter(named, progress=False)
    with patch.object(logging.root, "handlers", []), reporter.shown():
        finish_run(run, LOG.warning)
    return capsys.readouterr().err


@pytest.fixture
def upload(tmp_path, monkeypatch, storage) -> Callable[[str], RunRecord]:
    """A run to export, whose upload is a script instead of MLflow."""

    def scripted(script: str) -> RunRecord:
        program = tmp_path / "upload"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))
        run = RunRecord("flight_delay", history.write_history(runs=1)[0])
        mlflow.expect(run, Mlflow(tracking_uri=ADDRESS))
        return run

    return scripted


def test_an_upload_that_fails_is_a_warning_without_its_secret(upload, capsys):
    """The run stays to be written by the next one."""
    run = upload(f"echo started; echo refused: {ADDRESS}/api; exit 1")
    warning = printed(run, capsys)
    assert "MLflow (http://***@host) did not get the run: refused: http" in warning
    assert SECRET not in warning
    assert questions.runs(all_columns=True)["mlflow_run_id"].isna().all()
    assert mlflow.export(run) == ""


def test_a_silent_server_holds_no_run_up(upload, capsys, monkeypatch, tmp_path):
    """After the time that a run waits it prints so; the upload goes on."""
    monkeypatch.setattr(mlflow, "SECONDS", 0.1)
    run = upload(f"sleep 1; touch {tmp_path}/done")
    expected = "MLflow (http://***@host) does not have the run after 0.1 seconds."
    assert printed(run, capsys).startswith(expected)
    wait_until((tmp_path / "done").exists, 60)
    mlflow.expect(run, None)
    assert mlflow.export(run) == "", "an experiment without MLflow starts nothing"
