"""Columns on their way from one stage to the next: in memory as long as they are few, else on a disk.

A shelf is a mapping from names to columns, for one process and a while: its folder, below TMPDIR,
goes when nobody holds the shelf any more. On the disk a column is an Arrow file of its own, so that
it can be had whole, or its rows in batches with those of the other columns. What stays is written
by `tables.py`. In: columns. Out: the same columns: values, types, bit by bit.
"""

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from experiment_pipeline.columns.kinds import holds_objects, kind_of_type
from experiment_pipeline.errors import StorageUnreachable

# Rows of a batch, and of a row group: of twenty numbers each, some 40 MB.
BATCH_ROWS = 262_144
# A million rows of thirty numbers: what is no larger need not touch a disk.
SHELF_BYTES = 256 * 1024 * 1024
# Categories, and what Arrow has no type for.
_NEVER_IN_A_FILE = ("category", "complex", "other")


class Shelf(MutableMapping[str, pd.Series]):
    """Columns of one table, all with as many rows.

    Args:
        most_bytes: how much of it stays in memory; the columns that come later go to the disk.
        batch_rows: rows of a batch.
    """

    def __init__(self, most_bytes: int = SHELF_BYTES, batch_rows: int = BATCH_ROWS) -> None:
        self.batch_rows, self.holds_objects = batch_rows, False
        self._left = most_bytes
        self._held: dict[str, pd.Series | _OnDisk] = {}
        self._folder: Path | None = None
        self._files = 0

    def __setitem__(self, name: str, column: pd.Series) -> None:
        """Put a column on the shelf, behind the others."""
        size = column.memory_usage(index=False)
        self.holds_objects |= holds_objects(column)
        if size <= self._left or not _fits_a_file(column):
            self._left -= size
            self._held[name] = column
            return
        with self._place() as place:
            self._held[name] = _OnDisk.written(place, column, self.batch_rows)

    @contextmanager
    def _place(self) -> Iterator[Path]:
        """A name for the next file; what fails there is told."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="experiment_pipeline-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files += 1
        try:
            yield self._folder / f"{self._files}.arrow"
        except OSError as error:
            raise StorageUnreachable(
                str(self._folder),
                f"a table on its way finds no place there: {error.strerror or error}",
                "Free some space, or name a larger folder in the variable TMPDIR.",
            ) from error

    def __getitem__(self, name: str) -> pd.Series:
        """Return a column; what lies on the disk is read."""
        held = self._held[name]
        return held.series() if isinstance(held, _OnDisk) else held

    def __delitem__(self, name: str) -> None:
        """Take a column from the shelf; a file goes with the folder."""
        del self._held[name]

    def __iter__(self) -> Iterator[str]:
        """Name the columns."""
        return iter(self._held)

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        """Tell whether a column is there, without reading it."""
        return name in self._held

    def spooled(self, batches: Iterable[pa.RecordBatch]) -> "_Spooled":
        """Put batches aside on the disk, to have their columns back one at a time."""
        waiting, rows = iter(batches), 0
        first = next(waiting, None)
        if first is None:
            raise pa.ArrowInvalid("there are no rows")
        with (
            self._place() as place,
            pa.OSFile(str(place), "wb") as sink,
            pa.ipc.new_file(sink, first.schema) as writer,
        ):
            for batch in itertools.chain([first], waiting):
                writer.write_batch(batch)
                rows += batch.num_rows
        return _Spooled(place, rows, first.schema.names)

    def batches(self, index: pd.Index) -> Iterator[pd.DataFrame]:
        """Give the rows of all columns in batches, under this index; of no rows one empty batch."""
        for number in range(max(1, -(-len(index) // self.batch_rows))):
            rows = slice(number * self.batch_rows, (number + 1) * self.batch_rows)
            labels = index[rows]
            cells = {
                name: held.series(number) if isinstance(held, _OnDisk) else held.iloc[rows]
                for name, held in self._held.items()
            }
            cells = {name: column.set_axis(labels) for name, column in cells.items()}
            yield pd.DataFrame(cells, index=labels, copy=False)


@dataclass(frozen=True)
class _Spooled:
    path: Path
    rows: int
    names: list[str]

    def column(self, name: str) -> pa.ChunkedArray:
        options = pa.ipc.IpcReadOptions(included_fields=[self.names.index(name)])
        with (
            pa.OSFile(str(self.path)) as source,
            pa.ipc.open_file(source, options=options) as reader,
        ):
            return reader.read_all().column(0)


class _OnDisk:
    """A column in a file of its own."""

    def __init__(self, path: Path, dtype: object, name: object) -> None:
        self.path, self.dtype, self.name = path, dtype, name

    @classmethod
    def written(cls, path: Path, column: pd.Series, batch_rows: int) -> "_OnDisk":
        """Write a column, in batches that can be read alone."""
        # The bits of an array are kept: of a float, NaN is a value and not missing.
        values = column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array
        table = pa.table({"cells": pa.array(values, from_pandas=False)})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=batch_rows)
        return cls(path, column.dtype, column.name)

    def series(self, batch: int | None = None) -> pd.Series:
        """Read the column, or one batch of it."""
        with pa.OSFile(str(self.path)) as source, pa.ipc.open_file(source) as reader:
            if batch is None:
                table = reader.read_all()
            else:
                table = pa.Table.from_batches([reader.get_batch(batch)])
        cells = table["cells"]
        if isinstance(self.dtype, np.dtype):
            values = cells.to_numpy().astype(self.dtype, copy=False)
        else:
            values = self.dtype.__from_arrow__(cells)  # type: ignore[attr-defined]
        return pd.Series(values, name=self.name, copy=False)


def _fits_a_file(column: pd.Series) -> bool:
    """Whether a column comes back as it was; objects and categories stay in memory."""
    return not holds_objects(column) and kind_of_type(column.dtype) not in _NEVER_IN_A_FILE
