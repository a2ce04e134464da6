"""A Parquet file as delivered, read one column at a time: it need not fit into memory.

In: a file whose first bytes are Parquet's. Out: Arrow columns. What types they become is decided in
`columns.py`, what a file is in `contents.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from experiment_pipeline.errors import UnreadableTable
from experiment_pipeline.stages.raw_data.contents import (
    FIX_DOWNLOAD,
    PARQUET_MAGIC,
    Contents,
    refuse_duplicates,
)


class ParquetFile:
    """A Parquet file, whose columns are read one at a time.

    Raises:
        UnreadableTable: truncated or damaged, or two columns of one name.
    """

    def __init__(self, file: Contents) -> None:
        self._of = file
        content = file.unpacked()
        if bytes(content[-len(PARQUET_MAGIC) :]) != PARQUET_MAGIC:
            raise UnreadableTable(
                file.name,
                f"it is a truncated Parquet file: no footer in {len(content):,} bytes",
                FIX_DOWNLOAD,
            )
        with self._damage_reported():
            self._parquet = pq.ParquetFile(pa.BufferReader(content))
        self.rows = int(self._parquet.metadata.num_rows)
        refuse_duplicates(file.name, self._parquet.schema_arrow.names)

    @property
    def no_rows(self) -> pa.Table:
        """Its columns, and those of its folders, with no rows."""
        return self._of.with_folder_keys(self._parquet.schema_arrow.empty_table())

    def read(self, name: str) -> pa.Table:
        """Read a table of one column; a column that a folder names is repeated."""
        if name in self._of.folder_keys:
            none = pa.table({"": pa.nulls(self.rows)})
            return self._of.with_folder_keys(none).select([name])
        with self._damage_reported():
            return self._parquet.read([name]).select([name])

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise UnreadableTable(
                self._of.name, f"it is a damaged Parquet file: {error}", FIX_DOWNLOAD
            ) from None
