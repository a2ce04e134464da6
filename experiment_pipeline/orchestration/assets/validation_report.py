"""validation_report: the chosen configuration on the validation set, its gates, the decision.

A report of the same choice on the same rows is reused and is not another look.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import joblib

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.orchestration.assets.data_analysis import known_analysis
from experiment_pipeline.orchestration.assets.search import budget_left
from experiment_pipeline.reporting.run_record import JUDGED_ROWS
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, board_digest, check_same_sets
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.stages.registry import STAGES, table_bytes
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import final_evaluation as final
from experiment_pipeline.stages.validation_report import page
from experiment_pipeline.stages.validation_report.gates import (
    PublishedChampion,
    find_champions,
    held_against,
)
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import gather
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.mapped import some_rows
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.table.features import NamedColumns, metric_sources

STAGE = final.STAGE
PLACES = ((STAGE, final.PAGE), (JUDGED_ROWS, final.JUDGED), ("next_search", final.NEXT_SEARCH))


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Evaluate the chosen configuration on the validation set, once."""
    spec, key = named.spec, asset.key_of(named.spec, STAGE)
    given, version = spec.part(STAGES[STAGE].reads), STAGES[STAGE].version
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
            wanted = given.not_worse_than_champion is not None
            current = find_champions(registry_of(given)) if wanted else []
            analysis = known_analysis(raw_data.digest, spec, named.schema_text)
            # Of all inputs of the report except the number of earlier looks.
            fingerprint = fingerprint_of(
                {
                    "board": board_digest(leaderboard),
                    "validation": validation_set.digest,
                    "spec": given.model_dump(mode="json"),
                    "champions": held_against(current, leaderboard.fingerprint),
                    "conditions": analysis.get("conditions", []),
                    "set_aside": list(validation_set.origin.set_aside),
                    "version": version,
                    **metric_sources(given),
                }
            )
            tables = (raw_data, sets, validation_set, leaderboard)
            stored = asset.reused_or_made(
                context,
                stage_entries(spec.name, STAGE),
                fingerprint,
                lambda: table_bytes(sets.train, sets.test, validation_set.rows),
                lambda: _evaluated(context, named, given, *tables, current, analysis),
                "reused the report of the same model on the same rows",
            )
        report = ValidationReport.from_json(stored.files[final.REPORT].decode())
        places = {name: str(stored.paths[file]) for name, file in PLACES if file in stored.paths}
        words = leaderboard.with_ensemble(declared)[report.configuration].in_words
        outcome = page.outcome(report, stored.files[final.MARKDOWN].decode(), places, words)
        scores, facts = final.scores_table(report), final.set_facts(sets, validation_set)
        judged = final.Judged(scores, fingerprint, leaderboard.fingerprint, facts)
        return asset.report(context, key, replace(outcome, value=judged, version=fingerprint))

    return validation_report


def _evaluated(
    context: dg.AssetExecutionContext,
    named: NamedColumns,
    given: ExperimentSpec,
    raw_data: RawTable,
    sets: TrainingSets,
    validation_set: SetTable,
    board: Leaderboard,
    current: Sequence[PublishedChampion],
    analysis: Mapping[str, Any],
) -> Mapping[str, bytes]:
    """Evaluate, after an entry in the ledger: an evaluation that crashes counts as a look."""
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel

    spec, raw, warn = named.spec, raw_data.frame, context.log.warning
    delivered = some_rows(raw, raw.index.get_indexer(validation_set.rows.index))
    look = (validation_set.digest, board.fingerprint, delivered, given.split.id_columns)
    ledger = Ledger.of(spec.name)
    earlier = ledger.earlier_looks(*look, tell=warn)
    ledger.record_look(*look)
    store, trusted = TrainedModelStore.of(spec.name), list[str]()
    if current:
        # A champion may run code that this storage trained with or that the YAML names.
        known = store.results([name for one in current for name in one.models]).values()
        trusted = [kind for one in known for kind in one.trusted_types]
        trusted += filter(None, [given.preparation.function])

    found = final.evaluate(
        given,
        board,
        ChosenModel.of(board, store, sets.y_test, sets.test_clusters(given)),
        sets,
        validation_set.rows,
        delivered=delivered,
        earlier_looks=earlier,
        current=current,
        conditions=analysis.get("conditions", ()),
        trusted=trusted,
        evidence=lambda: gather(spec, board, sets, store, analysis.get("label_ceiling")),
        workers=spec.workers or joblib.cpu_count(),
        seconds_left=budget_left(context, spec, time.perf_counter),
    )
    notes = (*validation_set.origin.set_aside, *found.report.notes)
    found = replace(found, report=replace(found.report, notes=notes))
    return found.files(final.fitted_rows_of(raw, sets, given))
