"""A budget of seconds: it is kept by the search, the refit and the report together."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from experiment_pipeline.spec.search import Budget
from experiment_pipeline.stages.search.asset import budget_left
from experiment_pipeline.stages.search.cost import AfterSearch, Brake
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result

AFTER = AfterSearch(fitted=8_000, all_rows=16_000, test=4_000, features=10, workers=2)


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
    held.expect({}, reserved=10)
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
    held.expect({}, reserved=60)
    clock.seconds = 3.9
    assert held.may_start("a")
    clock.seconds = 4.1
    assert not held.may_start("a")


def test_a_fit_that_takes_longer_than_is_left_is_not_begun_and_others_are() -> None:
    """Its reason is its own; at the next rung it is asked for anew."""
    held, clock = brake(30)
    held.expect({"long": 12.0, "short": 1.0}, reserved=5)
    clock.seconds = 15.0
    assert not held.may_start("long")
    assert held.may_start("short")
    assert not held.reason
    assert held.is_out_of_time
    assert held.reason_of("long") == (
        "its fit would have taken 12.0 seconds or so, and 10.0 were left"
    )
    held.open(1.0)
    assert held.may_start("long")


def test_each_rung_has_a_share_of_what_fits_have() -> None:
    """A third of 20 seconds, where 10 of 30 are left for the rest."""
    held, clock = brake(30)
    held.open(1 / 3)
    held.expect({}, reserved=10)
    clock.seconds = 6.6
    assert held.may_start("a")
    clock.seconds = 6.7
    assert not held.may_start("a")


def test_a_refit_is_guessed_from_the_fit_its_rows_and_the_rounds_it_keeps() -> None:
    """Twice the rows, but no patience; an ensemble's members are fitted side by side."""
    one = replace(model_result("a", 0.7), fit_wall_seconds=6.0, rounds=50)
    none = AFTER.seconds([])
    assert AFTER.seconds([one]) - none == pytest.approx(6.0 * 0.5 * 2, abs=0.1)
    assert AFTER.seconds([one] * 9) - none == pytest.approx(5 * 6.0 / 2, abs=0.1)


def test_slow_predictions_count() -> None:
    """A report predicts a set of the size of the test set a few times."""
    quick, slow = (
        replace(model_result("a", 0.7), predict_seconds_per_row=each) for each in (0.0, 1e-3)
    )
    assert AFTER.seconds([slow]) - AFTER.seconds([quick]) > 4_000 * 1e-3 * 2


def _context(config: dict[str, object], stats: list[object]) -> dg.AssetExecutionContext:
    instance = SimpleNamespace(get_run_step_stats=lambda run_id, steps: stats)
    run = SimpleNamespace(run_config={"ops": {"clinic__training": {"config": config}}})
    return cast("dg.AssetExecutionContext", SimpleNamespace(instance=instance, run=run, run_id="1"))


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
