"""Clusters and classes as numbers 0 … G-1, by which rows are put together. In: arrays. Out: codes (n,)."""

import numpy as np

# Numbers up to so many times their count are counted, which takes 8 bytes for each: a sort is slower.
_COUNTED = 8


def cluster_codes(clusters: np.ndarray) -> np.ndarray:
    """Return clusters as codes 0 … G-1, (n,)."""
    return distinct(np.asarray(clusters))[1]


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values, ascending, and the position (n,) of each value among them.

    Of whole numbers that are small for their number, as codes are, nothing is sorted.
    """
    codes = np.can_cast(values.dtype, np.int64) and len(values) > 0
    if not codes or values.min() < 0 or values.max() > _COUNTED * len(values):
        return np.unique(values, return_inverse=True)
    there = np.bincount(values) > 0
    found = np.flatnonzero(there)
    if len(found) == len(there):
        return found, values.astype(np.int64, copy=False)
    return found, (np.cumsum(there) - 1)[values]


def with_own_clusters(clusters: np.ndarray, more: int) -> np.ndarray:
    """Return the clusters of rows (n,) that are followed by more, each a cluster of its own.

    Consecutive ones stay so: the added ones come last.
    """
    codes = cluster_codes(clusters)
    return np.concatenate([codes, codes.max() + 1 + np.arange(more)]).view(type(clusters))
