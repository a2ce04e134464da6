"""Runs in MLflow: what is there, that nothing is there twice, and that its absence
stops nothing.
"""

import logging
import shutil
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pandas.testing import assert_frame_equal

import experiment_pipeline as ep
from experiment_pipeline.experiment.run import LOG, _shown
from experiment_pipeline.reporting.run_record import FileRow, ReportRow
from experiment_pipeline.spec.operation import Mlflow
from experiment_pipeline.storage.files import location, write_bytes
from experiment_pipeline.storage.registry import PublishedVersion, Registry
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking import mlflow, questions
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline.tracking.outcomes import finish_run
from experiment_pipeline_tests import exported, scenario
from experiment_pipeline_tests.tracking import history

# The tables of a tracking store, and MLflow's imports, take seconds.
pytestmark = pytest.mark.slow
SECRET = "hunter2"


def client_of(uri: str) -> Any:
    """MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a tracking store, which take MLflow some seconds, made once."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own imports
        client_of(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mlflow]:
    """A tracking store of the test's own."""
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the artifacts of a local store
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Mlflow(
            tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="flights"
        )


def runs_in(store: Mlflow, name: str = "flights") -> tuple[list[Any], list[Any]]:
    """Parents and children, the oldest first."""
    client = client_of(store.tracking_uri)
    found = client.get_experiment_by_name(name)
    every = client.search_runs(
        [found.experiment_id], order_by=["attributes.start_time"]
    )
    parents = [run for run in every if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in every if "mlflow.parentRunId" in run.data.tags]


def test_a_run_is_a_parent_and_its_configurations_are_its_children(
    store: Mlflow,
) -> None:
    """Parameters, scores with interval, digests, commit and decision are where MLflow
    shows them.
    """
    ids = history.write_history(runs=2)
    assert mlflow.export_runs("flight_delay", store) == 2
    parents, children = runs_in(store)
    assert [run.data.tags["experiment_pipeline.run_id"] for run in parents] == ids
    first, rejected = parents
    assert first.data.params["chosen"] == history.KEYS[2]
    assert first.data.metrics["validation_roc_auc"] == pytest.approx(0.69)
    assert first.data.metrics["validation_roc_auc_low"] == pytest.approx(0.67)
    assert first.data.tags["experiment_pipeline.data_digest"] == "data0"
    assert first.data.tags["mlflow.source.git.commit"] == f"{0:040x}"
    assert first.info.start_time == 1000 * history.FIRST_DAY.timestamp()
    assert rejected.data.tags["experiment_pipeline.status"] == "rejected"
    assert rejected.data.tags["mlflow.note.content"] == "roc_auc is below 0.65"
    own = {
        run.data.tags["experiment_pipeline.configuration"]: run
        for run in children
        if run.data.tags["mlflow.parentRunId"] == first.info.run_id
    }
    assert set(own) == set(history.KEYS)
    known = {"algorithm": "lightgbm", "num_leaves": "31", "learning_rate": "0.05"}
    assert own[history.KEYS[2]].data.params == known
    assert own[history.KEYS[2]].data.metrics["test_score"] == pytest.approx(0.70)
    assert own[history.KEYS[2]].data.tags["experiment_pipeline.fingerprint"] == "f" * 64
    assert own[history.KEYS[1]].info.status == "FAILED"
    remembered = questions.runs("flight_delay", all_columns=True)[
        "mlflow_run_id"
    ].tolist()
    assert remembered == [rejected.info.run_id, first.info.run_id]


def test_nothing_is_written_twice(store: Mlflow) -> None:
    """A second upload has nothing to do; one that broke off is made anew; undecided
    runs wait.
    """
    for status in ("running", "partial"):
        history.write_run(status, status=status)
    (run_id, _) = history.write_history(runs=2)
    assert mlflow.export_runs("flight_delay", store) == 2
    assert mlflow.export_runs("flight_delay", store) == 0
    before = [[run.info.run_id for run in runs] for runs in runs_in(store)]
    client_of(store.tracking_uri).delete_run(runs_in(store)[1][0].info.run_id)
    RunRecord("flight_delay", run_id).record([], reset=("mlflow_run_id",))
    assert mlflow.export_runs("flight_delay", store) == 1
    after = [[run.info.run_id for run in runs] for runs in runs_in(store)]
    assert [*map(len, after)] == [*map(len, before)] == [2, 6]
    newest, _ = questions.runs(all_columns=True)["mlflow_run_id"].head(2)
    assert set(before[0]) & set(after[0]) == {newest}


def test_a_run_that_has_ended_is_exported_by_a_process_of_its_own(
    store: Mlflow, monkeypatch
):
    """It has the run's database, and the destination from its standard input."""
    (run_id,) = history.write_history(runs=1)
    monkeypatch.setattr(mlflow, "SECONDS", 300)  # of a busy machine
    run = RunRecord("flight_delay", run_id)
    mlflow.expect(run, store)
    assert mlflow.export(run) == ""
    (parent,), children = runs_in(store)
    assert questions.run_of("flight_delay")["mlflow_run_id"] == parent.info.run_id
    assert len(children) == 3


def export_a_version(store: Mlflow, storage: Path) -> PublishedVersion:
    """A run with a page that has published a version, in MLflow."""
    page = storage / "board.html"
    write_bytes(location(str(page)), b"<h1>board</h1>")
    registry = Registry(location(str(storage)), "flight_delay")
    published = registry.publish(exported.package(), lambda _: None)
    history.write_history(runs=1)
    facts = {"status": "accepted", "version": "v0001", "version_is_new": True}
    facts |= {"package_version": "0.1.0", "yaml_digest": "secret", "metric": "roc_auc"}
    yaml = FileRow(
        digest="secret", content=f"data: https://host/flights.csv?token={SECRET}\n"
    )
    history.write_run(
        "r1", ReportRow(name="leaderboard", place=str(page)), yaml, **facts
    )
    record_rows(
        [history.version_row("v0001", run_id="r1", place=published.path)],
        "flight_delay",
    )
    mlflow.export_runs("flight_delay", store)
    return published


def test_pages_and_the_version_are_artifacts_and_a_registered_model(
    store: Mlflow, storage: Path
):
    """Reports and YAML files without secrets hang on the run; the champion is a model
    of the registry.
    """
    published = export_a_version(store, storage)
    client = client_of(store.tracking_uri)
    champion = client.get_model_version_by_alias("flight_delay", "champion")
    assert champion.tags["experiment_pipeline.version"] == "v0001"
    names = {
        one.path
        for folder_name in ("", "model", "reports")
        for one in client.list_artifacts(champion.run_id, folder_name)
    }
    assert names >= {"defs.yaml", "model/model.skops", "reports/leaderboard.html"}
    shown = Path(client.download_artifacts(champion.run_id, "defs.yaml")).read_text()
    assert shown == "data: https://host/flights.csv?token=***\n"
    assert not [name for name in names if name.endswith(".pkl")]
    waits = {"place": published.path, "approval_required": True}
    record_rows([history.version_row("v0001", run_id="r1", **waits)], "flight_delay")
    for _ in range(2):
        RunRecord("flight_delay", "r1").record([], reset=("mlflow_run_id",))
        mlflow.export_runs("flight_delay", store)
        assert client.get_registered_model("flight_delay").aliases == {}, (
            "it has no champion"
        )
    assert len(client.search_model_versions("name = 'flight_delay'")) == 1


def test_mlflow_loads_the_champion_and_predicts_as_this_package(
    store: Mlflow, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejected row has its reason in the place of a prediction, so that rows stay
    aligned.
    """
    from mlflow.pyfunc import load_model

    published = export_a_version(store, storage)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri)
    model, rows = load_model("models:/flight_delay@champion"), exported.delivered()
    own = ep.load_model(published.path)
    assert_frame_equal(model.predict(rows), own.predict(rows).predictions)
    found = model.predict(
        rows.assign(distance=rows["distance"].where(rows.index != 3, -1.0))
    )
    kept, columns = found.drop(3), own.predict(rows).predictions.columns
    assert (kept[columns] == own.predict(rows).predictions.drop(3)).all(axis=None)
    assert kept["rejection_reasons"].isna().all()
    assert found.loc[3, "prediction"] is None
    assert found.loc[3, "rejection_reasons"].startswith("distance: ")


def printed(run: RunRecord, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed when a run of a script has ended, which has not set
    logging up.
    """
    named = NamedColumns(scenario.spec("binary"), scenario.SCHEMA)
    with patch.object(logging.root, "handlers", []), _shown(named, progress=False):
        finish_run(run, LOG.warning)
    return capsys.readouterr().err


def test_a_server_that_is_away_is_a_warning_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], storage: Path
) -> None:
    """It is printed: where, and what comes of it; the run stays to be written by the
    next one.
    """
    run = RunRecord("flight_delay", history.write_history(runs=1)[0])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(
        mlflow, "SECONDS", 120
    )  # of a busy machine, most of them for imports
    mlflow.expect(run, Mlflow(tracking_uri=f"http://me:{SECRET}@127.0.0.1:{port}"))
    warning = printed(run, capsys)
    assert f"***@127.0.0.1:{port}) did not get the run: " in warning
    assert "Connection refused" in warning
    assert SECRET not in warning
    assert questions.runs(all_columns=True)["mlflow_run_id"].isna().all()
    assert mlflow.export(run) == ""


def test_a_silent_server_holds_no_run_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], storage: Path
) -> None:
    """After the time that a run waits it prints so and goes on, and the
    upload with it.
    """
    run = RunRecord("flight_delay", history.write_history(runs=1)[0])
    mlflow.expect(run, None)
    assert mlflow.export(run) == "", "an experiment without MLflow starts nothing"
    monkeypatch.setattr(mlflow, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        mlflow.expect(run, Mlflow(tracking_uri=address))
        began = time.monotonic()
        warning = printed(run, capsys)
        assert warning.startswith(
            f"MLflow ({address}) has not answered within 1 seconds."
        )
        assert time.monotonic() - began < 10
