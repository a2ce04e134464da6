"""exported_model: the accepted model as a version of the registry, proven before it is visible."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
from pydantic import Field

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.prediction.signature import golden_rows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model import package as packing
from experiment_pipeline.stages.exported_model import page
from experiment_pipeline.stages.exported_model.reload_check import check_in_fresh_process
from experiment_pipeline.stages.leaderboard.board import Leaderboard, chosen_result
from experiment_pipeline.stages.memory_estimate import warn_of_memory
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validated_data import accepted as data_changes
from experiment_pipeline.stages.validated_data.rows import Origin
from experiment_pipeline.stages.validation_report import final_evaluation
from experiment_pipeline.stages.validation_report.final_evaluation import Judged
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage import persistence, provenance
from experiment_pipeline.storage.entries import Entry, stage_entries
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import PublishedVersion, Registry, registry_of
from experiment_pipeline.storage.versions import RECORD, KnownModel, ModelPackage
from experiment_pipeline.table.features import NamedColumns, feature_columns
from experiment_pipeline.table.identity import FITTED_ROWS, FittedRows
from experiment_pipeline.tracking.approval import approve
from experiment_pipeline.tracking.database.archive import know_version
from experiment_pipeline.tracking.database.writing import RunMemory
from experiment_pipeline.tracking.record_page import record_of_version

STAGE = "exported_model"
IDENTITY = "identity.txt"


class ApprovalConfig(dg.Config):
    """What the launchpad may say about the version that a run exports, or finds again."""

    approve: str = Field("", description="The version to approve, such as v0001")
    approved_by: str = Field("", description="Who approves it")
    comment: str = Field("", description="What they have to say")


INPUTS = ("validation_set", "leaderboard", "validation_report")


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Publish what the validation report accepted."""
    spec, schema_text = named.spec, named.schema_text
    key = asset.key_of(spec, STAGE)
    declared = {configuration.key: configuration for configuration in configurations(spec)}

    @asset.stage_asset(
        spec,
        STAGE,
        ins=asset.table_inputs(spec, *INPUTS),
        kinds={"scikitlearn"},
        description="The champion: model, card, metrics and manifest, under a version number.",
        check_specs=[asset.check_spec("predictions_survive_reload", key)],
    )
    def exported_model(
        context: dg.AssetExecutionContext,
        config: ApprovalConfig,
        validation_set: SetTable,
        leaderboard: Leaderboard,
        validation_report: Judged,
    ) -> dg.MaterializeResult:
        configuration = leaderboard.with_ensemble(declared)[leaderboard.chosen]
        with record(context):
            _check(config)
            registry, store = registry_of(spec), stage_entries(spec.name, STAGE)
            given = _given(spec, validation_report, validation_set.origin, schema_text)
            published = _published(spec, registry, store.intact(given, context.log.warning))
            if published is None:
                stored = stage_entries(spec.name, final_evaluation.STAGE)
                files = stored.require(validation_report.fingerprint).files
                model = persistence.loading_bytes(files[final_evaluation.MODEL])
                warn_of_memory(STAGE, model, context.log.warning)
                package = _package(
                    asset.run_of(context, spec.name),
                    spec,
                    configuration,
                    leaderboard,
                    files,
                    validation_report,
                    validation_set,
                    schema_text,
                )
                published = registry.publish(package, check_in_fresh_process)
                store.put(given, {IDENTITY: package.identity.encode()}, None)
            if published.reused:
                know_version(registry, published.version, context.log.warning)
            committed = _commit(spec, registry, published)
            data_changes.accept(spec, validation_set.origin.profile)
            if config.approve == published.version:
                approve(registry, config.approve, config.approved_by, config.comment)
            version = _version(registry, published, committed)
        outcome = page.outcome(version, configuration.in_words, not_approved=config.approve)
        return asset.report(context, key, asset.with_memory(outcome, spec.name))

    return exported_model


def _check(config: ApprovalConfig) -> None:
    """Stop before anything is done where an approval says half."""
    if bool(config.approve) != bool(config.approved_by):
        raise InvalidExperiment(
            "the configuration of exported_model",
            "an approval is a version (approve) and who approves it (approved_by)",
            "Give both in the launchpad, or none.",
        )


def _version(registry: Registry, published: PublishedVersion, committed: str) -> page.Version:
    """What there is to tell of the version."""
    name = published.version
    return page.Version(
        published,
        registry.entry(name),
        committed,
        card=registry.model(name).read("README.md").decode(),
        required=registry.approval_required(name),
        approval=registry.approvals().get(name),
    )


def _package(
    run: RunMemory,
    spec: ExperimentSpec,
    configuration: Configuration,
    board: Leaderboard,
    files: Mapping[str, bytes],
    judged: Judged,
    validation: SetTable,
    schema_text: str,
) -> ModelPackage:
    """The files of the version, from what the stages before have stored."""
    result = chosen_result(board, TrainedModelStore.of(spec.name))
    pipeline = persistence.from_bytes(files[final_evaluation.MODEL], result.trusted_types)
    serialized = packing.serialize(pipeline)
    report = ValidationReport.from_json(files[final_evaluation.REPORT].decode())
    scores = (page.Score("validation", s.metric, s.interval, s.baseline) for s in report.scores)
    facts = page.ModelFacts(
        spec=spec,
        configuration=configuration,
        members=() if board.chosen_ensemble is None else board.chosen_ensemble.members,
        rounds=result.rounds,
        fingerprint=result.fingerprint,
        reason=board.reason,
        raw_types=validation.origin.raw_types,
        sets=judged.sets,
        positive_class=report.positive_class,
        threshold=report.threshold.value if report.threshold else None,
        scores=(*scores, page.Score("test", board.metric, board.score, board.baseline)),
        gates=report.gates,
        looks=report.looks,
        overlap=report.overlap,
        champion=report.champion,
        limits=tuple(dict.fromkeys((*board.notes, *report.notes))),
        created=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        code=provenance.code_provenance(Path.cwd()),
        environment=provenance.environment(serialized.needed, serialized.own_packages),
        calibration=result.calibration,
        averaged=result.averaged,
    )
    golden = golden_rows(validation.rows, feature_columns(validation.rows, spec))
    fitted_rows = FittedRows.from_bytes(files[FITTED_ROWS], final_evaluation.STAGE)
    package = packing.build_package(pipeline, serialized, facts, schema_text, golden, fitted_rows)

    def record(version: str) -> dict[str, bytes]:
        required = package.approval_required
        return {RECORD: record_of_version(run.experiment, run.run_id, version, required=required)}

    return replace(package, more=record)


def _given(spec: ExperimentSpec, judged: Judged, origin: Origin, schema_text: str) -> str:
    """Everything that decides what is exported."""
    return fingerprint_of(
        {
            "report": judged.fingerprint,
            "raw_types": dict(origin.raw_types),
            "schema": schema_text,
            "spec": spec.model_dump(mode="json"),
            "version": STAGES[STAGE].version,
        }
    )


def _published(
    spec: ExperimentSpec, registry: Registry, stored: Entry[None] | None
) -> PublishedVersion | None:
    """The version that is whole and what would be exported again."""
    if stored is None:
        return None
    identity = stored.files[IDENTITY].decode()
    return registry.same(KnownModel(identity, spec.approval == "required"))


def _commit(spec: ExperimentSpec, registry: Registry, published: PublishedVersion) -> str:
    """Commit the version to the YAML's repository; what was done, in words."""
    if spec.export.repository is None:
        return ""
    model = registry.model(published.version)
    commit = provenance.commit_version(
        spec.export.repository,
        spec.name,
        published.version,
        model.files(),
        model.manifest.created,
    )
    return f", commit {commit.commit[:12]} tagged {commit.tag}"
