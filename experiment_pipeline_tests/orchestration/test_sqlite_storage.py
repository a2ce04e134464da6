"""What `dagster.yaml` names: databases that several processes may open first and that
store events in batches, a guarded page.
"""

import multiprocessing
import threading
import uuid
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

import dagster as dg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._serdes import ConfigurableClassData
from dagster_shared.check import CheckError

from experiment_pipeline.orchestration.instance import SqliteStorage, one_batch
from experiment_pipeline.tracking.guard import write_guard
from experiment_pipeline_tests.end_to_end.project import ROOT
from experiment_pipeline_tests.tracking.test_server import OWN, answer_of

PROCESSES, HOMES = 2, 2
BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
MUTATION = "mutation{setAutoMaterializePaused(paused: true)}"
_barrier = None


def meet(barrier) -> None:
    """Give a worker the barrier: it travels by inheritance alone."""
    global _barrier  # noqa: PLW0603
    _barrier = barrier


def open_all(homes: list[str]) -> None:
    """Open each folder in the same moment as the other workers."""
    for home in homes:
        _barrier.wait(600)
        SqliteStorage.from_config_value(
            None, {"base_dir": home}
        ).run_storage.get_runs_count()


@pytest.mark.slow
def test_a_fresh_home_can_be_opened_by_several_processes_at_once(tmp_path):
    """Of processes that meet in an empty folder, none dies of another's half-made
    tables.
    """
    # They are forked from one process that has imported what each needs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    homes = [str(tmp_path / str(number)) for number in range(HOMES)]
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, meet, (barrier,)) as pool:
        for done in [pool.submit(open_all, homes) for _ in range(PROCESSES)]:
            done.result()


def test_the_project_s_instance_uses_it(tmp_path, monkeypatch):
    """`dagster.yaml` names this storage, and Dagster builds it, in the place that is
    named.
    """
    monkeypatch.chdir(tmp_path)
    named = yaml.safe_load((ROOT / "dagster.yaml").read_text())["storage"]["custom"]
    data = ConfigurableClassData(
        named["module"], named["class"], yaml.dump(named["config"])
    )
    assert data.rehydrate(as_type=SqliteStorage).run_storage.get_runs_count() == 0
    assert (tmp_path / ".dagster_home/history/runs.db").exists()


@pytest.fixture
def instance(tmp_path, monkeypatch) -> dg.DagsterInstance:
    """Return an instance with this storage, which sets how many events make a batch."""
    monkeypatch.setenv(BATCH_SIZE, "0")
    monkeypatch.delenv(BATCH_SIZE)
    ours = {"module": SqliteStorage.__module__, "class": SqliteStorage.__name__}
    ours["config"] = {"base_dir": str(tmp_path)}
    settings = {"storage": {"custom": ours}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.dump(settings))
    return dg.DagsterInstance.from_config(str(tmp_path))


def report(instance: dg.DagsterInstance, *partitions: str) -> None:
    """Report materializations of an asset, one event each."""
    for partition in partitions:
        event = dg.AssetMaterialization("models", partition=partition)
        instance.report_runless_asset_event(event)


def test_events_of_a_batch_appear_together_and_hold_up_nobody(instance):
    """They are stored when the block ends, an interruption too; other threads store
    theirs at once.
    """
    models = dg.AssetKey("models")
    with suppress(KeyboardInterrupt), one_batch(instance):
        report(instance, "a", "b")
        other = threading.Thread(target=report, args=(instance, "c"))
        other.start()
        other.join(30)
        assert instance.get_materialized_partitions(models) == {"c"}
        raise KeyboardInterrupt
    assert instance.get_materialized_partitions(models) == {"a", "b", "c"}
    report(instance, "d")
    assert "d" in instance.get_materialized_partitions(models)


def test_of_a_batch_that_cannot_be_stored_nothing_is(instance):
    """So that Dagster, which then stores each event by itself, stores none twice."""
    events = instance.event_log_storage
    report(instance, "a")
    (stored,) = instance.fetch_materializations(dg.AssetKey("models"), 9).records
    other = stored.event_log_entry._replace(run_id=str(uuid.uuid4()))
    bad = other._replace(dagster_event="no event")
    with pytest.raises(CheckError, match="Not a dagster event"):
        events.store_event_batch([other, bad])
    assert len(instance.fetch_materializations(dg.AssetKey("models"), 9).records) == 1
    events.store_event_batch([other])
    assert len(instance.fetch_materializations(dg.AssetKey("models"), 9).records) == 2


def test_no_page_but_its_own_drives_dagster(tmp_path, monkeypatch):
    """With each documented instance, Dagster executes no mutation that an image could
    send.
    """
    # Two seconds of imports, which neither the other processes nor the collection of
    # tests need.
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.webserver import DagsterWebserver

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        DagsterWebserver, "build_middleware", DagsterWebserver.build_middleware
    )
    ours, remote = (
        yaml.safe_load((ROOT / name).read_text())["instance_class"]
        for name in ("dagster.yaml", "docs/cluster/ssh/dagster.yaml")
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    write_guard()  # as the guide for other projects says
    assert (
        yaml.safe_load((tmp_path / "dagster.yaml").read_text())["instance_class"]
        == ours
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.optimize_for_webserver(15_000, 3_600, 20)
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            page = create_app_from_workspace_process_context(context)
            image = OWN | {"method": "GET", "query": f"query={MUTATION}".encode()}
            form = OWN | {"origin": "https://attacker.example"}
            for forged in (image, form, form | {"type": "websocket"}):
                assert answer_of(page, forged)["status"] == 403
            asked = OWN | {"content-type": "application/json"}
            assert answer_of(page, asked, b'{"query": "{version}"}')["status"] == 200
    assert remote == ours
