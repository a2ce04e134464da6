"""Dagster's databases, opened for the first time by several processes at once."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import yaml
from dagster._serdes import ConfigurableClassData

from experiment_pipeline.orchestration.instance import SqliteStorage
from experiment_pipeline_tests.end_to_end.project import ROOT

PROCESSES, HOMES = 3, 2
_barrier = None


def meet(barrier) -> None:
    """Give a worker the barrier: it travels by inheritance alone."""
    global _barrier  # noqa: PLW0603
    _barrier = barrier


def open_all(homes: list[str]) -> None:
    """Open each folder in the same moment as the other workers."""
    for home in homes:
        _barrier.wait(60)
        SqliteStorage.from_config_value(None, {"base_dir": home}).run_storage.get_runs_count()


@pytest.mark.slow
def test_a_fresh_home_can_be_opened_by_several_processes_at_once(tmp_path: Path) -> None:
    """Of processes that meet in an empty folder, none dies of another's half-made tables."""
    context = multiprocessing.get_context("spawn")
    homes = [str(tmp_path / str(number)) for number in range(HOMES)]
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, meet, (barrier,)) as pool:
        for done in [pool.submit(open_all, homes) for _ in range(PROCESSES)]:
            done.result()


def test_the_project_s_instance_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dagster.yaml` names this storage, and Dagster builds it, in the place that is named."""
    monkeypatch.chdir(tmp_path)
    named = yaml.safe_load((ROOT / "dagster.yaml").read_text())["storage"]["custom"]
    data = ConfigurableClassData(named["module"], named["class"], yaml.dump(named["config"]))
    storage = data.rehydrate(as_type=SqliteStorage)
    assert storage.run_storage.get_runs_count() == 0
    assert (tmp_path / ".dagster_home/history/runs.db").exists()
