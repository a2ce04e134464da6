"""Spill arrays and tables to memory-mapped files: only what is read is in memory, and
the OS can drop it.

Data beyond memory is still an ordinary array, column or DataFrame, with one map per
column. Operations that copy all columns at once (`frame[mask]`, `pd.concat`,
`to_numpy()`) need memory for all of them. The files are in TMPDIR, which must be on a
disk, and are unnamed: a killed process leaves none behind. Stored arrays have NumPy's
format and are never pickled; a sparse table is stored as its parts, one of which is
named by its class and holds its shape.
"""

import errno
import io
import itertools
import mmap
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
import pyarrow as pa

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.files import Location, explained, open_file
from experiment_pipeline.table.kinds import holds_objects, kind_of_type
from experiment_pipeline.table.table import Cells, kept_index, of_columns, rows_at

# Tables, arrays and files up to the first size stay in memory, and single columns up to
# the second.
HELD_BYTES = 64 * 1024 * 1024
COLUMN_BYTES = 4 * 1024 * 1024
_ALIGNED = 64  # bytes, as Arrow aligns
_CHUNK_BYTES = 16 * 1024 * 1024
_NPY = ".npy"
_SPARSE, _PARTS = ("csr_matrix", "csr_array"), ("data", "indices", "indptr")
_Thing = TypeVar("_Thing")


def mapped_file(write: Callable[[BinaryIO], object]) -> memoryview:
    """Return a read-only map of a temporary file that `write` fills;
    StorageUnreachable: disk full.
    """
    try:
        with tempfile.TemporaryFile(prefix="experiment_pipeline-") as file:
            write(file)
            file.flush()
            # An empty file cannot be mapped.
            if not file.tell():
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        # Errors without a number are not from the OS, such as that of a damaged gzip
        # stream.
        if error.errno is None:
            raise
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        rule = f"there is no space for a temporary table: {error.strerror or error}"
        fix = "Free some space, or name a larger folder in the variable TMPDIR."
        raise StorageUnreachable(tempfile.gettempdir(), rule, fix) from error


def gathered(stream: BinaryIO, check: Callable[[int], object]) -> bytes | memoryview:
    """Return the rest of a stream, on a map if it is large; `check` is called with the
    size so far.
    """
    start = stream.read(HELD_BYTES + 1)
    if len(start) <= HELD_BYTES:
        return start

    def write(file: BinaryIO) -> None:
        chunk = start
        while chunk:
            file.write(chunk)
            check(file.tell())
            chunk = stream.read(_CHUNK_BYTES)

    return mapped_file(write)


def read_mapped(paths: Sequence[Location]) -> list[memoryview]:
    """Return the content of local or remote files on one map; StorageUnreachable as in
    `mapped_file`.
    """
    ends = [0]

    def write(file: BinaryIO) -> None:
        for path in paths:
            source = open_file(path)
            while True:
                with explained(path):
                    chunk = source.read(_CHUNK_BYTES)
                if not chunk:
                    break
                file.write(chunk)
            ends.append(file.tell())

    content = mapped_file(write)
    return [content[start:end] for start, end in pairwise(ends)]


def batches_as_table(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Concatenate batches of one schema to a table, on a map if they are large."""
    held, size = list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > HELD_BYTES:
            break
    else:
        return pa.Table.from_batches(held, schema)

    def write(file: BinaryIO) -> None:
        with pa.ipc.new_file(file, schema) as writer:
            for batch in itertools.chain(held, batches):
                writer.write_batch(batch)

    # The columns are views into the map.
    with pa.ipc.open_file(pa.py_buffer(mapped_file(write))) as reader:
        return reader.read_all()


def mapped(cells: _Thing) -> _Thing:
    """Return arrays of NumPy, pandas or Arrow (one, or a list) with their cells on a
    map.

    Pickle separates the large buffers of an object from the rest (PEP 574), which stays
    in memory.
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
    return pickle.loads(made_of.getvalue(), buffers=buffers)  # noqa: S301 - made above


class _Pickler(pickle.Pickler):
    """Also separates the cells of datetimes, which NumPy would pickle inline."""

    def reducer_override(self, part: Any) -> Any:
        if type(part) is np.ndarray and kind_of_type(part.dtype) in (
            "datetime",
            "duration",
        ):
            return np.ndarray.view, (part.view(np.int64), part.dtype)
        return NotImplemented


def aside(cells: np.ndarray) -> np.ndarray:
    """Return a rarely read array, on a map if it is large."""
    return mapped(cells) if cells.nbytes > HELD_BYTES else cells


def spilled(cells: Cells) -> Cells:
    """Return a column or table on a map if it is large; columns of Python objects stay
    in memory.
    """
    if isinstance(cells, pd.DataFrame):
        return on_map(cells) if _size([cells]) > COLUMN_BYTES else cells  # pyrefly: ignore[bad-return]
    if holds_objects(cells) or cells.memory_usage(index=False) <= COLUMN_BYTES:
        return cells
    column = pd.Series(mapped(_array(cells)), cells.index, name=cells.name, copy=False)
    # Otherwise Arrow would keep the memory into which it read the column.
    pa.default_memory_pool().release_unused()
    return column  # pyrefly: ignore[bad-return] - a Series was given


def on_map(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with all columns on one map, except columns of objects."""
    own = {str(name): table[name] for name in table.columns}
    plain = [name for name in own if not holds_objects(own[name])]
    arrays = mapped([_array(own[name]) for name in plain])
    columns = {
        name: pd.Series(one, copy=False)
        for name, one in zip(plain, arrays, strict=True)
    }
    return of_columns({name: columns.get(name, own[name]) for name in own}, table.index)


def _array(column: pd.Series) -> Any:
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def some_rows(table: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Return the rows at these positions (k,), in this order, on maps if they are
    large.
    """
    if _size([table]) * len(positions) <= HELD_BYTES * len(table):
        return table.iloc[positions]
    return rows_at(table, positions, spilled)


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables with the same columns, on maps if they are large."""
    if _size(tables) <= HELD_BYTES:
        return pd.concat(tables)
    names = map(str, tables[0].columns)
    columns = {
        name: spilled(pd.concat([one[name] for one in tables])) for name in names
    }
    first, *others = tables
    return of_columns(
        columns, kept_index(first.index.append([t.index for t in others]), spilled)
    )


def joined(blocks: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Concatenate blocks (k, d) float64 to an array of this shape, on a map if it is
    large.
    """
    if 8 * shape[0] * shape[1] <= HELD_BYTES:
        return np.concatenate(list(blocks))

    def write(file: BinaryIO) -> None:
        file.writelines(np.ascontiguousarray(block).data for block in blocks)

    return np.frombuffer(mapped_file(write)).reshape(shape)


def _size(tables: Iterable[pd.DataFrame]) -> int:
    return sum(int(table.memory_usage(index=False).sum()) for table in tables)


def npy(array: np.ndarray) -> bytes:
    """Return an array as the bytes of an .npy file; ValueError for Python objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def array_of(content: bytes) -> np.ndarray:
    """Return the array that `npy` wrote."""
    return np.load(io.BytesIO(content), allow_pickle=False)


@runtime_checkable
class InBlocks(Protocol):
    """A table (n, d) float64 that is never in memory as a whole."""

    @property
    def shape(self) -> tuple[int, int]:
        """As for an array."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield its rows in order, in blocks (k, d)."""


def write_tables(tables: Mapping[str, Any], folder: Path) -> None:
    """Write named tables (dense, sparse by rows, or in blocks) to files, never holding
    one as bytes.
    """
    from scipy.sparse import issparse

    arrays = dict[str, Any]()
    for name, table in tables.items():
        if issparse(table):
            arrays[f"{name}.{type(table).__name__}"] = np.array(
                table.shape, dtype=np.int64
            )
            arrays |= {f"{name}.{part}": getattr(table, part) for part in _PARTS}
        else:
            arrays[name] = table
    for name, array in arrays.items():
        with (folder / f"{name}{_NPY}").open("wb") as file:
            if isinstance(array, InBlocks):
                header = {"descr": "<f8", "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, header)
                file.writelines(
                    np.ascontiguousarray(block).data for block in array.blocks()
                )
            else:
                np.save(file, array, allow_pickle=False)


def read_tables(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return name → table from files of `write_tables`; the files may be removed
    afterwards.
    """
    from scipy import sparse

    found = {
        name.removesuffix(_NPY): _map(path)
        for name, path in files.items()
        if name.endswith(_NPY)
    }
    for name in list(found):
        whole, _, kind = name.rpartition(".")
        if kind in _SPARSE:
            parts = tuple(found.pop(f"{whole}.{part}") for part in _PARTS)
            make: Any = getattr(sparse, kind)
            found[whole] = make(
                parts, shape=tuple(found.pop(name).tolist()), copy=False
            )
    return found


def _map(path: Path) -> Any:
    """A plain array (no memmap) on a map, so that an estimator may keep and
    store it.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        # An array without cells cannot be mapped.
        return np.asarray(np.load(path, allow_pickle=False))
