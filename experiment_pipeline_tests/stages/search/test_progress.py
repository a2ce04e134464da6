"""The lines of progress have the counts, the best so far and the slowest fit."""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.stages.search.conclusions import Conclusion, Event, Fitted, RungStarted
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.results import FailedConfiguration, Predictions, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search.halving_scenario import experiment, sets_of

FULL = Rung(1, 1, 1.0, 0, sets_of(experiment()))
QUARTER = replace(FULL, of=2, fraction=0.25, kept=2)
NO_ROWS = Predictions(np.zeros(0), np.zeros(0))


def fitted(key: str, score: float, rung: Rung = FULL) -> Fitted:
    """A fit that ended well, after half a second."""
    return Fitted(rung, TrainedModel(model_result(key, score, "log_loss"), b"", NO_ROWS))


def lines(progress: Progress, event: Event, elapsed: float = 0.0) -> list[str]:
    """What is logged of an event."""
    return [note.text for note in progress.notes(event, elapsed)]


@pytest.fixture
def progress() -> Progress:
    return Progress("log_loss")


def test_it_names_the_best_so_far_in_the_direction_of_the_metric(progress):
    """Of two log losses the smaller, never the baseline's; a failure is done, and is logged."""
    lines(progress, RungStarted(FULL, 4, {}))
    dummy = replace(model_result("dummy", 0.1, "log_loss"), algorithm="dummy")
    lines(progress, Fitted(FULL, TrainedModel(dummy, b"", NO_ROWS)))
    assert "best" not in progress.standing
    best = "best log_loss 0.4000 by linear"
    assert lines(progress, fitted("a", 0.4), 0.7) == []
    assert best in progress.standing
    failure = FailedConfiguration("c", "f", "ValueError", "no", "Traceback …")
    logged = lines(progress, Conclusion.failed("linear", failure, FULL))
    assert logged == ["c failed: ValueError: no\nTraceback …"]
    assert lines(progress, fitted("b", 0.5), 1.2) == [f"4 of 4 done, {best}, slowest fit 0.5 s"]


def test_a_small_rung_counts_its_own_fits(progress):
    """What was reused is done; a bar gets the part of the way over all rungs."""
    known = {"d": model_result("d", 0.6)}
    begun = lines(progress, RungStarted(QUARTER, 8, known))
    assert begun == ["rung 1 of 2 (25 % of the train rows): 8 configurations, 1 reused"]
    (line,) = lines(progress, fitted("a", 0.4, QUARTER), elapsed=1.0)
    best = "best log_loss 0.4000 by linear, slowest fit 0.5 s"
    assert line == f"rung 1 of 2: 2 of 8 done, {best}"


def test_a_search_that_is_cancelled_counts_what_it_is_done_with(progress):
    """Of all, or of those at its rung; what was reused is done."""
    assert progress.cancelled == "the search was cancelled before its first fit"
    lines(progress, RungStarted(QUARTER, 2, {"a": model_result("a", 0.6)}))
    at_rung = "1 of 2 configurations at rung 1 of 2 (25 % of the train rows)"
    assert progress.cancelled == f"the search was cancelled after {at_rung}"
    lines(progress, RungStarted(FULL, 3, {}))
    lines(progress, fitted("a", 0.4))
    assert progress.cancelled == "the search was cancelled after 1 of 3 configurations"


def test_a_line_is_due_first_last_and_now_and_then_between(progress):
    """Quick fits do not each write a line, and a rung always ends with one."""
    lines(progress, RungStarted(FULL, 5, {}))
    fits = (("a", 0.2), ("b", 0.9), ("c", 5.3), ("d", 6.0), ("e", 6.4))
    due = [bool(lines(progress, fitted(key, 0.4), elapsed)) for key, elapsed in fits]
    assert due == [True, False, True, False, True]
