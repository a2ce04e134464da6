"""exported_model: the accepted model as a version of the registry, proven before it is visible."""

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from experiment_pipeline.prediction.rows import raw_types
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.asset import asset_key, table_input, told_to_the_user
from experiment_pipeline.stages.exported_model.reload_check import check_in_fresh_process
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validated_data import accepted as data_changes
from experiment_pipeline.stages.validation_report.look import Judged
from experiment_pipeline.storage.entries import Entry, stage_entries
from experiment_pipeline.storage.git import commit_version
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import PublishedVersion, Registry, registry_of

STAGE = "exported_model"
IDENTITY = "identity.txt"
# Count it up whenever the code of this package would export otherwise.
EXPORT_VERSION = 1
INPUTS = ("raw_data", "validation_set", "leaderboard", "validation_report")
_PROVEN = "a fresh process without this package predicts the same, bit for bit"
_PROVEN_BEFORE = "proven when this version was published"


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
        validation_set: SetTable,
        leaderboard: Leaderboard,
        validation_report: Judged,
    ) -> dg.MaterializeResult:
        with told_to_the_user():
            board = leaderboard
            registry, store = registry_of(spec), stage_entries(spec.name, STAGE)
            given = _given(spec, validation_report, raw_data, schema_text)
            published = _still_champion(registry, store.intact(given, context.log.warning))
            if published is None:
                # A rerun that publishes nothing imports nothing that packs a model.
                from experiment_pipeline.stages.exported_model.accepted import Accepted

                accepted = Accepted(spec, declared[board.chosen], board, validation_report)
                package = accepted.package(raw_data, validation_set.rows, schema_text)
                published = registry.publish(package, check_in_fresh_process)
                store.put(given, {IDENTITY: package.identity.encode()}, None)
            committed = _commit(spec, registry, published)
            data_changes.accept(spec, validation_set.profile)
        if published.damaged:
            context.log.warning(f"the version before is damaged: {published.damaged}")
        said = "is the champion already" if published.reused else "published"
        context.log.info(f"{published.version} {said}: {published.path}{committed}")
        card = registry.model(published.version).read("README.md").decode()
        return dg.MaterializeResult(
            data_version=dg.DataVersion(published.identity),
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
                    description=_PROVEN_BEFORE if published.reused else _PROVEN,
                )
            ],
        )

    return exported_model


def _given(spec: ExperimentSpec, judged: Judged, raw: pd.DataFrame, schema_text: str) -> str:
    """Everything that decides what is exported."""
    return fingerprint_of(
        {
            "report": judged.fingerprint,
            "raw_types": raw_types(raw),
            "schema": schema_text,
            "spec": spec.model_dump(mode="json"),
            "version": EXPORT_VERSION,
        }
    )


def _still_champion(registry: Registry, stored: Entry[None] | None) -> PublishedVersion | None:
    """The champion, where it is whole and what would be exported again."""
    return None if stored is None else registry.same_champion(stored.files[IDENTITY].decode())


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
