"""Clusters of rows, copies of one record, and the canonical order of rows.

A cluster stays in one set, and intervals resample clusters. Rows that are equal in all features are
copies of one record, or different people. That is decided for each combination of values by the rows
around it: of two flags and a price, ten rows with the same price are copies where no other row has
that price; of fourteen flags, a thousand rows without any flag are a thousand people, as the rows with
one flag show. The canonical order makes results independent of the order of the source. In: rows and
the experiment. Out: hashes, codes, masks, positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec import ExperimentSpec, Split
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.table.digests import (
    column_part,
    mixed,
    repeated,
    row_hashes,
    value_hashes,
)
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, microseconds, numbers_of
from experiment_pipeline.table.table import slices

MICROSECOND = pd.Timedelta("1us")


def cluster_hashes(
    frame: pd.DataFrame, split: Split, target: str, features: Sequence[str], salt: str
) -> np.ndarray:
    """Hash what tells rows apart: their group, else declared ids, else their features.

    Rows with equal features are one cluster where they are copies, and one cluster each where they
    are different people (see `equal_rows`): these are told apart by their label, and then
    numbered. A corrected label moves at most one of the rows that equal it.

    Returns:
        uint64 (n,).
    """
    if split.by == "group":
        return row_hashes(frame, [split.column], salt)
    if split.id_columns:
        return row_hashes(frame, split.id_columns, salt)
    equal = equal_rows([frame], features, salt)
    hashes, people = equal.hashes, np.flatnonzero(equal.by_chance)
    label = [name for name in frame.columns if name == target]
    labelled = hashes[people] + row_hashes(frame, label, f"{salt}/label", people)
    hashes[people] = numbered(frame, labelled, people)
    return hashes


def numbered(frame: pd.DataFrame, keys: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Hash the keys (k,) of some rows, or all, with a number for each row that shares one: uint64.

    The numbers go by what is in the rows, so that their order does not matter.
    """
    order = np.lexsort((row_hashes(frame, list(frame.columns), "numbers", rows), keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order][:1]) != 0)
    sizes = np.diff(starts, append=len(keys))
    numbers = np.empty(len(keys), dtype=np.uint64)
    numbers[order] = np.arange(len(keys)) - np.repeat(starts, sizes)
    return mixed(keys + mixed(numbers))


def strata_of(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Number the classes: int64 (n,); one stratum for regression and for whole groups."""
    if spec.task == "regression" or spec.split.by == "group" or spec.target not in frame:
        return np.zeros(len(frame), dtype=np.int64)
    return classes_of(frame[spec.target])


def classes_of(target: pd.Series) -> np.ndarray:
    """Number distinct values, whatever their type: int64 (n,)."""
    return pd.factorize(value_hashes(target), sort=True)[0].astype(np.int64, copy=False)


def times_of(frame: pd.DataFrame, column: str, gap: pd.Timedelta) -> tuple[np.ndarray, float]:
    """Return the split's times as float64 (n,), nan where missing, and the gap in their cluster.

    Datetimes count in microseconds, of which float64 holds every one until the year 2255.

    Raises:
        UnusableTable: the column is no time, or numbers meet a gap that is a duration.
    """
    times = frame[column]
    kind = kind_of(times)
    if kind == "datetime":
        return np.where(times.isna(), np.nan, microseconds(times)), gap / MICROSECOND
    if kind not in QUANTITIES:
        raise UnusableTable(
            f"split.column {column}",
            f"a split by time needs datetimes or numbers, the column holds {times.dtype}",
            f"Write preparation: types: {{{column}: datetime}}, with datetime_formats if needed.",
        )
    if gap:
        raise UnusableTable(
            f"split.gap {gap}",
            f"column {column} holds numbers, from which no duration can be taken",
            f"Write preparation: types: {{{column}: datetime}}, or drop gap.",
        )
    return numbers_of(times), 0.0


def resampling_clusters(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> np.ndarray:
    """Number the clusters that an interval resamples: what the split keeps together.

    Groups, ids, or stretches of time; else rows, copies of one record together. Where sets are
    named by a column, too: copies within a set are no more than one of them, whoever chose it.

    Args:
        frame: rows of one set.
        spec: the experiment. Under a split by time the cluster is `split.unit`, counted from
            1970; where the time is a number, each distinct number.
        features: feature columns.

    Returns:
        int64 (n,): codes from 0, equal for rows of one cluster; times are `ConsecutiveClusters`.
    """
    clusters: np.ndarray
    if spec.split.by == "time":
        clusters, _ = times_of(frame, spec.split.column, pd.Timedelta(0))
        if kind_of(frame[spec.split.column]) == "datetime":
            clusters = np.floor(clusters / (pd.Timedelta(spec.split.unit) / MICROSECOND))
    else:
        clusters = cluster_hashes(frame, spec.split, spec.target, features, "units")
    codes = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
    return codes.view(ConsecutiveClusters) if spec.split.by == "time" else codes


# How many times as many equal rows as expected are still different people. Columns that go
# together make the expectation too small; where there are real copies, it is so by far.
TOLERANCE = 5.0
# Standard deviations of the number of near misses, on either side. In doubt equal rows stay
# together (a handful of people as one cluster costs little, a copy in two sets more), and are no
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


def equal_rows(tables: Sequence[pd.DataFrame], columns: Sequence[str], salt: str) -> EqualRows:
    """Find the rows of one or several tables that are equal, and tell copies from different people.

    Take a combination that m of n rows hold. In one column, k rows differ from it there and
    agree everywhere else (near misses), and c other rows hold its value there. If the column
    went its own way, k · c / (n - m - k - c) rows would be expected in the combination: the
    estimate of a cell of a table that does not use the cell (Goodman 1968, quasi-independence).
    The column that expects most decides; columns that determine each other count as one. The
    rows are different people where m - 1 is at most five times what is expected with k less
    two of its standard deviations √k, and copies where it is more even with as many added.
    More than √n equal rows are different people as soon as there is a near miss: as one cluster
    they would decide too much.

    A row's answer depends on no order, and rows that are added later hardly change it for any
    but their neighbours. The work is that of hashing the table two to four times.
    """
    sums = np.zeros(sum(map(len, tables)), dtype=np.uint64)
    for name in columns:
        sums += _part(tables, name, salt)
    twice = repeated(sums)
    by_chance, copied = twice.copy(), twice.copy()
    if twice.any():
        several = np.flatnonzero(twice)
        _, firsts, codes, counts = np.unique(
            sums[several], return_index=True, return_inverse=True, return_counts=True
        )
        around = _Neighbours(tables, sums, several[firsts], counts, salt)
        chance, copies = around.judge(sorted(columns))
        by_chance[several], copied[several] = chance[codes], copies[codes]
    return EqualRows(mixed(sums), twice, by_chance, copied)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """The rows around the combinations that are asked about.

    Attributes:
        tables: their rows are n together.
        sums: uint64 (n,), the sum of the columns' parts.
        asked: (U,) position of one row of each combination.
        equal: (U,) how many rows each has.
        salt: of the parts.
    """

    tables: Sequence[pd.DataFrame]
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
            caveat = SURE * np.sqrt(differing)
            least = np.maximum(least, (differing - caveat) * others / elsewhere)
            most = np.maximum(most, (differing + caveat) * others / elsewhere)
            misses += differing
        crowd = many & (misses > 0)
        by_chance = crowd | (self.equal - 1 <= TOLERANCE * least)
        return by_chance, ~by_chance & (self.equal - 1 > TOLERANCE * most)

    def _part(self, name: str) -> np.ndarray:
        return _part(self.tables, name, self.salt)

    def _others_like(self, hashes: np.ndarray) -> np.ndarray:
        """Count the rows outside of each combination that share its hash: int64 (U,)."""
        codes, asked = pd.factorize(hashes[self.asked])
        known, counts = pd.Index(asked), np.zeros(len(asked), dtype=np.int64)
        for rows in slices(len(hashes)):
            places = known.get_indexer(pd.Index(hashes[rows]))
            counts += np.bincount(places[places >= 0], minlength=len(asked))
        others: np.ndarray = counts[codes] - self.equal
        return others


def _part(tables: Sequence[pd.DataFrame], name: str, salt: str) -> np.ndarray:
    return np.concatenate([column_part(table[name], name, salt) for table in tables])


def _blocks(with_value: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Unite columns that determine each other: their values occur equally often, everywhere."""
    blocks: dict[bytes, list[str]] = {}
    for name, counts in with_value.items():
        blocks.setdefault(counts.tobytes(), []).append(name)
    return list(blocks.values())


def canonical_order(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> np.ndarray:
    """Order rows by what is in them: by time under a split by time, and then by a hash.

    The hash is that of the features and the target, so that a column that no model sees changes
    nothing; rows that are equal there go by their other columns. The row number has no part. Where
    there is no target, the features alone count.

    Returns:
        int64 (n,): positions, first to last.
    """
    first, last = (np.zeros(len(frame), dtype=np.uint64) for _ in range(2))
    for name in frame.columns:
        part = column_part(frame[name], name, "order")
        last += part
        if name in {*features, spec.target}:
            first += part
    keys = [mixed(last), mixed(first)]
    if spec.split.by == "time":
        keys.append(times_of(frame, spec.split.column, pd.Timedelta(0))[0])
    return np.lexsort(keys)
