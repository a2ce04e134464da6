"""Trained models stored by fingerprint: whole or not at all, and never changed."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.search.results import (
    ModelResult,
    Predictions,
    TrainedModel,
    TrainedModelStore,
)
from experiment_pipeline.storage import entries
from experiment_pipeline.storage.entries import Entries
from experiment_pipeline.storage.files import list_names
from experiment_pipeline.storage.records import to_json
from experiment_pipeline_tests.results import model_result


def trained(number: int = 0, *, size: int = 100, **changes: object) -> TrainedModel:
    """A trained model whose content follows from its number."""
    result = replace(
        model_result(f"lightgbm__num_leaves={number}", math.nan),
        fingerprint=f"{number:064x}",
        algorithm="lightgbm",
        hyperparameters={"num_leaves": number, "name": "x", "none": None},
        train_score=1 / 3,
        test_scores={"roc_auc": math.nan, "log_loss": 0.1 + 0.2},
        model_bytes=size,
    )
    random = np.random.default_rng(number)
    on_test, on_train = (
        random.random((n, 3)).astype("float32") for n in (size, size // 2)
    )
    predictions = Predictions(test=on_test, train=on_train)
    return TrainedModel(
        replace(result, **changes), f"tree\n{number}".encode() * size, predictions
    )


def assert_same(first: TrainedModel, second: TrainedModel) -> None:
    """Two trained models are the same, to the bit."""
    assert to_json(first.result) == to_json(second.result)
    assert first.model == second.model
    for rows in ("test", "train"):
        mine, theirs = (
            getattr(first.predictions, rows),
            getattr(second.predictions, rows),
        )
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


PRINT = f"{1:064x}"


def store_at(root: UPath, experiment: str = "flights") -> TrainedModelStore:
    """The trained models of an experiment under a root."""
    return TrainedModelStore(Entries(root, experiment, "trained_model", ModelResult))


@pytest.fixture
def store(place: UPath) -> TrainedModelStore:
    """A store on a disk, and one in a bucket."""
    return store_at(place)


def test_an_entry_comes_back_to_the_bit(store: TrainedModelStore):
    """Numbers, model and predictions come back as they went; undefined scores too."""
    store.put(trained(1))
    assert_same(store.require(PRINT), trained(1))
    predictions = store.predictions(PRINT)
    np.testing.assert_array_equal(predictions.train, trained(1).predictions.train)
    for read in (store.require, store.predictions):
        with pytest.raises(EntryCorrupt, match="is gone"):
            read("0" * 64)


@pytest.mark.parametrize(
    ("algorithm", "ending"), [("lightgbm", "txt"), ("linear", "skops")]
)
def test_files_are_named_after_what_they_are(
    storage: UPath, algorithm: str, ending: str
):
    """LightGBM's text ends in .txt, a skops file in .skops."""
    store = store_at(UPath(storage))
    store.put(trained(1, algorithm=algorithm))
    model, *others = list_names(store.entries.folder(PRINT))
    assert model.startswith("model")
    assert model.endswith(ending)
    stems = [name.split(".")[0] for name in others]
    assert stems == ["result", "test_predictions", "train_predictions"]


def test_many_are_read_in_the_order_asked_for(store: TrainedModelStore):
    """Of many fingerprints those that exist come back, in the order given, each
    complete.
    """
    for number in (3, 1, 2):
        store.put(trained(number))
    prints = [trained(number).result.fingerprint for number in (2, 9, 3, 1)]
    present = [print_ for print_ in prints if print_ != prints[1]]
    assert list(store.results(prints)) == present
    predictions = store.test_predictions(prints)
    assert list(predictions) == present
    np.testing.assert_array_equal(predictions[prints[0]], trained(2).predictions.test)
    assert store.results([]) == {}


def test_writers_of_one_entry_at_once_end_in_one_right_entry(store: TrainedModelStore):
    """Of six writers with different content, one wins whole, and all are given the
    winner's.
    """
    start = threading.Barrier(6)

    def write(writer: int) -> TrainedModel:
        mine = trained(1, size=100 + writer, fit_cpu_seconds=float(writer))
        start.wait()
        return store.put(mine)

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(write, range(6)))
    winner = store.require(PRINT)
    assert len(winner.predictions.test) == 100 + winner.result.fit_cpu_seconds
    for outcome in outcomes:
        assert_same(outcome, winner)


def test_a_writer_that_stops_between_files_leaves_no_entry(store, monkeypatch):
    """Whatever ends it before the last file, nothing that it wrote can be read."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(entries.storage, "create_exclusive", stop)
        with pytest.raises(KeyboardInterrupt):
            store.put(trained(1))
    assert len(list_names(store.entries.folder(PRINT))) == 3
    assert store.results([PRINT]) == {}
    store.put(trained(1))
    assert_same(store.require(PRINT), trained(1))
