"""Operations on large tables, whose large columns lie on memory maps.

A map is an ordinary array, column or DataFrame of which only what is read is in memory,
and which the operating system may drop again. `frame[mask]`, `pd.concat` and
`to_numpy()` copy all columns at once, so the functions here make one column at a time.
The files are in TMPDIR, which must be on a disk, and have no name: a killed process
leaves none behind.
"""

import errno
import io
import mmap
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.table.kinds import (
    Type,
    holds_missing,
    holds_objects,
    kind_of_type,
)

Cells = TypeVar("Cells", pd.Series, pd.Index, np.ndarray)
Mapped = TypeVar("Mapped")

# Rows processed at a time: intermediate results may be ten times as large as the cells.
SLICE_ROWS = 262_144
# Tables and files up to the first size stay in memory, and columns up to the second.
HELD_BYTES = 64 * 1024 * 1024
COLUMN_BYTES = 4 * 1024 * 1024
_ALIGNED = 64  # bytes, as Arrow aligns


def mapped_file(write: Callable[[BinaryIO], object]) -> memoryview:
    """Return a read-only map of a temporary file that `write` fills.

    Raises StorageUnreachable: the disk is full; MemoryError: no room for the map.
    """
    try:
        with tempfile.TemporaryFile(prefix="experiment_pipeline-") as file:
            write(file)
            file.flush()
            if not file.tell():
                return memoryview(b"")  # an empty file cannot be mapped
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        # An error without a number is not of the system, such as of a damaged stream.
        if error.errno is None:
            raise
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        raise StorageUnreachable(
            tempfile.gettempdir(),
            f"there is no space for a temporary table: {error.strerror or error}",
            "Free some space, or name a larger folder in the variable TMPDIR.",
        ) from error


class _Pickler(pickle.Pickler):
    """Also separates the cells of datetimes, which NumPy would pickle inline."""

    def reducer_override(self, part: Any) -> Any:
        if type(part) is np.ndarray and kind_of_type(part.dtype) in (
            "datetime",
            "duration",
        ):
            return np.ndarray.view, (part.view(np.int64), part.dtype)
        return NotImplemented


def mapped(arrays: Mapped) -> Mapped:
    """Return an array of NumPy, pandas or Arrow, or a list of them, on a map.

    Pickle separates the large buffers of an object from the rest (PEP 574).
    """
    buffers: list[pickle.PickleBuffer] = []
    without_buffers = io.BytesIO()
    pickler = _Pickler(without_buffers, protocol=5, buffer_callback=buffers.append)
    pickler.dump(arrays)
    spans: list[slice] = []

    def write(file: BinaryIO) -> None:
        for buffer in buffers:
            file.write(bytes(-file.tell() % _ALIGNED))
            start = file.tell()
            file.write(buffer.raw())
            spans.append(slice(start, file.tell()))

    content = mapped_file(write)
    on_map = [content[span] for span in spans]
    return pickle.loads(without_buffers.getvalue(), buffers=on_map)  # noqa: S301 - made above


def spilled(cells: Cells) -> Cells:
    """Return a column, row numbers or an array, on a map if they are large.

    Columns of Python objects stay in memory.
    """
    array: Any = _array(cells)
    ranged = isinstance(cells, pd.RangeIndex | pd.MultiIndex)
    if ranged or holds_objects(array) or array.nbytes <= COLUMN_BYTES:
        return cells
    array = mapped(array)
    # Otherwise Arrow would keep the memory into which it read the column.
    pa.default_memory_pool().release_unused()
    if isinstance(cells, pd.Series):
        array = pd.Series(array, cells.index, name=cells.name, copy=False)
    if isinstance(cells, pd.Index):
        array = pd.Index(array, name=cells.name, copy=False)
    return array


def on_map(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with all columns on one map, except columns of objects."""
    plain = {
        str(name): _array(column)
        for name, column in table.items()
        if not holds_objects(column)
    }
    columns = dict(zip(plain, mapped([*plain.values()]), strict=True))
    return with_columns(
        table, {name: pd.Series(array, copy=False) for name, array in columns.items()}
    )


def _array(cells: pd.Series | pd.Index | np.ndarray) -> Any:
    if isinstance(cells, np.ndarray):
        return cells
    return cells.to_numpy() if isinstance(cells.dtype, np.dtype) else cells.array


def slices(rows: int, size: int = SLICE_ROWS) -> Iterator[slice]:
    """Cut this many rows into slices of `size`; zero rows give one empty slice."""
    return (slice(start, start + size) for start in range(0, max(rows, 1), size))


def of_columns(columns: Mapping[str, pd.Series], index: pd.Index) -> pd.DataFrame:
    """Return a table of columns (n,) under this index; nothing is copied."""
    cells = {name: column.set_axis(index) for name, column in columns.items()}
    return pd.DataFrame(cells, index=index, copy=False)


def with_only(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the table with these columns alone; `table[names]` would copy numbers."""
    return of_columns({name: table[name] for name in names}, table.index)


def with_columns(table: pd.DataFrame, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return the table with some columns replaced, or added behind the others."""
    # `assign` warns about fragmented tables, whose columns were added one at a time.
    before = {str(name): column for name, column in table.items()}
    return of_columns({**before, **columns}, table.index)


def some_rows(table: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Return the rows at these positions (k,), in order, on maps if they are large."""
    if _size([table]) * len(positions) <= HELD_BYTES * len(table):
        return table.iloc[positions]
    columns = {
        str(name): spilled(column.iloc[positions].reset_index(drop=True))
        for name, column in table.items()
    }
    return of_columns(columns, spilled(table.index[positions]))


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables with the same columns, on maps if they are large."""
    if _size(tables) <= HELD_BYTES:
        return pd.concat(tables)
    first, *later = tables
    columns = {
        str(name): spilled(pd.concat([table[name] for table in tables]))
        for name in first.columns
    }
    index = first.index.append([table.index for table in later])
    return of_columns(columns, spilled(index))


def _size(tables: Iterable[pd.DataFrame]) -> int:
    return sum(int(table.memory_usage(index=False).sum()) for table in tables)


def joined(blocks: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Concatenate blocks (k, d) float64 to an array (n, d), on a map if it is large."""
    if 8 * shape[0] * shape[1] <= HELD_BYTES:
        return np.concatenate(list(blocks))

    def write(file: BinaryIO) -> None:
        file.writelines(np.ascontiguousarray(block).data for block in blocks)

    return np.frombuffer(mapped_file(write)).reshape(shape)


def one_below_another(parts: Sequence[pd.Series]) -> pd.Series:
    """Concatenate the parts of a column (n,), with the type that the whole would have.

    A part without values does not affect the type if that type can hold missing values.
    """
    deciding = [part for part in parts if part.notna().any()] or parts
    dtype = _type_of_all(deciding)
    if len(deciding) < len(parts) and not holds_missing(dtype):
        dtype = _type_of_all(parts)
    return pd.concat([part.astype(dtype) for part in parts], ignore_index=True)


def _type_of_all(parts: Sequence[pd.Series]) -> Type:
    types_of_parts = {part.dtype for part in parts}
    if len(types_of_parts) > 1 and {*map(kind_of_type, types_of_parts)} == {"category"}:
        categoricals = [pd.Categorical(part) for part in parts]
        return types.union_categoricals(categoricals, sort_categories=True).dtype
    return pd.concat([part.iloc[:0] for part in parts]).dtype


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings for JSON and SQL, None for missing."""
    present = frame.astype(object).where(frame.notna(), None)
    rows: list[Any] = present.to_dict("records")
    return rows
