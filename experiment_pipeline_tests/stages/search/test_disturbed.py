"""What says nothing of a configuration does not decide about it: the interpreter, memory, disks."""

import gc
import sys
from collections.abc import Iterator

import pytest

from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline_tests.stages.search import own_estimators
from experiment_pipeline_tests.stages.search.scenario import (
    OWN,
    experiment,
    one,
    train,
    training_sets,
)

STRENGTHS = [0.1, 1.0, 10.0, 100.0]


@pytest.fixture
def restless() -> Iterator[None]:
    """Garbage is collected all the time, and threads take turns as often as they can."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(10)
    sys.setswitchinterval(1e-5)
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def test_fits_may_parse_at_once(restless: None) -> None:
    """CPython before 3.11.8 fails to parse in several threads; no fit meets that."""
    spec = experiment([one(f"{OWN}.Parses", strength=STRENGTHS)])
    outcomes = train(spec, training_sets(), workers=4).values()
    assert [one for one in outcomes if isinstance(one, FailedConfiguration)] == []
    assert [note for one in outcomes for note in one.result.notes] == []


@pytest.mark.parametrize("fault", ["SystemError", "ConnectionResetError"])
def test_a_fault_of_the_machine_gets_a_second_attempt(fault: str) -> None:
    """The configuration is trained as if nothing had been, and its result tells."""
    disturbed = experiment([one(f"{OWN}.Disturbed", strength=[2.0], fault=fault)])
    (outcome,) = train(disturbed, training_sets()).values()
    assert isinstance(outcome, TrainedModel)
    (note,) = outcome.result.notes
    assert fault in note
    assert "the machine caused that" in note
    undisturbed = experiment([one(f"{OWN}.Plain", strength=[2.0])])
    (plain,) = train(undisturbed, training_sets()).values()
    assert outcome.result.test_score == plain.result.test_score


def test_a_fault_that_stays_is_a_failure_that_says_so() -> None:
    """Two attempts and no more; the others are trained."""
    own_estimators.STARTED.clear()
    spec = experiment([one(f"{OWN}.Disturbed", strength=[2.0], everywhere=True), one("linear")])
    outcomes = train(spec, training_sets())
    (failed,) = [found for found in outcomes.values() if isinstance(found, FailedConfiguration)]
    assert failed.error_type == "MemoryError"
    assert "in a second attempt by itself" in failed.reason
    assert len(own_estimators.STARTED) == 2
    assert isinstance(outcomes["linear"], TrainedModel)


def test_what_an_estimator_raises_by_itself_is_not_tried_again() -> None:
    """The same error would come again, after the same time."""
    own_estimators.STARTED.clear()
    spec = experiment([one(f"{OWN}.Disturbed", strength=[2.0], fault="ValueError")])
    (failed,) = train(spec, training_sets()).values()
    assert isinstance(failed, FailedConfiguration)
    assert len(own_estimators.STARTED) == 1


def test_a_disturbed_fit_is_no_failure_in_a_row() -> None:
    """A limit of one failure does not end a search in which none failed for good."""
    disturbed = one(f"{OWN}.Disturbed", strength=STRENGTHS)
    spec = experiment([disturbed], budget={"failures_in_a_row": 1})
    brake = Brake(spec.budget, lambda: 0.0)
    found = train_configurations(configurations(spec), training_sets(), spec, 1, brake)
    assert [type(one) for one in found] == [TrainedModel] * len(STRENGTHS)
