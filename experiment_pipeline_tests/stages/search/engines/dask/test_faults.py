"""What tasks survive: each fault once, with real processes; docs/cluster/README.md has the figures."""

import _thread
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from experiment_pipeline.errors import ClusterLost
from experiment_pipeline.spec import DaskEngine
from experiment_pipeline.stages.search.engines.dask import Cluster, Done, connected, workers
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.locations import location
from experiment_pipeline_tests.ports import free_port
from experiment_pipeline_tests.s3_server import S3Server
from experiment_pipeline_tests.stages.search.engines.dask.dask_processes import DaskProcesses
from experiment_pipeline_tests.stages.search.engines.dask.work import (
    Work,
    do,
    processes,
    read,
    restart_seconds,
    starts,
)

pytestmark = pytest.mark.slow
SOON = 60.0
LOST = r"did not come back within 3 s\n.*run again: what was trained is stored"


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    """A cluster that has a scheduler, and no worker yet."""
    with DaskProcesses(tmp_path) as running:
        running.start_scheduler()
        yield running


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """Where tasks note that they start."""
    folder = tmp_path / "noted"
    folder.mkdir()
    return folder


def work(folder: Path, number: int, seconds: float = 0.3) -> dict[str, Work]:
    """So many tasks that take so long."""
    names = [f"task{place}" for place in range(number)]
    return {name: Work(folder, name, seconds) for name in names}


def run(cluster: Cluster, tasks: Mapping[str, Work]) -> dict[str, Done]:
    """Do all of them."""
    return {done.key: done for done in cluster.run(do, tasks, may_start=lambda _: True)}


def when(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Act in the background as soon as a condition holds."""

    def wait() -> None:
        wait_until(condition)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def wait_until(condition: Callable[[], object]) -> float:
    """Wait, and return how many seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + SOON
        time.sleep(0.02)
    return time.monotonic() - began


def engine(dask: DaskProcesses) -> DaskEngine:
    """How to reach it."""
    return DaskEngine(address=dask.address)


def wait_for_places(cluster: Cluster, places: int) -> None:
    """Wait until so many threads may get tasks."""

    def are_there() -> bool:
        cluster._workers.look()
        cluster._workers.take(0.05)
        return cluster.places() == places

    wait_until(are_there)


def ended(done: Mapping[str, Done]) -> dict[str, str]:
    """Key → the name that its task returned."""
    return {key: one.value[0] for key, one in done.items() if one.value is not None}


def test_what_a_killed_worker_had_is_done_elsewhere(dask: DaskProcesses, noted: Path) -> None:
    """By kill -9 in the midst of a task: it alone runs again, nothing is lost, nobody is blamed."""
    killed, _ = dask.start_worker(), dask.start_worker()
    tasks = work(noted, 8, 0.6)
    with connected(engine(dask)) as cluster:
        wait_for_places(cluster, 2)
        when(lambda: killed.pid in processes(noted, running=True), lambda: dask.kill(killed))
        done = run(cluster, tasks)
    assert ended(done) == {key: key for key in tasks}
    again = {key for key, count in starts(noted).items() if count > 1}
    assert len(again) == 1
    assert restart_seconds(noted, *again) < 10
    assert {key: one.attempts for key, one in done.items() if one.attempts > 1} == dict.fromkeys(
        again, 2
    )


def test_a_task_that_kills_its_worker_costs_two(dask: DaskProcesses, noted: Path) -> None:
    """It is lost with its reason at the second worker; who was beside it comes through."""
    started = [dask.start_worker(threads=2) for _ in range(3)]
    tasks = work(noted, 12) | {"killer": Work(noted, "killer", kills=True)}
    tasks = {key: tasks[key] for key in sorted(tasks)}  # it comes first
    with connected(engine(dask)) as cluster:
        wait_for_places(cluster, 6)
        done = run(cluster, tasks)
    assert done["killer"].lost is not None
    assert done["killer"].lost.startswith("killed its worker twice: it was on tcp://127.0.0.1:")
    assert (done["killer"].value, done["killer"].attempts) == (None, 2)
    assert ended(done) == {key: key for key in tasks if key != "killer"}
    assert starts(noted)["killer"] == 2
    assert sum(process.poll() is not None for process in started) == 2


def test_a_worker_that_comes_back_at_its_address_is_another_one(
    dask: DaskProcesses, noted: Path
) -> None:
    """Dask sends it what the dead one had: that does not begin, or it would be killed for ever."""
    dask.start_worker(nanny=True, port=free_port())
    tasks = {"killer": Work(noted, "killer", kills=True)} | work(noted, 3)
    with connected(engine(dask)) as cluster:
        done = run(cluster, tasks)
    assert (done["killer"].attempts, starts(noted)["killer"]) == (2, 2)
    assert done["killer"].lost is not None
    assert ended(done) == {key: key for key in tasks if key != "killer"}


def test_a_scheduler_that_comes_back_is_found(dask: DaskProcesses, noted: Path) -> None:
    """Killed and started on the same port, with other workers: only what has no result runs again."""
    dask.start_worker()
    (first,) = [process for process in dask.started if process.args[2].endswith("scheduler")]
    tasks = work(noted, 6, 0.5)

    def again() -> None:
        dask.kill(first)
        dask.start_scheduler()
        dask.start_worker()

    with connected(engine(dask), say=(said := []).append) as cluster:
        when(lambda: len(starts(noted)) == 3, again)
        done = run(cluster, tasks)
    assert ended(done) == {key: key for key in tasks}
    assert [key for key, count in starts(noted).items() if count > 1] == ["task2"]
    assert restart_seconds(noted, "task2") < SOON
    assert any("is back" in sentence for sentence in said)


def test_a_scheduler_that_stays_away_ends_the_run(
    dask: DaskProcesses,
    noted: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With an error that says so, and that a rerun resumes, within the limit; Dask adds no stack."""
    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 3.0)
    dask.start_worker()
    (scheduler,) = dask.started[:1]
    when(lambda: starts(noted), lambda: dask.kill(scheduler))
    with pytest.raises(ClusterLost, match=LOST), connected(engine(dask)) as cluster:
        run(cluster, work(noted, 3, 1.0))
    assert [record for record in caplog.records if record.name.startswith("distributed")] == []


def test_a_slow_worker_gets_less_and_nothing_twice(dask: DaskProcesses, noted: Path) -> None:
    """A worker that stands still for seconds keeps its task; the others do the rest."""
    slow, _ = dask.start_worker(), dask.start_worker()
    tasks = work(noted, 8)
    with connected(engine(dask)) as cluster:
        wait_for_places(cluster, 2)
        when(
            lambda: slow.pid in processes(noted, running=True),
            lambda: (
                slow.send_signal(signal.SIGSTOP),
                time.sleep(4),
                slow.send_signal(signal.SIGCONT),
            ),
        )
        done = run(cluster, tasks)
    assert ended(done) == {key: key for key in tasks}
    assert set(starts(noted).values()) == {1}


def test_workers_join_and_leave_in_the_middle(dask: DaskProcesses, noted: Path) -> None:
    """Who joins gets tasks, who is told to leave hands its own back, and is blamed for nothing."""
    first = dask.start_worker(nanny=True)
    tasks = work(noted, 12, 0.5) | {"task4": Work(noted, "task4", wants_company=True)}
    second: list[subprocess.Popen[bytes]] = []
    with connected(engine(dask), say=(said := []).append) as cluster:
        when(lambda: starts(noted), lambda: second.append(dask.start_worker()))
        when(
            lambda: second and second[0].pid in processes(noted),
            lambda: first.send_signal(signal.SIGTERM),
        )
        done = run(cluster, tasks)
    assert ended(done) == {key: key for key in tasks}
    assert len(processes(noted)) == 2
    # One at work, and maybe one that waits there.
    (left,) = re.findall(r" left, with ([12]) of the tasks", " ".join(said))
    assert sum(one.attempts for one in done.values()) == len(tasks) + int(left)
    assert sum(starts(noted).values()) <= len(tasks) + 1


def test_closing_the_generator_ends_what_runs(dask: DaskProcesses, noted: Path) -> None:
    """Nothing waits any more, the running task ends in its next line, and workers are free again."""
    worker = dask.start_worker(threads=2)
    with connected(engine(dask)) as cluster:
        tasks = {"short": Work(noted, "short")} | work(noted, 9, 60.0)
        with closing(cluster.run(do, tasks, may_start=lambda _: True)) as ends:
            assert next(ends).key == "short"
        began = time.monotonic()
        assert run(cluster, {"after": Work(noted, "after")})["after"].value == ("after", worker.pid)
        assert time.monotonic() - began < 5
    assert len(starts(noted)) <= 5


def test_an_interruption_is_told_at_once_and_ends_what_runs(
    dask: DaskProcesses, noted: Path
) -> None:
    """Ctrl-C, or a run that is cancelled on its page: its own error, and no other."""
    worker = dask.start_worker()
    # Processes that pytest-xdist starts ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    when(lambda: starts(noted), _thread.interrupt_main)
    with connected(engine(dask)) as cluster:
        try:
            with pytest.raises(KeyboardInterrupt):
                run(cluster, work(noted, 3, 60.0))
        finally:
            signal.signal(signal.SIGINT, before)
        assert run(cluster, {"after": Work(noted, "after")})["after"].value == ("after", worker.pid)
    assert len(starts(noted)) == 2


def test_a_storage_that_is_away_for_ten_seconds_is_waited_for(
    dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker reads just then comes later, and no task fails."""
    with S3Server() as server:
        server.make_bucket("away")
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        path = location("s3://away/file")
        write_bytes(path, b"content")
        dask.start_worker()
        with connected(engine(dask)) as cluster:
            server.kill()
            began = time.monotonic()
            back = threading.Timer(10.0, server.start)
            back.start()
            (done,) = cluster.run(read, {"one": str(path)}, may_start=lambda _: True)
            assert (done.value, done.attempts) == (b"content", 1)
            assert time.monotonic() - began >= 10
            back.join()
