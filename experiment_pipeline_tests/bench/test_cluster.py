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
    assert f"≥ {LEAST_BUSY:g} %" in share.row()
    assert cpu.value > 0


def test_how_busy_workers_are_is_a_share_of_their_time() -> None:
    """It cannot exceed 100 %."""
    share, shortest, _ = cluster.busy(count=3, tasks=9, scale=0.1)
    assert 0 < share.value <= 100
    assert 0 < shortest.value < 9
