"""A budget of seconds: it is kept by the search, the refit and the report together."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from experiment_pipeline.orchestration.assets.search import budget_left
from experiment_pipeline.spec.search import Budget
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.cost import Brake, NotBegun
from experiment_pipeline.stages.search.foresight import (
    AfterSearch,
    Foresight,
    FullFit,
    encoding_seconds,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import competes, ladder
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search.halving_scenario import SEARCH, experiment, sets_of

AFTER = AfterSearch(
    fitted=8_000,
    all_rows=16_000,
    test=4_000,
    workers=2,
    encoding=lambda encoder: 1.0 * (encoder == "text"),
)


class Clock:
    """Seconds that a test decides."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.seconds = 0.0

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
    held.expect({}, reserved=10, needed={})
    clock.seconds = 19.9
    assert held.may_start("a")
    clock.seconds = 20.0
    assert not held.may_start("a")
    assert (
        held.reason == "the budget of 30 seconds was spent, but for 10.0 to fit again and to report"
    )
    assert held.is_out_of_time


def test_fits_have_a_part_of_the_budget_however_long_the_rest_takes() -> None:
    """A search without a fit has nothing to refit."""
    held, clock = brake(10)
    held.expect({}, reserved=60, needed={})
    clock.seconds = 3.9
    assert held.may_start("a")
    clock.seconds = 4.1
    assert not held.may_start("a")


def test_a_fit_that_takes_longer_than_is_left_is_not_begun_and_others_are() -> None:
    """Its reason is its own; at the next rung it is asked for anew."""
    held, clock = brake(30)
    held.expect({"long": 12.0, "short": 1.0}, reserved=5, needed={})
    clock.seconds = 15.0
    assert not held.may_start("long")
    assert held.may_start("short")
    assert not held.reason
    assert held.is_out_of_time
    left = "longer than what was left of the budget of 30 seconds"
    assert held.reason_of("long") == NotBegun(f"the fit would have taken {left}", 12.0)
    held.open(1.0)
    assert held.may_start("long")


def test_each_rung_has_a_share_of_what_fits_have() -> None:
    """A third of 20 seconds, where 10 of 30 are left for the rest."""
    held, clock = brake(30)
    held.open(1 / 3)
    held.expect({}, reserved=10, needed={})
    clock.seconds = 6.6
    assert held.may_start("a")
    clock.seconds = 6.7
    assert not held.may_start("a")


def test_a_refit_is_guessed_from_the_fit_its_rows_and_the_rounds_it_keeps() -> None:
    """Twice the rows, but no patience; an ensemble's members are fitted side by side."""
    one = replace(model_result("a", 0.7), fit_wall_seconds=6.0, rounds=50)
    none, fit = AFTER.seconds([]), FullFit.of(one)
    assert AFTER.seconds([fit]) - none == pytest.approx(6.0 * 0.5 * 2, abs=0.1)
    assert AFTER.seconds([fit] * 5) - none == pytest.approx(5 * 6.0 / 2, abs=0.1)


def test_slow_predictions_count() -> None:
    """A report predicts a set of the size of the test set twice, with all cores."""
    quick, slow = (
        replace(model_result("a", 0.7), predict_seconds_per_row=each) for each in (0.0, 1e-3)
    )
    taken = [AFTER.seconds([FullFit.of(one)]) for one in (quick, slow)]
    assert taken[1] - taken[0] == pytest.approx(2 * 4_000 * 1e-3 / AFTER.workers)


def test_features_are_encoded_again_once_for_all_who_read_them() -> None:
    """Members of an ensemble share those of a encoder."""
    one = FullFit(0.0, 1.0, 0.0, "text")
    alone = AFTER.seconds([one])
    assert alone - AFTER.seconds([]) > 1
    assert AFTER.seconds([one, one, replace(one, encoder="ordinal")]) == alone


def _context(config: dict[str, object], stats: list[object]) -> dg.AssetExecutionContext:
    instance = SimpleNamespace(get_run_step_stats=lambda run_id, steps: stats)
    ops = {"clinic__training": {"config": config}}
    run = SimpleNamespace(run_config={"ops": ops}, run_id="1")
    return cast("dg.AssetExecutionContext", SimpleNamespace(instance=instance, run=run))


def test_a_report_has_what_the_search_of_its_run_has_left() -> None:
    """The launchpad's seconds go before the YAML's, and no budget is all the time in the world."""
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


def test_what_a_configuration_needs_to_the_end_of_its_report_must_be_left() -> None:
    """A fit that fits in is of no use where its refit does not."""
    held, clock = brake(30)
    held.expect({"slow": 4.0, "quick": 1.0}, reserved=0, needed={"slow": 21.0, "quick": 6.0})
    clock.seconds = 10.0
    assert not held.may_start("slow")
    assert held.may_start("quick")
    left = "longer than what was left of the budget of 30 seconds"
    assert held.reason_of("slow") == NotBegun(
        f"fit, refit and report would have taken {left}", 21.0
    )


def test_whom_the_end_of_the_budget_left_out_has_the_reason_of_all_others() -> None:
    """The seconds that it was expected to take are a number beside it."""
    held, clock = brake(30)
    held.expect({"a": 1.0, "b": 2.0}, reserved=0, needed={})
    clock.seconds = 30.0
    assert not any(map(held.may_start, "ab"))
    spent = "the budget of 30 seconds was spent"
    assert [held.reason_of(key) for key in "abc"] == [
        NotBegun(spent, 1.0),
        NotBegun(spent, 2.0),
        NotBegun(spent),
    ]


SPEC = experiment(searched=SEARCH, budget={"seconds": 20})
SETS = sets_of(SPEC)
DECLARED = [one for one in configurations(SPEC) if competes(one)]
RUNGS = ladder(len(DECLARED), SETS, SPEC).rungs


def looking_ahead(clock: Clock) -> tuple[Foresight, Brake]:
    """At the first rung, before any fit."""
    held = Brake(SPEC.budget, clock)
    ahead = Foresight(SETS, SPEC, 2, held)
    ahead.rung_began(RUNGS[0], RUNGS[1:], DECLARED, {})
    return ahead, held


def fitted(one: Configuration, score: float, seconds: float) -> ModelResult:
    """What a fit at a small rung has left."""
    return replace(
        model_result(one.key, score),
        algorithm=one.algorithm,
        features=one.features,
        hyperparameters=one.hyperparameters,
        fit_wall_seconds=seconds,
    )


def test_who_there_is_no_time_for_leaves_the_place_to_others() -> None:
    """The best of a small rung would take longer on all rows than the budget has."""
    ahead, held = looking_ahead(Clock())
    best, *others = [one for one in DECLARED if one.algorithm == "linear"]
    scored = {best.key: fitted(best, 0.9, 18.0)} | {
        one.key: fitted(one, 0.7, 0.01) for one in others
    }
    for key, result in scored.items():
        ahead.fit_ended(key, result)
    assert set(ahead.may_go_on(scored)) == {one.key for one in others}
    assert "left of the budget" in held.reason_of(best.key).why


def test_where_there_is_time_for_nobody_the_quickest_is_trained_beyond_it() -> None:
    """Beside the baseline, which costs nothing; while there is time for some, the most promising."""
    clock = Clock()
    ahead, _ = looking_ahead(clock)
    slow, quick, *_ = (one for one in DECLARED if one.algorithm == "linear")
    for one, score, seconds in ((slow, 0.9, 0.4), (quick, 0.6, 0.01)):
        ahead.fit_ended(one.key, fitted(one, score, seconds))
    (dummy,) = [one for one in configurations(SPEC) if not competes(one)]
    ahead.rung_began(RUNGS[-1], (), [dummy, slow, quick], {})
    assert ahead.beyond([dummy, slow, quick]) == [dummy, slow]
    clock.seconds = 100.0
    assert ahead.beyond([dummy, slow, quick]) == [dummy, quick]


def test_without_a_budget_nobody_looks_ahead() -> None:
    """Everybody may go on, and the order is the sweep's."""
    spec = experiment(searched=SEARCH)
    ahead = Foresight(SETS, spec, 2, Brake(spec.budget, Clock()))
    scored = {one.key: fitted(one, 0.9, 100.0) for one in DECLARED}
    ahead.rung_began(RUNGS[0], RUNGS[1:], DECLARED, {})
    assert ahead.may_go_on(scored) is scored
    assert ahead.with_time(DECLARED) is DECLARED


def test_texts_read_letter_by_letter_are_dear() -> None:
    """Their features may be what there is no time for."""
    rows = SETS.train.assign(colour=[f"text {place}" for place in range(len(SETS.train))])
    sets = replace(SETS, train=rows)
    assert encoding_seconds("text", sets) > 10 * encoding_seconds("target", sets)
    assert encoding_seconds("text", SETS) == encoding_seconds("ordinal", SETS)
