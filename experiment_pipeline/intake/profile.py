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
    """A column, counted.

    `dtype` is pandas' name of its type. Of the kinds, `number` and `instant` are cut at
    their deciles: 11 numbers from smallest to largest value, instants in microseconds
    since 1970. `category` (texts, booleans, and numbers with few values) is counted one
    by one: `categories` are the values with a bin of their own, most frequent first.
    `nested` are lists or mappings. `counts` are rows per bin; the last is missing
    values, for categories the last but one is other values.
    """

    dtype: str
    kind: str
    deciles: tuple[float, ...]
    categories: tuple[Any, ...]
    counts: tuple[int, ...]

    @property
    def bins(self) -> Bins:
        """The bins that `counts` were counted over."""
        edges = None
        if self.kind in ("number", "instant"):
            edges = np.unique(self.deciles[1:-1])
        return Bins(edges, pd.Index(self.categories))

    @property
    def text(self) -> str:
        """The column in a line, for people."""
        parts = []
        rows = sum(self.counts)
        if self.deciles:
            low, middle, high = (
                self.shown(self.deciles[place]) for place in (0, BINS // 2, BINS)
            )
            parts.append(f"median {middle} ({low} to {high})")
        elif self.categories:
            named = zip(self.categories[:SHOWN_CATEGORIES], self.counts, strict=False)
            shares = [f"{value} {count / rows:.1%}" for value, count in named]
            parts.append(", ".join(shares))
        if rows and self.counts[-1]:
            parts.append(f"{self.counts[-1] / rows:.1%} missing")
        return ", ".join(parts) or self.kind

    def shown(self, number: float) -> str:
        """Return one of the deciles as a text."""
        if self.kind == "instant":
            return str(pd.Timestamp(int(number), unit="us"))
        return f"{number:.6g}"


@dataclass(frozen=True)
class DataProfile:
    """A version of the validated data; the rejection rate is in [0, 1]."""

    rows: int
    rejection_rate: float
    columns: Mapping[str, ColumnProfile]

    def __repr__(self) -> str:
        return f"<DataProfile: {self.rows:,} rows, {len(self.columns)} columns>"

    def to_bytes(self) -> bytes:
        """The profile as JSON, the same bytes for the same profile."""
        return records.to_json(self, not_finite="constants")

    @cached_property
    def digest(self) -> str:
        """Sha256 in hex of the profile as JSON."""
        return sha256(self.to_bytes())


def profile_from(content: bytes, source: str) -> DataProfile:
    """Return the profile that `to_bytes` wrote; EntryCorrupt, about `source`: none."""
    error = EntryCorrupt(source, "is not a profile of a table", FIX)
    return records.from_json(DataProfile, content, error)


def profile(validated: pd.DataFrame, rejection_rate: float) -> DataProfile:
    """Profile every column of a table."""
    columns = {str(name): _profile(column) for name, column in validated.items()}
    return DataProfile(len(validated), rejection_rate, columns)


def counted_as(column: pd.Series) -> str:
    """Return number, instant, category or nested: how a column can be counted."""
    kind = kind_of(column)
    if kind in QUANTITIES:
        return "number"
    return {"datetime": "instant", "nested": "nested"}.get(kind, "category")


def _profile(column: pd.Series) -> ColumnProfile:
    kind = counted_as(column)
    dtype = str(column.dtype)
    if kind == "nested":
        missing = int(column.isna().sum())
        return ColumnProfile(dtype, kind, (), (), (len(column) - missing, missing))
    if kind == "number" and not has_many_values(column):
        kind = "category"
    deciles: list[float] = []
    categories: list[Any] = []
    if kind == "category":
        counts = most_frequent(column)
        frequent = counts[counts >= max(2, LEAST_SHARE * len(column))]
        categories = [_plain(value) for value in frequent.index]
    elif column.notna().any():
        # "lower" is always a value of the column, so that a rounded one is not cut in
        # between.
        values = numbers_of(column.dropna())
        deciles = np.quantile(values, DECILES, method="lower").tolist()
    empty = ColumnProfile(dtype, kind, tuple(deciles), tuple(categories), ())
    return replace(empty, counts=tuple(empty.bins.counts(column).tolist()))


def _plain(value: Any) -> Any:
    """Return a value that JSON knows."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)
