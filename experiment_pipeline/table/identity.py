"""Which rows these are, whatever columns and rows came or went in between.

Values are kept as hashes, never as themselves. A `RowSample` recognises the rows of a set later:
by declared ids, else by the columns that both tables have. `FittedRows` are all rows that a
model has seen. In: rows as delivered. Out: shares, masks, bytes. Looks are
counted in `stages/validation_report/ledger.py`.
"""

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.table.digests import distinct, row_hashes

FITTED_ROWS = "fitted_rows.parquet"
# A share of 1,000 rows is known to within 3 points; 1,000 x 64 hashes are 256 kB.
MOST_ROWS, MOST_COLUMNS = 1_000, 64
# With fewer rows that have no equal, rows that look the same are taken for the same.
_FEWEST_SINGLES = 0.25
_COLUMNS = b"columns"
_SALT = "row identity"


@dataclass(frozen=True, eq=False)
class HashedRows:
    """The rows that are asked about, hashed once for all samples they are held against.

    Attributes:
        rows: (n, columns) as delivered; a column is read when it is asked for.
    """

    rows: pd.DataFrame
    _known: dict[tuple[str, ...], tuple[np.ndarray, float]] = field(default_factory=dict)

    def by(self, columns: tuple[str, ...]) -> tuple[np.ndarray, float]:
        """Return the distinct rows by some columns, sorted, and the share that has no equal."""
        if columns not in self._known:
            rows = row_hashes(_hash_values(self.rows, columns), columns, _SALT)
            distinct, counts = np.unique(rows, return_counts=True)
            self._known[columns] = distinct, float((counts == 1).sum()) / len(rows)
        return self._known[columns]


@dataclass(frozen=True, eq=False)
class RowSample:
    """Some rows of a set, to recognise them by.

    Attributes:
        rows: how many rows the set has.
        hashes: (at most 1,000, at most 64 columns) uint32, a hash of each value.
    """

    rows: int
    hashes: pd.DataFrame

    def overlap(self, others: HashedRows, id_columns: Sequence[str]) -> float:
        """Return the share of other rows that are among the sampled set's, 0 … 1.

        Rows are the same when their ids are, else when all columns are that both sides have.
        Of the sampled rows the share s is found; among n rows of which f have no equal, a row of
        the same kind that is not there would be found with probability 1 - f/n (Good 1953), so
        (s - 1 + f/n) / (f/n) of them are there for another reason. Where fewer than a quarter
        have no equal, rows that look the same are taken for the same.

        Args:
            others: the other rows.
            id_columns: those that name a row.
        """
        columns = self._comparable(others.rows, id_columns)
        if not columns or not len(others.rows) or self.hashes.empty:
            return 0.0
        distinct, singles = others.by(columns)
        found = float(np.isin(row_hashes(self.hashes, columns, _SALT), distinct).mean())
        if singles >= _FEWEST_SINGLES:
            found = max(0.0, (found - 1 + singles) / singles)
        return min(1.0, found * self.rows / len(others.rows))

    def _comparable(self, others: pd.DataFrame, id_columns: Sequence[str]) -> tuple[str, ...]:
        both = tuple(name for name in self.hashes.columns if name in others.columns)
        ids = tuple(id_columns)
        return ids if ids and set(ids) <= set(both) else tuple(sorted(both))


def sample_rows(rows: pd.DataFrame, id_columns: Sequence[str]) -> RowSample:
    """Return what recognises rows later: the ids, and the columns with most distinct values."""
    chosen = np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS]
    hashes = _hash_values(rows, rows.columns, np.sort(chosen))
    telling = sorted(hashes.columns, key=lambda name: (-hashes[name].nunique(), name))
    kept = list(dict.fromkeys([*(n for n in id_columns if n in hashes), *telling]))[:MOST_COLUMNS]
    return RowSample(len(rows), hashes[kept].reset_index(drop=True))


def _hash_values(
    rows: pd.DataFrame, columns: Iterable[str], some: np.ndarray | None = None
) -> pd.DataFrame:
    halves = {
        name: (row_hashes(rows, [name], _SALT, some) >> np.uint64(32)).astype(np.uint32)
        for name in columns
    }
    return pd.DataFrame(halves)


@dataclass(frozen=True, eq=False)
class FittedRows:
    """The rows that a model was fitted on or chosen on.

    Attributes:
        columns: of the table as delivered: equal there, the same to a split.
        hashes: uint64, sorted, each once.
    """

    columns: tuple[str, ...]
    hashes: np.ndarray

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        spec: ExperimentSpec,
        sources: Collection[str],
        some: np.ndarray | None = None,
    ) -> Self:
        """Return the identity of rows as delivered.

        Args:
            rows: a table that holds train and test rows.
            spec: what its split keeps together is one: groups, else ids, else equal features.
            sources: the columns that features are made of; with a user's function all of them.
            some: positions (k,) of train and test rows; None: all rows are.
        """
        declared = (spec.split.column,) if spec.split.by == "group" else spec.split.id_columns
        known = bool(declared) and set(declared) <= set(rows.columns)
        columns = tuple(declared) if known else tuple(sorted(sources))
        return cls(columns, distinct(row_hashes(rows, columns, _SALT, some)))

    def among(self, rows: pd.DataFrame) -> np.ndarray | None:
        """Return which rows as delivered are among them, bool (n,); None: a column is missing."""
        if not set(self.columns) <= set(rows.columns):
            return None
        return np.isin(row_hashes(rows, self.columns, _SALT), self.hashes)

    def to_bytes(self) -> bytes:
        """Return them as a Parquet file of one column."""
        table = pa.table({"row": self.hashes})
        names = "\n".join(self.columns).encode()
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_COLUMNS: names}), sink)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> Self:
        """Read them back; InvalidModel when they are none."""
        try:
            table = pq.read_table(io.BytesIO(content))
            names = table.schema.metadata[_COLUMNS].decode().split("\n")
            return cls(tuple(names), table["row"].to_numpy())
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            raise InvalidModel(
                source, f"{FITTED_ROWS} holds no rows", "Name a complete version folder."
            ) from None
