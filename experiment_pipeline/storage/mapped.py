"""Cells in a file that is mapped: memory holds what is read of them, and may forget it again.

What is too large for memory is an array all the same, a column, or a table with one map for each
column: `frame[name]` costs nothing, and some of its rows cost these rows. Whoever copies all columns
(`frame[mask]`, `pd.concat`, `to_numpy()`) has them in memory after all. The files lie below TMPDIR,
which must be a disk, and have no name: a kill leaves none behind, and their space, which `df` shows
and `du` does not, is free as soon as nobody holds the cells. In: cells. Out: the same, bit by bit,
locked.
"""

import io
import mmap
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from experiment_pipeline.errors import StorageUnreachable, UnusableTable
from experiment_pipeline.table.kinds import holds_objects, kind_of_type
from experiment_pipeline.table.table import Columns, Table, picked, stacked

# What is no larger need not touch a disk; a stage holds several of that size.
HELD_BYTES = 64 * 1024 * 1024
_ALIGNED = 64  # bytes, as Arrow has it
_PREFIX = "experiment_pipeline-"
_Cells = TypeVar("_Cells")


def mapped_file(write: Callable[[BinaryIO], object]) -> memoryview:
    """Return the content of a new file without a name, as a map that can only be read.

    Raises:
        StorageUnreachable: there is no place for it.
    """
    with _no_place_told(), tempfile.TemporaryFile(prefix=_PREFIX) as file:
        write(file)
        file.flush()
        # Of no bytes there is nothing to map.
        if not file.tell():
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class Aside:
    """Parts of columns of Python objects, or of any others, set aside on the disk one after another.

    Raises:
        StorageUnreachable: there is no place for them.
    """

    def __init__(self) -> None:
        with _no_place_told():
            self._file = tempfile.TemporaryFile(prefix=_PREFIX)  # noqa: SIM115 - see below
        weakref.finalize(self, self._file.close)

    def put(self, part: pd.Series) -> int:
        """Set a part aside, and return where it is.

        Raises:
            UnusableTable: an object in it is none that can be written down.
        """
        try:
            content = pickle.dumps(part, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise UnusableTable(
                f"column {part.name!r}",
                f"it holds objects that no file can keep: {error}",
                "Give its values one type, such as text, number or date.",
            ) from error
        with _no_place_told():
            place = self._file.seek(0, io.SEEK_END)
            self._file.write(content)
        return place

    def get(self, place: int) -> pd.Series:
        """Return the part that is there."""
        self._file.seek(place)
        part: pd.Series = pickle.load(self._file)  # noqa: S301 - set aside by this process
        return part


@contextmanager
def _no_place_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnreachable(
            tempfile.gettempdir(),
            f"a table on its way finds no place there: {error.strerror or error}",
            "Free some space, or name a larger folder in the variable TMPDIR.",
        ) from error


def mapped(cells: _Cells) -> _Cells:
    """Return an array, of numpy, pandas or Arrow, on a map of its cells.

    The protocol of pickle tells the large parts of a thing from how it is made of them (PEP 574):
    they go to the file, the rest never leaves memory.
    """
    parts = list[pickle.PickleBuffer]()
    made_of = io.BytesIO()
    _Pickler(made_of, protocol=5, buffer_callback=parts.append).dump(cells)
    spans = list[slice]()

    def write(file: BinaryIO) -> None:
        for part in parts:
            file.write(bytes(-file.tell() % _ALIGNED))
            start = file.tell()
            file.write(part.raw())
            spans.append(slice(start, file.tell()))

    content = mapped_file(write)
    buffers = [content[span] for span in spans]
    back: _Cells = pickle.loads(made_of.getvalue(), buffers=buffers)  # noqa: S301 - made above
    return back


def aside(cells: np.ndarray) -> np.ndarray:
    """Return an array that is read seldom: on a map where it is large."""
    return mapped(cells) if cells.nbytes > HELD_BYTES else cells


def mapped_column(column: pd.Series) -> pd.Series:
    """Return a column on a map of its cells, with row numbers for an index; objects as they are."""
    if holds_objects(column):
        return column
    values: Any = column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array
    return pd.Series(mapped(values), name=column.name, copy=False)


def mapped_frame(table: Table) -> pd.DataFrame:
    """Return a table as a DataFrame on maps; each column is had once, whole."""
    index = table.index
    if type(index) is pd.Index:
        cells = mapped_column(index.to_series())
        index = pd.Index(cells, name=index.name, copy=False)
    columns = {name: mapped_column(table[name]).set_axis(index) for name in table.columns}
    # Arrow keeps for itself what it has read the columns into.
    pa.default_memory_pool().release_unused()
    return pd.DataFrame(columns, index=index, copy=False)


def some_rows(table: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Return the rows at these positions (k,), in their order: on maps where they are large."""
    if _size([table]) * len(positions) <= HELD_BYTES * len(table):
        return table.iloc[positions]
    cells = {str(name): table[name] for name in table.columns}
    return mapped_frame(picked(Columns(table.index, cells), positions))


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of the same columns below one another: on maps where they are large."""
    return pd.concat(tables) if _size(tables) <= HELD_BYTES else mapped_frame(stacked(tables))


def joined(blocks: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return blocks (k, d) float64 below one another, an array of this shape: on a map if large."""
    if 8 * shape[0] * shape[1] <= HELD_BYTES:
        return np.concatenate(list(blocks))

    def write(file: BinaryIO) -> None:
        file.writelines(np.ascontiguousarray(block).data for block in blocks)

    return np.frombuffer(mapped_file(write)).reshape(shape)


def _size(tables: Iterable[pd.DataFrame]) -> int:
    return sum(int(table.memory_usage(index=False).sum()) for table in tables)


class _Pickler(pickle.Pickler):
    """Leaves out the cells of datetimes, too: numpy takes them for part of how a thing is made."""

    def reducer_override(self, part: Any) -> Any:
        if type(part) is np.ndarray and kind_of_type(part.dtype) in ("datetime", "duration"):
            return np.ndarray.view, (part.view(np.int64), part.dtype)
        return NotImplemented
