"""raw_data: the table as delivered, with the digest of its content as data version."""

import dagster as dg

from experiment_pipeline.columns.features import NamedColumns
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.asset import table_asset, told_to_the_user
from experiment_pipeline.stages.raw_data.page import preview
from experiment_pipeline.stages.raw_data.sources import peek_columns, read_source
from experiment_pipeline.stages.raw_data.table import parse


def build_raw_data(spec: ExperimentSpec, named: NamedColumns) -> dg.AssetsDefinition:
    """Read the source, say what was decided on the way.

    Args:
        spec: the experiment.
        named: the columns that its YAML names; a wrong one ends the run here.
    """

    @table_asset(
        spec,
        "raw_data",
        kinds={"pandas"},
        description=f"The table as delivered by {spec.data.shown_url}.",
    )
    def raw_data(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with told_to_the_user():
            if (columns := peek_columns(spec.data)) is not None:
                named.check(columns)
            table = parse(read_source(spec.data), spec.data)
            named.check(list(table.frame.columns))
        for note in table.notes:
            context.log.info(note)
        return dg.MaterializeResult(
            value=table.frame,
            data_version=dg.DataVersion(table.digest),
            metadata={
                "source": spec.data.shown_url,
                "dagster/row_count": len(table.frame),
                "columns": table.frame.shape[1],
                "digest": table.digest,
                "format": table.format,
                "encoding": table.encoding or "does not apply",
                "delimiter": repr(table.delimiter) if table.delimiter else "does not apply",
                "notes": asset.notes(table.notes),
                "preview": dg.MetadataValue.md(preview(table.frame)),
                "dagster/column_schema": asset.columns_of(table.frame),
            },
        )

    return raw_data
