"""A Parquet file as delivered, a column at a time: the whole of it need not fit into memory.

In: a file whose first bytes are Parquet's. Out: Arrow columns. What types they become is decided in
`columns.py`, what a file is in `contents.py`.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

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
        with self._bytes() as source:
            size = source.seek(0, io.SEEK_END)
            source.seek(-len(PARQUET_MAGIC), io.SEEK_END)
            if source.read(len(PARQUET_MAGIC)) != PARQUET_MAGIC:
                raise UnreadableTable(
                    file.name,
                    f"it is a truncated Parquet file: no footer in {size:,} bytes",
                    FIX_DOWNLOAD,
                )
            with self._told():
                parquet = pq.ParquetFile(source)
                self._metadata, self._schema = parquet.metadata, parquet.schema_arrow
        refuse_duplicates(file.name, self._schema.names)

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self._metadata.num_rows)

    @property
    def no_rows(self) -> pa.Table:
        """Its columns, and those of its folders, with no rows."""
        return self._of.with_folder_keys(self._schema.empty_table())

    def read(self, name: str) -> pa.Table:
        """Read a table of one column; those that the folders name are repeated."""
        if name in self._of.folder_keys:
            return pa.table({name: self._of.folder_column(name, self.rows)})
        # A file may be one of thousands: it is open while it is read.
        with self._bytes() as source, self._told():
            return pq.ParquetFile(source, metadata=self._metadata).read([name]).select([name])

    def _bytes(self) -> BinaryIO:
        content = self._of.content
        if isinstance(content, bytes):
            reader: BinaryIO = pa.BufferReader(content)
            return reader
        return content.open()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise UnreadableTable(
                self._of.name, f"it is a damaged Parquet file: {error}", FIX_DOWNLOAD
            ) from None
