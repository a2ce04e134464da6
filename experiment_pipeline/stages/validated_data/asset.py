"""validated_data and rejected_rows: prepared rows that satisfy the schema, and the others."""

from collections.abc import Iterator

import dagster as dg
import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.preparation import prepare
from experiment_pipeline.columns.schema import fit_columns, load_schema
from experiment_pipeline.columns.target import check_target
from experiment_pipeline.rows.membership import assign_sets, set_aside_in_words
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.asset import (
    asset_key,
    problems_check,
    table_input,
    table_spec,
    told_to_the_user,
)
from experiment_pipeline.stages.validated_data import accepted as data_changes
from experiment_pipeline.stages.validated_data.guards import (
    check_conserved,
    check_rejection_bias,
    check_rejection_rate,
    key_columns,
    rejection_bias,
)
from experiment_pipeline.stages.validated_data.rows import ValidatedData, ValidatedRows, validate


def build_validated_data(spec: ExperimentSpec, schema_text: str) -> dg.AssetsDefinition:
    """Prepare, check every row against the schema, keep both halves."""
    validated, rejected = asset_key(spec, "validated_data"), asset_key(spec, "rejected_rows")
    raw, analysis = asset_key(spec, "raw_data"), asset_key(spec, "data_analysis")

    @dg.multi_asset(
        name=f"{spec.name}__validated_data",
        specs=[
            table_spec(
                spec,
                "validated_data",
                deps=[raw, analysis],
                kinds={"pandera"},
                description="Prepared rows that satisfy schema.yaml.",
            ),
            table_spec(
                spec,
                "rejected_rows",
                deps=[raw, analysis],
                kinds={"pandera"},
                description="Rows that broke the schema, as delivered, with every reason.",
            ),
        ],
        ins={"raw_data": table_input(spec, "raw_data")},
        check_specs=[
            dg.AssetCheckSpec("rows_conserved", asset=validated, blocking=True),
            dg.AssetCheckSpec("rejection_rate_within_limit", asset=validated, blocking=True),
            data_changes.check_spec(spec, validated),
            dg.AssetCheckSpec("rejected_rows_resemble_the_others", asset=rejected),
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def validated_data(
        context: dg.AssetExecutionContext, raw_data: pd.DataFrame
    ) -> Iterator[dg.MaterializeResult]:
        with told_to_the_user():
            prepared = prepare(raw_data, spec.preparation)
            schema = load_schema(schema_text)
            outcome = validate(
                raw_data,
                prepared,
                schema,
                spec,
                sets=lambda: _sets(fit_columns(prepared.frame, raw_data.columns, schema)[0], spec),
            )
            changed = data_changes.against_the_accepted(spec, outcome, context.log.warning)
        for note in outcome.notes:
            context.log.info(note)
        bias = rejection_bias(prepared.frame, outcome, key_columns(prepared.frame, spec))
        yield _rejected(context, outcome, bias, rejected)
        within_limit = problems_check(
            context,
            "rejection_rate_within_limit",
            check_rejection_rate(outcome, spec.validation, changed.previous_rate),
            validated,
        )
        if within_limit.passed:
            with told_to_the_user():
                check_target(outcome.validated, spec)
                changed.note_run()
        yield dg.MaterializeResult(
            asset_key=validated,
            value=ValidatedRows(
                outcome.validated,
                changed.profile.digest,
                tuple(set_aside_in_words(outcome.set_aside)),
            ),
            metadata={
                "dagster/row_count": len(outcome.validated),
                "rejection_rate": asset.number(outcome.rejection_rate),
                "set_aside": asset.notes(set_aside_in_words(outcome.set_aside)),
                "preparation": asset.table(prepared.changes),
                "notes": asset.notes(outcome.notes),
                **changed.metadata(),
                "dagster/column_schema": asset.columns_of(outcome.validated),
            },
            check_results=[
                problems_check(
                    context, "rows_conserved", check_conserved(raw_data, outcome), validated
                ),
                within_limit,
                changed.check(context, validated),
            ],
        )

    return validated_data


def _rejected(
    context: dg.AssetExecutionContext,
    outcome: ValidatedData,
    bias: pd.DataFrame,
    key: dg.AssetKey,
) -> dg.MaterializeResult:
    """The rejected rows, and a warning when they are of a kind."""
    return dg.MaterializeResult(
        asset_key=key,
        value=outcome.rejected,
        metadata={
            "dagster/row_count": len(outcome.rejected),
            "reasons": asset.table(outcome.reasons),
            "whom_rejecting_hits": asset.table(bias),
        },
        check_results=[
            problems_check(
                context,
                "rejected_rows_resemble_the_others",
                check_rejection_bias(bias, outcome.rejection_rate),
                key,
                dg.AssetCheckSeverity.WARN,
            )
        ],
    )


def _sets(prepared: pd.DataFrame, spec: ExperimentSpec) -> pd.Series:
    """The set of each row, as the split stage will name it."""
    return assign_sets(prepared, spec, feature_columns(prepared, spec))
