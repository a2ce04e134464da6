"""The final check: refit the chosen configuration and score it once on the validation set.

In: the choice, its stored model, the three sets. Out: a `FinalCheck` with the pipeline that would
be exported.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from experiment_pipeline.reporting.run_record import JudgedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.averaging import uncalibrated
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.search.voting import TakenApart
from experiment_pipeline.stages.validation_report import champion, pictures
from experiment_pipeline.stages.validation_report.details import (
    Segment,
    Uncalibrated,
    exported_threshold,
    weakest_segments,
)
from experiment_pipeline.stages.validation_report.effects import Usage, Work, usage
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.report import ValidationReport, judge
from experiment_pipeline.stages.validation_report.shortfall import Evidence, NextSearch, next_search
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import threshold_value
from experiment_pipeline.storage.mapped import aside
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.table import with_only

_NO_IMPORTANCE = (
    "the importance of features is left out: shuffling each of them once would take longer than "
    "a tenth of the search"
)
_NO_TIME = (
    "the importance of features is left out, and where nothing was left the weakest segments, too: "
    "the budget of seconds was spent on the search and on fitting the chosen configuration again"
)
# Reserved for pictures and files, which follow the optional parts.
_TO_DRAW_SECONDS = 1.5
# More rows hardly narrow the interval of the loss from test to validation. Gates use all rows.
MOST_ROWS_OF_GAP = 20_000


@dataclass(frozen=True, eq=False)
class FinalCheck:
    """The report, the next search (None when accepted), the pipeline to export, and the charts.

    `judged` holds the predictions of the validation rows; later runs are compared with them.
    """

    report: ValidationReport
    next_search: NextSearch | None
    pipeline: Any
    charts: pictures.Charts
    judged: JudgedRows


def final_check(
    spec: ExperimentSpec,
    board: Leaderboard,
    trained: ChosenModel,
    sets: TrainingSets,
    validation: pd.DataFrame,
    *,
    delivered: pd.DataFrame,
    earlier_looks: EarlierLooks = NO_LOOKS,
    current: champion.CurrentVersion | None = None,
    evidence: Callable[[], Evidence] = Evidence,
    workers: int = 1,
    seconds_left: Callable[[], float] = lambda: math.inf,
) -> FinalCheck:
    """Judge the chosen configuration on rows that were not used to fit or choose it.

    `validation` (n, columns) is prepared; `delivered` (n, any columns) holds the same rows as
    delivered. `earlier_looks` are those of other models at these rows, `current` is the version to
    replace, if it is compared. `evidence` is called when a gate fails. `workers` predict in
    parallel. Optional parts are left out when `seconds_left` of the time budget is spent.
    """
    refit = spec.export.refit != "none"
    fitted_on = sets.every_row if refit else sets.train
    train_only = trained.train_only(sets, spec)
    exported = trained.refitted(fitted_on, sets, spec, workers) if refit else train_only
    y, weights = sets.y_test, sets.w_test
    on_test = SetPrediction(y, trained.on_test, trained.clusters, weights, sets.variance_factor)
    on_validation = _predicted(exported, validation, sets, spec, workers)
    threshold = exported_threshold(spec, on_test)
    cut = threshold_value(threshold)
    left = seconds_left() - _TO_DRAW_SECONDS
    searched, pace = board.searched_cpu_seconds / workers, trained.result.predict_seconds_per_row
    work = Work(searched, pace, workers, left)
    used = _usage(spec, trained, train_only, sets, work, cut)
    report = judge(
        *(spec, board.chosen, on_validation),
        _of_search(train_only, exported, on_validation, validation, sets, spec, workers),
        on_test,
        aside(encode_target(fitted_on[sets.target], sets.classes)),
        sets.classes,
        w_fitted=sets.weights_of(fitted_on),
        threshold=threshold,
        usage=used,
        segments=_segments(validation, on_validation, spec, sets, cut) if left > 0 else (),
        earlier_looks=earlier_looks,
        hyperparameters=trained.result.configuration.given,
        uncalibrated=_uncalibrated(trained, exported, on_validation, validation, sets, workers),
        champion=champion.hold_against_champion(
            spec, current, trained.result.fingerprint, on_validation, cut, delivered, sets.classes
        ),
    )
    if used is None:
        left_out = _NO_IMPORTANCE if work.is_unhurried else _NO_TIME
        report = replace(report, notes=(*report.notes, left_out))
    charts = pictures.charts(report, on_validation, on_test, sets.classes, spec.costs)
    following = None if report.accepted else next_search(spec, board, report, evidence())
    return FinalCheck(report, following, exported, charts, JudgedRows.of(on_validation, cut))


def _segments(
    validation: pd.DataFrame,
    on_validation: SetPrediction,
    spec: ExperimentSpec,
    sets: TrainingSets,
    cut: float,
) -> tuple[Segment, ...]:
    return weakest_segments(validation, sets.features, on_validation, spec.metric, threshold=cut)


def _usage(
    spec: ExperimentSpec,
    trained: ChosenModel,
    train_only: Any,
    sets: TrainingSets,
    work: Work,
    cut: float,
) -> Usage | None:
    """Use rows that the fit has not seen: of a cross-validation those of the first fold."""
    if not sets.folds:
        return usage(spec, train_only, sets, work, cut)
    fold = sets.folds[0].sets
    return usage(spec, trained.refitted(fold.train, fold, spec), fold, work, cut)


def _of_search(
    train_only: Any,
    exported: Any,
    on_validation: SetPrediction,
    validation: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
) -> SetPrediction:
    """Predict at most MOST_ROWS_OF_GAP validation rows, evenly spread, with the fit of the search."""
    shown = slice(None, None, -(-len(validation) // MOST_ROWS_OF_GAP))
    if exported is train_only:
        return on_validation.rows(shown)
    return _predicted(train_only, validation[shown], sets, spec, workers)


def _uncalibrated(
    trained: ChosenModel,
    exported: Any,
    on_validation: SetPrediction,
    validation: pd.DataFrame,
    sets: TrainingSets,
    workers: int,
) -> Uncalibrated | None:
    """Predict with the exported model without its calibrators; None: it has none."""
    calibration = trained.result.calibration
    if calibration is None:
        return None
    features, model = (step for _, step in exported.steps)
    raw = make_pipeline(features, uncalibrated(model))
    prediction = _predictions(raw, validation, sets, workers)
    return Uncalibrated(replace(on_validation, prediction=prediction), calibration)


def _predicted(
    pipeline: Any, rows: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec, workers: int
) -> SetPrediction:
    return SetPrediction(
        encode_target(rows[sets.target], sets.classes),
        _predictions(pipeline, rows, sets, workers),
        resampling_clusters(rows, spec, sets.features),
        sets.weights_of(rows),
    )


def _predictions(pipeline: Any, rows: pd.DataFrame, sets: TrainingSets, workers: int) -> np.ndarray:
    features, parts = with_only(rows, sets.features), TakenApart.of(pipeline)
    return parts.predict_rows(features, sets.task, sets.classes, workers)
