"""A profile of a table in a few kilobytes, to compare with a later version.

Names of rare values are not kept: in a column of ids they would show who was in the
table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage import records
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.samples import BINS, Bins, has_many_values, most_frequent

# A value has a bin of its own when it stands in this share of the rows, and more than
# once.
LEAST_SHARE = 0.01
SHOWN_CATEGORIES = 3
DECILES = np.linspace(0, 1, BINS + 1)
FIX = "Materialize validated_data again: the version before it counts."


@dataclass(frozen=True)
class ColumnProfile:
    """A column, counted."""

    dtype: str  # pandas' name of its type
    # `number` and `instant` are cut at their deciles; `category`: texts, booleans, and
    # numbers with few values, counted one by one; `nested`: lists or mappings
    kind: str
    # 11 numbers from smallest to largest value; instants in microseconds since 1970
    deciles: tuple[float, ...]
    categories: tuple[
        Any, ...
    ]  # the values with a bin of their own, most frequent first
    # rows per bin; the last is missing values; for categories the last but one is other
    # values
    counts: tuple[int, ...]

    @property
    def bins(self) -> Bins:
        """The bins that `counts` were counted over."""
        edges = (
            np.unique(self.deciles[1:-1])
            if self.kind in ("number", "instant")
            else None
        )
        return Bins(edges, pd.Index(self.categories))

    @property
    def text(self) -> str:
        """The column in a line, for people."""
        rows, missing = sum(self.counts), self.counts[-1]
        parts = [f"{missing / rows:.1%} missing"] if rows and missing else []
        if self.deciles:
            numbers = [self.deciles[place] for place in (0, BINS // 2, BINS)]
            if self.kind == "instant":
                low, middle, high = (
                    str(pd.Timestamp(int(n), unit="us")) for n in numbers
                )
            else:
                low, middle, high = (f"{number:.6g}" for number in numbers)
            parts.insert(0, f"median {middle} ({low} to {high})")
        elif self.categories:
            named = zip(self.categories[:SHOWN_CATEGORIES], self.counts, strict=False)
            parts.insert(
                0, ", ".join(f"{value} {count / rows:.1%}" for value, count in named)
            )
        return ", ".join(parts) or self.kind


@dataclass(frozen=True)
class DataProfile:
    """A version of the validated data: rows, rejection rate in [0, 1], name →
    profile.
    """

    rows: int
    rejection_rate: float
    columns: Mapping[str, ColumnProfile]

    def to_bytes(self) -> bytes:
        """The profile as JSON, the same bytes for the same profile."""
        return records.to_json(self, not_finite="constants")

    @cached_property
    def digest(self) -> str:
        """Sha256 in hex of the profile as JSON."""
        return sha256(self.to_bytes())


def profile_from(content: bytes, source: str) -> DataProfile:
    """Return the profile that `to_bytes` wrote; EntryCorrupt, about `source`: it is not
    one.
    """
    return records.from_json(
        DataProfile, content, EntryCorrupt(source, "is not a profile of a table", FIX)
    )


def profile(validated: pd.DataFrame, rejection_rate: float) -> DataProfile:
    """Profile every column of a table."""
    columns = {str(name): _profile(validated[name]) for name in validated.columns}
    return DataProfile(len(validated), rejection_rate, columns)


def counted_as(column: pd.Series) -> str:
    """Return number, instant, category or nested: how a column can be counted."""
    ways = {"datetime": "instant", "nested": "nested"} | dict.fromkeys(
        QUANTITIES, "number"
    )
    return ways.get(kind_of(column), "category")


def _profile(column: pd.Series) -> ColumnProfile:
    kind, dtype = counted_as(column), str(column.dtype)
    if kind == "nested":
        missing = int(column.isna().sum())
        return ColumnProfile(dtype, kind, (), (), (len(column) - missing, missing))
    if kind == "number" and not has_many_values(column):
        kind = "category"
    deciles, categories = list[float](), list[Any]()
    if kind == "category":
        for value, count in most_frequent(column).items():
            value = value.item() if isinstance(value, np.generic) else value  # noqa: PLW2901
            if count >= max(2, LEAST_SHARE * len(column)):
                is_plain = isinstance(value, bool | int | float | str)
                categories.append(value if is_plain else str(value))
    elif len(present := column.dropna()):
        # "lower" is always a value of the column, so that a rounded one is not cut in
        # between.
        deciles = np.quantile(numbers_of(present), DECILES, method="lower").tolist()
    empty = ColumnProfile(dtype, kind, tuple(deciles), tuple(categories), ())
    return replace(empty, counts=tuple(empty.bins.counts(column).tolist()))
