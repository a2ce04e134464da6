"""The final check: the chosen configuration is refitted, and looks at the validation set, once.

Puts together what its parts know: `trained_model` fits, `validation_report` judges,
`next_search` explains, `plots` draws. In: the choice, its stored model, the three sets.
Out: a `FinalCheck` with the very pipeline that would be exported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiment_pipeline.core import plots
from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.importance import permutation_importance
from experiment_pipeline.core.leaderboard import Leaderboard
from experiment_pipeline.core.next_search import NextSearch, next_search
from experiment_pipeline.core.segments import weakest_segments
from experiment_pipeline.core.set_prediction import SetPrediction, drawn_units
from experiment_pipeline.core.shortfall import Evidence
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.targets import encode_target
from experiment_pipeline.core.thresholds import choose_threshold, deciding_metric
from experiment_pipeline.core.trained_model import (
    ModelResult,
    TrainingSets,
    fitted_pipeline,
    predict,
    refit,
)
from experiment_pipeline.core.validation_report import ValidationReport, judge


@dataclass(frozen=True, eq=False)
class FinalCheck:
    """The judgement, and what was judged.

    Attributes:
        report: scores, gates, notes.
        next_search: why not, and what next; None when accepted.
        pipeline: features and model, as they would be exported.
        pictures: title → PNG.
    """

    report: ValidationReport
    next_search: NextSearch | None
    pipeline: Any
    pictures: Mapping[str, bytes]


def final_check(
    spec: ExperimentSpec,
    board: Leaderboard,
    result: ModelResult,
    model: bytes,
    sets: TrainingSets,
    validation: pd.DataFrame,
    *,
    earlier_looks: int,
    evidence: Evidence | None = None,
) -> FinalCheck:
    """Judge the chosen configuration on rows that nothing was fitted or chosen on.

    Args:
        spec: the experiment.
        board: its leaderboard.
        result: of the chosen configuration.
        model: its stored bytes.
        sets: train and test set.
        validation: (n, columns) the validation set.
        earlier_looks: how often the ledger counts these rows already.
        evidence: what other stages know of the reachable score; None: nothing.
    """
    train_only = fitted_pipeline(result, model, sets, spec)
    exported = _exported(spec, result, train_only, sets)
    on_test = _predicted(train_only, sets.test, sets, spec)
    on_validation = _predicted(exported, validation, sets, spec)
    report = judge(
        spec,
        board.chosen,
        on_validation,
        _predicted(train_only, validation, sets, spec),
        on_test,
        sets.y_train,
        sets.classes,
        segments=weakest_segments(
            validation, sets.features, on_validation, spec.metric, threshold=_cut(spec, on_test)
        ),
        earlier_looks=earlier_looks,
    )
    return FinalCheck(
        report,
        None if report.accepted else next_search(spec, board, report, evidence),
        exported,
        _pictures(spec, report, train_only, sets, on_validation),
    )


def _cut(spec: ExperimentSpec, on_test: SetPrediction) -> float:
    """The decision threshold, from the test set alone."""
    if spec.task != "binary":
        return 0.5
    metric = deciding_metric(spec, on_test.y)
    return choose_threshold(metric, on_test.y, on_test.prediction).value


def _exported(
    spec: ExperimentSpec, result: ModelResult, train_only: Any, sets: TrainingSets
) -> Any:
    if spec.export.refit == "none":
        return train_only
    configuration = Configuration(
        result.key, result.algorithm, result.features, result.hyperparameters
    )
    rows = pd.concat([sets.train, sets.test])
    return refit(configuration, result.rounds, rows, sets, spec)


def _predicted(
    pipeline: Any, rows: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec
) -> SetPrediction:
    return SetPrediction(
        encode_target(rows[sets.target], sets.classes),
        predict(pipeline, rows, sets.features, sets.task, sets.classes),
        drawn_units(rows, spec),
    )


def _pictures(
    spec: ExperimentSpec,
    report: ValidationReport,
    train_only: Any,
    sets: TrainingSets,
    on_validation: SetPrediction,
) -> dict[str, bytes]:
    threshold = 0.5 if report.threshold is None else report.threshold.value
    pictures = plots.validation_plots(on_validation, sets.classes, threshold)
    importance = permutation_importance(
        lambda rows: predict(train_only, rows, sets.features, sets.task, sets.classes),
        sets.test[list(sets.features)],
        sets.y_test,
        spec.metric,
        spec.seed,
    )
    if importance is not None:
        pictures["Importance of features"] = plots.importance_plot(importance, spec.metric)
    return pictures
