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
# This many rows decide for almost every column whether it has many values, a hundred
# times faster.
_ROWS_THAT_TELL = 1_000
# In a longer column of mostly distinct texts, counting values would take more memory
# than the column.
_LONG = 4 * SLICE_ROWS


@dataclass(frozen=True)
class Bins:
    """The bins of a reference column: inner edges for numbers or instants, else
    categories.
    """

    edges: np.ndarray | None
    known: pd.Index

    @classmethod
    def of(cls, reference: pd.Series) -> "Bins":
        """Bin numbers and instants with many values by their deciles; else list the
        categories.
        """
        kind = kinds.kind_of(reference)
        if kind in {*kinds.QUANTITIES, "datetime"} and has_many_values(reference):
            deciles = np.linspace(0, 1, BINS + 1)[1:-1]
            cuts = np.nanquantile(kinds.numbers_of(reference), deciles, method="lower")
            return cls(np.unique(cuts), pd.Index([]))
        return cls(None, most_frequent(reference).index)

    def counts(self, column: pd.Series) -> np.ndarray:
        """Count a sample's values per bin, missing values in the last one:
        int64 (B,).
        """
        parts = []
        for rows in slices(len(column)):
            some = column.iloc[rows]
            if self.edges is not None:
                values = kinds.numbers_of(some)
                missing = np.isnan(values)
                inner = np.searchsorted(self.edges, values[~missing], side="right")
                found = np.bincount(inner, minlength=len(self.edges) + 1)
                parts.append(np.append(found, missing.sum()))
                continue
            named: np.ndarray = np.empty(0, dtype=np.int64)
            if len(self.known):
                named = (
                    some.value_counts()
                    .reindex(self.known, fill_value=0)
                    .to_numpy(np.int64)
                )
            none = int(some.isna().sum())
            parts.append(np.append(named, [len(some) - none - named.sum(), none]))
        return np.sum(parts, axis=0)


def differences(
    reference: pd.Series, *samples: pd.Series
) -> list[distances.Difference]:
    """Compare each sample with the reference, in the bins of the reference."""
    bins = Bins.of(reference)
    counts = bins.counts(reference)
    return [distances.difference(counts, bins.counts(sample)) for sample in samples]


def distance(first: pd.Series, second: pd.Series) -> float:
    """Return the distance of two columns, missing values included, 0 … 1; nan for other
    kinds of columns.
    """
    kind = kinds.kind_of(first)
    if kind in {*kinds.NUMERIC, "datetime"}:
        return distances.number_distance(
            kinds.numbers_of(first), kinds.numbers_of(second)
        )
    if kind not in kinds.TEXTS:
        return float("nan")
    codes = pd.factorize(
        pd.concat([first, second], ignore_index=True), use_na_sentinel=False
    )[0]
    parts = codes[: len(first)], codes[len(first) :]
    return distances.share_distance(
        *(np.bincount(part, minlength=codes.max() + 1) for part in parts)
    )


def has_many_values(column: pd.Series) -> bool:
    """Return whether a column has more distinct values than LISTED_CATEGORIES."""
    some = column.iloc[:: max(1, len(column) // _ROWS_THAT_TELL)]
    return bool(
        some.nunique() > LISTED_CATEGORIES or column.nunique() > LISTED_CATEGORIES
    )


def most_frequent(column: pd.Series) -> pd.Series:
    """Count the most frequent values, up to LISTED_CATEGORIES: value → rows, in
    decreasing order.

    For more than a million rows with mostly distinct values the result is empty.
    """
    first = column.iloc[:SLICE_ROWS]
    if len(column) > _LONG and 2 * first.nunique() > len(first):
        return pd.Series(dtype=np.int64, index=column.iloc[:0])
    return column.value_counts().head(LISTED_CATEGORIES)
