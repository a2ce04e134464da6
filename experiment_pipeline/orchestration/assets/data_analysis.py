"""data_analysis: findings, verdict and HTML report; `no go` stops the run before it costs."""

import json
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
import pandas as pd

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.spec import READS, ExperimentSpec
from experiment_pipeline.stages.data_analysis import page
from experiment_pipeline.stages.data_analysis.analysis import (
    analyse,
    rows_to_read,
)
from experiment_pipeline.stages.data_analysis.findings import own_code
from experiment_pipeline.stages.memory_estimate import table_bytes
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.spill import Shelf
from experiment_pipeline.table.clusters import canonical_order
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.schema import load_schema, prepared_rows
from experiment_pipeline.table.table import Table, picked, whole

ANALYSIS, MARKDOWN, REPORT = "analysis.json", "analysis.md", "report.html"
# Count it up whenever the code of this package would find otherwise in the same table.
ANALYSIS_VERSION = 4


def build_data_analysis(
    spec: ExperimentSpec, schema_text: str, record: asset.Recorder
) -> dg.AssetsDefinition:
    """Examine the prepared rows; what looks at the target sees no validation row."""
    key = asset.key_of(spec, "data_analysis")
    given = spec.part(READS["data_analysis"])

    @asset.stage_asset(
        spec,
        "data_analysis",
        ins=asset.table_inputs(spec, "raw_data"),
        kinds={"python"},
        description="Findings, the verdict they lead to, and a profile of every column.",
        check_specs=[asset.check_spec("fit_for_modelling", key, blocking=True)],
    )
    def data_analysis(
        context: dg.AssetExecutionContext, raw_data: RawTable
    ) -> dg.MaterializeResult:
        fingerprint = _fingerprint(raw_data.digest, given, schema_text)
        with record(context):
            stored = asset.reused_or_made(
                context,
                stage_entries(spec.name, "data_analysis"),
                fingerprint,
                lambda: table_bytes(raw_data.frame),
                lambda: _examine(raw_data.frame, given, schema_text),
                "reused the analysis of the same table",
            )
        analysis = json.loads(stored.files[ANALYSIS])
        outcome = page.outcome(
            analysis,
            spec.target,
            stored.files[MARKDOWN].decode(),
            str(stored.paths[REPORT]),
        )
        return asset.report(context, key, replace(outcome, version=fingerprint))

    return data_analysis


def label_ceiling(raw_digest: str, spec: ExperimentSpec, schema_text: str) -> float | None:
    """Return the best score that conflicting labels allow; None where the analysis knows none."""
    store = stage_entries(spec.name, "data_analysis")
    stored = store.get(_fingerprint(raw_digest, spec.part(READS["data_analysis"]), schema_text))
    if stored is None:
        return None
    findings = json.loads(stored.files[ANALYSIS])["findings"]
    ceilings = [one["ceiling"] for one in findings if one["code"] == "conflicting_labels"]
    return ceilings[0] if ceilings else None


def _fingerprint(raw_digest: str, spec: ExperimentSpec, schema_text: str) -> str:
    """Everything that the analysis is given."""
    return fingerprint_of(
        {
            "raw": raw_digest,
            "spec": spec.model_dump(mode="json"),
            "schema": schema_text,
            "version": ANALYSIS_VERSION,
            "findings": own_code(spec.analysis),
        }
    )


def _examine(raw: Table, spec: ExperimentSpec, schema_text: str) -> dict[str, bytes]:
    table = prepared_rows(raw, spec.preparation, load_schema(schema_text), Shelf())
    features = feature_columns(table, spec)
    sets = assign_sets(table, spec, features)
    read = rows_to_read(table, features)
    prepared = whole(table if read is None else picked(table, read))
    sets = (sets if read is None else sets.iloc[read]).astype("str")
    # No finding is about lists or mappings; they can only stand in columns that are no features.
    nested = [name for name in prepared.columns if kind_of(prepared[name]) == "nested"]
    prepared = prepared.drop(columns=nested)
    prepared = _in_order(prepared, sets, features, spec)
    sets = sets[prepared.index]
    analysis = analyse(prepared, sets, features, spec, len(raw))
    return {
        ANALYSIS: analysis.to_json().encode(),
        MARKDOWN: page.markdown_report(analysis).encode(),
        REPORT: page.report_html(analysis, prepared, spec).encode(),
    }


def _in_order(
    prepared: pd.DataFrame, sets: pd.Series, features: Sequence[str], spec: ExperimentSpec
) -> pd.DataFrame:
    """Order the rows by what is in them, but by no target of a validation row."""
    visible = (sets != "validation").to_numpy()
    targets = [name for name in prepared.columns if name == spec.target]
    seen = prepared.assign(**{name: prepared[name].where(visible) for name in targets})
    return prepared.iloc[canonical_order(seen, spec, features)]
