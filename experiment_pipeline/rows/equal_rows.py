"""Rows that are equal in all features: copies of one record, or different people.

Decided for each combination of values on its own, by what the rows around it let expect. Of
two flags and a price, ten rows with the same price are copies where that price stands nowhere
else; of fourteen flags, a thousand rows without any flag are a thousand people, as the rows
with one flag show. In: a table. Out: masks and hashes. What is done with them belongs to `units.py`
and `stages/split_sets/leaks.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.rows.hashes import column_part, mixed

# How many times as many equal rows as expected are still different people. Columns that go
# together make the expectation too small; where there are real copies, it is so by far.
TOLERANCE = 5.0
# Standard deviations of the number of near misses, on either side. In doubt equal rows stay
# together (a handful of people as one unit costs little, a copy in two sets more), and are no
# reason to stop a run.
SURE = 2.0


@dataclass(frozen=True, eq=False)
class EqualRows:
    """The rows of a table by their combination of values.

    Attributes:
        hashes: uint64 (n,), equal for rows that are equal in all columns.
        repeated: bool (n,), the row equals another one.
        by_chance: bool (n,), and the rows around it explain that: they are different people.
        copied: bool (n,), and they cannot explain it, even if they are few by chance: they are
            copies. What is neither is in doubt.
    """

    hashes: np.ndarray
    repeated: np.ndarray
    by_chance: np.ndarray
    copied: np.ndarray


def equal_rows(frame: pd.DataFrame, columns: Sequence[str], salt: str) -> EqualRows:
    """Find the rows that are equal, and tell copies of one record from different people.

    Take a combination that m of n rows hold. In one column, k rows differ from it there and
    agree everywhere else (near misses), and c other rows hold its value there. If the column
    went its own way, k · c / (n - m - k - c) rows would be expected in the combination: the
    estimate of a cell of a table that does not use the cell (Goodman 1968, quasi-independence).
    The column that expects most decides; columns that determine each other count as one. The
    rows are different people where m - 1 is at most five times what is expected with k less
    two of its standard deviations √k, and copies where it is more even with as many added.
    More than √n equal rows are different people as soon as there is a near miss: as one unit
    they would decide too much.

    A row's answer depends on no order, and rows that are added later hardly change it for any
    but their neighbours. The work is that of hashing the table two to four times.

    Args:
        frame: any table.
        columns: which of its columns; their order does not matter.
        salt: of the hashes, as for `row_hashes`.
    """
    sums = np.zeros(len(frame), dtype=np.uint64)
    for name in columns:
        sums += column_part(frame[name], name, salt)
    _, firsts, codes, counts = np.unique(
        sums, return_index=True, return_inverse=True, return_counts=True
    )
    repeated = counts > 1
    by_chance, copied = repeated.copy(), repeated.copy()
    if repeated.any():
        around = _Neighbours(frame, sums, firsts[repeated], counts[repeated], salt)
        by_chance[repeated], copied[repeated] = around.judge(sorted(columns))
    return EqualRows(mixed(sums), repeated[codes], by_chance[codes], copied[codes])


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """The rows around the combinations that are asked about.

    Attributes:
        frame: the table.
        sums: uint64 (n,), the sum of the columns' parts.
        asked: (U,) position of one row of each combination.
        equal: (U,) how many rows each has.
        salt: of the parts.
    """

    frame: pd.DataFrame
    sums: np.ndarray
    asked: np.ndarray
    equal: np.ndarray
    salt: str

    def judge(self, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tell which of the combinations chance explains, and which it cannot: bool (U,) each."""
        rows, many = len(self.sums), self.equal > np.sqrt(len(self.sums))
        misses, least, most = (np.zeros(len(self.equal)) for _ in range(3))
        with_value = {name: self._others_like(self._part(name)) for name in columns}
        for block in _blocks(with_value):
            others = with_value[block[0]]
            if not (many | (others > 0)).any():
                continue
            differing = self._others_like(self.sums - sum(map(self._part, block), np.uint64(0)))
            elsewhere = np.maximum(rows - self.equal - differing - others, 1)
            doubt = SURE * np.sqrt(differing)
            least = np.maximum(least, (differing - doubt) * others / elsewhere)
            most = np.maximum(most, (differing + doubt) * others / elsewhere)
            misses += differing
        crowd = many & (misses > 0)
        by_chance = crowd | (self.equal - 1 <= TOLERANCE * least)
        return by_chance, ~by_chance & (self.equal - 1 > TOLERANCE * most)

    def _part(self, name: str) -> np.ndarray:
        return column_part(self.frame[name], name, self.salt)

    def _others_like(self, hashes: np.ndarray) -> np.ndarray:
        """Count the rows outside of each combination that share its hash: int64 (U,)."""
        codes, distinct = pd.factorize(hashes[self.asked])
        places = pd.Index(distinct).get_indexer(pd.Index(hashes))
        counts = np.bincount(places[places >= 0], minlength=len(distinct))
        others: np.ndarray = counts[codes] - self.equal
        return others


def _blocks(with_value: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Unite columns that determine each other: their values occur equally often, everywhere."""
    blocks: dict[bytes, list[str]] = {}
    for name, counts in with_value.items():
        blocks.setdefault(counts.tobytes(), []).append(name)
    return list(blocks.values())
