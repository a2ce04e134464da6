"""A budget of seconds: the search, the refit and the report keep it together."""

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import cast

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.inference import infer
from experiment_pipeline.orchestration.assets.shared import stage_run
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.search import Budget, Worth
from experiment_pipeline.stages.search import results
from experiment_pipeline.stages.search.budget import AfterSearch, Brake, usual_seconds
from experiment_pipeline.stages.search.conclusions import Fitted
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.halving import search
from experiment_pipeline.stages.search.rungs import Rung, best_first, competes, ladder
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets.sets import SplitSets
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of
from experiment_pipeline_tests.stages.search.halving_scenario import (
    SEARCH,
    experiment,
    sets_of,
)
from experiment_pipeline_tests.table.made_rows import cut_rows

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
        return self.seconds


def brake(seconds: float | None, rung: Rung) -> tuple[Brake, Clock]:
    """A brake of a budget at the beginning of a rung, and its clock."""
    clock = Clock()
    held = Brake(
        Budget(seconds=seconds) if seconds else Budget(), clock, AFTER, "roc_auc"
    )
    held.rung_began(rung, [DUMMY, *DECLARED], {})
    return held, clock


def fitted(one: Configuration, score: float, seconds: float) -> results.ModelResult:
    """What a fit has left."""
    return result_of(one, score, SPEC, fit_wall_seconds=seconds)


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
    spent = (
        f"the budget of 30 seconds was spent, {rest:.1f} are kept for refit and report"
    )
    assert held.reason_of("dummy") == (spent, None)
    assert held.is_out_of_time
    # However long the rest takes, fits have a part: a search without a fit has nothing
    # to refit.
    held, clock = brake(10, FULL)
    held.fit_ended(fitted(LINEAR[0], 0.9, 3.6))
    clock.seconds = 3.9
    assert held.may_start()
    clock.seconds = 4.1
    assert not held.may_start()


def test_what_takes_longer_than_is_left_is_not_begun_and_the_rest_is() -> None:
    """Fit, refit and report must fit in; the reason is its own, and gone at the next
    rung.
    """
    held, clock = brake(30, SMALL)
    (slow, quick, unknown), forest = LINEAR[:3], DECLARED[-1]
    held.fit_ended(fitted(slow, 0.9, 1.2))
    held.fit_ended(fitted(quick, 0.8, 0.05))
    held.rung_began(FULL, DECLARED, {})
    clock.seconds = 10.0
    allowed = [held.may_start(one.key) for one in (slow, quick, unknown, forest)]
    assert allowed == [False, True, False, True]
    assert held.is_out_of_time
    reason, needed = held.reason_of(slow.key)
    assert reason.startswith(
        "fit, refit and report would have taken longer than what was left"
    )
    assert needed == pytest.approx(20, abs=1)
    assert held.with_time([slow, quick, DUMMY]) == [DUMMY, quick]
    clock.seconds = 5.0
    held.rung_began(FULL, DECLARED, {})
    assert held.may_start(slow.key)


def test_a_fit_ends_before_the_seconds_of_an_ensemble_begin() -> None:
    """What would leave time for its own refit alone is not begun; the quick baseline
    still is.
    """
    held, clock = brake(60, FULL)
    done = [fitted(one, 0.9, 2.0) for one in LINEAR[:4]]
    for one in done:
        held.fit_ended(one)
    kept = AFTER.of(done)
    clock.seconds = 60 - kept - 3.0
    assert held.may_start(LINEAR[4].key)
    clock.seconds = 60 - kept - 2.5
    assert [held.may_start(key) for key in (LINEAR[4].key, DUMMY.key)] == [False, True]
    assert AFTER.of(done[:1]) + 2.8 < kept


def test_time_is_left_to_record_what_is_not_begun() -> None:
    """As long as the record of one took at the rung before."""
    held, clock = brake(60, SMALL)
    clock.seconds = 2.0
    held.were_concluded(0.0, 10)
    held.rung_began(FULL, DECLARED, {})
    held.fit_ended(done := fitted(LINEAR[0], 0.9, 1.0))
    rest = AFTER.of([done]) + 0.2 * (len(DECLARED) - 1)
    clock.seconds = 59.9 - rest
    assert held.may_start()
    clock.seconds = 60.1 - rest
    assert not held.may_start()


def test_each_rung_has_a_share_of_the_seconds() -> None:
    """A third at the first of three, and more as long as few are compared."""
    held, clock = brake(30, SMALL)
    clock.seconds = 17.9
    assert held.may_start("a")
    for one in DECLARED:
        held.fit_ended(fitted(one, 0.5, 0.0))
    assert not held.may_start("a")
    assert "of the budget of 30 seconds was spent" in held.reason_of("a")[0]


def test_forests_that_would_take_all_the_time_are_not_fitted() -> None:
    """Features are fitted before the first fit: what has no time for them is not begun,
    and the rest is.
    """
    held, _ = brake(0.5 + AFTER.of([]), FULL)
    assert AFTER.encoding("stacked") > 0.5
    stacked = replace(LINEAR[0], key="stacked", features="stacked")
    held.rung_began(FULL, [DUMMY, stacked, LINEAR[1]], {})
    assert held.with_time([stacked, LINEAR[1], DUMMY]) == [DUMMY, LINEAR[1]]
    assert "would have taken longer" in held.reason_of("stacked")[0]


def test_a_refit_is_estimated_from_the_fit_and_its_rows() -> None:
    """On train and test rows, of which boosting makes more rounds; members are fitted
    side by side.
    """
    one = replace(
        model_result("a", 0.7), fit_wall_seconds=6.0, predict_seconds_per_row=0.0
    )
    alone = AFTER.of([one]) - AFTER.of([replace(one, fit_wall_seconds=0.0)])
    assert alone == pytest.approx(1.3 * 6.0 * len(SETS.row_numbers) / len(SETS.train))
    boosted, forest = (
        [replace(one, algorithm=name)] for name in ("lightgbm", "extra_trees")
    )
    assert AFTER.of(boosted) - AFTER.of([one]) == pytest.approx(0.5 / 1.3 * alone)
    assert replace(AFTER, fits=3).of(forest) == AFTER.of(forest)
    assert AFTER.of([one] * 5) - AFTER.of([one]) == pytest.approx(1.5 * alone)
    assert AFTER.of([replace(one, predict_seconds_per_row=1e-2)]) > AFTER.of([one]) + 1
    # The forests of stacking are fitted anew as well.
    stacked = AFTER.of([replace(one, features="stacked")]) - AFTER.of([one])
    assert stacked > 10 * AFTER.encoding(one.features)


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


def test_the_best_of_each_algorithm_is_fitted_on_all_rows_before_a_second_one() -> None:
    """Few rows prefer simple models; where time ends nothing, they have no
    such place.
    """
    ordered = [*LINEAR[:2], DECLARED[-1]]
    scored = {one.key: fitted(one, 0.9 - n / 10, 0.01) for n, one in enumerate(ordered)}
    assert brake(None, SMALL)[0].of_each_kind(scored) == []
    held, _ = brake(30, SMALL)
    assert held.of_each_kind(scored) == [ordered[0].key, ordered[2].key]
    for result in scored.values():
        held.fit_ended(result)
    assert held.with_time(ordered) == [ordered[0], ordered[2], ordered[1]]


def test_where_there_is_no_time_the_quickest_is_trained_beyond_it() -> None:
    """Beside the baseline, which costs nothing."""
    held, _ = brake(20, SMALL)
    slow, quick, *_ = LINEAR
    held.fit_ended(fitted(slow, 0.9, 0.4))
    held.fit_ended(fitted(quick, 0.6, 0.01))
    assert held.beyond([slow, DUMMY, quick]) == [DUMMY, quick]


def _context(
    config: dict[str, object], stats: list[object]
) -> dg.AssetExecutionContext:
    instance = SimpleNamespace(get_run_step_stats=lambda run_id, steps: stats)
    ops = {"clinic__training": {"config": config}}
    run = SimpleNamespace(run_config={"ops": ops}, run_id="1", tags={})
    context = SimpleNamespace(instance=instance, run=run, log=None)
    return cast("dg.AssetExecutionContext", context)


def test_a_report_has_what_the_search_of_its_run_has_left() -> None:
    """The launchpad's seconds replace the YAML's; without a budget there is no end."""
    assert callable(dg.DagsterInstance.get_run_step_stats)
    assert isinstance(dg.AssetExecutionContext.run, property)
    spec, clock = scenario.spec("binary", budget={"seconds": 30}), Clock()
    searched = SimpleNamespace(start_time=100.0, end_time=112.0)

    def left_of(
        config: dict[str, object], stats: list[object], spec=spec
    ) -> Callable[[], float]:
        named = NamedColumns(spec, scenario.SCHEMA)
        return stage_run(_context(config, stats), named).seconds_left(clock)

    left = left_of({}, [searched])
    assert left() == 18
    clock.seconds = 20.0
    assert left() == -2
    assert left_of({"budget_seconds": 60.0}, [])() == 60
    # While it runs: what it takes to record what was trained last.
    assert left_of({}, [SimpleNamespace(start_time=100.0, end_time=None)])() == 29
    assert left_of({}, [], scenario.spec("binary"))() == math.inf


class Simulated:
    """Fits that take what is usual, by luck more or less, on two workers and by a clock
    of its own.
    """

    workers, seconds = 2, 0.0

    def __init__(self, slowness: float) -> None:
        self.slowness, self.luck = slowness, dict[str, float]()
        self.random = np.random.default_rng(4)

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
    ) -> Generator[results.Outcome, None, None]:
        """Start one whenever a worker is free."""
        waiting, running = (
            deque(configurations),
            list[tuple[float, str, results.ModelResult]](),
        )
        while waiting or running:
            if not waiting or len(running) == self.workers:
                self.seconds, _, result = heappop(running)
                yield results.TrainedModel(
                    result, b"", results.Predictions(np.zeros(1), np.zeros(1))
                )
            elif brake is None or brake.may_start(waiting[0].key):
                one = waiting.popleft()
                luck = self.luck.setdefault(one.key, self.random.lognormal(0, 0.4))
                took = self.slowness * luck * usual_seconds(one, sets)
                result = fitted(one, self.random.random(), took)
                heappush(running, (self.seconds + took, one.key, result))
            else:
                waiting.popleft()


def drafted(
    rows: int, features: int, shares: Sequence[float], asked: float | None
) -> tuple[ExperimentSpec, SplitSets]:
    """A table of noise with such classes, drafted and split."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(rows, features))).add_prefix("x")
    frame["y"] = random.choice(
        [f"c{one}" for one in range(len(shares))], rows, p=shares
    )
    wishes = Wishes(target="y", seconds=asked)
    spec = spec_from("drafted", infer(frame, wishes).attributes({"url": "t.csv"}))
    frame = frame.rename_axis(index="row_number")
    return spec, cut_rows(frame, spec, [name for name in frame if name != "y"])


COVER = (0.365, 0.488, 0.061, 0.005, 0.016, 0.03, 0.035)


@pytest.mark.parametrize(
    ("rows", "features", "shares", "asked", "slowness"),
    [
        (15_000, 54, COVER, 30, 1.0),
        (10_000, 16, (1 / 26,) * 26, None, 2.0),
        (1_000, 20, (0.1,) * 10, None, 1.0),
    ],
    ids=["rare classes in few seconds", "many classes", "folds"],
)
def test_enough_are_compared_within_the_budget(
    rows, features, shares, asked, slowness
) -> None:
    """At least twenty, of all algorithms, on a machine as usual; fit, refit and report
    in time.
    """
    spec, parts = drafted(rows, features, shares, asked)
    sets = as_evaluated(parts.train, parts.test, spec)
    engine, seconds = Simulated(slowness), spec.budget.seconds or 0.0
    declared = configurations(spec)
    events = [
        *search(
            declared,
            sets,
            spec,
            results.ModelsInMemory(),
            engine,
            lambda: engine.seconds,
        )
    ]
    fits = [one for one in events if isinstance(one, Fitted)]
    first = [one.model.result.algorithm for one in fits if one.rung.number == 1]
    assert len(first) >= 20
    assert {*first} >= {"lightgbm", "random_forest", "linear"}
    full = {one.model.key: one.model.result for one in fits if one.rung.is_full}
    chosen = full[best_first(full, spec.metric)[0]]
    assert engine.seconds + AfterSearch(sets, 2).of([chosen]) <= 1.15 * seconds
    assert {one.algorithm for one in full.values()} > {"dummy"}


def test_a_rung_ends_where_more_fits_are_not_worth_their_time() -> None:
    """Few fits tell nothing; then what is to be gained falls below what is asked, and
    the reason says it.
    """
    clock, worth = Clock(), Worth(gain=0.01, per_seconds=10)
    held = Brake(Budget(worth=worth), clock, AFTER, "roc_auc")
    entered = [replace(LINEAR[0], key=f"fit{number}") for number in range(200)]
    held.rung_began(FULL, entered, {})
    scores = list[float]()
    while held.may_start(entered[len(scores)].key):
        scores.append(0.7 + 0.02 * np.random.default_rng(len(scores)).normal())
        held.fit_ended(fitted(entered[len(scores) - 1], scores[-1], 0.5))
        clock.seconds += 0.5
    assert held.is_out_of_time
    assert 20 < len(scores) < 200
    reason, _ = held.reason_of("another")
    assert reason.startswith("another 10 seconds were expected to gain 0.00")
    assert f"the last gained {max(scores) - max(scores[:-20]):.2g})" in reason
    held.rung_began(FULL, DECLARED, {})
    assert held.may_start()
    assert Worth(price_per_hour=3.6, value_per_point=0.1).least_gain == pytest.approx(
        0.006
    )
