"""The line of progress tells the truth about rungs, counts, the best so far and the time left."""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
    Progress,
    RungStarted,
)
from experiment_pipeline.stages.search.results import FailedConfiguration, Predictions, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search.scenario import training_sets

NO_ROWS = Predictions(np.zeros(0), np.zeros(0))
FULL = Rung(1, 1, 1.0, 0, training_sets())


def fitted(key: str, score: float, rung: Rung = FULL) -> Fitted:
    """A fit that ended well."""
    return Fitted(rung, TrainedModel(model_result(key, score, "log_loss"), b"", NO_ROWS))


def told(progress: Progress, event: Event, elapsed: float = 0.0) -> list[str]:
    """What is said of an event."""
    return [note.text for note in progress.told(event, elapsed)]


@pytest.fixture
def progress() -> Progress:
    return Progress("log_loss")


def test_it_names_the_best_so_far_in_the_direction_of_the_metric(progress):
    """Of two log losses the smaller is the best so far."""
    told(progress, RungStarted(FULL, 3, 0, 0.0))
    told(progress, fitted("a", 0.4))
    told(progress, fitted("b", 0.5))
    assert progress.line(10.0) == "2 / 3 done, best log_loss 0.4000 (a), about 5 s left"


def test_a_small_rung_counts_its_own_fits_and_has_no_best(progress):
    """A quarter of the rows is a quarter of a fit; what later rungs need is added."""
    rung = replace(FULL, of=2, fraction=0.25, kept=2)
    begun = told(progress, RungStarted(rung, 4, 1, work_after=2.0))
    assert begun == ["rung 1 of 2 (25 % of the train rows): 4 configurations, 1 reused"]
    line = "rung 1 of 2: 2 / 4 done, about 10 s left"
    assert told(progress, fitted("a", 0.4, rung), elapsed=1.0) == [line]


def test_a_failure_is_done(progress):
    """A failed configuration leaves nothing to wait for, and its traceback is said."""
    told(progress, RungStarted(FULL, 1, 0, 0.0))
    failure = FailedConfiguration("c", "f", "ValueError", "no", "Traceback …")
    said = told(progress, Conclusion.failed("linear", failure, FULL))
    assert said == ["c failed: ValueError: no\nTraceback …", "1 / 1 done"]


def test_what_is_reused_is_done_from_the_start(progress):
    """A reused result may be the best, and no line is due for it."""
    told(progress, RungStarted(FULL, 2, 1, 0.0))
    reused = Conclusion.trained(model_result("c", 0.3), reused=True)
    assert not told(progress, reused)
    assert progress.line(1.0) == "1 / 2 done, best log_loss 0.3000 (c)"


def test_a_line_is_due_first_last_and_once_a_second_between(progress):
    """Quick fits do not each write a line, and the last word on a rung is always said."""
    told(progress, RungStarted(FULL, 4, 0, 0.0))
    fits = (("a", 0.2), ("b", 0.9), ("c", 1.3), ("d", 1.4))
    due = [bool(told(progress, fitted(key, 0.4), elapsed)) for key, elapsed in fits]
    assert due == [True, False, True, True]
