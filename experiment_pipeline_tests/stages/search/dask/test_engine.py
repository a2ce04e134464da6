"""The engine of a cluster, mostly on a stand-in for it: threads and workers give the
same.
"""

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from upath import UPath

from experiment_pipeline.errors import ClusterError, EntryCorrupt, StorageUnreachable
from experiment_pipeline.spec import Budget, DaskEngine, ExperimentSpec
from experiment_pipeline.stages.search import dask_engine as task
from experiment_pipeline.stages.search import features
from experiment_pipeline.stages.search.budget import AfterSearch, Brake
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.dask_cluster import connected
from experiment_pipeline.stages.search.dask_engine import ClusterEngine
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.stages.search import halving_scenario
from experiment_pipeline_tests.stages.search.dask.stand_in import (
    StandIn,
    files,
    shared_in,
    workers,
)
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
from experiment_pipeline_tests.stages.search.test_sweep import MIXED, essence

CALIBRATED = one("lightgbm", scale_pos_weight=3.0, num_iterations=20)
BAGGED = one("lightgbm", bagging_fraction=0.6, num_iterations=20)
BOOSTERS = [one("xgboost", n_estimators=[5, 20]), one("catboost", iterations=5)]
WAYS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "mixed": (MIXED, {}),
    "boosters": (BOOSTERS, {}),
    "seeds": ([BAGGED, one("linear")], {"seeds": {"fits": 3, "average": True}}),
    "folds": (
        [BAGGED, CALIBRATED, one("linear")],
        {"evaluation": {"cross_validation": {"folds": 3, "repeats": 2}}},
    ),
}

OWN_TWO = [one(f"{OWN}.Plain", strength=[0.5, 2.0]), one(f"{OWN}.Raises")]
SEARCHED = [*halving_scenario.SEARCH, *OWN_TWO]


def by_workers(
    spec: ExperimentSpec,
    sets: TrainingSets,
    folder: Path | UPath,
    cluster: StandIn | None = None,
) -> dict[str, Any]:
    """Train all of an experiment on workers; key → outcome."""
    with workers(folder, cluster) as engine:
        return {one.key: one for one in engine.train(configurations(spec), sets, spec)}


@pytest.mark.slow
def test_a_local_cluster_gives_what_threads_give_and_ends_with_its_run(
    tmp_path: Path,
) -> None:
    """Two processes of Dask, a search by halving, an imported estimator: the same, bit
    by bit.
    """
    spec = halving_scenario.experiment(searched=SEARCHED)
    sets = halving_scenario.sets_of(spec)
    in_threads, on_workers = halving_scenario.Memory(), halving_scenario.Memory()
    first = halving_scenario.run(spec, sets, in_threads)
    connect = partial(connected, DaskEngine(address="local"), workers=2)
    with ClusterEngine(connect, shared_in(tmp_path)) as engine:
        second = halving_scenario.run(spec, sets, on_workers, engine=engine)
        assert engine.workers == 2
        assert engine._cluster is not None
        processes = engine._cluster.ask(os.getpid).values()
    assert second.answer == first.answer
    assert on_workers.contents == in_threads.contents
    for name, model in on_workers.models.items():
        other = in_threads.models[name]
        assert np.array_equal(model.predictions.test, other.predictions.test)
        assert model.result.test_scores == other.result.test_scores
        assert model.result.placement is not None
    placed = {one.result.placement.worker for one in on_workers.models.values()}
    assert len(placed) == 2
    assert files(tmp_path) == {}
    assert (
        len(set(processes)),
        [one for one in processes if psutil.pid_exists(one)],
    ) == (2, [])


@pytest.mark.parametrize("way", WAYS)
def test_workers_give_what_threads_give(way: str, tmp_path: Path) -> None:
    """The same model bytes, predictions and scores, whatever is fitted, and however."""
    for library in ("xgboost", "catboost") if way == "boosters" else ():
        pytest.importorskip(library)
    entries, more = WAYS[way]
    spec = experiment(entries, **more)
    sets = sets_of(spec)
    found = by_workers(spec, sets, tmp_path)
    assert essence(found) == essence(train(spec, sets))
    for each in configurations(spec):
        assert found[each.key].result.fingerprint == fingerprint(each, sets, spec)


def test_a_weighted_and_a_sparse_table_are_the_same_ones(tmp_path, monkeypatch) -> None:
    """Weights of rows, several classes and the parts of a sparse table reach a worker
    whole.
    """
    monkeypatch.setattr(features, "MAX_DENSE_BYTES", 0)
    entries = [one("linear"), one("lightgbm", n_estimators=5) | {"features": "onehot"}]
    spec = experiment(entries, "multiclass", sample_weight="counts")
    frame = table(CLASSES["multiclass"])
    sets = sets_of(spec, frame.assign(counts=np.linspace(1.0, 2.0, len(frame))))
    assert essence(by_workers(spec, sets, tmp_path)) == essence(train(spec, sets))


def test_a_bucket_is_read_as_a_folder_is(place: UPath) -> None:
    """Files are copied to be mapped, the same ones, and none is left behind."""
    spec, sets = (
        experiment([one("lightgbm", n_estimators=5), one("linear")]),
        training_sets(),
    )
    assert essence(by_workers(spec, sets, place)) == essence(train(spec, sets))
    left = place.fs.find((place / "e" / "shared").path)
    assert [name for name in left if name.endswith((".npy", ".bin", ".json"))] == []


def test_a_task_is_small_whatever_the_table(tmp_path: Path) -> None:
    """Rows, and masks of them, go through the storage."""
    search, whole, folds = (
        [one("lightgbm", n_estimators=5), one("linear")],
        StandIn(),
        StandIn(),
    )
    by_workers(experiment(search), training_sets(), tmp_path, whole)
    assert max(whole.sizes) < 8_000
    spec = experiment(search, evaluation="cross_validation")
    by_workers(spec, sets_of(spec), tmp_path, folds)
    assert max(folds.sizes) < 32_000


def test_a_configuration_that_kills_its_workers_fails_and_says_so(
    tmp_path: Path,
) -> None:
    """After a second attempt by itself, as one that meets a fault does; the others are
    trained.
    """
    disturbed = one(f"{OWN}.Disturbed", everywhere=True)
    spec, sets = experiment([one("linear", C=[0.1, 1.0]), disturbed]), training_sets()
    cluster = StandIn(deadly=frozenset({"linear__C=0.1"}))
    found = by_workers(spec, sets, tmp_path, cluster)
    lost = found["linear__C=0.1"]
    assert lost.in_words.startswith(
        "LostWorker: 2 workers died (in a second attempt by itself; "
    )
    assert lost.fingerprint == fingerprint(configurations(spec)[0], sets, spec)
    assert lost.placement.attempts == 4
    placed = found["linear__C=1.0"].result.placement
    assert (placed.worker, placed.attempts, placed.queue_seconds) == (
        "tcp://here:1",
        1,
        0.25,
    )
    assert found["Disturbed"].placement.worker == "tcp://here:1"
    assert "in a second attempt by itself" in found["Disturbed"].reason
    assert [len(names) for names in cluster.lists] == [3, 1, 1]


class Older(StandIn):
    """Its worker gets tasks of a process with another scikit-learn."""

    def run(self, function: Any, tasks: Any, **options: Any) -> Any:
        other = {"scikit-learn": "0.1"}
        sent = {name: replace(one, software=other) for name, one in tasks.items()}
        return super().run(function, sent, **options)


def test_a_worker_that_differs_stops_the_search_before_the_first_fit(
    tmp_path: Path,
) -> None:
    """By its address and each difference; where it joins later, the task refuses to
    fit.
    """
    spec, cluster = (
        experiment([one("linear")]),
        StandIn(differs={"scikit-learn": "0.1"}),
    )
    with pytest.raises(
        ClusterError, match=r"worker tcp://here:1: scikit-learn 0\.1, here "
    ):
        by_workers(spec, training_sets(), tmp_path, cluster)
    assert cluster.lists == []
    assert list(tmp_path.rglob(".*.probe")) == []
    with pytest.raises(ClusterError, match=r"scikit-learn .*, here 0\.1"):
        by_workers(spec, training_sets(), tmp_path, Older())


def test_the_brake_holds_back_what_waits(tmp_path: Path) -> None:
    """No task is handed out once the budget says no; failures in a row are counted."""
    spec = experiment([one(f"{OWN}.Raises", strength=[1.0, 2.0, 3.0, 4.0])])
    after = AfterSearch(training_sets(), 1)
    brake = Brake(Budget(failures_in_a_row=2), lambda: 0.0, after, spec.metric)
    with workers(tmp_path) as engine:
        found = list(engine.train(configurations(spec), training_sets(), spec, brake))
    assert len(found) == 2
    assert brake.reason_of("any") == ("2 configurations in a row had failed", None)


def test_shared_files_end_with_the_search_unless_by_an_error(tmp_path: Path) -> None:
    """A rerun after an error finds them; a search that ends leaves nothing."""
    spec, sets = (
        experiment([one("lightgbm", n_estimators=5), one("linear")]),
        training_sets(),
    )
    with suppress(RuntimeError), workers(tmp_path) as engine:
        for _ in engine.train(configurations(spec), sets, spec):
            raise RuntimeError
    left = files(tmp_path)
    assert left
    with workers(tmp_path) as engine:
        again = engine.train(configurations(spec), sets, spec)
        assert isinstance(next(again), TrainedModel)
        assert files(tmp_path) == left
        list(again)
    assert files(tmp_path) == {}


def test_a_storage_that_is_away_costs_an_attempt_and_lost_files_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first says nothing of a configuration; the second is the step's own fault."""
    spec, failures = (
        experiment([one("dummy")]),
        [StorageUnreachable("s3://b", "no answer", "wait")],
    )
    read = task.read_shared

    def reads(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(*arguments)

    monkeypatch.setattr(task, "read_shared", reads)
    monkeypatch.setattr(task, "_WORKS", task.Kept(1))
    (trained,) = by_workers(spec, training_sets(), tmp_path).values()
    assert "a first attempt ended with StorageUnreachable" in trained.result.notes[0]
    failures.append(EntryCorrupt("e/shared/1", "is gone", "run again"))
    monkeypatch.setattr(task, "_WORKS", task.Kept(1))
    with pytest.raises(EntryCorrupt):
        by_workers(spec, training_sets(), tmp_path)
