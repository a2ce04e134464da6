"""Encoded rows that are not held in memory: reading some of them encodes just these.

The float table of a large set takes eight bytes per cell, LightGBM's bins take one. So a table that
LightGBM alone reads is encoded slice by slice, binned and dropped. Encoding works row by row: the
numbers are the same however the rows are sliced. In: how to encode some rows. Out: what reads like
an array of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from experiment_pipeline.storage.mapped import joined
from experiment_pipeline.table.digests import mixed, salt_number
from experiment_pipeline.table.table import slices

# Up to so many rows a table is encoded at once and held. LightGBM looks at as many for its bins.
HELD_ROWS = 200_000
# Of 15 columns 8 MB; smaller ones take longer, as each costs the start of every transformer.
ROWS_OF_A_SLICE = 65_536
_SALT = salt_number("rows to make bins of")


@dataclass(frozen=True, eq=False)
class SlicedTable:
    """A table (n, d) float64 that encodes the rows that are read, at each read.

    Attributes:
        encode: positions (m,) of rows → (m, d) float64.
        positions: int32 (n,), of its rows among those that `encode` knows.
        columns: d.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    positions: np.ndarray
    columns: int

    @classmethod
    def of(cls, encode: Callable[[np.ndarray], np.ndarray], rows: int) -> Self:
        """Return all rows that are known, of which there is one at least."""
        positions = np.arange(rows, dtype=np.int32)
        return cls(encode, positions, encode(positions[:1]).shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""
        return len(self.positions), self.columns

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Encode rows, given as an array is indexed by them: (m, d), of which no two share memory."""
        wanted = self.positions[rows]
        read = np.empty((len(wanted), self.columns))
        for start in range(0, len(wanted), ROWS_OF_A_SLICE):
            stop = start + ROWS_OF_A_SLICE
            read[start:stop] = self.encode(wanted[start:stop])
        return read

    def held(self) -> np.ndarray:
        """Encode all rows, once: an array, on a map where it is large."""
        return joined(self.blocks(), self.shape)

    def blocks(self) -> Iterator[np.ndarray]:
        """Encode all rows, some at a time, in order: (k, d)."""
        return (self[rows] for rows in slices(len(self), ROWS_OF_A_SLICE))

    def part(self, rows: np.ndarray) -> Self:
        """Return the table of some rows, bool (n,); nothing is encoded."""
        return replace(self, positions=self.positions[rows])

    @property
    def outline(self) -> np.ndarray:
        """Zeros of this shape, which take no memory, for code that needs the shape alone."""
        return np.broadcast_to(np.zeros(1), self.shape)


class InTurn:
    """Rows as LightGBM asks for them: some one by one, to make bins of, and then all in slices.

    LightGBM draws other rows to make bins of for each kind of table. So whichever row it asks for, it
    is given the next of `sampled`.
    """

    batch_size = ROWS_OF_A_SLICE

    def __init__(self, table: Any, sampled: Sequence[int] | np.ndarray) -> None:
        """Give the rows of a table (n, d), and positions of those to make bins of."""
        self._table = table
        self._sampled = iter(table[sampled])

    def __len__(self) -> int:
        return int(self._table.shape[0])

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return (m, d) for a slice, else one row (d,)."""
        if isinstance(rows, slice):
            return np.ascontiguousarray(self._table[rows])
        return next(self._sampled)


def rows_for_bins(rows: int, count: int) -> np.ndarray:
    """Draw the rows that bins are made of: the same for every configuration, seed and machine.

    A hash draws one row of each of `count` equal stretches of the table.

    Returns:
        int64 (count,), ascending; all rows where there are no more.
    """
    if rows <= count:
        return np.arange(rows)
    bounds = np.arange(count + 1) * rows // count
    drawn = mixed(np.arange(count, dtype=np.uint64) ^ _SALT) % np.diff(bounds).astype(np.uint64)
    return bounds[:-1] + drawn.astype(np.int64)
