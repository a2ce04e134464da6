"""A budget of seconds: the search, the refit and the report keep it together."""

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import cast

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.inference import infer
from experiment_pipeline.experiment.context import RunBudget
from experiment_pipeline.orchestration.assets import START_SECONDS, budget_of
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.search import Budget
from experiment_pipeline.stages.search import results
from experiment_pipeline.stages.search.budget import (
    EXPORT_SECONDS,
    AfterSearch,
    Brake,
    usual_seconds,
)
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.halving import search
from experiment_pipeline.stages.search.rungs import Rung, best_first, competes, ladder
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of
from experiment_pipeline_tests.stages.search.halving_scenario import (
    SEARCH,
    experiment,
    rows,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import one
from experiment_pipeline_tests.table.made_rows import cut_rows

SPEC = experiment(searched=SEARCH)
SETS = sets_of(SPEC)
DECLARED = [
    configuration for configuration in configurations(SPEC) if competes(configuration)
]
(DUMMY,) = [
    configuration
    for configuration in configurations(SPEC)
    if not competes(configuration)
]
LINEAR = [
    configuration for configuration in DECLARED if configuration.algorithm == "linear"
]
FOREST = DECLARED[-1]
SMALL, _, FULL = ladder(len(DECLARED), SETS, SPEC).rungs
AFTER = AfterSearch(SETS, workers=2)
OF_30 = "the 30 seconds for search, refit and report"
OF_60 = "the 60 seconds for search, refit and report"
TOO_LONG = "fit, refit and report would have taken longer than what was left of"


class Clock:
    """Seconds that a test decides."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def brake_of(
    seconds: float, rung: Rung, entrants: Sequence[Configuration] = (DUMMY, *DECLARED)
) -> tuple[Brake, Clock]:
    """A brake of a budget at the beginning of a rung, and its clock."""
    clock = Clock()
    brake = Brake(Budget(seconds=seconds), clock, AFTER, "roc_auc")
    brake.rung_began(rung, entrants, {})
    return brake, clock


def fitted(
    configuration: Configuration, score: float, seconds: float
) -> results.ModelResult:
    """The result of a fit."""
    return result_of(
        configuration,
        score,
        SPEC,
        fit_wall_seconds=seconds,
        fit_cpu_seconds=seconds,
    )


def learn(brake: Brake, *fits: results.ModelResult) -> dict[str, results.ModelResult]:
    """Let a brake learn from fits; key → result."""
    for result in fits:
        brake.fit_ended(result)
    return {result.key: result for result in fits}


def test_time_is_left_to_fit_again_and_to_report():
    """From then on no fit starts, and the reason says what the rest is for."""
    brake, clock = brake_of(30, FULL)
    done = fitted(LINEAR[0], 0.9, 3.5)
    brake.fit_ended(done)
    rest = AFTER.of([done])
    clock.seconds = 29.9 - rest
    assert brake.may_start(DUMMY.key)
    clock.seconds = 30.0 - rest
    assert not brake.may_start(DUMMY.key)
    reserve = f"{rest:.1f} are kept for refit and report"
    spent = f"{30 - rest:.3g} of {OF_30} were spent, {reserve}"
    assert brake.reason_of(DUMMY.key) == (spent, None)
    assert brake.is_out_of_time


def test_the_seconds_of_an_ensemble_are_kept_as_far_as_there_are_any():
    """On all rows its members are fitted again; where time is short, fewer of them."""
    brake, clock = brake_of(60, FULL)
    members = [fitted(configuration, 0.9, 2.0) for configuration in LINEAR[:4]]
    learn(brake, *members)
    assert brake.reserved == pytest.approx(AFTER.of(members))
    clock.seconds = 60 - AFTER.of(members[:2]) - 0.1
    brake.fit_ended(members[0])
    assert brake.reserved == pytest.approx(AFTER.of(members[:2]))


def test_fits_have_a_share_of_the_time_however_long_the_rest_takes():
    """A search without a fit has nothing to refit."""
    brake, clock = brake_of(10, FULL)
    learn(brake, fitted(LINEAR[0], 0.9, 3.6))
    clock.seconds = 3.9
    assert brake.may_start(DUMMY.key)
    clock.seconds = 4.1
    assert not brake.may_start(DUMMY.key)


def test_what_takes_longer_than_is_left_is_not_begun_and_the_rest_is():
    """Fit, refit and report must fit in; the reason is its own, and gone at the next
    rung.
    """
    brake, clock = brake_of(30, SMALL)
    slow, quick, unknown = LINEAR[:3]
    learn(brake, fitted(slow, 0.9, 1.2), fitted(quick, 0.8, 0.05))
    brake.rung_began(FULL, DECLARED, {})
    clock.seconds = 13.0
    begun = [
        configuration
        for configuration in (slow, quick, unknown, FOREST)
        if brake.may_start(configuration.key)
    ]
    assert begun == [quick, FOREST]
    assert brake.is_out_of_time
    reason, needed_seconds = brake.reason_of(slow.key)
    assert reason == f"{TOO_LONG} {OF_30}"
    assert needed_seconds == pytest.approx(18, abs=1)
    assert brake.startable([DUMMY, slow, quick]) == [DUMMY, quick]
    clock.seconds = 5.0
    brake.rung_began(FULL, DECLARED, {})
    assert brake.may_start(slow.key)


def test_a_refit_is_estimated_from_the_fit_and_its_rows():
    """On train and test rows, with the fits of `export.fits` and the predictions; report
    and export take longer on a busy machine.
    """
    result = replace(
        model_result("a", 0.7),
        fit_wall_seconds=6.0,
        fit_cpu_seconds=6.0,
        predict_seconds_per_row=0.0,
    )
    alone = AFTER.of([result]) - AFTER.of([replace(result, fit_wall_seconds=0.0)])
    more_rows = len(SETS.row_numbers) / len(SETS.train)
    assert alone == pytest.approx(1.2 * 6.0 * more_rows)
    assert AFTER.of([result] * 5) - AFTER.of([result]) == pytest.approx(1.5 * alone)
    forest = replace(result, algorithm="extra_trees")
    assert replace(AFTER, fits=3).of([forest]) == AFTER.of([forest])
    more = {
        "predict_seconds_per_row": 1e-2,
        "features": "stacked",
        "fit_cpu_seconds": 3.0,  # others use the machine
    }
    for name, value in more.items():
        assert AFTER.of([replace(result, **{name: value})]) > AFTER.of([result]) + 0.3


def test_the_kind_of_the_best_is_never_dropped_whole():
    """Without time to fit it on all rows, a smaller one of its algorithm and encoder
    goes on, however slow.
    """
    smaller = replace(FOREST, key="smaller")
    brake, _ = brake_of(30, SMALL, [DUMMY, *LINEAR, FOREST, smaller])
    scored = learn(
        brake,
        fitted(FOREST, 0.9, 9.0),
        fitted(LINEAR[0], 0.8, 0.01),
        replace(fitted(FOREST, 0.7, 0.1), key="smaller"),
    )
    affordable = {key: scored[key] for key in (LINEAR[0].key, "smaller")}
    assert brake.best_of_each_kind(affordable, scored) == [LINEAR[0].key, "smaller"]


def test_the_best_of_each_algorithm_has_a_place():
    """Few rows prefer simple models; where time ends nothing, they have no such
    place.
    """
    ordered = [*LINEAR[:2], FOREST]
    scored = {
        configuration.key: fitted(configuration, 0.9 - place / 10, 0.01)
        for place, configuration in enumerate(ordered)
    }
    brake, _ = brake_of(30, SMALL)
    of_each_kind = brake.best_of_each_kind(scored, scored)
    assert of_each_kind == [ordered[0].key, ordered[2].key]
    untimed = Brake(Budget(), Clock(), AFTER, "roc_auc")
    assert untimed.best_of_each_kind(scored, scored) == []


def test_what_was_refused_is_asked_again_when_the_best_took_less():
    """The time that a quick fit of the best has left goes to another encoder."""
    frame = rows()
    words = " ".join(["word"] * 100)
    frame = frame.assign(note=[f"{words} {number}" for number in range(len(frame))])
    trees = {"algorithm": "lightgbm", "hyperparameters": {"n_estimators": 3000}}
    spec = experiment(
        searched=[trees, trees | {"features": "text"}], budget={"seconds": 8}
    )
    engine = Simulated(seconds_of=lambda *_: 0.01, score_of=lambda _: 0.8)
    events = engine.search(spec, sets_of(spec, frame))
    ends = [event.status for event in events if isinstance(event, Conclusion)]
    assert ends == ["trained", "trained"]


def _context(
    config: dict[str, object], start_time: float | None
) -> dg.AssetExecutionContext:
    record = SimpleNamespace(start_time=start_time)
    instance = SimpleNamespace(get_run_record_by_id=lambda run_id: record)
    ops = {"clinic__training": {"config": config}}
    run = SimpleNamespace(run_config={"ops": ops}, run_id="1")
    context = SimpleNamespace(instance=instance, run=run)
    return cast("dg.AssetExecutionContext", context)


def test_the_seconds_are_those_of_the_whole_run():
    """They count from the start of its process; the launchpad's replace the YAML's, and
    without a budget there is no end.
    """
    spec, clock = scenario.spec("binary", budget={"seconds": 30}), Clock()
    clock.seconds = 110.0

    def budget(config: dict[str, object], spec=spec) -> RunBudget:
        return budget_of(_context(config, start_time=100.0), spec, clock)

    beside = START_SECONDS + EXPORT_SECONDS
    assert budget({}).left == 30 - 10 - beside
    assert budget({"budget_seconds": 60.0}).left == 60 - 10 - beside
    seconds_left = budget({}).countdown(clock)
    clock.seconds = 130.0
    assert seconds_left() == 30 - 30 - beside
    assert budget({}, scenario.spec("binary")).left == math.inf


@dataclass
class Simulated:
    """An engine of two workers whose clock passes with the seconds that fits are said
    to take.
    """

    seconds_of: Callable[[Configuration, TrainingSets], float]
    score_of: Callable[[Configuration], float]
    workers: int = 2
    seconds: float = 0.0

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
    ) -> Generator[results.Outcome, None, None]:
        """Start one whenever a worker is free."""
        waiting = deque(configurations)
        running = list[tuple[float, str, results.ModelResult]]()
        nothing = results.Predictions(np.zeros(1), np.zeros(1))
        while waiting or running:
            if not waiting or len(running) == self.workers:
                self.seconds, _, result = heappop(running)
                yield results.TrainedModel(result, b"", nothing)
                continue
            configuration = waiting.popleft()
            if brake is None or brake.may_start(configuration.key):
                took = self.seconds_of(configuration, sets)
                result = fitted(configuration, self.score_of(configuration), took)
                heappush(running, (self.seconds + took, configuration.key, result))

    def search(self, spec: ExperimentSpec, sets: TrainingSets) -> list[Event]:
        """Search an experiment on an empty store."""
        store, clock = results.ModelsInMemory(), lambda: self.seconds
        return [*search(configurations(spec), sets, spec, store, self, clock)]


def test_what_the_budget_cannot_afford_is_out_of_time_and_not_beaten():
    """The best of a small rung would take longer on all rows than there is: its place
    goes to others, and its reason names the budget.
    """
    best = LINEAR[0].key
    scores = {
        configuration.key: 0.5 + place / 100
        for place, configuration in enumerate(DECLARED)
    }
    engine = Simulated(
        seconds_of=lambda configuration, _: 10.0 if configuration.key == best else 0.01,
        score_of=lambda configuration: (
            0.9 if configuration.key == best else scores.get(configuration.key, 0.5)
        ),
    )
    events = engine.search(experiment(searched=SEARCH, budget={"seconds": 60}), SETS)
    ended = {event.key: event for event in events if isinstance(event, Conclusion)}
    assert ended[best].status == "stopped early"
    assert ended[best].reason == f"{TOO_LONG} {OF_60}, after {SMALL}"
    assert (ended[best].needed_seconds or 0.0) > 60
    compared = f"{len(DECLARED) - 1} that there was time to fit on all rows"
    beaten = f"not among the best {SMALL.promotes} of {compared}, at {SMALL}"
    assert ended[LINEAR[1].key].reason == beaten
    assert ended[FOREST.key].status == "trained"


COVER = (0.365, 0.488, 0.061, 0.005, 0.016, 0.03, 0.035)


def test_enough_are_compared_within_the_budget():
    """At least twenty, of all algorithms, on a machine as usual; fit, refit and report
    in time.
    """
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(15_000, 54))).add_prefix("x")
    frame["y"] = random.choice([*"abcdefg"], len(frame), p=COVER)
    draft = infer(frame, Wishes(target="y", seconds=30))
    spec = spec_from("drafted", draft.attributes({"url": "t.csv"}))
    frame = frame.rename_axis(index="row_number")
    parts = cut_rows(frame, spec, [name for name in frame if name != "y"])
    sets = as_evaluated(parts.train, parts.test, spec)
    luck = dict[str, float]()

    def seconds_of(configuration: Configuration, part: TrainingSets) -> float:
        lucky = luck.setdefault(configuration.key, random.lognormal(0, 0.4))
        return lucky * usual_seconds(configuration, part)

    engine = Simulated(seconds_of, lambda _: random.random())
    events = engine.search(spec, sets)
    fits = [event for event in events if isinstance(event, Fitted)]
    first = [fit.model.result.algorithm for fit in fits if fit.rung.number == 1]
    assert len(first) >= 20
    assert {*first} >= {"lightgbm", "random_forest", "linear"}
    in_full = {fit.model.key: fit.model.result for fit in fits if fit.rung.is_full}
    chosen = in_full[best_first(in_full, spec.metric)[0]]
    assert engine.seconds + AfterSearch(sets, 2).of([chosen]) <= 1.15 * 30
    assert {result.algorithm for result in in_full.values()} > {"dummy"}


def test_whom_a_later_rung_has_no_time_for_goes_on():
    """It was among the best before: it is fitted on all rows, after those that this
    rung has scored, as long as there is time. The best so far starts first.
    """
    engine = Simulated(
        seconds_of=lambda _, part: (
            (8.0 if 600 < len(part.train) < 3_000 else 1.0)
            * len(part.train)
            / len(SETS.train)
        ),
        score_of=lambda configuration: (configuration in DECLARED[-1:]) * 0.4 + 0.5,
    )
    events = engine.search(experiment(searched=SEARCH, budget={"seconds": 20}), SETS)
    fits = [event for event in events if isinstance(event, Fitted)]
    keys = {
        number: [fit.model.key for fit in fits if fit.rung.number == number]
        for number in (1, 2, 3)
    }
    assert 0 < len(keys[2]) < SMALL.promotes
    _, *in_full = keys[3]  # after the baseline
    assert keys[2][0] == FOREST.key
    scored = len([key for key in in_full if key in keys[2]])
    assert {*in_full[:scored]} <= {*keys[2]}
    assert in_full[scored:]


def test_before_the_last_rung_as_many_as_usual_go_on_when_time_runs_out():
    """On all rows the best start first, as long as there is time."""
    declared = [one("lightgbm", num_leaves=[*range(2, 42)])]
    halving = {"fractions": [0.5, 1.0], "keep": 0.4, "fewest_rows": 500}
    spec = experiment(searched=declared, halving=halving, budget={"seconds": 60})
    engine = Simulated(seconds_of=lambda *_: 2.0, score_of=lambda _: 0.5)
    events = engine.search(spec, SETS)
    scored = {
        event.model.key
        for event in events
        if isinstance(event, Fitted) and not event.rung.is_full
    }
    assert 16 < len(scored) < 40
    beaten = [
        event.key
        for event in events
        if isinstance(event, Conclusion) and event.reason.startswith("not among")
    ]
    assert len(beaten) == len(scored) - 16


def test_an_estimator_of_unknown_work_may_start():
    """Its seconds are a guess, beside algorithms whose work is known."""
    unknown = one("sklearn.neighbors.KNeighborsClassifier")
    spec = experiment(searched=[one("linear"), unknown], budget={"seconds": 60})
    engine = Simulated(seconds_of=lambda *_: 0.1, score_of=lambda _: 0.5)
    events = engine.search(spec, SETS)
    ended = [event.status for event in events if isinstance(event, Conclusion)]
    assert ended == ["trained", "trained"]


def test_a_search_that_nothing_follows_keeps_no_seconds():
    """An exploration ends with the leaderboard."""
    fits = [(LINEAR[0], 10.0)]
    assert AfterSearch(SETS, workers=2, fits=0).seconds(fits) == 0
    assert AFTER.seconds(fits) > 0
