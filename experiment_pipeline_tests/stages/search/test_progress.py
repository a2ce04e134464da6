"""What a search says while it runs, and the table that accounts for every declared
configuration.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.errors import TrainingError
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
    RungStarted,
    SearchNote,
    SearchResults,
    Step,
    accounts,
    concluded,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    Predictions,
    TrainedModel,
)
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search.halving_scenario import experiment, sets_of

FAILURE = FailedConfiguration("c", "f-c", "ValueError", "no such solver", "Traceback …")
FULL = Rung(1, 1, 1.0, 0, sets_of(experiment()))
QUARTER = replace(FULL, last=2, fraction=0.25, promotes=2)
NO_ROWS = Predictions(np.zeros(0), np.zeros(0))


def fitted(key: str, score: float, rung: Rung = FULL) -> Fitted:
    """A fit that ended well, after half a second."""
    return Fitted(
        rung, TrainedModel(model_result(key, score, "log_loss"), b"", NO_ROWS)
    )


def lines(progress: Progress, event: Event, elapsed: float = 0.0) -> list[str]:
    """What is logged of an event."""
    messages = progress.messages(event, elapsed)
    return [message.text for message in messages if isinstance(message, SearchNote)]


@pytest.fixture
def progress() -> Progress:
    return Progress("log_loss")


def test_it_names_the_best_so_far_in_the_direction_of_the_metric(progress):
    """Of two log losses the smaller, never the baseline's; a failure is done, and is
    logged.
    """
    lines(progress, RungStarted(FULL, 4, {}))
    dummy = replace(model_result("dummy", 0.1, "log_loss"), algorithm="dummy")
    assert lines(progress, Fitted(FULL, TrainedModel(dummy, b"", NO_ROWS))) == [
        "1 of 4 done, slowest fit 0.5 s"
    ]
    best = "best log_loss 0.4000 by linear"
    assert lines(progress, fitted("a", 0.4), 0.7) == []
    logged = lines(progress, Conclusion.failed("linear", FAILURE, FULL))
    assert logged == ["c failed: ValueError: no such solver\nTraceback …"]
    assert lines(progress, fitted("b", 0.5), 1.2) == [
        f"4 of 4 done, {best}, slowest fit 0.5 s"
    ]


def test_an_error_names_the_configuration_that_failed_and_its_first_line(progress):
    """Alone, as an added model is, by its key; of several the first, after their
    number.
    """
    fits = replace(FAILURE, reason="\nAll the 5 fits failed.\nTraceback …")
    lines(progress, Conclusion.failed("linear", fits, FULL))
    alone = "configuration c: it could not be trained: ValueError: All the 5 fits fail"
    with pytest.raises(TrainingError, match=rf"^{alone}ed\.\n  fix: Correct the model"):
        list(progress.end())
    lines(progress, Conclusion.failed("linear", replace(fits, key="d"), FULL))
    first = "the first, c, ended with ValueError: All the 5 fits failed"
    with pytest.raises(TrainingError, match=rf"none of 2 .*; {first}\.\n  fix"):
        list(progress.end())


def test_a_search_that_is_cancelled_counts_what_it_is_done_with(progress):
    """Of all, or of those at its rung; what was reused is done."""
    assert progress.cancelled == "the search was cancelled before its first fit"
    lines(progress, RungStarted(QUARTER, 2, {"a": model_result("a", 0.6)}))
    at_rung = "1 of 2 configurations at rung 1 of 2 (25 % of the train rows)"
    assert progress.cancelled == f"the search was cancelled after {at_rung}"
    lines(progress, RungStarted(FULL, 3, {}))
    lines(progress, fitted("a", 0.4))
    assert progress.cancelled == "the search was cancelled after 1 of 3 configurations"


def test_every_second_has_a_line(progress):
    """Of each rung the fits, side by side, and all else; together they are the
    search's.
    """
    lines(progress, RungStarted(QUARTER, 2, {}), elapsed=0.3)
    for key in "ab":
        lines(progress, fitted(key, 0.4, QUARTER), elapsed=1.0)
    lines(progress, RungStarted(FULL, 1, {}), elapsed=2.0)
    lines(progress, fitted("a", 0.4), elapsed=5.5)
    cost = progress.cost(6.0, workers=2)
    assert [*cost.phases.values()] == [0.5, 1.5, 0.25, 3.75]
    assert sum(cost.phases.values()) == cost.wall_seconds
    assert [name.split(": ")[1][:4] for name in cost.phases] == ["fits", "enco"] * 2


# --- the table ---


CONFIGURATIONS = tuple(
    Configuration(key, "linear", "onehot", {}) for key in ("a", "b", "c", "d")
)
STEP = Step(0.25, 0.6, math.inf, 0.5)
STOPPED = Conclusion(
    "d", "linear", "stopped early", "at rung 1", model_result("d", 0.6), 0.25
)
NOTED = replace(model_result("b", 0.7), notes=("attempt 2",))
CONCLUDED = (
    replace(STOPPED, reused=True, path=(STEP,)),
    Conclusion(
        "a", "linear", "not started", "the budget was spent", needed_seconds=1.5
    ),
    Conclusion.trained(NOTED, reused=True, before=[STEP]),
    Conclusion(
        "c", "linear", "failed", "no such solver", fraction=1.0, failure=FAILURE
    ),
)


@pytest.fixture
def results():
    return SearchResults.of(CONFIGURATIONS, CONCLUDED, "roc_auc", {"train": "t"})


def test_every_declared_configuration_has_a_row(results):
    """Declared = trained + stopped early + failed + not started; no score where no
    model is.
    """
    table = results.rows
    assert table["key"].tolist() == ["a", "b", "c", "d"]
    assert table["status"].tolist() == [
        "not started",
        "trained",
        "failed",
        "stopped early",
    ]
    once = dict.fromkeys(("trained", "stopped_early", "failed", "not_started"), 1)
    assert accounts(table) == once | {"declared": 4, "reused": 2}
    assert table["test_score"].isna().tolist() == [True, False, True, False]
    assert table["notes"].tolist() == ["", "attempt 2", "", ""]
    assert table["rung"].isna().tolist() == [True, False, False, False]


def test_conclusions_come_back_from_the_file(results):
    """What the leaderboard ranks and lists is what the search concluded, rung
    by rung.
    """
    stored = {
        f"f-{conclusion.key}": conclusion.result
        for conclusion in CONCLUDED
        if conclusion.result
    }
    read = from_parquet(to_parquet(results), SearchResults)
    assert {conclusion.key: conclusion for conclusion in concluded(read, stored)} == {
        conclusion.key: conclusion for conclusion in CONCLUDED
    }
