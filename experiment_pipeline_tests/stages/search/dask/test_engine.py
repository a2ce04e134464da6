"""The engine of a cluster: threads and workers give the same."""

import pickle
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import psutil
import pytest

from experiment_pipeline.errors import ClusterError
from experiment_pipeline.spec import Budget, DaskEngine, ExperimentSpec
from experiment_pipeline.stages.search import (
    dask_engine,
    encoding,
    features,
)
from experiment_pipeline.stages.search.budget import AfterSearch, Brake
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.dask_cluster import Done, connected
from experiment_pipeline.stages.search.dask_engine import (
    ClusterEngine,
    differences,
    shared_by,
    software,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.fitting import share_work
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.stages.search import halving_scenario
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    OWN,
    experiment,
    one,
    sets_of,
    table,
    train,
    training_sets,
)
from experiment_pipeline_tests.stages.search.test_sweep import essence

MIXED = [
    one("lightgbm", min_child_samples=[5, 50], max_bin=[15, 63], n_estimators=30),
    one("random_forest", n_estimators=5),
    *(one(name, n_estimators=5) for name in ("catboost", "xgboost") if find_spec(name)),
    one("dummy"),
    one(f"{OWN}.Plain", strength=2.0),
]
CALIBRATED = one("linear", class_weight="balanced")
BAGGED = one("lightgbm", bagging_fraction=0.6, num_iterations=20)
FOLDS = {"cross_validation": {"folds": 2, "repeats": 2}}
WAYS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "mixed": (MIXED, {}),
    "seeds": ([BAGGED, one("linear")], {"seeds": 2}),
    "folds": ([BAGGED, CALIBRATED], {"evaluation": FOLDS}),
}


def by_workers(
    engine: ClusterEngine, spec: ExperimentSpec, sets: TrainingSets
) -> dict[str, Any]:
    """Train all of an experiment on workers; key → outcome."""
    with engine:
        outcomes = engine.train(configurations(spec), sets, spec)
        return {outcome.key: outcome for outcome in outcomes}


@pytest.mark.slow
def test_a_local_cluster_gives_what_threads_give_and_ends_with_its_run():
    """A process of Dask, a search by halving, an imported estimator: the same, bit by
    bit.
    """
    own = [one(f"{OWN}.Plain", strength=[0.5, 2.0]), one(f"{OWN}.Raises")]
    linear = one("linear", C=[0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0])
    spec = halving_scenario.experiment(searched=[one("dummy"), linear, *own])
    sets = halving_scenario.sets_of(spec)
    in_threads, on_workers = halving_scenario.Memory(), halving_scenario.Memory()
    first = halving_scenario.run(spec, sets, in_threads)
    before = set(psutil.Process().children(recursive=True))
    connect = partial(connected, DaskEngine(address="local"), workers=1)
    with ClusterEngine(connect) as engine:
        second = halving_scenario.run(spec, sets, on_workers, engine=engine)
        assert engine.workers == 1
        started = set(psutil.Process().children(recursive=True)) - before
        workers = [each for each in started if "spawn_main" in str(each.cmdline())]
    assert first.counts["stopped early"] > 0
    assert second.answer == first.answer
    assert on_workers.contents == in_threads.contents
    assert len(workers) == 1
    assert psutil.wait_procs(workers, 60)[1] == []


@pytest.mark.parametrize("way", WAYS)
def test_workers_give_what_threads_give(way: str, workers: ClusterEngine):
    """The same model bytes, predictions and scores, whatever is fitted, and however."""
    entries, settings = WAYS[way]
    spec = experiment(entries, **settings)
    sets = sets_of(spec)
    outcomes = by_workers(workers, spec, sets)
    assert essence(outcomes) == essence(train(spec, sets))
    for configuration in configurations(spec):
        result = outcomes[configuration.key].result
        assert result.fingerprint == fingerprint(configuration, sets, spec)


def test_a_weighted_and_a_sparse_table_are_the_same_ones(workers, monkeypatch):
    """Weights of rows, several classes and the parts of a sparse table reach a worker
    whole.
    """
    monkeypatch.setattr(features, "MAX_DENSE_BYTES", 0)
    entries = [one("linear"), one("lightgbm", n_estimators=5) | {"features": "onehot"}]
    spec = experiment(entries, "multiclass", sample_weight="counts")
    frame = table(CLASSES["multiclass"])
    sets = sets_of(spec, frame.assign(counts=np.linspace(1.0, 2.0, len(frame))))
    outcomes = by_workers(workers, spec, sets)
    assert essence(outcomes) == essence(train(spec, sets))


def test_what_fits_share_arrives_whole_and_read_only(monkeypatch):
    """Also a table that is encoded slice by slice: an estimator that writes into its
    input fails on a worker as it does here.
    """
    spec, sets = experiment([one("lightgbm") | {"features": "target"}]), training_sets()
    local = share_work(configurations(spec), sets, spec)
    monkeypatch.setattr(encoding, "HELD_ROWS", 100)
    work, without = pickle.loads(shared_by(configurations(spec), sets, spec))
    table = work.train["target"].table
    assert np.array_equal(table, local.train["target"].table, equal_nan=True)
    assert not table.flags.writeable
    assert without.train.empty


@dataclass
class Deadly:
    """A cluster on which each fit kills its workers."""

    begun: int = 0

    def share(self, content: bytes) -> str:
        """Share nothing."""
        return ""

    def run(self, function: Any, tasks: Any, **_: Any) -> Any:
        """Lose all tasks."""
        for name in tasks:
            self.begun += 1
            yield Done(name, None, "2 workers died")


def test_a_configuration_that_kills_its_workers_fails_and_says_so():
    """After a second attempt by itself, as one that meets a fault does."""
    spec, sets, cluster = experiment([one("linear")]), training_sets(), Deadly()
    with ClusterEngine(lambda: nullcontext(cluster)) as engine:
        (lost,) = engine.train(configurations(spec), sets, spec)
    assert lost.in_words.startswith(
        "LostWorker: 2 workers died (in a second attempt by itself; "
    )
    assert lost.fingerprint == fingerprint(configurations(spec)[0], sets, spec)
    assert cluster.begun == 2


def test_a_worker_that_differs_stops_the_search(workers, monkeypatch):
    """By its address and each difference; nothing is fitted on it."""
    expected = [software(("linear",)) | {"scikit-learn": "0.1"}]
    monkeypatch.setattr(
        dask_engine,
        "software",
        lambda paths: expected.pop() if expected else software(paths),
    )
    with pytest.raises(ClusterError, match=r"worker tcp://.*: scikit-learn .*has 0\.1"):
        by_workers(workers, experiment([one("linear")]), training_sets())


def test_each_difference_of_a_worker_is_named():
    """Packages, the source of this package and of an estimator."""
    algorithm = f"{OWN}.Plain"
    expected = software((algorithm,))
    assert differences(expected, expected) == ""
    assert expected.keys() >= {"Python", "processor", f"module of {algorithm}"}
    present = expected | {"source of experiment-pipeline": "0" * 8}
    del present["skops"]
    absent, source = differences(expected, present).split("; ")
    assert absent == f"skops not installed, the search has {expected['skops']}"
    assert source.startswith("source of experiment-pipeline 00000000, the search has ")


def test_the_brake_holds_back_what_waits(workers):
    """No task is handed out once the budget says no."""
    spec = experiment([one("linear", C=[0.1, 1.0])])
    sets = training_sets()
    why = "nothing may start"
    after = AfterSearch(sets, 2)
    brake = Brake(Budget(), lambda: 0.0, after, spec.metric, stopped=why)
    with workers as engine:
        assert not list(engine.train(configurations(spec), sets, spec, brake))
    assert brake.reason_of("any") == (why, None)
