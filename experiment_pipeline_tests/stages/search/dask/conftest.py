"""A Dask cluster in this process: what crosses to its worker is pickled as on a real
one.
"""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from distributed import LocalCluster

from experiment_pipeline.stages.search.dask_cluster import Cluster
from experiment_pipeline.stages.search.dask_engine import ClusterEngine


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
def workers(cluster: Cluster) -> ClusterEngine:
    """An engine on the cluster."""
    return ClusterEngine(lambda: nullcontext(cluster))
