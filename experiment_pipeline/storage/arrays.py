"""Arrays and sparse tables as files of NumPy's format, never pickled, and so that they can be mapped.

A sparse table is its parts, one of which is named by its class and holds its shape. In: arrays.
Out: bytes by file name; and back, from bytes, or from files as locked maps of them, of which memory
holds what is read, once for all processes of a machine.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

_ENDING = ".npy"
_SPARSE = ("csr_matrix", "csr_array")


def npy(array: np.ndarray) -> bytes:
    """Return an array as a file; ValueError where it holds Python's objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def array_of(content: bytes) -> np.ndarray:
    """Return what `npy` wrote."""
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


@runtime_checkable
class InBlocks(Protocol):
    """A table (n, d) float64 that nobody holds."""

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Give its rows in order, some (k, d) at a time."""


def write_tables(tables: Mapping[str, Any], folder: Path) -> None:
    """Write tables by name, dense, sparse by rows or in blocks: no file is ever held as bytes."""
    for name, table in tables.items():
        for part, array in _parts(name, table):
            with (folder / f"{part}{_ENDING}").open("wb") as file:
                if isinstance(array, InBlocks):
                    header = {"descr": "<f8", "fortran_order": False, "shape": array.shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    file.writelines(np.ascontiguousarray(block).data for block in array.blocks())
                else:
                    np.save(file, array, allow_pickle=False)


def mapped(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return name → table, of the files that `write_tables` made, which may be removed from now on."""
    arrays = {
        name.removesuffix(_ENDING): _map(path)
        for name, path in files.items()
        if name.endswith(_ENDING)
    }
    found, parts = dict[str, Any](), set[str]()
    for name, shape in arrays.items():
        whole, _, kind = name.rpartition(".")
        if kind in _SPARSE:
            parts |= {name, *(f"{whole}.{part}" for part in ("data", "indices", "indptr"))}
            found[whole] = _sparse(kind, whole, shape, arrays)
    return found | {name: array for name, array in arrays.items() if name not in parts}


def _parts(name: str, table: Any) -> list[tuple[str, Any]]:
    from scipy.sparse import issparse

    if not issparse(table):
        return [(name, table)]
    shape = np.array(table.shape, dtype=np.int64)
    arrays = {type(table).__name__: shape, "data": table.data}
    arrays |= {"indices": table.indices, "indptr": table.indptr}
    return [(f"{name}.{part}", array) for part, array in arrays.items()]


def _sparse(kind: str, name: str, shape: np.ndarray, arrays: Mapping[str, np.ndarray]) -> Any:
    from scipy import sparse

    make: Any = sparse.csr_matrix if kind == "csr_matrix" else sparse.csr_array
    parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return make(parts, shape=tuple(shape.tolist()), copy=False)


def _map(path: Path) -> np.ndarray:
    """A plain array on the memory of the map, which an estimator may keep and store."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        # Of no cells there is nothing to map.
        return np.asarray(np.load(path, allow_pickle=False))
