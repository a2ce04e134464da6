"""train_set, test_set, validation_set: disjoint parts of the validated rows, and their checks."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.schema import load_schema, prepared_rows
from experiment_pipeline.rows.membership import SETS, assign_sets
from experiment_pipeline.spec import Roles
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.split_sets import page
from experiment_pipeline.stages.split_sets.sets import SetTable, split
from experiment_pipeline.stages.validated_data.rows import ValidatedRows


def build_split_sets(spec: Roles, schema_text: str) -> dg.AssetsDefinition:
    """Cut the validated rows; one op, so that the three sets are always of one cut."""
    upstream = [asset.key_of(spec, "raw_data"), asset.key_of(spec, "validated_data")]
    train = asset.key_of(spec, "train_set")

    @dg.multi_asset(
        name=f"{spec.name}__split_sets",
        specs=[
            asset.table_spec(
                spec, f"{name}_set", deps=upstream, kinds={"pandas"}, description=page.ROLE[name]
            )
            for name in SETS
        ],
        ins=asset.table_inputs(spec, "raw_data", "validated_data"),
        check_specs=[
            dg.AssetCheckSpec("sets_are_disjoint", asset=train, blocking=True),
            dg.AssetCheckSpec("nothing_leaks_between_sets", asset=train, blocking=True),
            dg.AssetCheckSpec("sets_look_alike", asset=train),
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def split_sets(
        context: dg.AssetExecutionContext, raw_data: pd.DataFrame, validated_data: ValidatedRows
    ) -> Iterator[dg.MaterializeResult]:
        with asset.told_to_the_user():
            rows = validated_data.rows
            features = feature_columns(rows, spec)
            # Of all prepared rows, as the data analysis did: rejecting a row moves no other.
            prepared = prepared_rows(raw_data, spec.preparation, load_schema(schema_text))
            membership = assign_sets(prepared, spec, feature_columns(prepared, spec))
            sets = split(rows, spec, features, membership)
        checks = page.checks(sets, rows, spec, features)
        for name, frame in sets.tables().items():
            table = SetTable(
                frame, sets.digests[name], validated_data.profile, validated_data.set_aside
            )
            outcome = page.outcome(sets, table)
            if name == "train":
                outcome = replace(outcome, notes=sets.notes, checks=checks)
            yield asset.report(context, asset.key_of(spec, f"{name}_set"), outcome)

    return split_sets
