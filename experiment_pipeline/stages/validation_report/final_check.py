"""The final check: the chosen configuration is refitted, and looks at the validation set, once.

Puts together what its parts know: `trained_model` fits, `validation_report` judges,
`next_search` explains, `plots` draws. In: the choice, its stored model, the three sets.
Out: a `FinalCheck` with the very pipeline that would be exported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from experiment_pipeline.columns.target import encode_target
from experiment_pipeline.memory.comparison import JudgedRows
from experiment_pipeline.reporting import plots
from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.spec import ValidationReportSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.features import encoded_columns
from experiment_pipeline.stages.search.fitting import fitted_pipeline, refit
from experiment_pipeline.stages.search.results import ModelResult, TrainedModel
from experiment_pipeline.stages.search.scoring import predict, predictions_of
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.validation_report import champion
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.next_search import NextSearch, next_search
from experiment_pipeline.stages.validation_report.report import ValidationReport, judge
from experiment_pipeline.stages.validation_report.segments import weakest_segments
from experiment_pipeline.stages.validation_report.shortfall import Evidence
from experiment_pipeline.statistics import importance
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import cut_at, decision_threshold

# What the importance of features may take: a share of the search, and seconds of the wall.
_SHARE_OF_SEARCH, _LEAST_SECONDS, _MOST_SECONDS = 0.1, 1.0, 10.0
_NO_IMPORTANCE = (
    "the importance of features is left out: shuffling each of them once would take longer than "
    "a tenth of the search"
)


@dataclass(frozen=True, eq=False)
class FinalCheck:
    """The judgement, why not and what next (None when accepted), the pipeline as it would be
    exported, title → PNG, and what it predicted, by which a later run is compared with it.
    """

    report: ValidationReport
    next_search: NextSearch | None
    pipeline: Any
    pictures: Mapping[str, bytes]
    judged: JudgedRows


def final_check(
    spec: ValidationReportSpec,
    board: Leaderboard,
    trained: TrainedModel,
    sets: TrainingSets,
    validation: pd.DataFrame,
    *,
    delivered: pd.DataFrame,
    earlier_looks: EarlierLooks = NO_LOOKS,
    current: champion.CurrentVersion | None = None,
    evidence: Callable[[], Evidence] = Evidence,
    workers: int = 1,
) -> FinalCheck:
    """Judge the chosen configuration on rows that nothing was fitted or chosen on.

    Args:
        spec: the experiment.
        board: its leaderboard.
        trained: the chosen configuration, as stored.
        sets: train and test set.
        validation: (n, columns) the validation set.
        delivered: (n, any columns) the same rows as delivered.
        earlier_looks: of other models at these rows.
        current: the version it would replace; None: there is none, or it is not asked for.
        evidence: what other stages know of the reachable score; asked for when a gate failed.
        workers: predictions at a time, one thread each.
    """
    train_only = fitted_pipeline(trained.result, trained.model, sets, spec)
    exported = _exported(spec, trained.result, train_only, sets)
    units = resampling_units(sets.test, spec, sets.features)
    on_test = SetPrediction(sets.y_test, trained.predictions.test, units)
    on_validation = _predicted(exported, validation, sets, spec)
    threshold = decision_threshold(spec.metric_names, on_test.y, on_test.prediction)
    cut = cut_at(threshold)
    report = judge(
        spec,
        board.chosen,
        on_validation,
        _predicted(train_only, validation, sets, spec),
        on_test,
        sets.y_train if spec.export.refit == "none" else np.append(sets.y_train, sets.y_test),
        sets.classes,
        threshold=threshold,
        segments=weakest_segments(
            validation, sets.features, on_validation, spec.metric, threshold=cut
        ),
        earlier_looks=earlier_looks,
        reweighted_by=reweighting(trained.result.hyperparameters),
        champion=champion.hold_against_champion(
            spec, current, trained.result.fingerprint, on_validation, cut, delivered, sets.classes
        ),
    )
    pictures = plots.validation_plots(on_validation, sets.classes, cut)
    effort = _effort(board, trained.result, train_only, sets, workers)
    if effort is None:
        report = replace(report, notes=(*report.notes, _NO_IMPORTANCE))
    else:
        pictures |= _importance(spec, train_only, sets, effort, cut, workers)
    following = None if report.accepted else next_search(spec, board, report, evidence())
    return FinalCheck(report, following, exported, pictures, JudgedRows.of(on_validation, cut))


def _exported(
    spec: ValidationReportSpec, result: ModelResult, train_only: Any, sets: TrainingSets
) -> Any:
    if spec.export.refit == "none":
        return train_only
    rows = pd.concat([sets.train, sets.test])
    return refit(result.configuration, result.rounds, rows, sets, spec)


def _predicted(
    pipeline: Any, rows: pd.DataFrame, sets: TrainingSets, spec: ValidationReportSpec
) -> SetPrediction:
    return SetPrediction(
        encode_target(rows[sets.target], sets.classes),
        predict(pipeline, rows, sets.features, sets.task, sets.classes),
        resampling_units(rows, spec, sets.features),
    )


def _effort(
    board: Leaderboard, result: ModelResult, train_only: Pipeline, sets: TrainingSets, workers: int
) -> importance.Effort | None:
    """A tenth of what the search took, so that the report costs little beside it."""
    searched = float(board.rows["fit_cpu_seconds"].sum()) / workers
    seconds = workers * min(max(_SHARE_OF_SEARCH * searched, _LEAST_SECONDS), _MOST_SECONDS)
    columns = sum(map(len, encoded_columns(train_only[0]).values()))
    shape = len(sets.features), columns
    return importance.Effort.within(seconds, result.predict_seconds_per_row, len(sets.test), shape)


def _importance(
    spec: ValidationReportSpec,
    train_only: Pipeline,
    sets: TrainingSets,
    effort: importance.Effort,
    cut: float,
    workers: int,
) -> dict[str, bytes]:
    """The picture of what each feature is worth to the fit on the test rows, where it is known."""
    features, model = train_only
    found = importance.permutation_importance(
        lambda rows: predictions_of(model, rows, sets.task, sets.classes),
        features.transform(sets.test[list(sets.features)]),
        encoded_columns(features),
        importance.scored_by(spec.metric, cut),
        sets.y_test,
        effort,
        seed=spec.seed,
        workers=workers,
    )
    if found is None:
        return {}
    return {"Importance of features": plots.importance_plot(found, spec.metric, effort)}
