"""The digest of a table: two tables have the same one exactly when a reader sees no difference.

Used as data version and to notice that somebody replaced a table. Not for files or models.
"""

import hashlib

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


def _add(digest: "hashlib._Hash", name: object, column: pd.Series) -> None:
    # repr keeps the names apart: their texts alone could run into each other.
    digest.update(f"\n{name!r} {column.dtype}\n".encode())
    hashes = pd.util.hash_pandas_object(column, index=False).to_numpy()
    digest.update(np.ascontiguousarray(hashes, dtype="<u8").data)
