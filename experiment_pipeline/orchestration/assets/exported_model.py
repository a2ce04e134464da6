"""exported_model: the accepted model as a version of the registry, proven before it is visible."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model import export, page
from experiment_pipeline.stages.leaderboard.board import Leaderboard, chosen_result
from experiment_pipeline.stages.registry import STAGES, warn_of_memory
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validated_data.profile import ACCEPTED, DataProfiles
from experiment_pipeline.stages.validation_report import final_evaluation
from experiment_pipeline.stages.validation_report.final_evaluation import Judged
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.provenance import code_provenance
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import RECORD, ModelPackage, registry_of
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database.archive import restore_versions
from experiment_pipeline.tracking.outcomes import with_pages
from experiment_pipeline.tracking.record import record_of_version

STAGE = "exported_model"
IDENTITY = "identity.txt"


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Publish what the validation report accepted."""
    spec, schema_text = named.spec, named.schema_text
    key = asset.key_of(spec, STAGE)
    declared = {configuration.key: configuration for configuration in configurations(spec)}

    @asset.stage_asset(
        spec,
        STAGE,
        table=False,
        kinds={"scikitlearn"},
        description="The champion: model, card, metrics and manifest, under a version number.",
    )
    def exported_model(
        context: dg.AssetExecutionContext,
        validation_set: SetTable,
        leaderboard: Leaderboard,
        validation_report: Judged,
    ) -> dg.MaterializeResult:
        configuration = leaderboard.with_ensemble(declared)[leaderboard.chosen]
        with record(context):
            registry, entries = registry_of(spec), stage_entries(spec.name, STAGE)
            fingerprint = fingerprint_of(
                {
                    "report": validation_report.fingerprint,
                    "raw_types": dict(validation_set.origin.raw_types),
                    "offsets": dict(validation_set.origin.offsets),
                    "schema": schema_text,
                    "spec": spec.model_dump(mode="json"),
                    "version": STAGES[STAGE].version,
                }
            )
            stored = entries.intact(fingerprint, context.log.warning)
            required = spec.approval == "required"
            published = stored and registry.same(stored.files[IDENTITY].decode(), required=required)
            if not published:
                given = (configuration, leaderboard, validation_report, validation_set, schema_text)
                package = _packaged(context, spec, *given)
                published = export.publish(registry, package)
                entries.put(fingerprint, {IDENTITY: package.identity.encode()}, None)
            if published.reused:
                restore_versions(registry, context.log.warning)
            committed = export.commit_published(spec, registry, published)
            profiles = DataProfiles.of(spec.name)
            profiles.note(ACCEPTED, validation_set.origin.profile)
            outcome = page.outcome(registry, published, committed, configuration.in_words)
        return asset.report(context, key, with_pages(outcome, spec.name))

    return exported_model


def _packaged(
    context: dg.AssetExecutionContext,
    spec: ExperimentSpec,
    configuration: Configuration,
    board: Leaderboard,
    judged: Judged,
    validation: SetTable,
    schema_text: str,
) -> ModelPackage:
    """What the final evaluation has stored, as the files of a version."""
    result = chosen_result(board, TrainedModelStore.of(spec.name))
    source = final_evaluation.STAGE
    files = stage_entries(spec.name, source).require(judged.fingerprint).files
    stored = files[final_evaluation.MODEL]
    warn_of_memory(STAGE, persistence.loading_bytes(stored), context.log.warning)
    model = page.AcceptedModel(
        pipeline=persistence.from_bytes(stored, result.trusted_types),
        configuration=configuration,
        result=result,
        board=board,
        report=ValidationReport.from_json(files[final_evaluation.REPORT].decode()),
        sets=judged.sets,
        validation=validation,
        fitted_rows=FittedRows.from_bytes(files[FITTED_ROWS], source),
        schema_text=schema_text,
    )
    code = code_provenance(Path.cwd())
    package = export.package_model(spec, model, datetime.now(tz=UTC), code)
    run, required = asset.run_of(context, spec.name), package.approval_required

    # The decision record needs the version's number.
    def record(version: str) -> dict[str, bytes]:
        return {RECORD: record_of_version(run.experiment, run.run_id, version, required=required)}

    return replace(package, more=record)
