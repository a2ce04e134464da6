"""A Dask cluster in this process: what crosses to its worker is pickled as on a real
one.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from distributed import LocalCluster
from upath import UPath

from experiment_pipeline.stages.search.dask_cluster import Cluster
from experiment_pipeline.stages.search.dask_engine import ClusterEngine
from experiment_pipeline.storage.entries import SharedFolder

Workers = Callable[[Path | UPath], ClusterEngine]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One worker with two threads, which no test of another file has beside it."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as local,
        local.get_client() as client,
    ):
        yield Cluster(client, local.scheduler_address, print)


@pytest.fixture
def workers(cluster: Cluster) -> Workers:
    """Folder of the storage → an engine on the cluster."""

    def engine(folder: Path | UPath) -> ClusterEngine:
        place = SharedFolder(str(folder), "e", "run")
        return ClusterEngine(lambda: nullcontext(cluster), place)

    return engine
