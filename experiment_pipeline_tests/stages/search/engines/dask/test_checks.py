"""Who may get a task: the same software, the same bytes, the storage within reach."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiment_pipeline.errors import WorkersDiffer
from experiment_pipeline.spec import DaskEngine
from experiment_pipeline.stages.search.engines.dask import PACKAGES, connected
from experiment_pipeline.stages.search.engines.dask.checks import (
    Examination,
    Report,
    differences,
    own_report,
    own_source_digest,
    report,
)
from experiment_pipeline.storage.locations import location
from experiment_pipeline_tests.stages.search.engines.dask.dask_processes import (
    PROJECT,
    DaskProcesses,
)
from experiment_pipeline_tests.stages.search.engines.dask.test_faults import run, wait_until, work
from experiment_pipeline_tests.stages.search.engines.dask.work import golden, processes


@pytest.fixture
def here(tmp_path: Path) -> tuple[Report, Examination]:
    """A report of this process, and what it was asked."""
    (tmp_path / "probe").write_bytes(b"stored")
    examination = Examination(PACKAGES, str(tmp_path / "probe"), golden)
    return own_report(examination, b"stored"), examination


def test_a_process_like_this_one_differs_in_nothing(here: tuple[Report, Examination]) -> None:
    """What a worker reports of the same software, bytes and storage is what the step has."""
    assert list(differences(here[0], report(here[1]))) == []


def test_each_difference_is_named(here: tuple[Report, Examination], tmp_path: Path) -> None:
    """Package, Python, processor, source, storage; other bytes where nothing else explains them."""
    own, examination = here
    assert own.software is not None
    packages = own.software.packages | {"lightgbm": "4.0.0", "skops": "not installed"}
    software = replace(own.software, packages=packages, python="3.9", machine="sparc")
    told = list(differences(own, replace(own, software=software, golden="other")))
    assert [text.split(",")[0] for text in told] == [
        "lightgbm 4.0.0",
        "skops not installed",
        "Python 3.9",
        "a processor sparc",
    ]
    other = replace(own.software, own_source="0" * 64)
    (told_source,) = differences(own, replace(own, software=other))
    assert told_source.startswith("another source of experiment-pipeline (00000000…, here ")
    (told_bytes,) = differences(own, replace(own, golden="ValueError: no"))
    assert told_bytes == "gives other bytes for the same small fit (ValueError: no)"
    away = report(replace(examination, probe=str(tmp_path / "missing")))
    (told_storage,) = differences(own, away)
    assert told_storage.startswith("cannot read the storage (")
    assert "does not exist" in told_storage


def test_the_source_is_that_of_an_installed_package() -> None:
    """64 digits, the same each time."""
    assert own_source_digest() == own_source_digest()
    assert len(own_source_digest()) == 64


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    """A cluster with one worker like this process."""
    with DaskProcesses(tmp_path) as running:
        running.start_scheduler()
        running.start_worker()
        yield running


@pytest.fixture
def older(tmp_path: Path) -> dict[str, str]:
    """What makes a worker load an older lightgbm and another source of this package."""
    path = tmp_path / "older"
    metadata = path / "lightgbm-4.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: lightgbm\nVersion: 4.0.0\n")
    shutil.copytree(PROJECT / "experiment_pipeline", path / "experiment_pipeline")
    with (path / "experiment_pipeline" / "errors.py").open("a") as file:
        file.write("# changed\n")
    return {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}


@pytest.mark.slow
def test_a_worker_that_differs_is_named_before_the_first_task(
    dask: DaskProcesses, older: dict[str, str], tmp_path: Path
) -> None:
    """One error with its address and each difference; one that joins later gets no task, and is told."""
    with connected(DaskEngine(address=dask.address), say=(said := []).append) as cluster:
        cluster.check(location(str(tmp_path)), golden, PACKAGES)
        (tmp_path / "noted").mkdir()
        other = dask.start_worker(environment=older)
        tasks = work(tmp_path / "noted", 1, 1.0)
        wait_until(lambda: run(cluster, tasks) and said)
        assert "gets no task: lightgbm 4.0.0, here " in said[0]
        assert other.pid not in processes(tmp_path / "noted")
    assert list(tmp_path.glob(".*.probe")) == []
    with (
        pytest.raises(
            WorkersDiffer, match=r"worker tcp://.*: lightgbm 4.0.0, here .*; another sou"
        ),
        connected(DaskEngine(address=dask.address)) as cluster,
    ):
        cluster.check(location(str(tmp_path)), golden, PACKAGES)
    assert processes(tmp_path / "noted")
