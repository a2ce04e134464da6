"""Where to cut: units ordered by a hash, or rows ordered by time, into shares of the rows.

Pure array work. In: one hash or one instant per row. Out: the number of a set per row.
"""

from collections.abc import Sequence

import numpy as np

from experiment_pipeline.rows.hashes import uniform

# Below it a threshold on the hash leaves too much to chance: the share of a class in a set of
# 50 units is off by 14 % of itself, one time in three.
FEW_UNITS = 50


def cut_by_hash(hashes: np.ndarray, strata: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Cut units into sets by their hash; rows with one hash are one unit and stay together.

    A unit's set depends on its own hash alone, so rows that are added later move no other. A
    stratum with fewer than 50 units for a set is ranked by hash and cut instead: exact
    shares, at least one unit per set where there are enough, and a new unit moves few others.

    Args:
        hashes: uint64 (n,).
        strata: int (n,): classes; a unit of several classes counts for the lowest.
        shares: of the sets, summing to 1; a unit with a low hash is in the first set.

    Returns:
        int64 (n,): 0 for the first set, and so on.
    """
    order = np.lexsort((strata, hashes))
    starts = np.flatnonzero(np.diff(hashes[order], prepend=~hashes[order][:1]) != 0)
    unit_hashes, unit_strata = hashes[order][starts], strata[order][starts]
    sets = np.searchsorted(np.cumsum(shares)[:-1], uniform(unit_hashes), side="right")
    _, codes, counts = np.unique(unit_strata, return_inverse=True, return_counts=True)
    few = (counts * min(shares) < FEW_UNITS)[codes]
    sets[few] = _ranked_sets(codes, counts, shares)[few]
    rows = np.empty(len(hashes), dtype=np.int64)
    rows[order] = np.repeat(sets, np.diff(starts, append=len(hashes)))
    return rows


def cut_by_order(places: np.ndarray, shares: Sequence[float]) -> tuple[np.ndarray, list[float]]:
    """Cut rows between distinct places of an order, so that the shares come out best.

    Args:
        places: number (n,), such as microseconds; equal places stay together.
        shares: of the rows, summing to 1, first to last.

    Returns:
        int64 (n,): the set of each row, and the last place of each set but the final one.
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
    sets = np.searchsorted(lasts, np.arange(len(distinct)), side="left")
    return sets[inverse].astype(np.int64), [float(distinct[i]) for i in lasts if i < len(distinct)]


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


def _ranked_sets(codes: np.ndarray, counts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Rank units within their stratum, in the order given, and cut at whole units."""
    order = np.argsort(codes, kind="stable")
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    sizes = _whole_units(counts, shares)
    sets = np.zeros(len(codes), dtype=np.int64)
    for ends in np.cumsum(sizes, axis=0)[:-1]:
        sets += ranks >= ends[codes]
    return sets


def _whole_units(counts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Share out units, at least one per set, earlier sets first where they do not suffice."""
    sizes = np.zeros((len(shares), len(counts)), dtype=np.int64)
    for number, share in list(enumerate(shares))[1:]:
        left = counts - 1 - sizes[1:].sum(axis=0)
        later_sets = len(shares) - 1 - number
        most = np.maximum(left - later_sets, np.minimum(left, 1))
        sizes[number] = np.minimum(np.maximum(np.rint(counts * share), 1), most)
    sizes[0] = counts - sizes[1:].sum(axis=0)
    return sizes
