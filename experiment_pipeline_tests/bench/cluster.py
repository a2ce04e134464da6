"""Training on a Dask cluster: what a task costs beyond Dask's own."""

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from experiment_pipeline.spec import DaskEngine
from experiment_pipeline.stages.search.dask_cluster import Cluster, connected
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.pairs import seconds_of

if TYPE_CHECKING:
    from distributed import Client

# Dask's own cost of a task is about 2.5 ms; ours may add so much.
MOST_MILLISECONDS = 5.0
TASKS_OF_NOTHING = 1_000
LOCAL_WORKERS = 2


def measurements(pairs: int, tasks: int = TASKS_OF_NOTHING) -> list[Measured]:
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
