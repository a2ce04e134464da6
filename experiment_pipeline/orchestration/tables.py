"""Tables between the stages: `<root>/<experiment>/tables/<stage>.parquet`.

The IO manager gives Dagster's assets their tables, with errors as assets show them. A table
replaces the one of the run before in one step; who needs both to be of one cut compares digests.
How a table becomes bytes is in `storage/tables.py`.
"""

import dagster as dg
import pandas as pd
from dagster import InputContext, OutputContext

from experiment_pipeline.stages.asset import told_to_the_user
from experiment_pipeline.storage.locations import Location, storage_root
from experiment_pipeline.storage.tables import read_table, write_table


class TablesIOManager(dg.UPathIOManager):
    """Stores what an asset returns as a table, under the asset's key.

    An asset without partitions has one table, also in a run over a range of partitions and
    for a reader that has partitions.
    """

    extension = ".parquet"

    def get_asset_relative_path(self, context: InputContext | OutputContext) -> Location:
        """`<experiment>/<stage>` is the key; tables have a folder of their own in between."""
        *experiment, stage = context.asset_key.path
        return Location("/".join([*experiment, "tables", stage]))

    def make_directory(self, path: Location) -> None:
        """Folders come with their files."""

    def dump_to_path(self, context: OutputContext, obj: pd.DataFrame, path: Location) -> None:  # noqa: ARG002 - Dagster's signature
        """Write the table that an asset returned."""
        if not isinstance(obj, pd.DataFrame):
            raise TypeError(f"{path} is for tables; the asset returned a {type(obj).__name__}")
        with told_to_the_user():
            write_table(path, obj)

    def load_from_path(self, context: InputContext, path: Location) -> pd.DataFrame:  # noqa: ARG002 - Dagster's signature
        """Read a table for an asset."""
        with told_to_the_user():
            return read_table(path)

    def get_metadata(
        self,
        context: OutputContext,  # noqa: ARG002 - Dagster's signature
        obj: pd.DataFrame,
    ) -> dict[str, dg.MetadataValue]:
        """Rows and columns; Dagster adds the path."""
        return {
            "dagster/row_count": dg.MetadataValue.int(len(obj)),
            "columns": dg.MetadataValue.int(obj.shape[1]),
        }


@dg.io_manager(description="Tables as Parquet files, on a disk or in a bucket.")
def tables_io_manager(_context: dg.InitResourceContext) -> TablesIOManager:
    """The one resource that all experiments share; the storage is looked up when a run starts."""
    return TablesIOManager(storage_root())
