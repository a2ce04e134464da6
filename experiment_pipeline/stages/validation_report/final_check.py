"""The final check: the chosen configuration is refitted, and looks at the validation set, once.

Puts together what its parts know: `trained_model` fits, `validation_report` judges,
`effects` asks about features, `next_search` explains, `pictures` draws. In: the choice, its stored model, the three sets.
Out: a `FinalCheck` with the very pipeline that would be exported.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from experiment_pipeline.reporting.judged_rows import JudgedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.calibrating import uncalibrated
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.search.voting import TakenApart
from experiment_pipeline.stages.validation_report import champion, pictures
from experiment_pipeline.stages.validation_report.details import Uncalibrated, exported_threshold
from experiment_pipeline.stages.validation_report.effects import Usage, Work, usage
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.next_search import NextSearch, next_search
from experiment_pipeline.stages.validation_report.report import ValidationReport, judge
from experiment_pipeline.stages.validation_report.segments import Segment, weakest_segments
from experiment_pipeline.stages.validation_report.shortfall import Evidence
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import threshold_value
from experiment_pipeline.storage.mapped import aside
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.table import with_only
from experiment_pipeline.table.target import encode_target

_NO_IMPORTANCE = (
    "the importance of features is left out: shuffling each of them once would take longer than "
    "a tenth of the search"
)
_NO_TIME = (
    "the importance of features is left out, and where nothing was left the weakest segments, too: "
    "the budget of seconds was spent on the search and on fitting the chosen configuration again"
)
# What comes after the parts that may be left out: pictures, and the files.
_TO_DRAW_SECONDS = 1.5
# The loss from test to validation is as sure on so many rows; the scores that gates hold are of all.
MOST_ROWS_OF_GAP = 20_000


@dataclass(frozen=True, eq=False)
class FinalCheck:
    """The judgement, why not and what next (None when accepted), the pipeline as it would be
    exported, what there is to draw, and what it predicted, by which a later run is compared with
    it.
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
    """Judge the chosen configuration on rows that nothing was fitted or chosen on.

    Args:
        spec: the experiment.
        board: its leaderboard.
        trained: what was chosen, as stored.
        sets: train and test set.
        validation: (n, columns) the validation set.
        delivered: (n, any columns) the same rows as delivered.
        earlier_looks: of other models at these rows.
        current: the version it would replace; None: there is none, or it is not asked for.
        evidence: what other stages know of the reachable score; asked for when a gate failed.
        workers: predictions at a time, one thread each.
        seconds_left: of the experiment's budget, now; what nothing rests on is left out for it.
    """
    train_only = trained.train_only(sets, spec)
    fitted_on = _fitted_on(spec, sets)
    exported = _exported(spec, trained, train_only, fitted_on, sets, workers)
    on_test = _on_test(trained, sets)
    on_validation = _predicted(exported, validation, sets, spec, workers)
    threshold = exported_threshold(spec, on_test)
    cut = threshold_value(threshold)
    work = _work(board, trained.result, workers, seconds_left() - _TO_DRAW_SECONDS)
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
        segments=_segments(validation, on_validation, spec, sets, cut) if work.left > 0 else (),
        earlier_looks=earlier_looks,
        hyperparameters=trained.result.configuration.given,
        uncalibrated=_uncalibrated(trained, exported, on_validation, validation, sets, workers),
        champion=champion.hold_against_champion(
            spec, current, trained.result.fingerprint, on_validation, cut, delivered, sets.classes
        ),
    )
    report = replace(report, notes=(*report.notes, *_left_out(used, work)))
    charts = pictures.charts(report, on_validation, on_test, sets.classes, spec.costs)
    following = None if report.accepted else next_search(spec, board, report, evidence())
    return FinalCheck(report, following, exported, charts, JudgedRows.of(on_validation, cut))


def _on_test(trained: ChosenModel, sets: TrainingSets) -> SetPrediction:
    return SetPrediction(
        sets.y_test,
        trained.on_test,
        trained.clusters,
        sets.w_test,
        sets.variance_factor,
    )


def _segments(
    validation: pd.DataFrame,
    on_validation: SetPrediction,
    spec: ExperimentSpec,
    sets: TrainingSets,
    cut: float,
) -> tuple[Segment, ...]:
    return weakest_segments(validation, sets.features, on_validation, spec.metric, threshold=cut)


def _left_out(used: Usage | None, work: Work) -> tuple[str, ...]:
    """Why there is no importance; nothing where there is."""
    if used is not None:
        return ()
    return (_NO_IMPORTANCE if work.is_unhurried else _NO_TIME,)


def _work(board: Leaderboard, result: ModelResult, workers: int, left: float) -> Work:
    searched = board.searched_cpu_seconds / workers
    return Work(searched, result.predict_seconds_per_row, workers, left)


def _exported(
    spec: ExperimentSpec,
    trained: ChosenModel,
    train_only: Any,
    rows: pd.DataFrame,
    sets: TrainingSets,
    workers: int,
) -> Any:
    if spec.export.refit == "none":
        return train_only
    return trained.refitted(rows, sets, spec, workers)


def _usage(
    spec: ExperimentSpec,
    trained: ChosenModel,
    train_only: Any,
    sets: TrainingSets,
    work: Work,
    cut: float,
) -> Usage | None:
    """Ask a fit about rows that it has not seen: of a cross-validation those of the first fold."""
    if not sets.folds:
        return usage(spec, train_only, sets, work, cut)
    fold = sets.folds[0].sets
    return usage(spec, trained.refitted(fold.train, fold, spec), fold, work, cut)


def _fitted_on(spec: ExperimentSpec, sets: TrainingSets) -> pd.DataFrame:
    """The rows that the exported fit has seen."""
    return sets.train if spec.export.refit == "none" else sets.every_row


def _of_search(
    train_only: Any,
    exported: Any,
    on_validation: SetPrediction,
    validation: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
) -> SetPrediction:
    """What the fit of the search says of the validation rows, or of so many of them, evenly spread."""
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
    """What the exported model would say without its calibrators; None: it has none."""
    calibration = trained.result.calibration
    if calibration is None:
        return None
    features, model = (step for _, step in exported.steps)
    raw = make_pipeline(features, uncalibrated(model))
    prediction = _predictions(raw, validation, sets, workers)
    return Uncalibrated(replace(on_validation, prediction=prediction), calibration)


def _predicted(
    pipeline: Any,
    rows: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
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
