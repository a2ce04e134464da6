"""train_set, test_set, validation_set: disjoint parts of the validated rows, and their checks."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.stages.registry import STAGES, table_bytes, warn_of_memory
from experiment_pipeline.stages.split_sets import page
from experiment_pipeline.stages.split_sets.sets import split
from experiment_pipeline.stages.validated_data.rows import ValidatedRows
from experiment_pipeline.storage.mapped import spilled
from experiment_pipeline.table.features import NamedColumns, feature_columns
from experiment_pipeline.table.membership import SETS


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Cut the validated rows; one op, so that the three sets are always of one cut."""
    spec = named.spec
    described = {"deps": [asset.key_of(spec, "validated_data")], "kinds": {"pandas"}}
    train = asset.key_of(spec, "train_set")

    @asset.stage_assets(
        spec,
        "split_sets",
        specs=[
            asset.table_spec(spec, f"{name}_set", description=page.ROLE[name], **described)
            for name in SETS
        ],
        check_specs=[asset.check_spec(name, train) for name in STAGES["split_sets"].checks],
    )
    def split_sets(
        context: dg.AssetExecutionContext, validated_data: ValidatedRows
    ) -> Iterator[dg.MaterializeResult]:
        with record(context):
            rows = validated_data.rows
            warn_of_memory("split_sets", table_bytes(rows), context.log.warning)
            features = feature_columns(rows, spec)
            sets = split(validated_data, spec, features, spilled)
        checks = page.checks(sets, rows, spec, features)
        for name in SETS:
            outcome = page.outcome(sets, name)
            if name == "train":
                outcome = replace(outcome, notes=sets.notes, checks=checks)
            yield asset.report(context, asset.key_of(spec, f"{name}_set"), outcome)

    return split_sets
