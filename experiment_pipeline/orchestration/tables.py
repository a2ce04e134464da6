"""Tables between the stages: `<root>/<experiment>/tables/<stage>.parquet`.

The IO manager gives Dagster's assets their tables, with errors as assets show them. A table
replaces the one of the run before in one step; who needs both to be of one cut compares digests.
How a table becomes bytes is in `storage/tables.py`.
"""

from dataclasses import is_dataclass
from typing import Any

import dagster as dg
import pandas as pd
from dagster import InputContext, OutputContext

from experiment_pipeline.orchestration.assets.shared import reported_to_the_user
from experiment_pipeline.storage.locations import Location, storage_root
from experiment_pipeline.storage.tables import read_table, table_of, write_table


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

    def dump_to_path(self, context: OutputContext, obj: Any, path: Location) -> None:  # noqa: ARG002 - Dagster's signature
        """Write the table that an asset returned, with what it says of it."""
        if not (isinstance(obj, pd.DataFrame) or is_dataclass(obj)):
            raise TypeError(f"{path} is for tables; the asset returned a {type(obj).__name__}")
        table: Any = obj
        with reported_to_the_user():
            write_table(path, table)

    def load_from_path(self, context: InputContext, path: Location) -> Any:
        """Read a table for an asset; with what is said of it, where the argument's type asks."""
        asked = context.dagster_type.typing_type
        kind: Any = asked if is_dataclass(asked) else pd.DataFrame
        with reported_to_the_user():
            return read_table(path, kind)

    def get_metadata(
        self,
        context: OutputContext,  # noqa: ARG002 - Dagster's signature
        obj: Any,
    ) -> dict[str, dg.MetadataValue]:
        """Rows and columns; Dagster adds the path."""
        return {
            "dagster/row_count": dg.MetadataValue.int(len(table_of(obj))),
            "columns": dg.MetadataValue.int(len(table_of(obj).columns)),
        }


@dg.io_manager(description="Tables as Parquet files, on a disk or in a bucket.")
def tables_io_manager(_context: dg.InitResourceContext) -> TablesIOManager:
    """The one resource that all experiments share; the storage is looked up when a run starts."""
    return TablesIOManager(storage_root())
