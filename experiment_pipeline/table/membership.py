"""Which set each row belongs to: a pure function of the rows and the experiment.

The same rows get the same sets in every process and in any order. Under a random split or one by
group, rows that are added move none of the old ones (a table with few clusters per class is ranked
instead of thresholded: there a few rows move). Also here: which classes have too few rows for three
sets; the validation sets their rows aside. In: prepared or validated rows. Out: the name of a set per
row, and classes. Cutting tables apart belongs to `stages/split_sets/sets.py`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ColumnSplit, ExperimentSpec, Fractions, TimeSplit
from experiment_pipeline.table.clusters import cluster_hashes, strata_of, times_of
from experiment_pipeline.table.digests import repeated, uniform, value_hashes
from experiment_pipeline.table.table import Keep, in_memory, rows_at, slices

SETS = ("train", "test", "validation")
LEFT_OUT = "gap"
_NAMES = pd.CategoricalDtype(pd.Index([*SETS, LEFT_OUT], dtype="str"))


def assign_sets(
    prepared: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str], keep: Keep = in_memory
) -> pd.Series:
    """Name the set of each row.

    Returns:
        "train", "test", "validation", or "gap" for a row between two sets in time, or without the
        value that the split goes by; index as `prepared`.

    Raises:
        UnusableTable: the column to split by time holds no times.
    """
    codes = np.full(len(prepared), len(SETS), dtype=np.uint8)
    known = has_keys(prepared, spec)
    rows = prepared if known.all() else rows_at(prepared, np.flatnonzero(known), keep)
    if len(rows):
        codes[known] = _codes(rows, spec, features)
    return named(codes, prepared.index)


def named(codes: np.ndarray, rows: pd.Index) -> pd.Series:
    """Name the sets of rows, given as `codes_of` gives them: categories, a byte for each row."""
    return pd.Series(pd.Categorical.from_codes(codes, dtype=_NAMES), index=rows, name="set")


def codes_of(sets: pd.Series) -> np.ndarray:
    """Return each row's place among `SETS`, one more for none: uint8 (n,)."""
    return sets.cat.codes.to_numpy(dtype=np.uint8)


def has_keys(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Tell which rows have every value that the split goes by: bool (n,)."""
    names = list(spec.split.id_columns)
    if spec.split.by != "random":
        names.append(spec.split.column)
    known = np.ones(len(frame), dtype=bool)
    for name in names:
        known &= frame[name].notna().to_numpy()
    return known


def _codes(rows: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]) -> np.ndarray:
    split = spec.split
    if isinstance(split, ColumnSplit):
        return _named_sets(rows[split.column], split)
    if isinstance(split, TimeSplit):
        return _times_cut(rows, split)
    hashes = cluster_hashes(rows, spec.split, spec.target, features, f"sets/{split.seed}")
    return cut_by_hash(hashes, strata_of(rows, spec), _shares(split.fractions))


def _named_sets(column: pd.Series, split: ColumnSplit) -> np.ndarray:
    """Compare values as values: 1 in the YAML is 1.0 in a column that had a missing value."""
    hashes = value_hashes(column)
    codes = np.full(len(column), len(SETS), dtype=np.uint8)
    for number, name in enumerate(SETS):
        for value in getattr(split, name):
            codes[hashes == value_hashes(pd.Series([value]))[0]] = number
    return codes


def _times_cut(rows: pd.DataFrame, split: TimeSplit) -> np.ndarray:
    times, gap = times_of(rows, split.column, pd.Timedelta(split.gap))
    codes, lasts = cut_by_order(times, _shares(split.fractions))
    for last in lasts:
        codes[(times > last) & (times < last + gap)] = len(SETS)
    return codes


def _shares(fractions: Fractions) -> tuple[float, float, float]:
    return fractions.train, fractions.test, fractions.validation


# Below it a threshold on the hash leaves too much to chance: the share of a class in a set of
# 50 clusters is off by 14 % of itself, one time in three.
FEW_CLUSTERS = 50


def cut_by_hash(hashes: np.ndarray, strata: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Cut clusters into sets by their hash; rows with one hash are one cluster and stay together.

    A cluster's set depends on its own hash alone, so rows that are added later move no other. A
    stratum with fewer than 50 clusters for a set is ranked by hash and cut instead: exact
    shares, at least one cluster per set where there are enough, and a new cluster moves few others.

    Args:
        hashes: uint64 (n,).
        strata: int (n,): classes; a cluster of several classes counts for the lowest.
        shares: of the sets, summing to 1; a cluster with a low hash is in the first set.

    Returns:
        uint8 (n,): 0 for the first set, and so on.
    """
    strata, firsts = _of_clusters(hashes, strata)
    sets, ends = np.empty(len(hashes), dtype=np.uint8), np.cumsum(shares)[:-1]
    for rows in slices(len(hashes)):
        sets[rows] = np.searchsorted(ends, uniform(hashes[rows]), side="right")
    codes, names = pd.factorize(strata)
    clusters = np.bincount(codes[firsts], minlength=len(names))
    few = np.flatnonzero((clusters * min(shares) < FEW_CLUSTERS)[codes])
    if len(few):
        _, at, places = np.unique(hashes[few], return_index=True, return_inverse=True)
        sets[few] = _ranked_sets(strata[few][at], shares)[places]
    return sets


def _of_clusters(hashes: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest stratum of each row's cluster, and which rows are the first of theirs."""
    several = np.flatnonzero(repeated(hashes))
    firsts = np.ones(len(hashes), dtype=bool)
    if len(several):
        order = several[np.lexsort((strata[several], hashes[several]))]
        firsts[order[1:]] = hashes[order[1:]] != hashes[order[:-1]]
        starts = np.flatnonzero(firsts[order])
        strata = strata.copy()
        strata[order] = np.repeat(strata[order[starts]], np.diff(starts, append=len(order)))
    return strata, firsts


def cut_by_order(places: np.ndarray, shares: Sequence[float]) -> tuple[np.ndarray, list[float]]:
    """Cut rows between distinct places of an order, so that the shares come out best.

    Args:
        places: number (n,), such as microseconds; equal places stay together.
        shares: of the rows, summing to 1, first to last.

    Returns:
        uint8 (n,): the set of each row, and the last place of each set but the final one.
        With fewer distinct places than sets, the last sets stay empty.
    """
    distinct, inverse, counts = np.unique(places, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    lasts: list[int] = []
    for number, share in enumerate(np.cumsum(shares)[:-1]):
        low = lasts[-1] + 1 if lasts else 0
        # Each later set needs a place of its own.
        high = max(low, len(distinct) - len(shares) + number)
        off = np.abs(upto[low : high + 1] - share * len(places))
        lasts.append(low + int(np.argmin(off)) if len(off) else low)
    sets = np.searchsorted(lasts, np.arange(len(distinct)), side="left").astype(np.uint8)
    return sets[inverse], [float(distinct[i]) for i in lasts if i < len(distinct)]


def cut_tail(places: np.ndarray, strata: np.ndarray, share: float) -> np.ndarray:
    """Hold out the last rows of an order, as near to the share as distinct places allow.

    Among the cuts, those that leave every class on both sides come first, if there are any.

    Args:
        places: number (n,), with at least two distinct ones.
        strata: int (n,): classes.
        share: of the rows to hold out.

    Returns:
        bool (n,), True for rows held out; never all, never none.
    """
    distinct, inverse, counts = np.unique(places, return_inverse=True, return_counts=True)
    _, codes = np.unique(strata, return_inverse=True)
    firsts = np.full(codes.max() + 1, len(distinct))
    lasts = np.zeros(codes.max() + 1, dtype=np.int64)
    np.minimum.at(firsts, codes, inverse)
    np.maximum.at(lasts, codes, inverse)
    low, high = int(firsts.max()), int(lasts.min()) - 1
    if low > high:
        low, high = 0, len(distinct) - 2
    held_out = len(places) - np.cumsum(counts)[low : high + 1]
    last_kept = low + int(np.argmin(np.abs(held_out - share * len(places))))
    return inverse > last_kept


def _ranked_sets(strata: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Rank clusters within their stratum, in the order given, and cut at whole clusters."""
    _, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    sizes = _whole_clusters(counts, shares)
    sets = np.zeros(len(codes), dtype=np.int64)
    for ends in np.cumsum(sizes, axis=0)[:-1]:
        sets += ranks >= ends[codes]
    return sets


def _whole_clusters(counts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Share out clusters, at least one per set, earlier sets first where they do not suffice."""
    sizes = np.zeros((len(shares), len(counts)), dtype=np.int64)
    for number, share in list(enumerate(shares))[1:]:
        left = counts - 1 - sizes[1:].sum(axis=0)
        later_sets = len(shares) - 1 - number
        most = np.maximum(left - later_sets, np.minimum(left, 1))
        sizes[number] = np.minimum(np.maximum(np.rint(counts * share), 1), most)
    sizes[0] = counts - sizes[1:].sum(axis=0)
    return sizes


# A class that a set lacks although so many rows were to be expected there is not rare: the split
# is at fault, or the class is new.
FEWEST_ROWS = 10
# More than this is no remainder to do without.
MOST_SHARE = 0.05


def too_rare(counts: np.ndarray) -> np.ndarray:
    """Tell which classes are set aside: fewer rows than one per set, or few and not in every set.

    None where fewer than two would be left, or where they hold more than a twentieth of the rows.

    Args:
        counts: rows (classes, sets) of each class in each set; may be expected ones.

    Returns:
        bool (classes,).
    """
    rows = counts.sum(axis=1)
    smallest = counts.sum(axis=0).min() / max(counts.sum(), 1)
    lacking = (counts < 1).any(axis=1) & (rows * smallest < FEWEST_ROWS)
    rare = (rows * smallest < 1) | lacking
    if (~rare).sum() < 2 or rows[rare].sum() > MOST_SHARE * rows.sum():
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(rare)


def may_have_rare_classes(target: pd.Series) -> bool:
    """Tell whether known classes (n,) can hold such a one at all, without knowing the sets."""
    counts = target.value_counts()
    return len(counts) > 2 and bool(counts.iloc[-1] <= MOST_SHARE * len(target))


def rare_classes_in(target: pd.Series, sets: pd.Series) -> list[object]:
    """Return the classes to set aside, the rarest last.

    Args:
        target: known classes (n,).
        sets: train, test, validation or gap, on an index that holds the target's; a row of the
            gap counts for none.
    """
    own = sets.reindex(target.index)
    counts = pd.crosstab(target, own).reindex(columns=["train", "test", "validation"], fill_value=0)
    counts = counts.reindex(target.value_counts().index)
    return counts.index[too_rare(counts.to_numpy())].tolist()


def set_aside_in_words(classes: pd.Series) -> list[str]:
    """Say what became of each class, given the class of each row that was set aside."""
    return [
        f"class {name} ({rows:,} row{'s' if rows > 1 else ''}) cannot be predicted: its rows are set "
        "aside, and every score is of the other classes alone"
        for name, rows in classes.astype("str").value_counts().items()
    ]
