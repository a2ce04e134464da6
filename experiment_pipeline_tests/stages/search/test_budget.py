"""A budget of seconds: the search, the refit and the report keep it together."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from experiment_pipeline.orchestration.assets.search import budget_left
from experiment_pipeline.spec.search import Budget
from experiment_pipeline.stages.search.budget import AfterSearch, Brake
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import Rung, competes, ladder
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search.halving_scenario import SEARCH, experiment, sets_of

SPEC = experiment(searched=SEARCH)
SETS = sets_of(SPEC)
DECLARED = [one for one in configurations(SPEC) if competes(one)]
(DUMMY,) = [one for one in configurations(SPEC) if not competes(one)]
LINEAR = [one for one in DECLARED if one.algorithm == "linear"]
SMALL, _, FULL = ladder(len(DECLARED), SETS, SPEC).rungs
AFTER = AfterSearch(SETS, workers=2)


class Clock:
    """Seconds that a test decides."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return them."""
        return self.seconds


def brake(seconds: float | None, rung: Rung) -> tuple[Brake, Clock]:
    """A brake of a budget at the beginning of a rung, and its clock."""
    clock = Clock()
    held = Brake(Budget(seconds=seconds) if seconds else Budget(), clock, AFTER, "roc_auc")
    held.rung_began(rung, [DUMMY, *DECLARED], {})
    return held, clock


def fitted(one: Configuration, score: float, seconds: float) -> ModelResult:
    """What a fit has left."""
    return replace(
        model_result(one.key, score),
        algorithm=one.algorithm,
        features=one.features,
        hyperparameters=one.hyperparameters,
        fit_wall_seconds=seconds,
    )


def test_time_is_left_to_fit_again_and_to_report() -> None:
    """From then on no fit starts, and the reason says what the rest is for."""
    held, clock = brake(30, FULL)
    done = fitted(LINEAR[0], 0.9, 4.0)
    held.fit_ended(done)
    rest = AFTER.of([done])
    clock.seconds = 29.9 - rest
    assert held.may_start()
    clock.seconds = 30.0 - rest
    assert not held.may_start()
    spent = f"the budget of 30 seconds was spent, {rest:.1f} are kept for refit and report"
    assert held.reason_of("dummy") == (spent, None)
    assert held.is_out_of_time


def test_fits_have_a_part_of_the_budget_however_long_the_rest_takes() -> None:
    """A search without a fit has nothing to refit."""
    held, clock = brake(10, FULL)
    held.fit_ended(fitted(LINEAR[0], 0.9, 3.6))
    clock.seconds = 3.9
    assert held.may_start()
    clock.seconds = 4.1
    assert not held.may_start()


def test_what_takes_longer_than_is_left_is_not_begun_and_the_rest_is() -> None:
    """Fit, refit and report must fit in; the reason is its own, and gone at the next rung."""
    held, clock = brake(30, SMALL)
    (slow, quick, unknown), forest = LINEAR[:3], DECLARED[-1]
    held.fit_ended(fitted(slow, 0.9, 3.0))
    held.fit_ended(fitted(quick, 0.8, 0.1))
    held.rung_began(FULL, DECLARED, {})
    clock.seconds = 10.0
    allowed = [held.may_start(one.key) for one in (slow, quick, unknown, forest)]
    assert allowed == [False, True, False, True]
    assert held.is_out_of_time
    reason, needed = held.reason_of(slow.key)
    assert reason.startswith("fit, refit and report would have taken longer than what was left")
    assert needed == pytest.approx(21, abs=1)
    assert held.with_time([slow, quick, DUMMY]) == [DUMMY, quick]
    clock.seconds = 5.0
    held.rung_began(FULL, DECLARED, {})
    assert held.may_start(slow.key)


def test_each_rung_has_a_share_of_the_seconds() -> None:
    """A third at the first of three."""
    held, clock = brake(30, SMALL)
    clock.seconds = 9.9
    assert held.may_start("a")
    clock.seconds = 10.0
    assert not held.may_start("a")
    assert held.reason_of("a") == ("10 of the budget of 30 seconds was spent", None)


def test_a_refit_is_estimated_from_the_fit_and_its_rows() -> None:
    """On train and test rows; an ensemble's members are fitted side by side."""
    one = replace(model_result("a", 0.7), fit_wall_seconds=6.0, predict_seconds_per_row=0.0)
    alone = AFTER.of([one]) - AFTER.of([replace(one, fit_wall_seconds=0.0)])
    assert alone == pytest.approx(1.5 * 6.0 * len(SETS.row_numbers) / len(SETS.train))
    assert AFTER.of([one] * 5) - AFTER.of([one]) == pytest.approx(1.5 * alone)
    assert AFTER.of([replace(one, predict_seconds_per_row=1e-2)]) > AFTER.of([one]) + 1


def test_what_there_is_no_time_for_leaves_its_place_to_others() -> None:
    """The best of a small rung would take longer on all rows than the budget has."""
    held, _ = brake(20, SMALL)
    best, *others = LINEAR
    scored = {best.key: fitted(best, 0.9, 18.0)} | {
        one.key: fitted(one, 0.7, 0.01) for one in others
    }
    for result in scored.values():
        held.fit_ended(result)
    assert set(held.may_go_on(scored)) == {one.key for one in others}
    assert "left of the budget" in held.reason_of(best.key)[0]


def test_where_there_is_no_time_the_quickest_is_trained_beyond_it() -> None:
    """Beside the baseline, which costs nothing."""
    held, _ = brake(20, SMALL)
    slow, quick, *_ = LINEAR
    held.fit_ended(fitted(slow, 0.9, 0.4))
    held.fit_ended(fitted(quick, 0.6, 0.01))
    assert held.beyond([slow, DUMMY, quick]) == [DUMMY, quick]


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
