"""Compare samples of one column: common bins, counts, and distances between the
samples.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.statistics import distances
from experiment_pipeline.table import kinds
from experiment_pipeline.table.table import SLICE_ROWS, slices

BINS = 10
LISTED_CATEGORIES = 20
# This many rows tell of almost every column whether it has many values, a hundred times
# faster.
_ROWS_THAT_TELL = 1_000
# In a longer column of mostly distinct texts, counting values would take more memory
# than the column.
_LONG = 4 * SLICE_ROWS


@dataclass(frozen=True)
class Bins:
    """The bins of a reference column.

    `edges` are the inner ones of numbers or instants; None: values are counted by
    `categories`.
    """

    edges: np.ndarray | None
    categories: pd.Index

    @classmethod
    def of(cls, reference: pd.Series) -> "Bins":
        """Bin numbers and instants with many values by deciles, else categories."""
        kind = kinds.kind_of(reference)
        if kind in {*kinds.QUANTITIES, "datetime"} and has_many_values(reference):
            deciles = np.linspace(0, 1, BINS + 1)[1:-1]
            cuts = np.nanquantile(kinds.numbers_of(reference), deciles, method="lower")
            return cls(np.unique(cuts), pd.Index([]))
        return cls(None, most_frequent(reference).index)

    def counts(self, column: pd.Series) -> np.ndarray:
        """Count a sample's values per bin, missing ones in the last: int64 (B,)."""
        parts = [self._counts(column.iloc[rows]) for rows in slices(len(column))]
        return np.sum(parts, axis=0)

    def _counts(self, column: pd.Series) -> np.ndarray:
        if self.edges is not None:
            values = kinds.numbers_of(column)
            present = values[~np.isnan(values)]
            places = np.searchsorted(self.edges, present, side="right")
            counts = np.bincount(places, minlength=len(self.edges) + 1)
            return np.append(counts, len(values) - len(present))
        missing = int(column.isna().sum())
        counts = np.empty(0, dtype=np.int64)
        if len(self.categories):
            by_value = column.value_counts().reindex(self.categories, fill_value=0)
            counts = by_value.to_numpy(np.int64)
        return np.append(counts, [len(column) - missing - counts.sum(), missing])


def differences(
    reference: pd.Series, *samples: pd.Series
) -> list[distances.Difference]:
    """Compare each sample with the reference, in the bins of the reference."""
    bins = Bins.of(reference)
    counts = bins.counts(reference)
    return [distances.difference(counts, bins.counts(sample)) for sample in samples]


def distance(first: pd.Series, second: pd.Series) -> float:
    """Return the distance of two columns, missing values included, 0 … 1.

    It is nan for kinds that are neither numbers, instants nor texts.
    """
    kind = kinds.kind_of(first)
    if kind in {*kinds.NUMERIC, "datetime"}:
        return distances.number_distance(
            kinds.numbers_of(first), kinds.numbers_of(second)
        )
    if kind not in kinds.TEXTS:
        return float("nan")
    cells = pd.concat([first, second], ignore_index=True)
    codes, _ = pd.factorize(cells, use_na_sentinel=False)
    values = codes.max() + 1
    return distances.share_distance(
        np.bincount(codes[: len(first)], minlength=values),
        np.bincount(codes[len(first) :], minlength=values),
    )


def has_many_values(column: pd.Series) -> bool:
    """Return whether a column has more distinct values than LISTED_CATEGORIES."""
    sample = column.iloc[:: max(1, len(column) // _ROWS_THAT_TELL)]
    if sample.nunique() > LISTED_CATEGORIES:
        return True
    return bool(column.nunique() > LISTED_CATEGORIES)


def most_frequent(column: pd.Series) -> pd.Series:
    """Count the LISTED_CATEGORIES most frequent values: value → rows, decreasing.

    For more than a million rows with mostly distinct values the result is empty.
    """
    first = column.iloc[:SLICE_ROWS]
    if len(column) > _LONG and 2 * first.nunique() > len(first):
        return pd.Series(dtype=np.int64, index=column.iloc[:0])
    return column.value_counts().head(LISTED_CATEGORIES)
