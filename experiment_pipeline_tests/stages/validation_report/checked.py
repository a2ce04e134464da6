"""Final checks of small searches on made-up tables, one per task, for the tests of the
page.

Names are chosen to be awkward in HTML, Markdown and pictures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from experiment_pipeline.reporting.document import Document, render_html
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.validation_report.final_evaluation import (
    Choice,
    FinalEvaluation,
    evaluate,
)
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.results import trained_by_search
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    board_of,
    chosen_of,
)
from experiment_pipeline_tests.stages.validation_report.report_examples import TOO_HIGH
from experiment_pipeline_tests.table.made_rows import cut_rows

STRANGE = "<b>carrier & $x^$</b>"
SEARCH = [
    {
        "algorithm": "lightgbm",
        "hyperparameters": {"num_leaves": [7], "n_estimators": [25]},
    },
    {"algorithm": "linear"},
]
METRIC = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "mae"}
COSTS = {"false_positive": 1, "false_negative": 10}


@dataclass(frozen=True, eq=False, kw_only=True)
class Searched(Choice):
    """The choice of a search of a table, and what was trained."""

    trained: Mapping[str, TrainedModel]


@dataclass(frozen=True, eq=False)
class Checked:
    """A final check, the document of its report, and that as a page."""

    check: FinalEvaluation
    document: Document
    page: str


def table(task: str, rows: int = 3_000) -> pd.DataFrame:
    """Return features of several kinds, some missing, and the target `y`."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "distance": generator.gamma(2, 400, rows).round(),
            "hour": generator.integers(0, 24, rows),
            STRANGE: generator.choice(
                ["EWR", "JFK", "<i>L&A$</i>"], rows, p=[0.5, 0.3, 0.2]
            ),
            "noise": generator.normal(size=rows),
        }
    ).rename_axis(index="row_number")
    score = (
        frame["hour"] / 8
        + frame["distance"] / 700
        + 1.5 * (frame[STRANGE] == "EWR")
        - 3.5
    )
    frame.loc[generator.random(rows) < 0.1, "distance"] = np.nan
    frame.loc[generator.random(rows) < 0.05, STRANGE] = None
    if task == "regression":
        return frame.assign(
            y=(40 * score + 15 * generator.standard_t(4, rows)).round(1)
        )
    if task == "binary":
        return frame.assign(
            y=np.where(generator.random(rows) < expit(score - 1), "yes & <b>", "no")
        )
    levels = np.digitize(score + generator.logistic(size=rows), [-1, 0.5, 2])
    return frame.assign(
        y=np.array(["on time", "late", "<very> late", "$never$"])[levels]
    )


@cache
def checked(task: str, *, refused: bool = False, costs: bool = False) -> Checked:
    """Search, choose and look at the validation rows, once for all tests.

    Refused: a gate cannot be met; costs: wrong decisions have a price.
    """
    settings: dict[str, Any] = {}
    if task == "binary":
        settings["positive_class"] = "yes & <b>"
    if refused:
        settings["acceptance"] = TOO_HIGH
    if costs:
        settings["costs"] = COSTS
    return look_at(table(task), task, settings)


def spec_of(task: str, settings: Mapping[str, Any]) -> ExperimentSpec:
    """The experiment, with settings of one's own."""
    fields = {"name": "flights", "data": "made up", "target": "y", "task": task}
    fields |= {"metric": METRIC[task], "search": SEARCH, **settings}
    return ExperimentSpec.model_validate(fields)


def searched(frame: pd.DataFrame, task: str, settings: Mapping[str, Any]) -> Searched:
    """Search a table with settings of one's own, and choose."""
    spec = spec_of(task, settings)
    cut = cut_rows(frame, spec, feature_columns(frame, spec))
    sets = scenario.to_train_on(cut.train.rows, cut.test.rows, spec)
    trained = trained_by_search(spec, sets, workers=1)
    board = board_of(spec, sets, trained)
    return Searched(
        spec,
        board,
        chosen_of(spec, sets, board, trained),
        sets,
        validation=cut.validation.rows,
        delivered=frame,
        trained=trained,
    )


def look_at(
    frame: pd.DataFrame,
    task: str,
    settings: Mapping[str, Any],
    *,
    seconds_left: float = math.inf,
) -> Checked:
    """The same, judged with so much of the budget left, and its report."""
    choice = searched(frame, task, settings)
    check = evaluate(choice, seconds_left=lambda: seconds_left)
    report = check.report
    document = build_document(report, check.charts)
    shown = build_document(report, check.charts, check.rows)
    page = render_html(shown, passed=report.accepted)
    return Checked(check, document, page)
