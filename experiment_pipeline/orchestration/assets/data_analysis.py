"""data_analysis: findings, verdict and HTML report; `no go` stops the run before it costs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.orchestration.assets.validated_data import prepared_rows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis import page
from experiment_pipeline.stages.data_analysis.analysis import analyse_prepared
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.stages.registry import STAGES, table_bytes
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.table.digests import source_digests
from experiment_pipeline.table.features import NamedColumns, metric_sources

ANALYSIS, MARKDOWN, REPORT = "analysis.json", "analysis.md", "report.html"


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Examine the prepared rows; what looks at the target sees no validation row."""
    spec, schema_text = named.spec, named.schema_text
    key = asset.key_of(spec, "data_analysis")
    given = spec.part(STAGES["data_analysis"].reads)

    @asset.stage_asset(
        spec,
        "data_analysis",
        table=False,
        kinds={"python"},
        description="Findings, the verdict they lead to, and a profile of every column.",
    )
    def data_analysis(
        context: dg.AssetExecutionContext, raw_data: RawTable
    ) -> dg.MaterializeResult:
        fingerprint = _fingerprint(raw_data.digest, spec, schema_text)

        def examine() -> dict[str, bytes]:
            rows = prepared_rows(raw_data, given, named, hand_on=True)
            analysis, prepared = analyse_prepared(rows, given)
            return {
                ANALYSIS: analysis.to_json().encode(),
                MARKDOWN: page.markdown_report(analysis, given).encode(),
                REPORT: page.report_html(analysis, prepared, given).encode(),
            }

        with record(context):
            stored = asset.reused_or_made(
                context,
                stage_entries(spec.name, "data_analysis"),
                fingerprint,
                lambda: table_bytes(raw_data.frame),
                examine,
                "reused the analysis of the same table",
            )
        outcome = page.outcome(
            json.loads(stored.files[ANALYSIS]),
            spec.target,
            stored.files[MARKDOWN].decode(),
            str(stored.paths[REPORT]),
        )
        return asset.report(context, key, replace(outcome, version=fingerprint))

    return data_analysis


def known_analysis(raw_digest: str, spec: ExperimentSpec, schema_text: str) -> Mapping[str, Any]:
    """Return what `DataAnalysis.to_json` wrote of a table; empty where it was not analysed."""
    store = stage_entries(spec.name, "data_analysis")
    stored = store.get(_fingerprint(raw_digest, spec, schema_text))
    found: dict[str, Any] = {} if stored is None else json.loads(stored.files[ANALYSIS])
    return found


def _fingerprint(raw_digest: str, spec: ExperimentSpec, schema_text: str) -> str:
    """Everything that the analysis is given."""
    given = spec.part(STAGES["data_analysis"].reads)
    return fingerprint_of(
        {
            "raw": raw_digest,
            "spec": given.model_dump(mode="json"),
            "schema": schema_text,
            "version": STAGES["data_analysis"].version,
            "findings": source_digests(given.analysis.findings),
            **metric_sources(given),
        }
    )
