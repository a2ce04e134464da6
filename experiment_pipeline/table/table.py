"""A table whose columns are had one at a time, so that it may be larger than memory.

Everything before training asks a table for one column after the other, or for hashes of its rows.
So a stage is the same function for a DataFrame, which is in memory, and for `Columns`, which read,
pick or compute a column when it is asked for, and hold none. Where the cells come from is none of
this module's business: a file or a shelf of `storage`. In: tables. Out: tables of the same sort.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from experiment_pipeline.table.kinds import holds_missing, type_of_all


class Table(Protocol):
    """What a DataFrame and `Columns` have in common."""

    @property
    def columns(self) -> pd.Index:
        """The names, in order."""

    @property
    def index(self) -> pd.Index:
        """The row numbers."""

    def __len__(self) -> int:
        """Count the rows."""

    def __contains__(self, name: object, /) -> bool:
        """Tell whether there is such a column."""

    def __getitem__(self, name: str, /) -> pd.Series:
        """Return a column (n,) with the table's index."""


# Rows that are worked on at a time: what lies between cells and a result may be ten times as large.
SLICE_ROWS = 262_144


def slices(rows: int, size: int = SLICE_ROWS) -> Iterator[slice]:
    """Cut so many rows into those that are worked on at a time; of none there is one slice."""
    return (slice(start, start + size) for start in range(0, max(rows, 1), size))


# What a stage is given it gives back: a DataFrame for a DataFrame, `Columns` for `Columns`.
AnyTable = TypeVar("AnyTable", bound=Table)


@dataclass(frozen=True, eq=False)
class Columns:
    """A table that holds no cells itself.

    Attributes:
        index: of the rows (n,).
        cells: name → its cells (n,), in the order of the table; their own index counts for nothing.
    """

    index: pd.Index
    cells: Mapping[str, pd.Series]

    @property
    def columns(self) -> pd.Index:
        """The names, in order."""
        return pd.Index(list(self.cells))

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.index)

    def __contains__(self, name: object, /) -> bool:
        """Tell whether there is such a column."""
        return name in self.cells

    def __getitem__(self, name: str, /) -> pd.Series:
        """Return a column (n,) with the table's index."""
        return self.cells[name].set_axis(self.index).rename(name)


def made(like: AnyTable, index: pd.Index, cells: Mapping[str, pd.Series]) -> AnyTable:
    """Return a table of these cells, of the sort of another one."""
    if isinstance(like, pd.DataFrame):
        columns = {name: cells[name].set_axis(index) for name in cells}
        return pd.DataFrame(columns, index=index, copy=False)  # type: ignore[return-value]
    return Columns(index, cells)  # type: ignore[return-value]


def whole(table: Table) -> pd.DataFrame:
    """Return the table in memory."""
    if isinstance(table, pd.DataFrame):
        return table
    columns = {name: table[name] for name in table.columns}
    return pd.DataFrame(columns, index=table.index, copy=False)


def head(table: Table, rows: int) -> pd.DataFrame:
    """Return the first rows; each column is had once."""
    return whole(picked(table, np.arange(min(rows, len(table)))))


def picked(table: AnyTable, positions: np.ndarray) -> AnyTable:
    """Return the rows at these positions (k,), in their order."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[positions]
    return Columns(table.index[positions], _Picked(table, positions))  # type: ignore[return-value]


def without(table: AnyTable, names: Collection[str]) -> AnyTable:
    """Return the table without some of its columns."""
    return with_only(table, [name for name in table.columns if name not in names])


def with_only(table: AnyTable, names: Sequence[str]) -> AnyTable:
    """Return the table with these columns alone, in this order, and without a copy of them."""
    if isinstance(table, pd.DataFrame):
        # Not `table[names]`, which would copy the numbers.
        return made(table, table.index, {name: table[name] for name in names})
    return Columns(table.index, Overlaid(dict.fromkeys(names), table, {}))  # type: ignore[return-value]


def with_cells(table: AnyTable, cells: Mapping[str, pd.Series]) -> AnyTable:
    """Return the table with some columns replaced, or added behind the others."""
    if isinstance(table, pd.DataFrame):
        # Not `assign`, which warns of a table of many columns that came one at a time.
        return made(table, table.index, {str(name): one for name, one in table.items()} | {**cells})
    names = dict.fromkeys([*table.columns, *cells])
    return Columns(table.index, Overlaid(names, table, dict(cells)))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class _Picked(Mapping[str, pd.Series]):
    table: Table
    positions: np.ndarray

    def __getitem__(self, name: str) -> pd.Series:
        return self.table[name].iloc[self.positions]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.columns)

    def __len__(self) -> int:
        return len(self.table.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.table


@dataclass(frozen=True, eq=False)
class Overlaid(Mapping[str, pd.Series]):
    """Cells of a table, some of them replaced.

    Attributes:
        names: of the columns there are, in order, as keys; more of them may be added.
        table: where the cells are from.
        over: those that are from elsewhere.
    """

    names: dict[str, None]
    table: Table
    over: MutableMapping[str, pd.Series]

    def put(self, name: str, cells: pd.Series) -> None:
        """Replace the cells of a column, or add it behind the others."""
        self.over[name] = cells
        self.names[name] = None

    def __getitem__(self, name: str) -> pd.Series:
        """Return the cells of a column."""
        return self.over[name] if name in self.over else self.table[name]

    def __iter__(self) -> Iterator[str]:
        """Name the columns."""
        return iter(self.names)

    def __len__(self) -> int:
        """Count the columns."""
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a column, without reading it."""
        return name in self.names


class Place(MutableMapping[str, pd.Series]):
    """Where columns go that need not be in memory.

    Attributes:
        batch_rows: rows of a table that are worked on at a time, where columns alone do not do.
    """

    batch_rows: int

    @abstractmethod
    def hold(self, batches: Iterable[pd.DataFrame]) -> None:
        """Hold the columns of a table that comes in batches, when all came, instead of the others."""


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON and SQL have them: what is missing is None."""
    cells: list[Any] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return cells


def one_below_another(parts: Sequence[pd.Series]) -> pd.Series:
    """Return the parts of a column (n,) in the type that its values have together.

    As if they had been made together: a part without values has no say where there is room for
    missing ones, and categories are united.
    """
    told = [part for part in parts if part.notna().any()] or parts
    dtype = type_of_all(told)
    if len(told) < len(parts) and not holds_missing(dtype):
        dtype = type_of_all(parts)
    column: pd.Series = pd.concat([part.astype(dtype) for part in parts], ignore_index=True)
    return column


def stacked(tables: Sequence[Table]) -> Columns:
    """Return tables of the same columns below one another, without a copy of them."""
    first, *others = tables
    index = first.index.append([table.index for table in others])
    return Columns(index, _Stacked(tables))


@dataclass(frozen=True, eq=False)
class _Stacked(Mapping[str, pd.Series]):
    tables: Sequence[Table]

    def __getitem__(self, name: str) -> pd.Series:
        cells: pd.Series = pd.concat([table[name] for table in self.tables])
        return cells

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables[0].columns)

    def __len__(self) -> int:
        return len(self.tables[0].columns)

    def __contains__(self, name: object) -> bool:
        return name in self.tables[0]
