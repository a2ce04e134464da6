"""Export the accepted model, step by step: package, publish, commit. Needs no database.

In: what the stages before have made. Out: a version of the registry, and its commit. The version's
place in a run record is made of `page.outcome`; who approves it is not decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from experiment_pipeline.prediction.signature import golden_rows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model import page
from experiment_pipeline.stages.exported_model.package import build_package, serialize
from experiment_pipeline.stages.exported_model.reload_check import check_in_fresh_process
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report.final_evaluation import SetFact
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage import provenance
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import PublishedVersion, Registry
from experiment_pipeline.storage.versions import ModelPackage
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline.table.features import feature_columns


@dataclass(frozen=True, eq=False)
class AcceptedModel:
    """What the validation report has accepted.

    Attributes:
        pipeline: the fitted one that was scored on the validation set.
        configuration: the chosen one.
        result: of its fit on the train set.
        board: on which it was chosen.
        report: on the validation set.
        sets: what it was fitted, chosen and evaluated on.
        validation: the validation set, from which example rows are taken.
        fitted_rows: hashes of the rows that it was fitted and chosen on.
        schema_text: of schema.yaml.
    """

    pipeline: Any
    configuration: Configuration
    result: ModelResult
    board: Leaderboard
    report: ValidationReport
    sets: tuple[SetFact, ...]
    validation: SetTable
    fitted_rows: FittedRows
    schema_text: str


def export_fingerprint(
    spec: ExperimentSpec, report_fingerprint: str, raw_types: Mapping[str, str], schema_text: str
) -> str:
    """Everything that decides what is exported."""
    return fingerprint_of(
        {
            "report": report_fingerprint,
            "raw_types": dict(raw_types),
            "schema": schema_text,
            "spec": spec.model_dump(mode="json"),
            "version": STAGES["exported_model"].version,
        }
    )


def package_model(
    spec: ExperimentSpec, model: AcceptedModel, created: datetime, code: provenance.CodeProvenance
) -> ModelPackage:
    """Return the files of the version to publish."""
    board, report, result = model.board, model.report, model.result
    serialized = serialize(model.pipeline)
    scores = (page.Score("validation", s.metric, s.interval, s.baseline) for s in report.scores)
    facts = page.ModelFacts(
        spec=spec,
        configuration=model.configuration,
        members=() if board.chosen_ensemble is None else board.chosen_ensemble.members,
        rounds=result.rounds,
        fingerprint=result.fingerprint,
        reason=board.reason,
        raw_types=model.validation.origin.raw_types,
        sets=model.sets,
        positive_class=report.positive_class,
        threshold=report.threshold.value if report.threshold else None,
        scores=(*scores, page.Score("test", board.metric, board.score, board.baseline)),
        gates=report.gates,
        looks=report.looks,
        overlap=report.overlap,
        champion=report.champion,
        limits=tuple(dict.fromkeys((*board.notes, *report.notes))),
        created=created.isoformat(timespec="seconds"),
        code=code,
        environment=provenance.environment(serialized.needed, serialized.own_packages),
        calibration=result.calibration,
        averaged=result.averaged,
    )
    rows = model.validation.rows
    golden = golden_rows(rows, feature_columns(rows, spec))
    return build_package(
        model.pipeline, serialized, facts, model.schema_text, golden, model.fitted_rows
    )


def publish(registry: Registry, package: ModelPackage) -> PublishedVersion:
    """Make a package the next version, once a fresh process has predicted the same with it.

    Raises:
        PredictionsChanged: it did not.
    """
    return registry.publish(package, check_in_fresh_process)


def commit_published(spec: ExperimentSpec, registry: Registry, published: PublishedVersion) -> str:
    """Commit a version to the YAML's repository; return what was done, in words.

    Raises:
        ExportError: with git's own message.
    """
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


def version_facts(registry: Registry, published: PublishedVersion, committed: str) -> page.Version:
    """Return what the registry holds of a published version."""
    name = published.version
    return page.Version(
        published,
        registry.entry(name),
        committed,
        card=registry.model(name).read("README.md").decode(),
        required=registry.approval_required(name),
        approval=registry.approvals().get(name),
    )
