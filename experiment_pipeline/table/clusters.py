"""The identity of rows: clusters, copies of one record, the canonical order, rows seen
before.

A cluster stays in one set, and intervals resample clusters. Whether rows that are equal
in all features are copies or different people depends on the other rows: given two
flags and a price, ten rows with a price that no other row has are copies; given
fourteen flags, a thousand rows without any are people.
"""

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.spec import ExperimentSpec, Split, TimeSplit, kept_apart
from experiment_pipeline.statistics.interval import ConsecutiveClusters, cluster_codes
from experiment_pipeline.table.digests import (
    column_part,
    distinct,
    mixed,
    repeated,
    row_hashes,
    value_hashes,
)
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.table import slices

MICROSECOND = pd.Timedelta("1us")


def cluster_hashes(
    frame: pd.DataFrame, split: Split, target: str, features: Sequence[str], salt: str
) -> np.ndarray:
    """Hash the cluster of each row: uint64 (n,).

    Rows are a cluster by their group, else declared ids, else features. Rows with equal
    features are one cluster if they are copies. Different people (see `equal_rows`) are
    distinguished by their label, then numbered: a corrected label moves at most one
    equal row.
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


def numbered(
    frame: pd.DataFrame, keys: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """Hash the keys (k,) of all rows, or some, with a number among equal keys.

    uint64 (k,). The numbers depend on the content of the rows, not on their order.
    """
    order = np.lexsort((row_hashes(frame, list(frame.columns), "numbers", rows), keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order][:1]) != 0)
    sizes = np.diff(starts, append=len(keys))
    numbers = np.empty(len(keys), dtype=np.uint64)
    numbers[order] = np.arange(len(keys)) - np.repeat(starts, sizes)
    return mixed(keys + mixed(numbers))


def classes_of(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Number the distinct targets, whatever their type: int64 (n,); 0 in regression."""
    if spec.task == "regression":
        return np.zeros(len(frame), dtype=np.int64)
    codes, _ = pd.factorize(value_hashes(frame[spec.target]), sort=True)
    return codes.astype(np.int64, copy=False)


def times_of(
    frame: pd.DataFrame, column: str, gap: pd.Timedelta
) -> tuple[np.ndarray, float]:
    """Return the split's times, float64 (n,), nan if missing, and the gap.

    Of datetimes both are in microseconds. Raises UnusableTable: the column has no
    times, or numbers and a gap.
    """
    times = frame[column]
    kind = kind_of(times)
    if kind == "datetime":
        return numbers_of(times), gap / MICROSECOND
    advice = (
        f"Write preparation: types: {{{column}: datetime}}, with datetime_formats if "
        "needed"
    )
    if kind not in QUANTITIES:
        raise UnusableTable(
            f"split.column {column}",
            rule="a split by time needs datetimes or numbers, the column holds "
            f"{times.dtype}",
            fix=f"{advice}.",
        )
    if gap:
        raise UnusableTable(
            f"split.gap {gap}",
            rule=f"column {column} holds numbers, from which a duration cannot be "
            "subtracted",
            fix=f"{advice}, or drop gap.",
        )
    return numbers_of(times), 0.0


def rows_to_predict(
    frame: pd.DataFrame, split: TimeSplit, earlier: np.ndarray
) -> np.ndarray:
    """Return which rows are about the groups that the model will meet: bool (n,).

    A group is known if an `earlier` row, bool (n,), is about it.
    """
    if split.group is None or split.predicts == "both":
        return np.ones(len(frame), dtype=bool)
    groups = row_hashes(frame, [split.group], "groups")
    is_known = np.isin(groups, groups[earlier])
    return is_known if split.predicts == "known" else ~is_known


def resampling_clusters(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> np.ndarray:
    """Number the clusters that intervals resample, as the split does: int64 (n,).

    Groups, ids, or time blocks of `split.unit` as `ConsecutiveClusters`; else rows,
    with copies together. If groups or ids in a split by time repeat (customers), they
    are a second column, (n, 2).
    """
    if spec.split.by != "time":
        return cluster_codes(
            cluster_hashes(frame, spec.split, spec.target, features, "units")
        )
    times, _ = times_of(frame, spec.split.column, pd.Timedelta(0))
    if kind_of(frame[spec.split.column]) == "datetime":
        times = np.floor(times / (pd.Timedelta(spec.split.unit) / MICROSECOND))
    codes = cluster_codes(times)
    if spec.split.entities and len(frame):
        entities = cluster_codes(row_hashes(frame, spec.split.entities, "units"))
        if entities.max() + 1 < len(frame):
            codes = np.column_stack([codes, entities])
    return codes.view(ConsecutiveClusters)


# Up to this many times the expected number, equal rows count as different people.
# Correlated columns make the expectation too small; real copies exceed it by far.
TOLERANCE = 5.0
# Standard deviations of the number of near misses, on either side. In doubt, equal rows
# stay together (a few people in one cluster cost little, a copy in two sets more), and
# do not stop a run.
SURE = 2.0


@dataclass(frozen=True, eq=False)
class EqualRows:
    """Equal rows of a table: `hashes` uint64 (n,) are equal for equal rows.

    Of the `repeated` rows, bool (n,), those `by_chance` are different people, those
    `copied` are copies.
    """

    hashes: np.ndarray
    repeated: np.ndarray
    by_chance: np.ndarray
    copied: np.ndarray


def equal_rows(
    tables: Sequence[pd.DataFrame], columns: Sequence[str], salt: str
) -> EqualRows:
    """Find the equal rows of one or several tables, and separate copies from different
    people.

    Take a combination of values that m of n rows have. For one column, k rows differ
    only in this column (near misses), and c other rows have the combination's value
    there. If the column were independent of the others, k · c / (n - m - k - c) rows
    would be expected to have the
    combination: the estimate of a table cell without using that cell (Goodman 1968,
    quasi-independence). The column with the largest expectation decides; columns that
    determine each other count as one. The rows are different people if m - 1 is at most
    five times the expectation with k reduced by two of its standard deviations √k, and
    copies if it is more than that with k increased as much. More than √n equal rows are
    different people if there is any near miss: as one cluster they would weigh too
    much. Results do not depend on row order.
    """

    def part(name: str) -> np.ndarray:
        return np.concatenate(
            [column_part(table[name], name, salt) for table in tables]
        )

    sums = np.zeros(sum(map(len, tables)), dtype=np.uint64)
    for name in columns:
        sums += part(name)
    twice = repeated(sums)
    by_chance, copied = twice.copy(), twice.copy()
    if twice.any():
        several = np.flatnonzero(twice)
        _, firsts, codes, counts = np.unique(
            sums[several], return_index=True, return_inverse=True, return_counts=True
        )
        chance, copies = _judged(part, sorted(columns), sums, several[firsts], counts)
        by_chance[several], copied[several] = chance[codes], copies[codes]
    return EqualRows(mixed(sums), twice, by_chance, copied)


def _judged(
    part: Callable[[str], np.ndarray],
    columns: Sequence[str],
    sums: np.ndarray,
    firsts: np.ndarray,
    equal: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which combinations chance explains, and which it certainly does not.

    bool (U,) each. `firsts`: the position (U,) of one row of each combination; `equal`:
    how many rows have it (U,).
    """

    def outside_like(hashes: np.ndarray) -> np.ndarray:
        """Count the rows outside each combination that share its hash: int64 (U,)."""
        codes, distinct_hashes = pd.factorize(hashes[firsts])
        index = pd.Index(distinct_hashes)
        counts = np.zeros(len(index), dtype=np.int64)
        for rows in slices(len(hashes)):
            places = index.get_indexer(pd.Index(hashes[rows]))
            counts += np.bincount(places[places >= 0], minlength=len(index))
        return counts[codes] - equal

    many = equal > np.sqrt(len(sums))
    misses = np.zeros(len(equal))
    least = np.zeros(len(equal))
    most = np.zeros(len(equal))
    with_value = {name: outside_like(part(name)) for name in columns}
    # Columns determine each other if their values occur equally often in every
    # combination.
    blocks: dict[bytes, list[str]] = {}
    for name, counts in with_value.items():
        blocks.setdefault(counts.tobytes(), []).append(name)
    for block in blocks.values():
        same_value = with_value[block[0]]
        if not (many | (same_value > 0)).any():
            continue
        differing = outside_like(sums - sum(map(part, block), np.uint64(0)))
        elsewhere = np.maximum(len(sums) - equal - differing - same_value, 1)
        deviation = SURE * np.sqrt(differing)
        least = np.maximum(least, (differing - deviation) * same_value / elsewhere)
        most = np.maximum(most, (differing + deviation) * same_value / elsewhere)
        misses += differing
    by_chance = (many & (misses > 0)) | (equal - 1 <= TOLERANCE * least)
    return by_chance, ~by_chance & (equal - 1 > TOLERANCE * most)


def canonical_order(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> np.ndarray:
    """Order rows by content: int64 (n,).

    Under a split by time by time, then by a hash. The hash covers features and target;
    other columns only decide between rows that are equal in these.
    """
    first = np.zeros(len(frame), dtype=np.uint64)
    last = np.zeros(len(frame), dtype=np.uint64)
    for name in frame.columns:
        part = column_part(frame[name], name, "order")
        last += part
        if name in {*features, spec.target}:
            first += part
    keys = [mixed(last), mixed(first)]
    if spec.split.by == "time":
        keys.append(times_of(frame, spec.split.column, pd.Timedelta(0))[0])
    return np.lexsort(keys)


# A share of 1,000 rows is known to within 3 points; 1,000 x 64 hashes are 256 kB.
MOST_ROWS, MOST_COLUMNS = 1_000, 64
# If the share of unique rows is below this, equal rows are taken to be the same row.
_FEWEST_SINGLES = 0.25
_SAME_VALUES = 0.9
_SALT = "row identity"
# Columns → the sorted distinct hashes of rows in these, and the share of rows that are
# unique.
KnownRows = dict[tuple[str, ...], tuple[np.ndarray, float]]


@dataclass(frozen=True, eq=False)
class RowSample:
    """A sample of a set of `rows` rows, to recognise the set later.

    `hashes` are uint32, of each value.
    """

    rows: int
    hashes: pd.DataFrame

    def overlap(
        self, delivered: pd.DataFrame, id_columns: Sequence[str], cache: KnownRows
    ) -> float:
        """Estimate the share of delivered rows that belong to the sampled set, 0 … 1.

        Rows are the same if their ids are equal, else if all columns are that both
        sides have. The share s of the sampled rows is found. Among n rows of which f
        are unique, a new row of the same distribution would be found by chance with
        probability 1 - f/n (Good 1953), so (s - 1 + f/n) / (f/n) of the sample is found
        because it is really there. `cache` has hashes of the delivered rows.
        """
        shared = {*self.hashes.columns} & {*delivered.columns}
        by_id = bool(id_columns) and shared.issuperset(id_columns)
        columns = tuple(id_columns) if by_id else tuple(sorted(shared))
        if not columns or not len(delivered) or self.hashes.empty:
            return 0.0
        if columns not in cache:
            hashes = row_hashes(_hash_values(delivered, columns), columns, _SALT)
            different, counts = np.unique(hashes, return_counts=True)
            cache[columns] = different, float((counts == 1).sum()) / len(hashes)
        different, singles = cache[columns]
        sampled = row_hashes(self.hashes, columns, _SALT)
        share = float(np.isin(sampled, different).mean())
        if singles >= _FEWEST_SINGLES:
            share = max(0.0, (share - 1 + singles) / singles)
        return min(1.0, share * self.rows / len(delivered))

    def has_values_of(
        self, delivered: pd.DataFrame, column: str, name: str, id_columns: Sequence[str]
    ) -> bool:
        """Whether a delivered column has, row by row, the values that the sample knows
        by another `name`.

        Rows are recognised by their ids, else by all other columns. Values agree if
        Cohen's kappa (1960) is above _SAME_VALUES: two rare events agree by chance.
        """
        from sklearn.metrics import cohen_kappa_score

        shared = {*self.hashes.columns} & {*delivered.columns}
        keys = list(id_columns) if shared.issuperset(id_columns) else []
        keys = keys or sorted(shared - {column, name})
        if not keys or name not in self.hashes or column not in delivered:
            return False
        renamed = delivered[[column]].set_axis([name], axis=1)
        values = _hash_values(renamed, [name])[name]
        rows = row_hashes(_hash_values(delivered, keys), keys, _SALT)
        by_row = values.set_axis(rows)
        by_row = by_row[~by_row.index.duplicated(keep=False)]
        sampled = self.hashes[name].set_axis(row_hashes(self.hashes, keys, _SALT))
        common = sampled.index.intersection(by_row.index)
        before = sampled[~sampled.index.duplicated()].reindex(common)
        if before.nunique() < 2:
            return False
        kappa = cohen_kappa_score(before, by_row.reindex(common))
        return float(kappa) > _SAME_VALUES


def sample_rows(rows: pd.DataFrame, id_columns: Sequence[str]) -> RowSample:
    """Return a sample to recognise rows by: ids, and columns with the most values."""
    chosen = np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS]
    hashes = _hash_values(rows, list(rows.columns), np.sort(chosen))
    ranked = sorted(hashes.columns, key=lambda name: (-hashes[name].nunique(), name))
    ids = [name for name in id_columns if name in hashes]
    columns = list(dict.fromkeys([*ids, *ranked]))[:MOST_COLUMNS]
    return RowSample(len(rows), hashes[columns].reset_index(drop=True))


def _hash_values(
    rows: pd.DataFrame, columns: Sequence[str], positions: np.ndarray | None = None
) -> pd.DataFrame:
    columns_of_hashes = {}
    for name in columns:
        hashes = row_hashes(rows, [name], _SALT, positions)
        columns_of_hashes[name] = (hashes >> np.uint64(32)).astype(np.uint32)
    return pd.DataFrame(columns_of_hashes)


FITTED_ROWS = "fitted_rows.parquet"


@dataclass(frozen=True, eq=False)
class FittedRows:
    """The rows that a model was fitted or chosen on: sorted hashes of some columns."""

    columns: tuple[str, ...]
    hashes: np.ndarray

    def __repr__(self) -> str:
        return f"<FittedRows: {len(self.hashes):,} by {', '.join(self.columns)}>"

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        spec: ExperimentSpec,
        sources: Collection[str],
        positions: np.ndarray | None = None,
    ) -> Self:
        """Hash delivered rows, or those at positions (k,).

        By their group, else ids, else the columns `sources`.
        """
        columns = tuple(spec.split.id_columns)
        if (group := kept_apart(spec.split)) is not None:
            columns = (group,)
        if not columns or not set(columns) <= set(rows.columns):
            columns = tuple(sorted(sources))
        return cls(columns, distinct(row_hashes(rows, columns, _SALT, positions)))

    def among(self, rows: pd.DataFrame) -> np.ndarray | None:
        """Return which delivered rows are among them: bool (n,); None: no column."""
        if not set(self.columns) <= set(rows.columns):
            return None
        return np.isin(row_hashes(rows, self.columns, _SALT), self.hashes)

    def to_bytes(self) -> bytes:
        """Return a Parquet file with one column, named by all names of columns."""
        sink = io.BytesIO()
        names = "".join(f"{name}\x1f" for name in self.columns)
        pq.write_table(pa.table({names: self.hashes}), sink)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> Self:
        """Read them back; InvalidModel for other content."""
        try:
            table = pq.read_table(io.BytesIO(content))
            [names] = table.column_names
            # Older files separate the names by line breaks instead of ending each with
            # \x1f.
            columns = names.split("\x1f")[:-1] or names.split("\n")
            return cls(tuple(columns), table[names].to_numpy())
        except (pa.ArrowException, OSError, ValueError):
            raise InvalidModel(
                source,
                rule=f"{FITTED_ROWS} holds no rows",
                fix="Name a complete version folder.",
            ) from None
