"""Facts about one column, measured once over all of its rows and read by many findings.

In: a column. Out: frozen numbers. The target is not read. A number column is sorted once; of a
text column the 10,000 most frequent texts are kept.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from experiment_pipeline.stages.data_analysis.texts import (
    Writing,
    date_formats,
    placeholders,
    writing_of,
)
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import (
    NUMERIC,
    TEXTS,
    Kind,
    holds_objects,
    kind_of,
    numbers_of,
)

MOST_TEXTS = 10_000
# scikit-learn's trees and LightGBM's targets are float32.
LARGEST_FLOAT32 = 3.4e38


@dataclass(frozen=True)
class Edge:
    """One end of a number column, to distinguish a placeholder from a value."""

    value: float  # the smallest (or largest) finite one
    rows: int
    gap: float  # distance to the next value; 0 when there is none
    spread: float  # interquartile range of the column without this value


@dataclass(frozen=True)
class NumberFacts:
    """A number or boolean column; statistics are those of its finite values."""

    rows: int
    missing: int
    infinite: int
    distinct: int
    whole: bool
    lowest: Edge
    highest: Edge
    quartiles: tuple[float, float, float]
    p05: float
    p95: float
    p99_magnitude: float
    skewness: float

    @property
    def finite(self) -> int:
        """Rows that hold a finite value."""
        return self.rows - self.missing - self.infinite

    @property
    def largest_magnitude(self) -> float:
        """Largest finite value without its sign; 0 where there is none."""
        return max(abs(self.lowest.value), abs(self.highest.value)) if self.finite else 0.0


@dataclass(frozen=True, eq=False)
class TextFacts:
    """A text or category column: its texts, at most 10,000, the most frequent first."""

    rows: int
    missing: int
    texts: tuple[str, ...]
    counts: np.ndarray  # (texts,) rows of each
    all_counts: np.ndarray  # rows of every distinct text, descending
    python_types: tuple[str, ...] = ()  # of the values of an object column, likewise

    @property
    def distinct(self) -> int:
        """Number of distinct texts."""
        return len(self.all_counts)

    @cached_property
    def placeholders(self) -> np.ndarray:
        """Which texts usually mean that the value is missing: bool (texts,)."""
        return placeholders(self.texts)

    @cached_property
    def writing(self) -> Writing:
        """How the texts write numbers, if they do."""
        return writing_of(self.texts)

    @cached_property
    def dates(self) -> dict[str, np.ndarray]:
        """Which texts each date format reads, the one that reads most first."""
        return date_formats(self.texts)

    @property
    def share_of_dates(self) -> float:
        """Share of the rows, placeholders not counted, that hold a date of some format."""
        return self.share(np.any([*self.dates.values(), np.zeros(len(self.texts), bool)], axis=0))

    @property
    def share_of_numbers(self) -> float:
        """Share of the rows, placeholders not counted, that hold a number."""
        return self.share(self.writing.reads)

    def share(self, chosen: np.ndarray) -> float:
        """Share of the rows with a chosen text, bool (texts,), placeholders not counted."""
        known = self.counts[~self.placeholders].sum()
        return float(self.counts[chosen & ~self.placeholders].sum() / known) if known else 0.0

    def chosen(self, mask: np.ndarray) -> list[str]:
        """The texts where `mask`, bool (texts,), is true."""
        return [self.texts[position] for position in np.flatnonzero(mask)]

    @property
    def sampled(self) -> str:
        """Words for the evidence when not every distinct text was read."""
        if self.distinct <= len(self.texts):
            return ""
        return f" (the {len(self.texts):,} most frequent of {self.distinct:,} texts read)"


@dataclass(frozen=True)
class OtherFacts:
    """A datetime column, or one of a type that no finding reads."""

    kind: Kind
    rows: int
    missing: int


Facts = NumberFacts | TextFacts | OtherFacts


def facts_of(column: pd.Series) -> Facts:
    """Measure a column."""
    kind = kind_of(column)
    if kind in NUMERIC:
        return number_facts(numbers_of(column))
    if kind in TEXTS:
        return text_facts(column)
    return OtherFacts(kind, len(column), int(column.isna().sum()))


def number_facts(values: np.ndarray) -> NumberFacts:
    """Measure float64 values (n,)."""
    known = values[~np.isnan(values)]
    ordered = np.sort(known[np.isfinite(known)])
    distinct = int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1 if ordered.size else 0
    low, first, middle, third, high = _at(ordered, 0.05, 0.25, 0.5, 0.75, 0.95)
    # The third standardised moment; 0 for fewer than three values or no spread.
    skewness = 0.0
    if ordered.size >= 3 and ordered[0] != ordered[-1]:
        scaled = ordered / np.max(np.abs(ordered))
        centred = scaled - scaled.mean()
        if (deviation := float(np.sqrt(np.mean(centred**2)))) > 0:
            skewness = float(np.mean((centred / deviation) ** 3))
    return NumberFacts(
        rows=len(values),
        missing=len(values) - len(known),
        infinite=len(known) - len(ordered),
        distinct=distinct,
        whole=bool(np.all(ordered == np.trunc(ordered))),
        lowest=_edge(ordered, 1),
        highest=_edge(-ordered[::-1], -1),
        quartiles=(first, middle, third),
        p05=low,
        p95=high,
        p99_magnitude=_at(np.sort(np.abs(ordered)), 0.99)[0],
        skewness=skewness,
    )


def text_facts(column: pd.Series) -> TextFacts:
    """Measure a column whose values are read as texts."""
    known = column.dropna()
    python_types: tuple[str, ...] = ()
    if holds_objects(known):
        python_types = tuple(known.map(lambda value: type(value).__name__).value_counts().index)
        known = as_text(known)
    counts = known.value_counts()
    counts = counts[counts > 0]
    kept = counts.iloc[:MOST_TEXTS]
    return TextFacts(
        rows=len(column),
        missing=len(column) - len(known),
        texts=tuple(str(text) for text in kept.index),
        counts=kept.to_numpy(dtype=np.int64),
        all_counts=counts.to_numpy(dtype=np.int64),
        python_types=python_types,
    )


def _at(ordered: np.ndarray, *shares: float) -> list[float]:
    """Values of sorted data at these shares of its length (the lower neighbour)."""
    if not ordered.size:
        return [np.nan] * len(shares)
    return [float(ordered[int(share * (ordered.size - 1))]) for share in shares]


def _edge(ordered: np.ndarray, sign: int) -> Edge:
    """The edge where the sorted data begins; `sign` -1 when it was mirrored."""
    if not ordered.size:
        return Edge(np.nan, 0, 0.0, 0.0)
    run = int(np.searchsorted(ordered, ordered[0], side="right"))
    rest = ordered[run:]
    quarter, three_quarters = _at(rest, 0.25, 0.75)
    gap = float(rest[0] - ordered[0]) if rest.size else 0.0
    return Edge(sign * float(ordered[0]), run, gap, three_quarters - quarter if gap else 0.0)
