"""The benchmark of the cluster measures what it says, on small ones."""

import pytest

from experiment_pipeline_tests.bench import cluster
from experiment_pipeline_tests.bench.cluster import LEAST_BUSY
from experiment_pipeline_tests.stages.search.scenario import experiment, one, training_sets

pytestmark = pytest.mark.slow


def test_workers_are_held_against_threads() -> None:
    """Both train all of it; a share below the goal is told like any other."""
    spec = experiment([one("lightgbm", learning_rate=[0.1, 0.2], n_estimators=5)])
    share, cpu = cluster.throughput(spec, training_sets(), pairs=1)
    assert share.value > 0
    assert share.cells()[-1] == f"≥ {LEAST_BUSY:g} %"
    assert cpu.value > 0
