"""raw_data: the table as delivered, with the digest of its content as data version."""

import dagster as dg

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.stages.raw_data import page
from experiment_pipeline.stages.raw_data.sources import delivered_bytes, read_source
from experiment_pipeline.stages.raw_data.table import parse
from experiment_pipeline.stages.registry import warn_of_memory
from experiment_pipeline.table.features import NamedColumns


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Read the source; a wrong column name in the YAML ends the run here."""
    source, key = named.spec.source, asset.key_of(named.spec, "raw_data")

    @asset.stage_asset(
        named.spec,
        "raw_data",
        kinds={"pandas"},
        description=f"The table as delivered by {source.shown_url}.",
    )
    def raw_data(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with record(context):
            delivered = read_source(source)
            warn_of_memory("raw_data", delivered_bytes(delivered), context.log.warning)
            table = parse(delivered, source)
            named.check(list(table.frame.columns))
        return asset.report(context, key, page.outcome(table, source.shown_url))

    return raw_data
