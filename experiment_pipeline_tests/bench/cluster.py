"""Training on a Dask cluster: what a task costs, and how busy workers stay.

Four questions: what a task through `Cluster.run` costs beyond Dask's own, what two local workers get
done beside two threads, whether a hundred workers stay busy (simulated: fits that sleep for a length
that is known), and how much of a core the step itself takes for each configuration. In: how many
pairs. Out: figures.
"""

import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.spec import DaskEngine, ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.engines.dask.cluster import Cluster, connected
from experiment_pipeline.stages.search.engines.dask.engine import ClusterEngine
from experiment_pipeline.stages.search.engines.engine import FitEngine, Threads
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.shared import SharedFiles, SharedFolder
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.data import Measured

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from distributed import Client

# Dask's own cost of a task is about 2.5 ms; ours may add so much.
MOST_MILLISECONDS = 5.0
TASKS_OF_NOTHING = 1_000
SIMULATED_WORKERS, SIMULATED_TASKS = 100, 2_000
# Of a simulated fit, in seconds: the slowest take ten times as long as the median.
MEDIAN_SECONDS, SPREAD = 1.7, 0.6
LEAST_BUSY = 90.0
LOCAL_WORKERS = 2
# A hundred workers in one process would be busy with looking at themselves a hundred times a second.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "1 hour",
}
# Fits of about two seconds on the flights.
FITS = [
    {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "learning_rate": [0.02, 0.03, 0.05, 0.08],
            "min_child_samples": [20, 400],
            "n_estimators": 550,
            "early_stopping_round": 0,
        },
    }
]


@dataclass(frozen=True)
class AtLeast(Measured):
    """A figure that should be large; its goal is the smallest allowed."""

    def row(self) -> str:
        """A line of the Markdown table."""
        return super().row().replace("≤", "≥")


def measurements(pairs: int) -> list[Measured]:
    """Every figure; three pairs take about two minutes."""
    spec = flights.flights_spec(search=FITS, halving=False)
    return [*overhead(pairs), *throughput(spec, flights.flights_sets(spec), pairs), *busy()]


def overhead(pairs: int, tasks: int = TASKS_OF_NOTHING) -> list[Measured]:
    """Milliseconds of a task that does nothing: Dask's own, and what ours adds to it."""
    from distributed import Client

    bare, ours, cpu = list[float](), list[float](), list[float]()
    with (
        _workers(LOCAL_WORKERS) as engine,
        connected(engine) as cluster,
        Client(engine.address, set_as_default=False) as client,
    ):
        # The first ones pay for connections and imports.
        _bare(client, 50)
        _through(cluster, 50)
        for _ in range(pairs):
            bare.append(_seconds_of(partial(_bare, client, tasks)))
            began = time.process_time()
            ours.append(_seconds_of(partial(_through, cluster, tasks)))
            cpu.append(time.process_time() - began)
    each = 1_000 / tasks
    added = [each * (one - other) for one, other in zip(ours, bare, strict=True)]
    spread = f"{min(added):.1f} to {max(added):.1f}, {pairs} pairs of {tasks:,} tasks"
    return [
        _told("a task of Dask's own, that does nothing", each * statistics.median(bare), "ms"),
        _told(
            f"what ours adds to it ({spread})", statistics.median(added), "ms", MOST_MILLISECONDS
        ),
        _told("CPU of the step for each task of ours", each * statistics.median(cpu), "ms"),
    ]


def throughput(spec: ExperimentSpec, sets: TrainingSets, pairs: int) -> list[Measured]:
    """What two local workers get done beside two threads, and what the step takes of a core.

    Both begin with tables that nobody has encoded; the workers are there, and have imported what
    they fit with. In turn, so that a drift of the machine cancels.
    """
    wanted = configurations(spec)
    shares, cpu = list[float](), list[float]()
    local = DaskEngine(address="local")
    with (
        tempfile.TemporaryDirectory() as folder,
        connected(local, workers=LOCAL_WORKERS) as cluster,
    ):
        _train(_engine(cluster, f"{folder}/warm"), wanted[:LOCAL_WORKERS], sets, spec)
        for number in range(pairs):
            # Files of their own: no worker has read them.
            workers = partial(_train, _engine(cluster, f"{folder}/{number}"), wanted, sets, spec)
            threads = partial(_train, nullcontext(Threads(LOCAL_WORKERS)), wanted, sets, spec)
            took = {}
            for way in (workers, threads) if number % 2 == 0 else (threads, workers):
                began = time.process_time()
                took[way] = _seconds_of(way)
                if way is workers:
                    cpu.append(1_000 / len(wanted) * (time.process_time() - began))
            shares.append(100 * took[threads] / took[workers])
    fit = LOCAL_WORKERS * took[threads] / len(wanted)
    spread = f"{min(shares):.0f} to {max(shares):.0f}, {pairs} pairs"
    name = f"two workers of what two threads get done, {len(wanted)} fits of {fit:.1f} s ({spread})"
    step = "CPU of the step for each configuration, with encoding, bins and files"
    return [
        AtLeast(name, statistics.median(shares), "%", LEAST_BUSY),
        _told(step, statistics.median(cpu), "ms"),
    ]


def busy(
    count: int = SIMULATED_WORKERS, tasks: int = SIMULATED_TASKS, scale: float = 1.0
) -> list[Measured]:
    """How busy so many workers stay with so many fits of known length.

    Args:
        count: workers, threads of one process that sleep.
        tasks: how many fits; their lengths are drawn, the longest are handed out first.
        scale: of all lengths.
    """
    rng = np.random.default_rng(0)
    drawn = scale * MEDIAN_SECONDS * np.exp(SPREAD * rng.normal(size=tasks))
    lengths = {f"fit-{n}": float(one) for n, one in enumerate(np.sort(drawn)[::-1])}
    with _sleepers(count) as engine, connected(engine) as cluster:
        while cluster.places() < count:
            time.sleep(0.1)
        began = time.process_time()
        seconds = _seconds_of(partial(_run, cluster, time.sleep, lengths))
        cpu = 1_000 / tasks * (time.process_time() - began)
    total = sum(lengths.values())
    name = (
        f"{count} workers at work, of {seconds:.1f} s for {tasks:,} fits of {total / tasks:.1f} s"
    )
    return [
        AtLeast(name, 100 * total / count / seconds, "%", LEAST_BUSY),
        _told("the shortest time there is for these", max(total / count, *lengths.values()), "s"),
        _told("CPU of the step for each of them", cpu, "ms"),
    ]


def _told(name: str, value: float, cluster: str, goal: float | None = None) -> Measured:
    print(f"  {name}: {value:.1f} {cluster}", flush=True)
    return Measured(name, value, cluster, goal)


@contextmanager
def _workers(count: int, *, processes: bool = True) -> Iterator[DaskEngine]:
    """A local cluster of workers with one thread each; what a YAML says of it."""
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set(QUIET),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=processes,
            host="127.0.0.1",
            # Threads of one process would talk to one another without a network.
            protocol="tcp://",
            dashboard_address=None,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as local,
    ):
        yield DaskEngine(address=local.scheduler_address)


@contextmanager
def _sleepers(count: int) -> Iterator[DaskEngine]:
    """The same as threads of a process of their own: what they need is not taken from the step."""
    spawned = multiprocessing.get_context("spawn")
    here, there = spawned.Pipe()
    process = spawned.Process(target=_serve, args=(count, there))
    process.start()
    try:
        yield DaskEngine(address=here.recv())
    finally:
        here.send("end")
        process.join()


def _serve(count: int, pipe: "Connection") -> None:
    with _workers(count, processes=False) as engine:
        pipe.send(engine.address)
        pipe.recv()


def _nothing(number: int) -> int:
    return number


def _bare(client: "Client", tasks: int) -> None:
    """What Dask's documentation shows: submit all, take each as it is done."""
    from distributed import as_completed

    futures = client.map(_nothing, range(tasks), pure=False)
    for future in as_completed(futures, loop=client.loop):
        future.result()
        future.release()


def _through(cluster: Cluster, tasks: int) -> None:
    _run(cluster, _nothing, {f"task-{n}": n for n in range(tasks)})


def _run(cluster: Cluster, function: Callable[[Any], Any], tasks: Mapping[str, Any]) -> None:
    found = cluster.run(function, tasks, may_start=lambda _: True)
    done = {one.key for one in found if one.lost is None}
    if done != set(tasks):
        raise RuntimeError(f"{len(tasks) - len(done)} of {len(tasks)} tasks were lost")


def _engine(cluster: Cluster, folder: str) -> ClusterEngine:
    return ClusterEngine(
        lambda: nullcontext(cluster), SharedFiles(SharedFolder(folder, "flights"), print, print)
    )


def _train(
    engine: ClusterEngine | nullcontext[FitEngine],
    wanted: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> None:
    with engine as opened:
        outcomes = list(opened.train(wanted, sets, spec))
    if failed := [one for one in outcomes if not isinstance(one, TrainedModel)]:
        raise RuntimeError(f"{failed[0].key}: {failed[0].reason}")


def _seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
