"""Tables between the stages: `<root>/<experiment>/tables/<stage>.parquet`.

The IO manager gives Dagster's assets their tables; the functions do the same without Dagster.
A table replaces the one of the run before in one step; who needs both to be of one cut
compares digests. In: a DataFrame. Out: the same DataFrame; in Dagster, errors as assets show
them. How a table becomes bytes is in `storage/tables.py`; models are in `stages/search/store.py`.
"""

import dagster as dg
import pandas as pd
from dagster import InputContext, OutputContext
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.asset import told_to_the_user
from experiment_pipeline.storage.files import read_bytes, write_bytes
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.storage.tables import from_parquet, to_parquet


def table_path(root: UPath, experiment: str, stage: str) -> UPath:
    """Return where a stage's table is, or would be."""
    return root / experiment / "tables" / f"{stage}.parquet"


def write_table(path: UPath, frame: pd.DataFrame) -> None:
    """Write a table; readers see the old or the new one.

    Raises:
        UnusableTable: a column that Parquet cannot keep.
        StorageUnreachable: the path cannot be written.
    """
    write_bytes(path, to_parquet(frame))


def read_table(path: UPath) -> pd.DataFrame:
    """Return a table as it was written: values, types, index, `attrs`.

    Raises:
        StorageUnreachable: there is none, or it cannot be read.
        EntryCorrupt: the file is no Parquet file, or was cut short.
    """
    content = read_bytes(path)
    try:
        return from_parquet(content)
    except (OSError, ValueError) as error:  # Arrow's errors are one or the other
        raise EntryCorrupt(
            str(path), f"is no whole Parquet file: {error}", "Materialize its asset again."
        ) from error


class TablesIOManager(dg.UPathIOManager):
    """Stores what an asset returns as a table, under the asset's key.

    An asset without partitions has one table, also in a run over a range of partitions and
    for a reader that has partitions.
    """

    extension = ".parquet"

    def get_asset_relative_path(self, context: InputContext | OutputContext) -> UPath:
        """`<experiment>/<stage>` is the key; tables have a folder of their own in between."""
        *experiment, stage = context.asset_key.path
        return UPath("/".join([*experiment, "tables", stage]))

    def make_directory(self, path: UPath) -> None:
        """Folders come with their files."""

    def dump_to_path(self, context: OutputContext, obj: pd.DataFrame, path: UPath) -> None:  # noqa: ARG002 - Dagster's signature
        """Write the table that an asset returned."""
        if not isinstance(obj, pd.DataFrame):
            raise TypeError(f"{path} is for tables; the asset returned a {type(obj).__name__}")
        with told_to_the_user():
            write_table(path, obj)

    def load_from_path(self, context: InputContext, path: UPath) -> pd.DataFrame:  # noqa: ARG002 - Dagster's signature
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
