"""Whether a budget of seconds is kept: search, refit and report of a table within it.

In: tables made up here, small to large, and one with a title in each row. Out: the seconds of the
three as a share of the budget, and how many configurations were compared, and trained on all rows.
"""

import time
from collections.abc import Sequence

import joblib
import pandas as pd

from experiment_pipeline.drafting import search as first_search
from experiment_pipeline.drafting.columns import MOST_CODES
from experiment_pipeline.reporting.document import render_html
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import Fitted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report.final_evaluation import FinalEvaluation, evaluate
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.data import Measured, shown
from experiment_pipeline_tests.bench.reports import Case, Shape, case_of
from experiment_pipeline_tests.results import events_of
from experiment_pipeline_tests.stages.leaderboard.board_examples import board_of, chosen_of

BUDGETS = (10.0, 30.0)
SHAPES = tuple(Shape(rows, 20, 2) for rows in (2_000, 20_000, 100_000))
# Of a title in nearly each row; the others are numbers.
TEXTS = ("movies",)
# With the seconds that the scaffold writes.
UNEDITED = (
    Shape(1_000, 20, 10),
    Shape(10_000, 16, 26),
    Shape(20_000, 16, 26),
    Shape(101_000, 20, 8),
)
FEW_SECONDS = (Shape(15_000, 54, 7), 30.0)
MOST_SHARE = 1.15


def measurements(
    shapes: Sequence[Shape] = SHAPES,
    texts: Sequence[str] = TEXTS,
    budgets: Sequence[float] = BUDGETS,
    others: Sequence[tuple[Shape, float | None]] = (
        *((one, None) for one in UNEDITED),
        FEW_SECONDS,
    ),
) -> list[Measured]:
    """Search, fit again and report on each table within each budget, with the scaffold's search."""
    asked = [*((shape, seconds) for shape in shapes for seconds in budgets), *others]
    made = (case_of(shape, seconds) for shape, seconds in asked)
    found = (_of_texts(name, seconds) for name in texts for seconds in budgets)
    return [one for cases in (made, found) for case in cases for one in _measured(case)]


def _of_texts(name: str, seconds: float) -> Case:
    table = next(one for one in tables.TABLES if one.name == name)
    size = tables.cut(table, 0)
    columns = size.sets.train[list(size.sets.features)]
    distinct = columns.select_dtypes("str").nunique()
    shape = first_search.Shape(
        *(table.task, table.metric, len(size.sets.every_row) + len(size.validation)),
        features=columns.shape[1],
        classes=len(size.sets.classes or (0,)),
        texts=len(distinct),
        many_texts=int((distinct > MOST_CODES).sum()),
        seconds=seconds,
    )
    asked = [dict(one.entry) for one in first_search.propose_search(shape)]
    cut = tables.cut(table, 0, search=asked, budget={"seconds": seconds})
    return Case(f"{name}, {shape.rows:,} x {shape.features}", cut.spec, cut.sets, cut.validation)


def _measured(case: Case) -> list[Measured]:
    spec, sets, rows, workers = case.spec, case.sets, case.validation, joblib.cpu_count()
    seconds, asked = spec.budget.seconds or 0.0, configurations(spec)
    began = time.perf_counter()
    events = events_of(spec, sets)
    fits = [event for event in events if isinstance(event, Fitted)]
    searched = time.perf_counter() - began
    # Ranking is another stage, which a budget is not of.
    first = sum(one.rung.number == 1 for one in fits)
    trained = {one.model.key: one.model for one in fits if one.rung.is_full}
    time_left = RefitTime(seconds - searched, AfterSearch(sets, workers).of)
    board = board_of(spec, sets, trained, time_left)
    chosen = chosen_of(spec, sets, board, trained)
    again = time.perf_counter()

    def left() -> float:
        return seconds - searched - (time.perf_counter() - again)

    table = pd.concat([sets.train, sets.test, rows])
    check = evaluate(
        spec, board, chosen, sets, rows, delivered=table, workers=workers, seconds_left=left
    )
    _write(check)
    share = 1 - left() / seconds
    name = f"{case.name}, {seconds:g} s"
    print(f"  {board.reason}", flush=True)
    return shown(
        [
            Measured(f"{name}: search, refit and report ÷ the budget", share, "x", MOST_SHARE),
            Measured(f"{name}: the search alone ÷ the budget", searched / seconds, "x", None),
            Measured(f"{name}: compared at the first rung of {len(asked)}", first, "", None),
            Measured(f"{name}: fits on all train rows of {len(asked)}", len(trained), "", None),
        ]
    )


def _write(check: FinalEvaluation) -> None:
    """Draw and write what the report leaves behind."""
    document = build_document(check.report, check.next_search, check.charts)
    render_html(document, passed=check.report.accepted)
    to_bytes(check.pipeline)
