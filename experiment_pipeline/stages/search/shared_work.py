"""What the fits of a sweep share: encoded tables, targets, and tables that a library
made of them.

Any number of threads may read it; arrays are read-only.

The float table of a large set takes eight bytes per cell, LightGBM's bins take one. So
a table that LightGBM alone reads is a `SlicedTable`: it is encoded slice by slice,
binned and dropped.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from experiment_pipeline.spec import Features
from experiment_pipeline.statistics.interval import Weights
from experiment_pipeline.table.membership import FoldRows
from experiment_pipeline.table.table import joined, slices

# Up to so many rows a table is encoded at once and held. LightGBM looks at as many for
# its bins.
HELD_ROWS = 200_000
# Of 15 columns 8 MB; smaller ones take longer, as each costs the start of every
# transformer.
ROWS_OF_A_SLICE = 65_536


@dataclass(frozen=True, eq=False)
class SlicedTable:
    """A table (n, d) float64 that is not held in memory: each read encodes the rows it
    asks for.
    """

    # positions (m,) of rows → (m, d) float64
    encode: Callable[[np.ndarray], np.ndarray]
    positions: np.ndarray  # int32 (n,), of its rows among those that `encode` knows
    columns: int  # d

    @classmethod
    def of(cls, encode: Callable[[np.ndarray], np.ndarray], rows: int) -> Self:
        """Return the table of all rows that `encode` knows; there is at least one."""
        positions = np.arange(rows, dtype=np.int32)
        return cls(encode, positions, encode(positions[:1]).shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""
        return len(self.positions), self.columns

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Encode rows, indexed like those of an array: (m, d), a new array at each
        read.
        """
        positions = self.positions[rows]
        encoded = np.empty((len(positions), self.columns))
        for start in range(0, len(positions), ROWS_OF_A_SLICE):
            part = slice(start, start + ROWS_OF_A_SLICE)
            encoded[part] = self.encode(positions[part])
        return encoded

    def __reduce__(self) -> tuple[Any, tuple[np.ndarray]]:
        """Arrive in another process as an array."""
        return np.asarray, (self.held(),)

    def held(self) -> np.ndarray:
        """Encode all rows once, into an array that is memory-mapped if it is large."""
        return joined(self.blocks(), self.shape)

    def blocks(self) -> Iterator[np.ndarray]:
        """Encode all rows in order, block by block: (k, d)."""
        return (self[rows] for rows in slices(len(self), ROWS_OF_A_SLICE))

    def part(self, rows: np.ndarray) -> Self:
        """Return the table of some rows, bool (n,); nothing is encoded."""
        return replace(self, positions=self.positions[rows])


class Kept:
    """A cache of the `most` things that were used last, by name; one is made
    at a time.
    """

    def __init__(self, most: int) -> None:
        self._most, self._things = most, OrderedDict[Hashable, Any]()
        self._turn = threading.Lock()

    def __reduce__(self) -> tuple[type, tuple[int]]:
        """Arrive empty in another process."""
        return type(self), (self._most,)

    def get(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """Return a thing, made if it is missing; after an error the next call tries
        again.
        """
        with self._turn:
            if name not in self._things:
                # Make room first: memory may not hold one more large thing.
                while len(self._things) >= self._most:
                    self._things.popitem(last=False)
                self._things[name] = make()
            self._things.move_to_end(name)
            return self._things[name]


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Encoded rows with their targets, for a model to be fitted on."""

    # (n, d) float64, dense or sparse, or a `SlicedTable` of it; objects of `columns`
    table: Any
    y: np.ndarray  # (n,) class codes or floats
    categorical: list[int]  # columns that are codes of categories
    weights: Weights = None  # (n,) how much each row counts; None = all alike
    directions: list[int] | None = None  # (d,) by `features.directions`
    frame_step: Any = None  # of `features.frame_step`
    # The table that a library made last of them, for the next fit that needs the same.
    library_table: Kept = field(default_factory=lambda: Kept(1), init=False, repr=False)

    def part(self, rows: np.ndarray) -> Self:
        """Return the part with these rows, bool (n,)."""
        weights = None if self.weights is None else self.weights[rows]
        sliced = isinstance(self.table, SlicedTable)
        table = self.table.part(rows) if sliced else self.table[rows]
        return replace(self, table=table, y=self.y[rows], weights=weights)


@dataclass(frozen=True, eq=False)
class SharedWork:
    """What every fit of a sweep reads."""

    # By encoder: the train rows, encoded by features that are fitted on them alone, and
    # (n_test, d) the test rows, encoded by the same.
    train: Mapping[Features, EncodedRows]
    test: Mapping[Features, Any]
    y_train: np.ndarray  # (n_train,) class codes or floats
    y_test: np.ndarray
    w_train: Weights  # (n_train,) how much each row counts; None = all alike
    w_test: Weights
    # Tables that a library makes of encoded rows, such as bins. Only the last few stay:
    # a search over `max_bin` must not keep a table for every value.
    tables: Kept = field(default_factory=lambda: Kept(4))
    trusted_types: tuple[str, ...] = ()  # to load a user's own transformer
    folds_to_calibrate: tuple[FoldRows, ...] = ()  # none where no model is calibrated
    # of a cross-validation: the same for each fold
    folds: tuple["SharedWork", ...] = ()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Arrive in another process, read-only there as well."""
        vars(self).update(state)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Make arrays read-only: an estimator that writes into its input fails, and
        harms no other fit.
        """
        from scipy.sparse import issparse

        arrays = [self.y_train, self.y_test, self.w_train, self.w_test]
        tables = [*(rows.table for rows in self.train.values()), *self.test.values()]
        for table in tables:
            if issparse(table):
                arrays += [table.data, table.indices, table.indptr]
            elif not isinstance(table, SlicedTable):
                # Each read of a sliced table is an array of its own.
                arrays.append(table)
        for array in arrays:
            if array is not None:
                array.flags.writeable = False
