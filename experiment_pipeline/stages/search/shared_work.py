"""What the fits of a sweep share: encoded tables, targets, and tables that a library made of them.

Any number of threads read it, none writes. In: what `features.py` encoded. Out: the same arrays,
locked, and tables that are made once, lent, and dropped after the last fit that needs them.
"""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from experiment_pipeline.spec import Features
from experiment_pipeline.stages.search.slices import SlicedTable
from experiment_pipeline.statistics.weights import Weights
from experiment_pipeline.table.folds import FoldRows


class LastTable:
    """The table that a library made last of some rows, for whoever needs the same one next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[Hashable, Any] | None = None

    def borrow(self, table: Hashable, make: Callable[[], Any]) -> Any:
        """Give a table, made if it is not the last one; one is made at a time."""
        with self._lock:
            if self._known is None or self._known[0] != table:
                self._known = None
                self._known = table, make()
            return self._known[1]


@dataclass(frozen=True, eq=False)
class EncodedSets:
    """The sets as one encoder encodes them, its features fitted on train alone.

    Attributes:
        train: (n_train, d) float64, dense or sparse, or a `SlicedTable` of it.
        test: (n_test, d).
        categorical: columns that are codes of categories.
        directions: by `features.directions`.
    """

    train: Any
    test: Any
    categorical: list[int]
    directions: list[int] | None = None


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Encoded rows with their targets, all of which a model is fitted on.

    Attributes:
        table: (n, d) float64, dense or sparse, or a `SlicedTable` of it.
        y: (n,) class codes or floats.
        categorical: columns that are codes of categories.
        weights: (n,) how much each row counts; None = all alike.
        directions: by `features.directions`.
        made: what a library made of them, for several fits of the same rows.
    """

    table: Any
    y: np.ndarray
    categorical: list[int]
    weights: Weights = None
    directions: list[int] | None = None
    made: LastTable = field(default_factory=LastTable, init=False, repr=False)

    def part(self, rows: np.ndarray) -> Self:
        """Return the part with these rows, bool (n,)."""
        weights = None if self.weights is None else self.weights[rows]
        sliced = isinstance(self.table, SlicedTable)
        table = self.table.part(rows) if sliced else self.table[rows]
        return replace(self, table=table, y=self.y[rows], weights=weights)


class SharedTables:
    """Tables that a library prepares from encoded ones, by what decides them.

    Each is made by the first fit that needs it, while others that need it wait, and dropped
    after the last: a search over `max_bin` must not keep a table for every value.

    Attributes:
        found: what decides a table → gives it, of what makes it, where it may have been made before.
    """

    def __init__(self, planned: Iterable[Hashable] = ()) -> None:
        """Expect fits: for each that needs a table, what decides that table."""
        self._left = Counter(planned)
        self._locks = {table: threading.Lock() for table in self._left}
        # Making a table copies the rows it reads: one is made at a time.
        self._making = threading.Lock()
        self._tables: dict[Hashable, Any] = {}
        self.found: dict[Hashable, Callable[[Callable[[], Any]], Any]] = {}

    @contextmanager
    def borrow(self, table: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """Give a planned table, made if need be, to one fit; another attempt may borrow again."""
        with self._locks[table]:
            if table not in self._tables:
                found = self.found.get(table)
                with self._making:
                    self._tables[table] = make() if found is None else found(make)
        try:
            yield self._tables[table]
        finally:
            with self._locks[table]:
                self._left[table] -= 1
                if self._left[table] <= 0:
                    del self._tables[table]


@dataclass(frozen=True, eq=False)
class SharedWork:
    """What every fit of a sweep reads.

    Attributes:
        encoded: encoder → the sets in that encoding.
        y_train: (n_train,) class codes or floats.
        y_test: (n_test,) encoded.
        w_train: (n_train,) how much each row counts; None = all alike.
        w_test: (n_test,).
        tables: what libraries make of the encoded tables, when first asked for.
        folds_to_calibrate: parts of the train rows; none where nobody is calibrated.
        folds: of a cross-validation: the same for the rows of each fold.
    """

    encoded: Mapping[Features, EncodedSets]
    y_train: np.ndarray
    y_test: np.ndarray
    w_train: Weights
    w_test: Weights
    tables: SharedTables
    folds_to_calibrate: tuple[FoldRows, ...] = ()
    folds: tuple["SharedWork", ...] = ()

    def train_rows(self, encoder: Features) -> EncodedRows:
        """Return the train rows as a encoder encodes them, with all that is known of them."""
        encoded = self.encoded[encoder]
        known = encoded.categorical, self.w_train, encoded.directions
        return EncodedRows(encoded.train, self.y_train, *known)

    def __post_init__(self) -> None:
        """Lock all arrays.

        An estimator that writes into its input fails alone, instead of changing the table under
        every other fit.
        """
        tables = [table for one in self.encoded.values() for table in (one.train, one.test)]
        weights = [one for one in (self.w_train, self.w_test) if one is not None]
        for table in (*tables, self.y_train, self.y_test, *weights):
            _lock(table)

    def __getstate__(self) -> dict[str, Any]:
        """Pack it for another process, without locks, the tables of libraries and sliced ones.

        Who is fitted in other processes reads whole tables.
        """
        state = {name: value for name, value in self.__dict__.items() if name != "tables"}
        whole = {
            encoder: one
            for encoder, one in self.encoded.items()
            if not isinstance(one.train, SlicedTable)
        }
        return state | {"encoded": whole}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpack it in another process, where large arrays arrive as maps of a file.

        They are shown as plain arrays on the same memory, which an estimator may keep and store
        like those of a thread, and locked again: pickle forgets that they were.
        """
        encoded = {
            encoder: replace(one, train=_plain(one.train), test=_plain(one.test))
            for encoder, one in state["encoded"].items()
        }
        names = ("y_train", "y_test", "w_train", "w_test")
        arrays = {name: _plain(state[name]) for name in names}
        self.__dict__.update(state | arrays | {"encoded": encoded, "tables": SharedTables()})
        self.__post_init__()


def labels_of(y: np.ndarray, classes: tuple | None) -> np.ndarray:
    """Return an encoded target as an estimator is to see it, so that it predicts classes."""
    return y if classes is None else np.asarray(classes)[y]


def _plain(table: Any) -> Any:
    """Show mapped memory as a plain array, dense or sparse; nothing is copied."""
    from scipy.sparse import issparse

    if issparse(table):
        parts = (_plain(table.data), _plain(table.indices), _plain(table.indptr))
        return type(table)(parts, shape=table.shape, copy=False)
    return np.asarray(table.data) if isinstance(table, np.memmap) else table


def _lock(table: Any) -> None:
    """Make an array read-only, dense or sparse; of a sliced one each read is an array of its own."""
    from scipy.sparse import issparse

    if isinstance(table, SlicedTable):
        return
    parts = [table.data, table.indices, table.indptr] if issparse(table) else [table]
    for part in parts:
        part.flags.writeable = False
