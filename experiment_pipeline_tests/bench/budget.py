"""Whether a budget of seconds is kept: search, refit and report of a table within it.

In: tables made up here, small to large. Out: the seconds of the three as a share of the budget, and
how many fits it was good for.
"""

import time

import joblib

from experiment_pipeline.stages.search.conclusions import Fitted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.engines.engine import Threads
from experiment_pipeline.stages.search.halving import search
from experiment_pipeline.stages.validation_report.final_check import final_check
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.reports import Shape, experiment_of
from experiment_pipeline_tests.results import NothingKnown
from experiment_pipeline_tests.rows.made_rows import cut_rows
from experiment_pipeline_tests.stages.leaderboard.board_examples import board_of, chosen_of

BUDGETS = (10.0, 30.0)
SHAPES = tuple(Shape(rows, 20, 2) for rows in (2_000, 20_000, 100_000))
MOST_SHARE = 1.1


def measurements(
    shapes: tuple[Shape, ...] = SHAPES, budgets: tuple[float, ...] = BUDGETS
) -> list[Measured]:
    """Search, fit again and report on each table within each budget."""
    return [one for shape in shapes for seconds in budgets for one in _measured(shape, seconds)]


def _measured(shape: Shape, seconds: float) -> list[Measured]:
    spec = experiment_of(shape, budget={"seconds": seconds})
    frame = shape.table()
    cut = cut_rows(frame, spec, [name for name in frame if name != "y"])
    sets = scenario.to_train_on(cut.train, cut.test, spec)
    workers, asked = joblib.cpu_count(), configurations(spec)
    began = time.perf_counter()
    events = search(asked, sets, spec, NothingKnown(), Threads(workers), time.perf_counter)
    fits = [event for event in events if isinstance(event, Fitted)]
    searched = time.perf_counter() - began
    # Ranking is another stage, which a budget is not of.
    trained = {one.model.key: one.model for one in fits if one.rung.is_full}
    board = board_of(spec, sets, trained)
    again, rows = time.perf_counter(), cut.validation

    def left() -> float:
        return seconds - searched - (time.perf_counter() - again)

    final_check(
        spec,
        board,
        chosen_of(spec, sets, board, trained),
        sets,
        rows,
        delivered=rows,
        workers=workers,
        seconds_left=left,
    )
    name, share = f"{shape}, {seconds:g} s", 1 - left() / seconds
    found = [
        Measured(f"{name}: search, refit and report ÷ the budget", share, "x", MOST_SHARE),
        Measured(f"{name}: the search alone ÷ the budget", searched / seconds, "x", None),
        Measured(f"{name}: fits on all train rows of {len(asked)}", len(trained), "", None),
    ]
    for one in found:
        print(f"  {one.name}: {one.value:.2f} {one.unit}", flush=True)
    return found
