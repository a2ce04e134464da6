"""The lines of progress tell the truth about rungs, counts, the best so far and the time left."""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.stages.search.conclusions import Conclusion, Event, Fitted, RungStarted
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import most_rounds
from experiment_pipeline.stages.search.learners.rounds import ROUNDS_AT_MOST
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline.stages.search.time_left import TimeLeft
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search import simulated
from experiment_pipeline_tests.stages.search.simulated import NO_ROWS, Fit, Step

FULL = Rung(1, 1, 1.0, 0, simulated.sets_of(10_000))
QUARTER = replace(FULL, of=2, fraction=0.25, kept=2)


def linear(*keys: str) -> tuple[Configuration, ...]:
    """Configurations of which only the key matters."""
    return tuple(Configuration(key, "linear", "onehot", {}) for key in keys)


def fitted(key: str, score: float, rung: Rung = FULL) -> Fitted:
    """A fit that ended well, after half a second."""
    return Fitted(rung, TrainedModel(model_result(key, score, "log_loss"), b"", NO_ROWS))


def told(progress: Progress, event: Event, elapsed: float = 0.0) -> list[str]:
    """What is said of an event."""
    return [note.text for note in progress.told(event, elapsed)]


@pytest.fixture
def progress() -> Progress:
    return Progress("log_loss", TimeLeft(workers=1))


def test_it_names_the_best_so_far_in_the_direction_of_the_metric(progress):
    """Of two log losses the smaller is the best so far, with its interval where there is one."""
    progress.interval = lambda result, _: Interval(result.test_score, 0.3, 0.5, 0.95)
    told(progress, RungStarted(FULL, linear("a", "b", "c"), {}, ()))
    first = told(progress, fitted("a", 0.4), 0.7)
    assert first == ["1 of 3 done, best log_loss 0.4000 (0.3000 to 0.5000) by linear"]
    assert not told(progress, fitted("b", 0.5), 1.2)
    assert "best log_loss 0.4000 (" in progress.standing(1.2).text


def test_a_small_rung_counts_its_own_fits_and_says_what_the_next_needs(progress):
    """What later rungs need is part of the time left; what was reused is done and costs nothing."""
    known = {"d": model_result("d", 0.6)}
    later = (replace(FULL, number=2, of=2),)
    entered = linear(*"abcdefgh")
    begun = told(progress, RungStarted(QUARTER, entered, known, later))
    assert begun == ["rung 1 of 2 (25 % of the train rows): 8 configurations, 1 reused"]
    (line,) = told(progress, fitted("a", 0.4, QUARTER), elapsed=1.0)
    assert line == "rung 1 of 2: 2 of 8 done, best log_loss 0.4000 by linear, about 4 s left"
    assert progress.standing(1.0).short == "rung 1 of 2, about 4 s left"


def test_a_failure_is_done(progress):
    """A failed configuration leaves nothing to wait for, and its traceback is said."""
    told(progress, RungStarted(FULL, linear("c"), {}, ()))
    failure = FailedConfiguration("c", "f", "ValueError", "no", "Traceback …")
    said = told(progress, Conclusion.failed("linear", failure, FULL))
    assert said == ["c failed: ValueError: no\nTraceback …", "1 of 1 done"]


def test_a_search_that_is_cancelled_counts_what_it_is_done_with(progress):
    """Of all, or of those at its rung; what was reused is done."""
    assert progress.cancelled == "the search was cancelled before its first fit"
    told(progress, RungStarted(QUARTER, linear("a", "b"), {"a": model_result("a", 0.6)}, ()))
    at_rung = "1 of 2 configurations at rung 1 of 2 (25 % of the train rows)"
    assert progress.cancelled == f"the search was cancelled after {at_rung}"
    told(progress, RungStarted(FULL, linear("a", "b", "c"), {}, ()))
    told(progress, fitted("a", 0.4))
    assert progress.cancelled == "the search was cancelled after 1 of 3 configurations"


def test_what_is_reused_is_done_from_the_start(progress):
    """A reused result may be the best, and no line is due for it."""
    known = {"c": model_result("c", 0.3)}
    told(progress, RungStarted(FULL, linear("c", "d"), known, ()))
    assert not told(progress, Conclusion.trained(known["c"], reused=True))
    assert progress.standing(1.0).text == "1 of 2 done, best log_loss 0.3000 by linear"


def test_a_line_is_due_first_last_and_now_and_then_between(progress):
    """Quick fits do not each write a line, and the last word on a rung is always said."""
    told(progress, RungStarted(FULL, linear("a", "b", "c", "d", "e"), {}, ()))
    fits = (("a", 0.2), ("b", 0.9), ("c", 5.3), ("d", 6.0), ("e", 6.4))
    due = [bool(told(progress, fitted(key, 0.4), elapsed)) for key, elapsed in fits]
    assert due == [True, False, True, False, True]


def test_a_budget_of_seconds_limits_what_is_said(progress):
    """No fit starts after it, so nobody waits for longer."""
    progress.most_seconds = 30.0
    told(progress, RungStarted(FULL, linear(*map(str, range(500))), {}, ()))
    (line,) = told(progress, fitted("0", 0.4), elapsed=0.5)
    assert line.endswith("about 30 s left")


def searched() -> list[Step]:
    """Forests and boosting in three rungs: 24 configurations, 6 of them go on, then 3.

    A fit on 16 times the rows takes five times as long, as measured; forests take four times as
    long as boosting, which nobody told the guess.
    """
    random = np.random.default_rng(3)
    ladder = simulated.rungs(simulated.sets_of(20_000), [(0.0625, 6), (0.25, 3), (1.0, 0)])
    tried = [
        *(
            Configuration(f"l{n}", "lightgbm", "ordinal", {"learning_rate": rate})
            for n, rate in enumerate(np.geomspace(0.02, 0.2, 16))
        ),
        *(
            Configuration(f"f{n}", "random_forest", "ordinal", {"min_samples_leaf": leaf})
            for n, leaf in enumerate([1, 2, 5, 10, 20, 40, 80, 160])
        ),
    ]
    scores = dict(zip((one.key for one in tried), random.permutation(24), strict=True))
    pace = {one.key: random.lognormal(0, 0.4) for one in tried}
    steps = []
    for rung in ladder:
        of = {"lightgbm": 1.0, "random_forest": 4.0}
        fits = [
            Fit(
                one,
                of[one.algorithm] * pace[one.key] * (rung.fraction * 16) ** 0.58,
                float(scores[one.key]),
            )
            for one in tried
        ]
        steps.append(Step(rung, tuple(fits), set_up=1.0))
        tried = sorted(tried, key=lambda one: -scores[one.key])[: rung.kept]
    return steps


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_time_left_is_right_within_a_factor_of_two(workers):
    """After the first tenth of the way, every line that says one."""
    steps = searched()
    said = simulated.lines(steps, Progress("roc_auc", TimeLeft(workers)), workers)
    told = [one for one in said if one.at >= 0.1 * (one.at + one.truth)]
    assert len(told) >= 4
    assert not [one for one in told if not 0.5 <= one.ratio <= 2]


def test_who_does_not_compete_has_no_part_in_it():
    """The baseline comes last, at once, and is nobody's best."""
    baseline = Configuration("dummy", "dummy", "ordinal", {})
    fits = [Fit(one, 5.0 + n / 5, 0.6) for n, one in enumerate(linear(*"abcdef"))]
    step = Step(FULL, (*fits, Fit(baseline, 0.001, 0.9)))
    said = simulated.lines([step], Progress("roc_auc", TimeLeft(2)), 2)
    assert all("best roc_auc 0.6000 by linear" in one.text for one in said)
    assert 0.5 < said[0].ratio < 2


def test_workers_may_come_and_go(progress):
    """The time left is that of those that are there: fewer need longer, more less."""
    left = []
    told(progress, RungStarted(FULL, linear(*"abcdefghijkl"), {}, ()))
    for key, workers in zip("abcd", (4, 1, 8, 2), strict=True):
        progress.time_left.workers = workers
        told(progress, fitted(key, 0.4), 2.0)
        left.append(progress.time_left.seconds(2.0, [key]))
    assert left[0] < left[1] > left[2] < left[3]
    assert min(left) > 0


def test_what_the_baseline_took_says_nothing_of_others():
    """Of a fit that is all overhead no other's length follows; that of a rival tells something."""
    forest = Configuration("forest", "random_forest", "ordinal", {"n_estimators": 200})
    baseline = Configuration("dummy", "dummy", "ordinal", {})
    left = TimeLeft(2)
    left.rung_began(FULL, (), (*linear("a", "b"), baseline, forest), (), 0.0)
    left.fit_ended("a", 0.1, 0.1)
    before = left.guess("forest", FULL)
    left.fit_ended("dummy", 0.2, 0.1)
    assert left.guess("forest", FULL) == before
    left.fit_ended("b", 2.0, 2.0)
    assert left.guess("forest", FULL) > 2 * before


def test_rounds_of_an_imported_estimator_are_expected_by_nobody():
    """One that boosts by itself says how many it kept; the time left follows its seconds alone."""
    name = "sklearn.ensemble.HistGradientBoostingClassifier"
    boosts = Configuration("boosts", name, "ordinal", {"max_iter": 5})
    left = TimeLeft(1)
    left.rung_began(FULL, (), (*linear("a"), boosts), (), 0.0)
    left.fit_ended("boosts", 2.0, 2.0, rounds=5)
    assert left.knows(name)
    assert most_rounds(boosts) == ROUNDS_AT_MOST
