"""A budget of seconds: the search, the refit and the report keep it together."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from experiment_pipeline.orchestration.assets.search import budget_left
from experiment_pipeline.spec.search import Budget
from experiment_pipeline.stages.search.budget import (
    AfterSearch,
    Brake,
    FitTimes,
    NotBegun,
    TimePlan,
    encoding_seconds,
)
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import Rung, competes, ladder
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search.halving_scenario import SEARCH, experiment, sets_of

SPEC = experiment(searched=SEARCH, budget={"seconds": 20})
SETS = sets_of(SPEC)
DECLARED = [one for one in configurations(SPEC) if competes(one)]
(DUMMY,) = [one for one in configurations(SPEC) if not competes(one)]
LINEAR = [one for one in DECLARED if one.algorithm == "linear"]
RUNGS = ladder(len(DECLARED), SETS, SPEC).rungs
TOO_LONG = (
    "fit, refit and report would have taken longer than what was left of the budget of 30 seconds"
)


class Clock:
    """Seconds that a test decides."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return them."""
        return self.seconds


def brake(seconds: float) -> tuple[Brake, Clock]:
    """A brake of a budget, and its clock."""
    clock = Clock()
    return Brake(Budget(seconds=seconds), clock), clock


def test_time_is_left_to_fit_again_and_to_report() -> None:
    """From then on no fit starts, and the reason says what the rest is for."""
    held, clock = brake(30)
    held.expect({}, reserved=10)
    clock.seconds = 19.9
    assert held.may_start("a")
    clock.seconds = 20.0
    assert not held.may_start("a")
    reason = "the budget of 30 seconds was spent, 10.0 are kept for refit and report"
    assert held.reason_of("a") == NotBegun(reason)
    assert held.is_out_of_time


def test_fits_have_a_part_of_the_budget_however_long_the_rest_takes() -> None:
    """A search without a fit has nothing to refit."""
    held, clock = brake(10)
    held.expect({}, reserved=60)
    clock.seconds = 3.9
    assert held.may_start("a")
    clock.seconds = 4.1
    assert not held.may_start("a")


def test_what_takes_longer_than_is_left_is_not_begun_and_the_rest_is() -> None:
    """Fit, refit and report must fit in; the reason is its own, and gone at the next rung."""
    held, clock = brake(30)
    held.expect({"slow": 21.0, "quick": 6.0}, reserved=0)
    clock.seconds = 10.0
    assert not held.may_start("slow")
    assert held.may_start("quick")
    assert held.is_out_of_time
    assert held.reason_of("slow") == NotBegun(TOO_LONG, 21.0)
    held.open(1.0)
    assert held.may_start("slow")


def test_each_rung_has_a_share_of_what_fits_have() -> None:
    """A third of 20 seconds, where 10 of 30 are kept for the rest."""
    held, clock = brake(30)
    held.open(1 / 3)
    held.expect({}, reserved=10)
    clock.seconds = 6.6
    assert held.may_start("a")
    clock.seconds = 6.7
    assert not held.may_start("a")


def test_all_that_the_end_of_the_budget_left_out_has_the_same_reason() -> None:
    """The seconds that each was expected to take are a number beside it."""
    held, clock = brake(30)
    held.expect({"a": 1.0, "b": 2.0}, reserved=0)
    clock.seconds = 30.0
    assert not any(map(held.may_start, "ab"))
    spent = "the budget of 30 seconds was spent"
    expected = [NotBegun(spent, 1.0), NotBegun(spent, 2.0), NotBegun(spent)]
    assert [held.reason_of(key) for key in "abc"] == expected


def test_a_refit_is_estimated_from_the_fit_its_rows_and_its_rounds() -> None:
    """More rows, but no patience; an ensemble's members are fitted side by side."""
    after = AfterSearch(SETS, workers=2)
    one = replace(model_result("a", 0.7), fit_wall_seconds=6.0, rounds=50)
    refit = after.refit(6.0, rounds=50)
    assert refit == pytest.approx(1.5 * 6.0 * 0.5 * len(SETS.row_numbers) / len(SETS.train))
    assert after.seconds([one]) == pytest.approx(after.total([refit], {one.features}), abs=0.1)
    assert after.total([refit] * 5, ()) - after.total([], ()) == pytest.approx(2.5 * refit)
    slow = replace(one, predict_seconds_per_row=1e-2)
    assert after.seconds([slow]) > after.seconds([one]) + 1


def test_texts_read_letter_by_letter_are_dear() -> None:
    """Their features may be what there is no time for; members of an ensemble share them."""
    rows = SETS.train.assign(colour=[f"text {place}" for place in range(len(SETS.train))])
    sets = replace(SETS, train=rows)
    assert encoding_seconds("text", sets) > 10 * encoding_seconds("target", sets)
    assert encoding_seconds("text", SETS) == encoding_seconds("ordinal", SETS)
    after = AfterSearch(sets, workers=2)
    one = replace(model_result("a", 0.7), features="text", fit_wall_seconds=0.0)
    assert after.seconds([one, one]) == pytest.approx(after.seconds([one]), abs=0.1)


def test_fits_are_estimated_by_their_last_fit_and_others_by_the_slowest_of_the_algorithm() -> None:
    """More rows take longer; the baseline's fit is all overhead, and tells nothing."""
    times, (one, other, *_), small = FitTimes(), LINEAR, RUNGS[0].sets
    times.learn(DUMMY, small, 100.0)
    assert not times.knows("dummy")
    times.learn(one, small, 2.0)
    assert times.seconds(one, small) == pytest.approx(2.0)
    assert times.seconds(other, small) == pytest.approx(2.0)
    assert times.seconds(one, SETS) > 2.0
    times.learn(other, small, 1.0)
    assert times.seconds(other, small) == pytest.approx(1.0)
    assert times.seconds(LINEAR[2], small) == pytest.approx(2.0)


def fitted(one: Configuration, score: float, seconds: float) -> ModelResult:
    """What a fit at a small rung has left."""
    return replace(
        model_result(one.key, score),
        algorithm=one.algorithm,
        features=one.features,
        hyperparameters=one.hyperparameters,
        fit_wall_seconds=seconds,
    )


@pytest.fixture
def planned() -> tuple[TimePlan, Brake, Clock, Callable[[Rung], None]]:
    """A plan at the first rung, before any fit."""
    clock = Clock()
    held = Brake(SPEC.budget, clock)
    plan = TimePlan(SETS, SPEC, 2, held)
    plan.rung_began(RUNGS[0], DECLARED, {})
    return plan, held, clock, lambda rung: plan.rung_began(rung, [DUMMY, *LINEAR], {})


def test_what_there_is_no_time_for_leaves_its_place_to_others(planned) -> None:
    """The best of a small rung would take longer on all rows than the budget has."""
    plan, held, *_ = planned
    best, *others = LINEAR
    scored = {best.key: fitted(best, 0.9, 18.0)} | {
        one.key: fitted(one, 0.7, 0.01) for one in others
    }
    for result in scored.values():
        plan.fit_ended(RUNGS[0], result)
    assert set(plan.may_go_on(RUNGS[0], scored)) == {one.key for one in others}
    assert "left of the budget" in held.reason_of(best.key).why


def test_where_there_is_no_time_the_quickest_is_trained_beyond_it(planned) -> None:
    """Beside the baseline, which costs nothing; while there is time for some, the most promising."""
    plan, _, clock, begin = planned
    slow, quick, *_ = LINEAR
    for one, score, seconds in ((slow, 0.9, 0.4), (quick, 0.6, 0.01)):
        plan.fit_ended(RUNGS[0], fitted(one, score, seconds))
    begin(RUNGS[-1])
    assert plan.beyond(RUNGS[-1], [DUMMY, slow, quick]) == [DUMMY, slow]
    clock.seconds = 100.0
    assert plan.beyond(RUNGS[-1], [DUMMY, slow, quick]) == [DUMMY, quick]


def test_a_rung_is_skipped_where_its_seconds_are_needed_on_all_rows(planned) -> None:
    """Between the first and the last rung; with time enough it is not."""
    plan, _, clock, _ = planned
    for one in DECLARED:
        plan.fit_ended(RUNGS[0], fitted(one, 0.7, 0.3))
    assert not plan.skips(RUNGS[1], DECLARED)
    clock.seconds = 15.0
    assert plan.skips(RUNGS[1], DECLARED)
    assert not plan.skips(RUNGS[-1], DECLARED)


def test_without_a_budget_everything_has_time() -> None:
    """All may go on, and the order is the sweep's."""
    spec = experiment(searched=SEARCH)
    plan = TimePlan(SETS, spec, 2, Brake(spec.budget, Clock()))
    scored = {one.key: fitted(one, 0.9, 100.0) for one in DECLARED}
    plan.rung_began(RUNGS[0], DECLARED, {})
    assert plan.may_go_on(RUNGS[0], scored) is scored
    assert plan.with_time(RUNGS[0], DECLARED) is DECLARED
    assert not plan.skips(RUNGS[1], DECLARED)


def _context(config: dict[str, object], stats: list[object]) -> dg.AssetExecutionContext:
    instance = SimpleNamespace(get_run_step_stats=lambda run_id, steps: stats)
    ops = {"clinic__training": {"config": config}}
    run = SimpleNamespace(run_config={"ops": ops}, run_id="1")
    return cast("dg.AssetExecutionContext", SimpleNamespace(instance=instance, run=run))


def test_a_report_has_what_the_search_of_its_run_has_left() -> None:
    """The launchpad's seconds replace the YAML's; without a budget there is no end."""
    assert callable(dg.DagsterInstance.get_run_step_stats)
    assert isinstance(dg.AssetExecutionContext.run, property)
    spec, clock = scenario.spec("binary", budget={"seconds": 30}), Clock()
    searched = SimpleNamespace(start_time=100.0, end_time=112.0)
    left = budget_left(_context({}, [searched]), spec, clock)
    assert left() == 18
    clock.seconds = 20.0
    assert left() == -2
    assert budget_left(_context({"budget_seconds": 60.0}, []), spec, clock)() == 60
    assert budget_left(_context({}, []), scenario.spec("binary"), clock)() == math.inf
