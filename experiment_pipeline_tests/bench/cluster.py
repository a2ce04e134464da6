"""Training on a Dask cluster: what a task costs beyond Dask's own, and how two workers
do beside two threads.
"""

import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from experiment_pipeline.spec import DaskEngine, ExperimentSpec
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.dask_cluster import Cluster, connected
from experiment_pipeline.stages.search.dask_engine import ClusterEngine
from experiment_pipeline.stages.search.halving import FitEngine, Threads
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.pairs import seconds_of

if TYPE_CHECKING:
    from distributed import Client

# Dask's own cost of a task is about 2.5 ms; ours may add so much.
MOST_MILLISECONDS = 5.0
TASKS_OF_NOTHING = 1_000
LEAST_BUSY = 90.0
LOCAL_WORKERS = 2
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


def measurements(pairs: int) -> list[Measured]:
    """Every figure; three pairs take about a minute."""
    spec = flights.flights_spec(search=FITS, halving=False)
    return [*overhead(pairs), *throughput(spec, flights.flights_cut(spec).sets, pairs)]


def overhead(pairs: int, tasks: int = TASKS_OF_NOTHING) -> list[Measured]:
    """Milliseconds of a task that does nothing: Dask's own, and what ours
    adds to it.
    """
    from distributed import Client

    bare, ours, cpu = list[float](), list[float](), list[float]()
    with (
        connected(DaskEngine(address="local"), workers=LOCAL_WORKERS) as cluster,
        Client(cluster._scheduler, set_as_default=False) as client,
    ):
        # The first ones pay for connections and imports.
        _bare(client, 50)
        _through(cluster, 50)
        for _ in range(pairs):
            bare.append(seconds_of(partial(_bare, client, tasks)))
            began = time.process_time()
            ours.append(seconds_of(partial(_through, cluster, tasks)))
            cpu.append(time.process_time() - began)
    each = 1_000 / tasks
    added = [each * (one - other) for one, other in zip(ours, bare, strict=True)]
    spread = f"{min(added):.1f} to {max(added):.1f}, {pairs} pairs of {tasks:,} tasks"
    own, ours_cpu = each * statistics.median(bare), each * statistics.median(cpu)
    added_by_ours = f"what ours adds to it ({spread})"
    return [
        Measured("a task of Dask's own, that does nothing", own, "ms"),
        Measured(added_by_ours, statistics.median(added), "ms", MOST_MILLISECONDS),
        Measured("CPU of the step for each task of ours", ours_cpu, "ms"),
    ]


def throughput(spec: ExperimentSpec, sets: TrainingSets, pairs: int) -> list[Measured]:
    """What two local workers get done beside two threads, and what the step takes of a
    core.

    Both begin with tables that nobody has encoded; the workers are there, and have
    imported what they fit with. In turn, so that a drift of the machine cancels.
    """
    wanted = configurations(spec)
    shares, cpu = list[float](), list[float]()
    local = DaskEngine(address="local")
    with connected(local, workers=LOCAL_WORKERS) as cluster:
        _train(_engine(cluster), wanted[:LOCAL_WORKERS], sets, spec)
        for number in range(pairs):
            # What its fits share is sent anew.
            workers = partial(_train, _engine(cluster), wanted, sets, spec)
            threads = partial(
                _train, nullcontext(Threads(LOCAL_WORKERS)), wanted, sets, spec
            )
            took = {}
            for way in (workers, threads) if number % 2 == 0 else (threads, workers):
                began = time.process_time()
                took[way] = seconds_of(way)
                if way is workers:
                    cpu.append(1_000 / len(wanted) * (time.process_time() - began))
            shares.append(100 * took[threads] / took[workers])
    fit = LOCAL_WORKERS * took[threads] / len(wanted)
    spread = f"{min(shares):.0f} to {max(shares):.0f}, {pairs} pairs"
    name = (
        f"two workers of what two threads get done, {len(wanted)} fits of {fit:.1f} s "
        f"({spread})"
    )
    step = "CPU of the step for each configuration, with encoding, bins and files"
    return [
        Measured(name, statistics.median(shares), "%", LEAST_BUSY, at_least=True),
        Measured(step, statistics.median(cpu), "ms"),
    ]


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
    wanted = {f"task-{number}": number for number in range(tasks)}
    found = list(cluster.run(_nothing, wanted, may_start=lambda _: True))
    if {one.key for one in found if not one.lost} != set(wanted):
        raise RuntimeError(f"of {tasks} tasks {len(found)} ended")


def _engine(cluster: Cluster) -> ClusterEngine:
    return ClusterEngine(lambda: nullcontext(cluster))


def _train(
    engine: ClusterEngine | nullcontext[FitEngine],
    wanted: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> None:
    with engine as opened:
        outcomes = list(opened.train(wanted, sets, spec))
    if failed := [
        outcome for outcome in outcomes if not isinstance(outcome, TrainedModel)
    ]:
        raise RuntimeError(f"{failed[0].key}: {failed[0].reason}")
