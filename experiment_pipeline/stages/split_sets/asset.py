"""train_set, test_set, validation_set: disjoint parts of the validated rows, and their checks."""

from collections.abc import Iterator

import dagster as dg
import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.schema import load_schema, prepared_rows
from experiment_pipeline.rows.membership import SETS, assign_sets
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.asset import (
    asset_key,
    problems_check,
    table_input,
    table_spec,
    told_to_the_user,
)
from experiment_pipeline.stages.split_sets.checks import (
    check_disjoint,
    check_leaks,
    check_look_alike,
    note_copies,
)
from experiment_pipeline.stages.split_sets.sets import SetTable, split
from experiment_pipeline.stages.validated_data.rows import ValidatedRows


def build_split_sets(spec: ExperimentSpec, schema_text: str) -> dg.AssetsDefinition:
    """Cut the validated rows; one op, so that the three sets are always of one cut."""
    upstream = [asset_key(spec, "raw_data"), asset_key(spec, "validated_data")]
    train = asset_key(spec, "train_set")

    @dg.multi_asset(
        name=f"{spec.name}__split_sets",
        specs=[
            table_spec(
                spec, f"{name}_set", deps=upstream, kinds={"pandas"}, description=_ROLE[name]
            )
            for name in SETS
        ],
        ins={name: table_input(spec, name) for name in ("raw_data", "validated_data")},
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
        with told_to_the_user():
            rows = validated_data.rows
            features = feature_columns(rows, spec)
            # Of all prepared rows, as the data analysis did: rejecting a row moves no other.
            prepared = prepared_rows(raw_data, spec.preparation, load_schema(schema_text))
            membership = assign_sets(prepared, spec, feature_columns(prepared, spec))
            sets = split(rows, spec, features, membership)
        for note in sets.notes:
            context.log.info(note)
        copies = note_copies(sets, spec, features)
        checks = [
            problems_check(context, "sets_are_disjoint", check_disjoint(sets, rows), train),
            problems_check(
                context,
                "nothing_leaks_between_sets",
                check_leaks(sets, spec, features),
                train,
                doubts=[note.text for note in copies if note.doubtful],
                notes=[note.text for note in copies if not note.doubtful],
            ),
            _look_alike(check_look_alike(sets, spec, features), train),
        ]
        for name, frame in sets.tables().items():
            yield dg.MaterializeResult(
                asset_key=asset_key(spec, f"{name}_set"),
                value=SetTable(
                    frame, sets.digests[name], validated_data.profile, validated_data.set_aside
                ),
                data_version=dg.DataVersion(sets.digests[name]),
                metadata={
                    "dagster/row_count": len(frame),
                    "digest": sets.digests[name],
                    "sets": asset.table(sets.summary),
                    "notes": asset.notes(sets.notes),
                },
                check_results=checks if name == "train" else [],
            )

    return split_sets


_ROLE = {
    "train": "What configurations are fitted on.",
    "test": "What configurations are compared on.",
    "validation": "What is looked at once, at the end, with the chosen configuration.",
}


def _look_alike(differences: pd.DataFrame, key: dg.AssetKey) -> dg.AssetCheckResult:
    alarming = differences[differences["alarming"]]
    return dg.AssetCheckResult(
        check_name="sets_look_alike",
        asset_key=key,
        passed=alarming.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(alarming)} of {len(differences)} comparisons differ by more than noise",
        metadata={"differences": asset.table(differences)},
    )
