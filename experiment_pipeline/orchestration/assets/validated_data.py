"""validated_data and rejected_rows: prepared rows that satisfy the schema, and the others."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.stages.registry import STAGES, table_bytes, warn_of_memory
from experiment_pipeline.stages.validated_data import page
from experiment_pipeline.stages.validated_data.profile import (
    RUNS,
    DataProfiles,
    against_the_accepted,
)
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.storage.mapped import spilled
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.table.features import NamedColumns, check_target
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.preparation import PreparedTable
from experiment_pipeline.table.schema import shared_schema

# What decides the prepared rows, beside the raw table and the schema; at most one table waits.
_DECIDING = {"target", "task", "exclude", "preparation", "split", "sample_weight"}
_waiting: dict[str, PreparedTable] = {}


def prepared_rows(
    raw: RawTable, spec: ExperimentSpec, named: NamedColumns, *, hand_on: bool = False
) -> PreparedTable:
    """Return the rows as of `prepare_and_assign`; `hand_on`: the next call for the same gets them.

    The data analysis and the validation of one run need them, in one process.
    """
    decides = spec.model_dump(mode="json", include=_DECIDING)
    key = fingerprint_of({"raw": raw.digest, "schema": named.schema_text, "spec": decides})
    prepared = _waiting.pop(key, None)
    _waiting.clear()
    if prepared is None:
        schema = shared_schema(named.schema_text, named.schema_path)
        prepared = prepare_and_assign(raw.frame, schema, spec, spilled)
    if hand_on:
        _waiting[key] = prepared
    return prepared


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Prepare, check every row against the schema, keep both halves."""
    spec = named.spec
    validated, rejected = asset.key_of(spec, "validated_data"), asset.key_of(spec, "rejected_rows")
    upstream = [asset.key_of(spec, name) for name in ("raw_data", "data_analysis")]
    described = {
        "validated_data": "Prepared rows that satisfy schema.yaml.",
        "rejected_rows": "Rows that broke the schema, as delivered, with every reason.",
    }
    # Drift ends a run where the YAML has a limit for it.
    ends = {page.CHECK} if spec.validation.drift.block is not None else set()

    @asset.stage_assets(
        spec,
        "validated_data",
        specs=[
            asset.table_spec(spec, stage, deps=upstream, kinds={"pandera"}, description=text)
            for stage, text in described.items()
        ],
        check_specs=[
            asset.check_spec(
                name,
                rejected if name == "rejected_rows_resemble_the_others" else validated,
                blocking=name in ends,
            )
            for name in STAGES["validated_data"].checks
        ],
    )
    def validated_data(
        context: dg.AssetExecutionContext, raw_data: RawTable
    ) -> Iterator[dg.MaterializeResult]:
        with record(context):
            warn_of_memory("validated_data", table_bytes(raw_data.frame), context.log.warning)
            schema = shared_schema(named.schema_text, named.schema_path)
            prepared = prepared_rows(raw_data, spec, named)
            data = validate(raw_data.frame, prepared, schema, spec, keep=spilled)
            digest, previous, changes = against_the_accepted(spec, data, context.log.warning)
        yield asset.report(context, rejected, page.rejected(prepared.frame, data, spec))
        within = page.within_limit(data, previous, spec)
        if within.passed:
            with record(context):
                check_target(data.validated, spec)
                # Else a second try would pass as no rise of the rejection rate.
                DataProfiles.of(spec.name).note(RUNS, digest)
        limits = spec.validation.drift
        kept = page.validated(raw_data.frame, prepared, data, changes, within, limits)
        value = data.to_split(prepared, raw_data.digest, raw_data.types, digest)
        yield asset.report(context, validated, replace(kept, value=value))

    return validated_data
