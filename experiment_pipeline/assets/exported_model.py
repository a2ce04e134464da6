"""exported_model: the accepted model as a version of the registry, proven before it is visible."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd

from experiment_pipeline.assets import data_changes
from experiment_pipeline.assets.failures import told_to_the_user
from experiment_pipeline.assets.keys import asset_key, table_input
from experiment_pipeline.assets.validation_report import MODEL, REPORT, STAGE
from experiment_pipeline.core import golden_rows, persistence
from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.delivered_rows import raw_types
from experiment_pipeline.core.exported_model import (
    ModelPackage,
    build_package,
    environment_packages,
    serialize,
)
from experiment_pipeline.core.leaderboard import Leaderboard
from experiment_pipeline.core.leaderboard_table import from_table
from experiment_pipeline.core.model_facts import ModelFacts, Score, SetFact
from experiment_pipeline.core.row_identity import FITTED_ROWS, FittedRows
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import ModelResult
from experiment_pipeline.core.validated_data import feature_columns
from experiment_pipeline.core.validation_report import ValidationReport
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.provenance import code_provenance, environment
from experiment_pipeline.storage.registry import PublishedVersion, Registry, registry_of
from experiment_pipeline.storage.reload_check import check_in_fresh_process
from experiment_pipeline.storage.repository import commit_version
from experiment_pipeline.storage.results import ResultStore
from experiment_pipeline.storage.trained_models import TrainedModelStore

INPUTS = ("raw_data", "validation_set", "leaderboard", "validation_report")


def build_exported_model(
    spec: ExperimentSpec, configurations: Sequence[Configuration], schema_text: str
) -> dg.AssetsDefinition:
    """Publish what the validation report accepted."""
    key = asset_key(spec, "exported_model")
    declared = {configuration.key: configuration for configuration in configurations}

    @dg.asset(
        name="exported_model",
        key_prefix=spec.name,
        group_name=spec.name,
        ins={name: table_input(spec, name) for name in INPUTS},
        kinds={"scikitlearn"},
        description="The champion: model, card, metrics and manifest, under a version number.",
        check_specs=[dg.AssetCheckSpec("predictions_survive_reload", asset=key)],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def exported_model(
        context: dg.AssetExecutionContext,
        raw_data: pd.DataFrame,
        validation_set: pd.DataFrame,
        leaderboard: pd.DataFrame,
        validation_report: pd.DataFrame,
    ) -> dg.MaterializeResult:
        with told_to_the_user():
            board = from_table(leaderboard)
            accepted = _Accepted(spec, declared[board.chosen], board, validation_report)
            package = accepted.package(raw_data, validation_set, schema_text)
            registry = registry_of(spec)
            published = registry.publish(package, check_in_fresh_process)
            committed = _commit(spec, registry, published)
            data_changes.accept(spec, validation_set)
        if published.damaged:
            context.log.warning(f"the version before is damaged: {published.damaged}")
        said = "is the champion already" if published.reused else "published"
        context.log.info(f"{published.version} {said}: {published.path}{committed}")
        card = registry.model(published.version).read("README.md").decode()
        return dg.MaterializeResult(
            data_version=dg.DataVersion(package.identity),
            metadata={
                "version": published.version,
                "path": dg.MetadataValue.path(published.path),
                "reused": published.reused,
                "configuration": board.chosen,
                "repository": committed or "none named in the YAML",
                "card": dg.MetadataValue.md(card),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="predictions_survive_reload",
                    passed=True,
                    description=(
                        "proven when this version was published"
                        if published.reused
                        else "a fresh process without this package predicts the same, bit for bit"
                    ),
                )
            ],
        )

    return exported_model


class _Accepted:
    """The accepted choice, gathered from the stages before."""

    def __init__(
        self,
        spec: ExperimentSpec,
        configuration: Configuration,
        board: Leaderboard,
        judged: pd.DataFrame,
    ) -> None:
        self.spec, self.configuration, self.board, self.judged = spec, configuration, board, judged
        judgement = ResultStore(storage_root(), spec.name, STAGE)
        files = judgement.require(judged.attrs["fingerprint"]).files
        self.report = ValidationReport.from_json(files[REPORT].decode())
        store = TrainedModelStore(storage_root(), spec.name)
        self.result: ModelResult = store.require(judged.attrs["model_fingerprint"]).result
        self.fitted_rows = FittedRows.from_bytes(files[FITTED_ROWS], STAGE)
        self.pipeline = persistence.from_bytes(files[MODEL], self.result.trusted_types)

    def package(
        self, raw: pd.DataFrame, validation: pd.DataFrame, schema_text: str
    ) -> ModelPackage:
        """The files of the version."""
        serialized = serialize(self.pipeline)
        features = feature_columns(validation, self.spec)
        facts = ModelFacts(
            spec=self.spec,
            configuration=self.configuration,
            rounds=self.result.rounds,
            fingerprint=self.result.fingerprint,
            reason=self.board.reason,
            raw_types=raw_types(raw),
            sets=tuple(
                SetFact(name, one["rows"], one["digest"])
                for name, one in self.judged.attrs["sets"].items()
            ),
            positive_class=self.report.positive_class,
            threshold=self.report.threshold.value if self.report.threshold else None,
            scores=(
                *(
                    Score("validation", one.metric, one.interval, one.baseline)
                    for one in self.report.scores
                ),
                Score("test", self.board.metric, self.board.score, self.board.baseline),
            ),
            gates=self.report.gates,
            looks=self.report.looks,
            overlap=self.report.overlap,
            champion=self.report.champion,
            limits=tuple(dict.fromkeys((*self.board.notes, *self.report.notes))),
            created=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
            code=code_provenance(Path.cwd()),
            environment=environment(environment_packages(serialized), serialized.own_packages),
        )
        golden = golden_rows.choose(validation, features)
        return build_package(
            self.pipeline, serialized, facts, schema_text, golden, self.fitted_rows
        )


def _commit(spec: ExperimentSpec, registry: Registry, published: PublishedVersion) -> str:
    """Commit the version to the YAML's repository; what was done, in words."""
    if spec.export.repository is None:
        return ""
    model = registry.model(published.version)
    commit = commit_version(
        spec.export.repository,
        spec.name,
        published.version,
        model.files(),
        model.manifest.created,
    )
    return f", commit {commit.commit[:12]} tagged {commit.tag}"
