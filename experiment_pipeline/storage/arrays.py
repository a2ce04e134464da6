"""Arrays and tables of numbers in NumPy's file format, which are never pickled.

A sparse table is stored as its parts, one of which is named by its class and holds its
shape.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

_NPY = ".npy"
_SPARSE, _PARTS = ("csr_matrix", "csr_array"), ("data", "indices", "indptr")


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
    """Write named tables (dense, sparse by rows, or in blocks) to files in a folder.

    No table is held as bytes.
    """
    from scipy.sparse import issparse

    arrays: dict[str, Any] = {}
    for name, table in tables.items():
        if issparse(table):
            shape = np.array(table.shape, dtype=np.int64)
            arrays[f"{name}.{type(table).__name__}"] = shape
            for part in _PARTS:
                arrays[f"{name}.{part}"] = getattr(table, part)
        else:
            arrays[name] = table
    for name, array in arrays.items():
        with (folder / f"{name}{_NPY}").open("wb") as file:
            if isinstance(array, InBlocks):
                header = {"descr": "<f8", "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for block in array.blocks():
                    file.write(np.ascontiguousarray(block).data)
            else:
                np.save(file, array, allow_pickle=False)


def read_tables(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return name → table of `write_tables`; the files may be removed afterwards."""
    from scipy import sparse

    tables = {
        name.removesuffix(_NPY): _map(path)
        for name, path in files.items()
        if name.endswith(_NPY)
    }
    for name in list(tables):
        whole, _, kind = name.rpartition(".")
        if kind in _SPARSE:
            shape = tuple(tables.pop(name).tolist())
            parts = tuple(tables.pop(f"{whole}.{part}") for part in _PARTS)
            constructor: Any = getattr(sparse, kind)
            tables[whole] = constructor(parts, shape=shape, copy=False)
    return tables


def _map(path: Path) -> Any:
    """Return a plain array (no memmap) on a map: an estimator may keep and store it."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:  # an array without cells cannot be mapped
        return np.asarray(np.load(path, allow_pickle=False))
