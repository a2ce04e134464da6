"""Hashes of values and rows, digests of tables and files: the same for equal content on
every machine.

A value has the same hash in every column type (5, 5.0 and a nullable 5). Sources:
SipHash-2-4 for texts (Aumasson and Bernstein 2012, as `pandas.util.hash_array` computes
it), the finalizer of SplitMix64 for mixing (Steele, Lea and Flood 2014).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import (
    holds_objects,
    kind_of_type,
    microseconds,
    numbers_of,
)
from experiment_pipeline.table.table import slices

MISSING = np.uint64(0x9E3779B97F4A7C15)
FRACTIONAL = np.uint64(0xD1B54A32D192ED03)
# pandas' hash of a missing text.
_MISSING_CELL = np.uint64(np.iinfo(np.uint64).max)
INDEX = "row_number"


def row_hashes(
    frame: pd.DataFrame,
    columns: Sequence[str],
    salt: str,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Hash the named columns of every row, or of rows at positions (k,): uint64.

    Hashes of two salts are independent. Among a million rows, the probability that any
    two different ones share a hash is 3e-8.
    """
    total = np.zeros(len(frame) if rows is None else len(rows), dtype=np.uint64)
    for column in columns:
        cells = frame[column] if rows is None else frame[column].iloc[rows]
        total += column_part(cells, column, salt)
    return mixed(total)


def column_part(values: pd.Series, name: str, salt: str) -> np.ndarray:
    """Return one column's summand of the hashes of rows before `mixed`: uint64 (n,)."""
    number = salt_number(f"{salt}/{name}")
    return _by_slices(values, lambda part: mixed(_value_hashes(part) ^ number))


def value_hashes(column: pd.Series) -> np.ndarray:
    """Hash each value of one column, without a salt: uint64 (n,)."""
    return _by_slices(column, _value_hashes)


def _by_slices(
    column: pd.Series, hashed: Callable[[pd.Series], np.ndarray]
) -> np.ndarray:
    hashes = np.empty(len(column), dtype=np.uint64)
    for rows in slices(len(column)):
        hashes[rows] = hashed(column.iloc[rows])
    return hashes


def _value_hashes(column: pd.Series) -> np.ndarray:
    kind = kind_of_type(column.dtype)
    if kind == "category":
        of_categories = _value_hashes(pd.Series(column.cat.categories))
        return np.append(of_categories, MISSING)[column.cat.codes]
    if kind == "datetime":
        return np.where(column.isna(), MISSING, microseconds(column).view(np.uint64))
    if kind in ("integer", "boolean"):
        whole = column.to_numpy(dtype=np.int64, na_value=0).view(np.uint64)
        return np.where(column.isna().to_numpy(), MISSING, whole)
    # Whole ones as integers: a missing value elsewhere makes integers floats.
    if kind == "float":
        values = numbers_of(column)
        is_whole = (np.abs(values) < 2.0**63) & (values == np.floor(values))
        whole = np.where(is_whole, values, 0).astype(np.int64).view(np.uint64)
        hashes = np.where(is_whole, whole, values.view(np.uint64) ^ FRACTIONAL)
        return np.where(np.isnan(values), MISSING, hashes)
    return _texts(as_text(column), MISSING)


def _texts(texts: pd.Series, missing: np.uint64) -> np.ndarray:
    """Hash each text as pandas does, each distinct one once."""
    codes, distinct = pd.factorize(texts)
    cells = np.asarray(distinct, dtype=object)
    of_distinct = pd.util.hash_array(cells, categorize=False)
    return np.append(of_distinct, missing)[codes]


def uniform(hashes: np.ndarray) -> np.ndarray:
    """Turn hashes into uniformly distributed numbers in [0, 1): float64 (n,)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mixed(values: np.ndarray) -> np.ndarray:
    """Mix numbers into all 64 bits, one-to-one: uint64 (n,)."""
    spread = np.empty_like(values)
    for rows in slices(len(values)):
        bits = values[rows]
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        spread[rows] = bits ^ (bits >> np.uint64(31))
    return spread


def repeated(hashes: np.ndarray) -> np.ndarray:
    """Return which hashes (n,) occur more than once: bool (n,)."""
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return np.zeros(len(hashes), dtype=bool)
    return pd.Series(hashes, copy=False).isin(distinct(twice)).to_numpy()


def distinct(hashes: np.ndarray) -> np.ndarray:
    """Return the sorted distinct hashes; `numpy.unique` takes ten times the memory."""
    ordered = np.sort(hashes)
    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]


def salt_number(text: str) -> np.uint64:
    """Turn a salt into a number."""
    digest = hashlib.sha256(text.encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


class TableDigest:
    """The digest of a table, built column by column, with an index `row_number`."""

    def __init__(self, index: pd.Index) -> None:
        self._digest = hashlib.sha256(f"{len(index)} rows".encode())
        if index.name == INDEX:
            self.add(INDEX, index.dtype, cell_hashes(index.to_series()))

    def add(self, name: object, dtype: object, hashes: np.ndarray) -> None:
        """Add the next column, whose cells have these hashes: uint64 (n,)."""
        # repr quotes the names: unquoted, different ones could give the same text.
        self._digest.update(f"\n{name!r} {dtype}\n".encode())
        self._digest.update(np.ascontiguousarray(hashes, dtype="<u8").data)

    def hexdigest(self) -> str:
        """Return the digest of the columns so far: 64 hex digits."""
        return self._digest.hexdigest()


def table_digest(frame: pd.DataFrame) -> str:
    """Return the sha256 (hex) over columns, types and values, in order.

    An index that is named `row_number` is included.
    """
    digest = TableDigest(frame.index)
    for position, name in enumerate(frame.columns):
        column = frame.iloc[:, position]
        digest.add(name, column.dtype, cell_hashes(column))
    return digest.hexdigest()


def rows_digest(frame: pd.DataFrame) -> str:
    """Return the digest of a table in its order of rows, without row numbers."""
    return table_digest(frame.reset_index(drop=True))


def cell_hashes(column: pd.Series) -> np.ndarray:
    """Hash each cell of a column as `table_digest` does: uint64 (n,)."""
    if kind_of_type(column.dtype) == "text" and not holds_objects(column):
        return _by_slices(column, lambda part: _texts(part, _MISSING_CELL))
    try:
        # As a whole: what else is in a column of objects changes how a cell is hashed.
        if holds_objects(column):
            return _as_pandas(column)
        return _by_slices(column, _as_pandas)
    except TypeError:  # pandas cannot hash lists and mappings
        return _as_pandas(column.map(written).astype(object))


def _as_pandas(column: pd.Series) -> np.ndarray:
    return pd.util.hash_pandas_object(column, index=False).to_numpy()


def written(cell: Any) -> str:
    """Return a canonical text of a value.

    The same for Python and NumPy lists, and for any order of mappings and sets.
    """
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        pairs = [f"{written(key)}:{written(cell[key])}" for key in cell]
        return f"{{{','.join(sorted(pairs))}}}"
    if isinstance(cell, set | frozenset):
        return f"<{','.join(sorted(map(written, cell)))}>"
    if isinstance(cell, list | tuple):
        return f"[{','.join(map(written, cell))}]"
    # Beside a missing value, pandas reads whole numbers in mappings as floats.
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "missing" if pd.isna(cell) else repr(cell)


def sha256(content: bytes | memoryview) -> str:
    """Return the sha256 of some bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
