"""The digest of a table: two tables have the same one exactly when a reader sees no difference.

Used as data version and to notice that somebody replaced a table. Not for files or models.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

INDEX = "row_number"


def table_digest(frame: pd.DataFrame) -> str:
    """sha256 (hex, 64 characters) over columns, types and values, in order.

    The same in every process and however the table is chunked or stored. Sensitive to the order
    of rows and columns. The index counts when it is named `row_number`, else it does not.
    """
    digest = hashlib.sha256(f"{len(frame)} rows".encode())
    if frame.index.name == INDEX:
        _add(digest, INDEX, frame.index.to_series())
    for position, name in enumerate(frame.columns):
        _add(digest, name, frame.iloc[:, position])
    return digest.hexdigest()


def rows_digest(frame: pd.DataFrame) -> str:
    """Return the digest of a table whatever its rows are numbered: their order still counts."""
    return table_digest(frame.reset_index(drop=True))


def _add(digest: "hashlib._Hash", name: object, column: pd.Series) -> None:
    # repr keeps the names apart: their texts alone could run into each other.
    digest.update(f"\n{name!r} {column.dtype}\n".encode())
    try:
        hashes = pd.util.hash_pandas_object(column, index=False).to_numpy()
    except TypeError:  # pandas cannot hash lists and mappings
        texts = column.map(_written).astype(object)
        hashes = pd.util.hash_pandas_object(texts, index=False).to_numpy()
    digest.update(np.ascontiguousarray(hashes, dtype="<u8").data)


def _written(cell: Any) -> str:
    """One text per value, whether a list is Python's or numpy's, in whatever order a mapping is."""
    if isinstance(cell, np.ndarray | np.generic):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return f"{{{','.join(sorted(f'{_written(k)}:{_written(v)}' for k, v in cell.items()))}}}"
    if isinstance(cell, set | frozenset):
        return f"<{','.join(sorted(map(_written, cell)))}>"
    if isinstance(cell, list | tuple):
        return f"[{','.join(map(_written, cell))}]"
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # as pandas reads whole numbers of mappings beside a missing one
    return "missing" if pd.isna(cell) else repr(cell)


def sha256(content: bytes) -> str:
    """Return the sha256 of some bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
