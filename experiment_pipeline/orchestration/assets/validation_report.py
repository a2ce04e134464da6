"""validation_report: the chosen configuration on the validation set, its gates, the decision.

A report of the same choice on the same rows is reused and is not another look.
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg
import joblib

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.orchestration.assets.data_analysis import label_ceiling
from experiment_pipeline.orchestration.assets.search import budget_left
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.reporting.run_record import JUDGED_ROWS
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, check_same_sets
from experiment_pipeline.stages.memory_estimate import table_bytes
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import page
from experiment_pipeline.stages.validation_report.final_evaluation import (
    JUDGED,
    MARKDOWN,
    NEXT_SEARCH,
    PAGE,
    PICTURE,
    REPORT,
    STAGE,
    FinalEvaluation,
)
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage.entries import Entry, stage_entries
from experiment_pipeline.table.features import NamedColumns

if TYPE_CHECKING:
    from experiment_pipeline.stages.validation_report.shortfall import Evidence


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """FinalEvaluation at the validation set once, with the chosen configuration."""
    spec, schema_text = named.spec, named.schema_text
    key, given = asset.key_of(spec, STAGE), spec.part(STAGES["validation_report"].reads)
    declared = {configuration.key: configuration for configuration in configurations(spec)}

    @asset.stage_asset(
        spec,
        STAGE,
        kinds={"scikitlearn"},
        description="The chosen configuration on the validation set: scores, gates, decision.",
    )
    def validation_report(
        context: dg.AssetExecutionContext,
        raw_data: RawTable,
        train_set: SetTable,
        test_set: SetTable,
        validation_set: SetTable,
        leaderboard: Leaderboard,
    ) -> dg.MaterializeResult:
        with record(context):
            sets = as_evaluated(train_set, test_set, spec)
            check_same_sets("leaderboard", leaderboard.digests, sets.digests)
            evaluation = FinalEvaluation(
                given,
                raw_data.frame,
                sets,
                validation_set,
                leaderboard,
                lambda: _evidence(
                    spec, sets, leaderboard, label_ceiling(raw_data.digest, spec, schema_text)
                ),
                spec.workers or joblib.cpu_count(),
                context.log.warning,
                budget_left(context, spec, time.perf_counter),
            )
            stored = asset.reused_or_made(
                context,
                stage_entries(spec.name, STAGE),
                evaluation.fingerprint,
                lambda: table_bytes(sets.train, sets.test, validation_set.rows),
                evaluation.files,
                "reused the report of the same model on the same rows",
            )
        report = ValidationReport.from_json(stored.files[REPORT].decode())
        words = leaderboard.with_ensemble(declared)[report.configuration].in_words
        outcome = _outcome(report, stored, words)
        outcome = replace(outcome, value=evaluation.judged(report), version=evaluation.fingerprint)
        return asset.report(context, key, outcome)

    return validation_report


def _outcome(report: ValidationReport, stored: Entry[None], words: str) -> Outcome:
    named = ((STAGE, PAGE), (JUDGED_ROWS, JUDGED), ("next_search", NEXT_SEARCH))
    files = stored.files
    return page.outcome(
        report,
        files[MARKDOWN].decode(),
        {name.removesuffix(PICTURE): png for name, png in files.items() if PICTURE in name},
        {name: str(stored.paths[file]) for name, file in named if file in stored.paths},
        words,
    )


def _evidence(
    spec: ExperimentSpec, sets: TrainingSets, board: Leaderboard, ceiling: float | None
) -> "Evidence":
    """What analysis and search know of the reachable score; a reused report imports nothing for it."""
    from experiment_pipeline.experiment import evidence

    return evidence(spec, sets, board, ceiling, TrainedModelStore.of(spec.name).test_predictions)
