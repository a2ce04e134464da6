"""validated_data and rejected_rows: prepared rows that satisfy the schema, and the others."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.orchestration.assets.prepared import prepared_rows
from experiment_pipeline.stages.memory_estimate import table_bytes, warn_of_memory
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.stages.validated_data import accepted as data_changes
from experiment_pipeline.stages.validated_data import page
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.storage.mapped import spilled
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.schema import shared_schema
from experiment_pipeline.table.target import check_target

_DESCRIBED = {
    "validated_data": "Prepared rows that satisfy schema.yaml.",
    "rejected_rows": "Rows that broke the schema, as delivered, with every reason.",
}


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Prepare, check every row against the schema, keep both halves."""
    spec = named.spec
    validated, rejected = asset.key_of(spec, "validated_data"), asset.key_of(spec, "rejected_rows")
    raw, analysis = asset.key_of(spec, "raw_data"), asset.key_of(spec, "data_analysis")

    @dg.multi_asset(
        name=f"{spec.name}__validated_data",
        specs=[
            asset.table_spec(
                spec, stage, deps=[raw, analysis], kinds={"pandera"}, description=described
            )
            for stage, described in _DESCRIBED.items()
        ],
        ins=asset.table_inputs(spec, "raw_data"),
        check_specs=[
            asset.check_spec("rows_conserved", validated),
            asset.check_spec("rejection_rate_within_limit", validated),
            asset.check_spec(
                data_changes.CHECK,
                validated,
                # It ends a run where the YAML has a limit for that.
                blocking=spec.validation.drift.block is not None,
            ),
            asset.check_spec("rejected_rows_resemble_the_others", rejected),
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def validated_data(
        context: dg.AssetExecutionContext, raw_data: RawTable
    ) -> Iterator[dg.MaterializeResult]:
        with record(context):
            warn_of_memory("validated_data", table_bytes(raw_data.frame), context.log.warning)
            schema = shared_schema(named.schema_text, named.schema_path)
            prepared = prepared_rows(raw_data, spec, named)
            data = validate(raw_data.frame, prepared, schema, spec, keep=spilled)
            changed = data_changes.against_the_accepted(spec, data, context.log.warning)
        yield asset.report(context, rejected, page.rejected(prepared.frame, data, spec))
        within = page.within_limit(data, changed, spec)
        if within.passed:
            with record(context):
                check_target(data.validated, spec)
                changed.note_run()
        kept = page.validated(raw_data.frame, prepared, data, changed, within)
        value = data.to_split(prepared, raw_data.digest, raw_data.types, changed.profile.digest)
        yield asset.report(context, validated, replace(kept, value=value))

    return validated_data
