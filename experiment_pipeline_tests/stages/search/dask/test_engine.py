"""The engine of a cluster: threads and workers give the same."""

import gc
import pickle
import tracemalloc
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from upath import UPath

from experiment_pipeline.errors import ClusterError, EntryCorrupt, StorageUnreachable
from experiment_pipeline.spec import Budget, DaskEngine, ExperimentSpec
from experiment_pipeline.stages.search import (
    dask_engine,
    encoding,
    features,
    shared_work,
)
from experiment_pipeline.stages.search.budget import AfterSearch, Brake
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.dask_cluster import Done, connected
from experiment_pipeline.stages.search.dask_engine import (
    ClusterEngine,
    Shared,
    differences,
    software,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.entries import SharedFolder
from experiment_pipeline_tests.stages.search import halving_scenario
from experiment_pipeline_tests.stages.search.dask.conftest import Workers
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    OWN,
    TRAIN_ROWS,
    experiment,
    one,
    sets_of,
    table,
    train,
    training_sets,
)
from experiment_pipeline_tests.stages.search.test_sweep import MIXED, essence

CALIBRATED = one("lightgbm", scale_pos_weight=3.0, num_iterations=20)
BAGGED = one("lightgbm", bagging_fraction=0.6, num_iterations=20)
BOOSTERS = [one("xgboost", n_estimators=[5, 20]), one("catboost", iterations=5)]
FEW = [one("lightgbm", n_estimators=5), one("linear")]
FOLDS = {"cross_validation": {"folds": 3, "repeats": 2}}
WAYS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "mixed": (MIXED, {}),
    "boosters": (BOOSTERS, {}),
    "seeds": ([BAGGED, one("linear")], {"seeds": {"fits": 3, "average": True}}),
    "folds": ([BAGGED, CALIBRATED, one("linear")], {"evaluation": FOLDS}),
}


def by_workers(
    engine: ClusterEngine, spec: ExperimentSpec, sets: TrainingSets
) -> dict[str, Any]:
    """Train all of an experiment on workers; key → outcome."""
    with engine:
        outcomes = engine.train(configurations(spec), sets, spec)
        return {outcome.key: outcome for outcome in outcomes}


def files(folder: Path) -> list[Path]:
    """The shared files."""
    return [path for path in (folder / "e").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_local_cluster_gives_what_threads_give_and_ends_with_its_run(tmp_path):
    """A process of Dask, a search by halving, an imported estimator: the same, bit by
    bit.
    """
    searched = [one(f"{OWN}.Plain", strength=[0.5, 2.0]), one(f"{OWN}.Raises")]
    spec = halving_scenario.experiment(searched=[*halving_scenario.SEARCH, *searched])
    sets = halving_scenario.sets_of(spec)
    in_threads, on_workers = halving_scenario.Memory(), halving_scenario.Memory()
    first = halving_scenario.run(spec, sets, in_threads)
    before = set(psutil.Process().children(recursive=True))
    connect = partial(connected, DaskEngine(address="local"), workers=1)
    with ClusterEngine(connect, SharedFolder(str(tmp_path), "e", "run")) as engine:
        second = halving_scenario.run(spec, sets, on_workers, engine=engine)
        assert engine.workers == 1
        workers = {
            process
            for process in set(psutil.Process().children(recursive=True)) - before
            if process.is_running() and "spawn_main" in str(process.cmdline())
        }
    assert second.answer == first.answer
    assert on_workers.contents == in_threads.contents
    for name, model in on_workers.models.items():
        in_thread = in_threads.models[name]
        assert np.array_equal(model.predictions.test, in_thread.predictions.test)
        assert model.result.test_scores == in_thread.result.test_scores
    assert files(tmp_path) == []
    assert len(workers) == 1
    assert psutil.wait_procs(workers, 60)[1] == []


@pytest.mark.parametrize("way", WAYS)
def test_workers_give_what_threads_give(way: str, workers: Workers, tmp_path):
    """The same model bytes, predictions and scores, whatever is fitted, and however."""
    for library in ("xgboost", "catboost") if way == "boosters" else ():
        pytest.importorskip(library)
    entries, settings = WAYS[way]
    spec = experiment(entries, **settings)
    sets = sets_of(spec)
    outcomes = by_workers(workers(tmp_path), spec, sets)
    assert essence(outcomes) == essence(train(spec, sets))
    for configuration in configurations(spec):
        result = outcomes[configuration.key].result
        assert result.fingerprint == fingerprint(configuration, sets, spec)


def test_a_weighted_and_a_sparse_table_are_the_same_ones(
    workers, tmp_path, monkeypatch
):
    """Weights of rows, several classes and the parts of a sparse table reach a worker
    whole.
    """
    monkeypatch.setattr(features, "MAX_DENSE_BYTES", 0)
    entries = [one("linear"), one("lightgbm", n_estimators=5) | {"features": "onehot"}]
    spec = experiment(entries, "multiclass", sample_weight="counts")
    frame = table(CLASSES["multiclass"])
    sets = sets_of(spec, frame.assign(counts=np.linspace(1.0, 2.0, len(frame))))
    outcomes = by_workers(workers(tmp_path), spec, sets)
    assert essence(outcomes) == essence(train(spec, sets))


def test_a_bucket_is_read_as_a_folder_is(workers, place: UPath):
    """Files are copied to be mapped, the same ones, and none is left behind."""
    spec, sets = experiment(FEW), training_sets()
    assert essence(by_workers(workers(place), spec, sets)) == essence(train(spec, sets))
    remaining = place.fs.find((place / "e" / "shared").path)
    assert [name for name in remaining if name.endswith((".npy", ".json"))] == []


def test_a_task_is_small_whatever_the_table(tmp_path):
    """Rows, and masks of them, go through the storage."""
    for evaluation, most in (("test_set", 8_000), ("cross_validation", 32_000)):
        spec = experiment(FEW, evaluation=evaluation)
        folder = SharedFolder(str(tmp_path), "e", "run")
        for configuration in configurations(spec):
            shared = Shared.of([configuration], sets_of(spec), spec, folder)
            assert len(pickle.dumps(shared)) < most


def test_large_tables_are_written_slice_by_slice(tmp_path, monkeypatch):
    """The numbers that are encoded at once; memory holds neither the table nor its
    file.
    """
    few = table(CLASSES["binary"])
    frame = few.iloc[np.arange(100_000) % TRAIN_ROWS].reset_index(drop=True)
    frame = frame.assign(**{f"number {n}": frame["distance"] + n for n in range(20)})
    sets = replace(
        training_sets(),
        train=frame,
        test=frame[:500],
        early_stopping=np.zeros(len(frame), dtype=bool),
        features=tuple(name for name in frame if name != "late"),
    )
    spec = experiment([one("lightgbm") | {"features": "target"}])

    def written(folder: Path) -> np.ndarray:
        place = SharedFolder(str(folder), "e", "run")
        work, _ = Shared.of(configurations(spec), sets, spec, place).read()
        return work.train["target"].table

    at_once = written(tmp_path / "at once")
    monkeypatch.setattr(encoding, "HELD_ROWS", 1_000)
    monkeypatch.setattr(shared_work, "ROWS_OF_A_SLICE", 1_000)
    rarely = gc.get_threshold()
    gc.set_threshold(700)  # Python's own: how much garbage waits is part of the peak
    tracemalloc.start()
    by_slices = written(tmp_path / "slices")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.set_threshold(*rarely)
    assert np.array_equal(by_slices, at_once, equal_nan=True)
    assert not by_slices.flags.writeable
    # What threads of the cluster and of other tests hold is in the peak as well.
    assert peak < at_once.nbytes / 2


@dataclass
class Deadly:
    """A cluster on which each fit kills its workers."""

    begun: int = 0

    def run(self, function: Any, tasks: Any, **_: Any) -> Any:
        """Lose all tasks."""
        for name in tasks:
            self.begun += 1
            yield Done(name, None, "2 workers died")


def test_a_configuration_that_kills_its_workers_fails_and_says_so(tmp_path):
    """After a second attempt by itself, as one that meets a fault does."""
    spec, sets, cluster = experiment([one("linear")]), training_sets(), Deadly()
    folder = SharedFolder(str(tmp_path), "e", "run")
    with ClusterEngine(lambda: nullcontext(cluster), folder) as engine:
        (lost,) = engine.train(configurations(spec), sets, spec)
    assert lost.in_words.startswith(
        "LostWorker: 2 workers died (in a second attempt by itself; "
    )
    assert lost.fingerprint == fingerprint(configurations(spec)[0], sets, spec)
    assert cluster.begun == 2


def test_a_worker_that_differs_stops_the_search(workers, tmp_path, monkeypatch):
    """By its address and each difference; nothing is fitted on it."""
    expected = [software(("linear",)) | {"scikit-learn": "0.1"}]
    monkeypatch.setattr(
        dask_engine,
        "software",
        lambda paths: expected.pop() if expected else software(paths),
    )
    with pytest.raises(ClusterError, match=r"worker tcp://.*: scikit-learn .*has 0\.1"):
        by_workers(workers(tmp_path), experiment([one("linear")]), training_sets())


def test_each_difference_of_a_worker_is_named():
    """Python, processor, packages, the source of this package and of an estimator."""
    algorithm = f"{OWN}.Plain"
    expected = software((algorithm,))
    assert differences(expected, expected) == ""
    assert expected.keys() >= {
        "Python",
        "processor",
        "lightgbm",
        f"module of {algorithm}",
    }
    present = expected | {"lightgbm": "4.0", "source of experiment-pipeline": "0" * 8}
    del present["skops"]
    package, absent, source = differences(expected, present).split("; ")
    assert package == f"lightgbm 4.0, the search has {expected['lightgbm']}"
    assert absent == f"skops not installed, the search has {expected['skops']}"
    assert source.startswith("source of experiment-pipeline 00000000, the search has ")


def test_the_brake_holds_back_what_waits(workers, tmp_path):
    """No task is handed out once the budget says no."""
    spec = experiment([one("linear", C=[0.1, 1.0])])
    sets = training_sets()
    why = "nothing may start"
    after = AfterSearch(sets, 2)
    brake = Brake(Budget(), lambda: 0.0, after, spec.metric, stopped=why)
    with workers(tmp_path) as engine:
        assert not list(engine.train(configurations(spec), sets, spec, brake))
    assert brake.reason_of("any") == (why, None)


def test_shared_files_end_with_the_search(workers, tmp_path):
    """Also by an error; those of another search stay: two notebooks may search."""
    other = tmp_path / "e" / "shared" / "another run" / "name" / "0.npy"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"cells")
    spec, sets = experiment(FEW), training_sets()
    with suppress(RuntimeError), workers(tmp_path) as engine:
        for outcome in engine.train(configurations(spec), sets, spec):
            assert isinstance(outcome, TrainedModel)
            assert len(files(tmp_path)) > 1
            raise RuntimeError
    assert files(tmp_path) == [other]


def test_a_storage_that_is_away_costs_an_attempt(workers, tmp_path, monkeypatch):
    """It says nothing of a configuration, which is trained again."""
    failures = [StorageUnreachable("s3://b", "no answer", "wait")]
    read = Shared.read

    def reads(shared: Shared) -> Any:
        if failures:
            raise failures.pop()
        return read(shared)

    monkeypatch.setattr(Shared, "read", reads)
    spec = experiment([one("dummy")])
    (trained,) = by_workers(workers(tmp_path), spec, training_sets()).values()
    assert "a first attempt ended with LostWorker: s3://b" in trained.result.notes[0]


def test_a_file_that_a_worker_cannot_read_ends_the_search(
    workers, tmp_path, monkeypatch
):
    """A damaged or missing one is not fitted on; the error names file and worker."""
    share = Shared.of

    def damaged(*arguments: Any) -> Shared:
        shared = share(*arguments)
        for path in files(tmp_path):
            if path.suffix == ".npy":
                path.write_bytes(path.read_bytes()[:-1] + b"?")
        return shared

    monkeypatch.setattr(Shared, "of", damaged)
    with pytest.raises(EntryCorrupt, match=r"not what was written, as read by the wor"):
        by_workers(workers(tmp_path), experiment(FEW), training_sets())
