"""Threads and processes do the same work, so that their seconds can be compared."""

import joblib
import numpy as np
import pytest

from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.bench import processes
from experiment_pipeline_tests.stages.search.scenario import training_sets


@pytest.fixture(scope="module")
def sets() -> TrainingSets:
    """A small table of every type."""
    return training_sets()


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear", "PurePython"])
def test_both_ways_give_the_same_models(sets, algorithm):
    """Model and predictions are equal to the last bit, in the order of the configurations."""
    tried = next(one for one in processes.TRIED if one.algorithm.endswith(algorithm))
    threads = {one.result.key: one for one in processes.by_threads(tried.spec(), sets)}
    # In this process, where it is quick: the benchmark itself starts others.
    with joblib.parallel_config("sequential"):
        by_processes = processes.by_processes(tried.spec(), sets)
    assert len(threads) == len(by_processes) == 4
    for one in by_processes:
        assert one.model == threads[one.result.key].model
        assert np.array_equal(one.predictions.test, threads[one.result.key].predictions.test)
