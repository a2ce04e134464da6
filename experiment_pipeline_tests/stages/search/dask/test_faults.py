"""Faults of a cluster, each once, with real processes over TLS; docs/cluster/README.md
lists them.
"""

import _thread
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import pytest
from dask import config

from experiment_pipeline.errors import ClusterError
from experiment_pipeline.spec import DaskEngine
from experiment_pipeline.stages.search import dask_cluster as module
from experiment_pipeline.stages.search.dask_cluster import Cluster, Done, connected
from experiment_pipeline_tests.ports import wait_until
from experiment_pipeline_tests.stages.search.dask import noted_work
from experiment_pipeline_tests.stages.search.dask.dask_processes import (
    PROJECT,
    DaskProcesses,
)

pytestmark = pytest.mark.slow
SOON = 240.0
LONG = 240.0  # what a task takes that is to be met at work


class Running:
    """A scheduler for all tests of this file, with the workers that a test leaves."""

    def __init__(self, dask: DaskProcesses) -> None:
        self.dask = dask
        self.engine = DaskEngine(address=dask.address)
        self.logged = list[str]()

    def connected(self) -> Iterator[Cluster]:
        return connected(self.engine, log=self.logged.append)

    def workers(self, number: int) -> list[subprocess.Popen[bytes]]:
        """So many workers of one thread: first those that earlier tests have left."""
        alive = [worker for worker in self.dask.started[1:] if worker.poll() is None]
        for surplus in alive[number:]:
            self.dask.end(surplus)
        missing = range(number - len(alive))
        return [*alive[:number], *(self.dask.start_worker() for _ in missing)]


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    """A scheduler with certificates that `docs/cluster/make_certificates.sh` made."""
    folder = tmp_path_factory.mktemp("dask")
    tls = make_certificates(folder / "mine")
    names = ("--tls-ca-file", "--tls-cert", "--tls-key")
    options = chain(*zip(names, tls.values(), strict=True))
    with (
        config.set(tls),
        DaskProcesses(folder, [*options]) as dask,
    ):
        dask.start_scheduler()
        yield Running(dask)


@pytest.fixture
def dask(running: Running) -> Running:
    """The cluster, which has logged nothing yet."""
    running.logged.clear()
    return running


@pytest.fixture
def noted(tmp_path) -> Path:
    """Where tasks note that they start."""
    folder = tmp_path / "noted"
    folder.mkdir()
    return folder


def make_certificates(folder: Path) -> dict[str, str]:
    """Dask's settings of an authority of its own, and certificates that it signed."""
    script = PROJECT / "docs" / "cluster" / "make_certificates.sh"
    subprocess.run([script, folder, "1"], check=True, capture_output=True)
    names = {
        "ca-file": "ca.pem",
        "client.cert": "client.pem",
        "client.key": "client.key",
    }
    return {f"distributed.comm.tls.{k}": str(folder / v) for k, v in names.items()}


def work(folder: Path, number: int, seconds: float = 0.3) -> dict[str, noted_work.Work]:
    """So many tasks that take so long."""
    names = [f"task{place}" for place in range(number)]
    return {name: noted_work.Work(folder, name, seconds) for name in names}


def run(cluster: Cluster, tasks: Mapping[str, noted_work.Work]) -> dict[str, Done]:
    """Do all of them."""
    return {
        done.key: done
        for done in cluster.run(noted_work.do, tasks, may_start=lambda _: True)
    }


def ended(done: Mapping[str, Done]) -> set[str]:
    """The names that tasks returned."""
    return {task.value[0] for task in done.values() if task.value is not None}


def when(condition: Callable[[], object], act: Callable[[], object]) -> None:
    """Act in the background as soon as a condition holds."""
    threading.Thread(
        target=lambda: (wait_until(condition, SOON), act()), daemon=True
    ).start()


def test_workers_that_stay_away_end_the_run(dask: Running, noted: Path, monkeypatch):
    """With an error that says what to do, in seconds."""
    monkeypatch.setattr(module, "NO_WORKER_SECONDS", 2.0)
    lost = r": has had no worker for 2 s\n.*start workers, then run again: what was tr"
    with pytest.raises(ClusterError, match=lost), dask.connected() as cluster:
        run(cluster, work(noted, 3))


def test_a_task_that_kills_its_workers_is_lost_after_two(dask: Running, noted: Path):
    """It ends with its reason; the others come through, on the worker that is left, and
    the log says so.
    """
    started = dask.workers(3)
    tasks = {"killer": noted_work.Work(noted, "killer", kills=True)} | work(noted, 9)
    with dask.connected() as cluster:
        wait_until(lambda: cluster.places() == 3, SOON)
        done = run(cluster, tasks)
        wait_until(lambda: cluster.places() == 1, SOON)
    assert done["killer"].value is None
    assert done["killer"].lost.startswith("2 workers died while they ran this fit")
    assert ended(done) == tasks.keys() - {"killer"}
    assert noted_work.starts(noted)["killer"] == 2
    assert sum(process.poll() is not None for process in started) == 2
    assert any("is gone; Dask runs its fits again" in line for line in dask.logged)


def test_a_worker_that_joins_gets_tasks_and_one_that_leaves_loses_none(
    dask: Running, noted: Path
):
    """The second joins while the first is at work; then the first is told to end, and
    tasks take no time any more.
    """
    (first,) = dask.workers(1)
    second: list[subprocess.Popen[bytes]] = []
    tasks = work(noted, 12, LONG)

    def leave() -> None:
        first.send_signal(signal.SIGTERM)
        tasks["task0"].release.touch()

    with dask.connected() as cluster:
        when(
            lambda: noted_work.starts(noted),
            lambda: second.append(dask.dask.start_worker()),
        )
        when(
            lambda: second and second[0].pid in noted_work.processes(noted),
            leave,
        )
        done = run(cluster, tasks)
    assert ended(done) == set(tasks)
    assert noted_work.processes(noted) == {first.pid, second[0].pid}
    assert sum(noted_work.starts(noted).values()) <= len(tasks) + 1
    first.wait(SOON)


def test_an_interruption_ends_the_search_at_once_and_cancels_what_waits(
    dask: Running, noted: Path
):
    """Ctrl-C, or a run that is cancelled on its page: its own error; a fit that runs is
    dropped.
    """
    dask.workers(1)
    # Processes that pytest-xdist starts ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    when(lambda: noted_work.starts(noted), _thread.interrupt_main)
    with dask.connected() as cluster:
        try:
            with pytest.raises(KeyboardInterrupt):
                run(cluster, work(noted, 9, LONG))
        finally:
            signal.signal(signal.SIGINT, before)
        assert not [*noted.glob("*.ended")]
        after = noted_work.Work(noted, "after")
        after.release.touch()
        assert ended(run(cluster, {"after": after})) == {"after"}
    assert noted_work.starts(noted).total() == 2


def test_certificates_decide_who_may_run_code(dask: Running, tmp_path, monkeypatch):
    """A plain client and one of another authority are refused."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 2.0)
    foreign = make_certificates(tmp_path / "others")
    plain = DaskEngine(address=dask.dask.address.replace("tls", "tcp"))
    for refused in (plain, dask.engine):
        with (
            config.set(foreign),
            pytest.raises(ClusterError, match="does not answer"),
            connected(refused),
        ):
            pass


# Dask leaves a socket to the garbage where it meets no scheduler.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_a_scheduler_that_dies_ends_the_run(dask: Running, noted: Path, capfd):
    """With an error that says what to do, in seconds; Dask adds no stack. The last
    test: it kills.
    """
    dask.workers(1)
    when(lambda: noted_work.starts(noted), lambda: dask.dask.end(dask.dask.started[0]))
    lost = r"scheduler tls://.*: went away\n.*start it, then run again: what was tr"
    with pytest.raises(ClusterError, match=lost), dask.connected() as cluster:
        run(cluster, work(noted, 3, LONG))
    assert "Traceback" not in capfd.readouterr().err
    assert noted_work.starts(noted).total() == 1
