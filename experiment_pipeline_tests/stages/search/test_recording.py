"""What a search stores and says while it runs: fits wait neither for the disk nor for
whoever listens, and nothing is heard of a model before it is stored.
"""

import threading
import time

import pytest

from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.halving import Threads, run_search
from experiment_pipeline.stages.search.results import ModelsInMemory, TrainedModel
from experiment_pipeline_tests.stages.search.halving_scenario import (
    experiment,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import one

PATIENCE_SECONDS = 60.0
SEARCH = [one("dummy"), one("linear", C=[0.01, 0.1, 1.0])]


def searched(store: ModelsInMemory, listen: object = lambda _: None) -> None:
    """Search four configurations on all rows."""
    spec = experiment(searched=SEARCH, halving=False)
    declared = configurations(spec)
    run_search(declared, sets_of(spec), spec, store, Threads(1), listen=listen)


def test_models_are_stored_side_by_side():
    """A model is stored while another one still waits for the disk."""
    two = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    class TwoAtATime(ModelsInMemory):
        def put(self, trained: TrainedModel) -> TrainedModel:
            two.wait()
            return super().put(trained)

    store = TwoAtATime()
    searched(store)
    assert len(store.models) == 4


def test_nothing_is_heard_of_a_model_before_it_is_stored():
    """A conclusion names a model that is stored, however slow the disk is."""
    stored = set[str]()
    heard = list[tuple[str, bool]]()

    class Slow(ModelsInMemory):
        def put(self, trained: TrainedModel) -> TrainedModel:
            time.sleep(0.05)
            stored.add(trained.key)
            return super().put(trained)

    def listen(event: object) -> None:
        if getattr(event, "result", None) is not None:
            heard.append((event.key, event.key in stored))

    searched(Slow(), listen)
    assert sorted(heard) == sorted((key, True) for key in stored)
    assert len(heard) == 4


def test_a_model_that_cannot_be_stored_ends_the_search():
    """An error of the disk, or of whoever listens, is raised by the search."""

    class Full(ModelsInMemory):
        def put(self, trained: TrainedModel) -> TrainedModel:
            raise OSError(f"no space for {trained.key}")

    with pytest.raises(OSError, match="no space for"):
        searched(Full())

    def deaf(event: object) -> None:
        raise LookupError(str(event))

    with pytest.raises(LookupError):
        searched(ModelsInMemory(), deaf)
