"""Columns on their way from one stage to the next: in memory as long as they are few, else on a disk.

A shelf is a mapping from names to columns, for one process and a while. What is on the disk is mapped
(`mapped.py`): it can be had whole, or its rows in batches with those of the other columns. What stays
is written by `tables.py`. In: columns. Out: the same columns: values, types, bit by bit.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pandas as pd
import pyarrow as pa

from experiment_pipeline.storage.mapped import HELD_BYTES, Aside, mapped_column, mapped_file
from experiment_pipeline.table.kinds import holds_objects
from experiment_pipeline.table.table import Place, one_below_another, slices

# Rows of a batch, and of a row group: of twenty numbers each, some 40 MB.
BATCH_ROWS = 262_144


class Shelf(Place):
    """Columns of one table, all with as many rows.

    Args:
        most_bytes: how much of it stays in memory; the columns that come later go to the disk.
        batch_rows: rows of a batch.
    """

    def __init__(self, most_bytes: int = HELD_BYTES, batch_rows: int = BATCH_ROWS) -> None:
        self.batch_rows = batch_rows
        self._left = most_bytes
        self._held: dict[str, pd.Series | _Parts] = {}

    def __setitem__(self, name: str, column: pd.Series) -> None:
        """Put a column on the shelf, behind the others; errors as of `Aside`."""
        size = column.memory_usage(index=False, deep=True)
        if size <= self._left:
            self._left -= size
            self._held[name] = column
        elif holds_objects(column):
            aside = Aside()
            rows = slices(len(column), self.batch_rows)
            places = [aside.put(column.iloc[some].reset_index(drop=True)) for some in rows]
            self._held[name] = _Parts(aside, places)
        else:
            self._held[name] = mapped_column(column)

    def __getitem__(self, name: str) -> pd.Series:
        """Return a column."""
        held = self._held[name]
        return held if isinstance(held, pd.Series) else held.column()

    def hold(self, batches: Iterable[pd.DataFrame]) -> None:
        """Hold the columns of a table that comes in batches, when all came, instead of the others.

        Errors are those of `Aside`; where they differ, the types of a column are made one.
        """
        aside, places = Aside(), dict[str, list[int]]()
        for batch in batches:
            for name, part in batch.items():
                places.setdefault(str(name), []).append(aside.put(part.reset_index(drop=True)))
        self.clear()
        for name, own in places.items():
            self[name] = _Parts(aside, own).column()

    def __delitem__(self, name: str) -> None:
        """Take a column from the shelf."""
        del self._held[name]

    def __iter__(self) -> Iterator[str]:
        """Name the columns."""
        return iter(self._held)

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        """Tell whether a column is there."""
        return name in self._held

    def spooled(self, batches: Iterable[pa.RecordBatch]) -> "_Spooled":
        """Put batches aside on the disk, to have their columns back one at a time."""
        waiting, rows = iter(batches), 0
        first = next(waiting, None)
        if first is None:
            raise pa.ArrowInvalid("there are no rows")

        def write(file: BinaryIO) -> None:
            nonlocal rows
            with pa.ipc.new_file(file, first.schema) as writer:
                for batch in itertools.chain([first], waiting):
                    writer.write_batch(batch)
                    rows += batch.num_rows

        content = mapped_file(write)
        return _Spooled(pa.py_buffer(content), rows, first.schema.names)

    def batches(self, index: pd.Index) -> Iterator[pd.DataFrame]:
        """Give the rows of all columns in batches, under this index; of no rows one empty batch."""
        for number, rows in enumerate(slices(len(index), self.batch_rows)):
            labels = index[rows]
            cells = {
                name: held.iloc[rows] if isinstance(held, pd.Series) else held.part(number)
                for name, held in self._held.items()
            }
            cells = {name: part.set_axis(labels) for name, part in cells.items()}
            yield pd.DataFrame(cells, index=labels, copy=False)


@dataclass(frozen=True)
class _Parts:
    """A column whose parts are set aside, and where."""

    aside: Aside
    places: list[int]

    def part(self, number: int) -> pd.Series:
        return self.aside.get(self.places[number])

    def column(self) -> pd.Series:
        return one_below_another([self.aside.get(place) for place in self.places])


@dataclass(frozen=True)
class _Spooled:
    content: pa.Buffer
    rows: int
    names: list[str]

    def column(self, name: str) -> pa.ChunkedArray:
        # All columns are views of the map, which cost nothing; one picked by the reader is copied.
        with pa.ipc.open_file(self.content) as reader:
            return reader.read_all().column(self.names.index(name))
