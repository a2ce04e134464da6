"""Facts about one column, which findings and the drafted YAML read."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import (
    NUMERIC,
    TEXTS,
    holds_objects,
    kind_of,
    numbers_of,
)

MOST_TEXTS = 10_000
# scikit-learn's trees and LightGBM's targets are float32.
LARGEST_FLOAT32 = 3.4e38


@dataclass(frozen=True)
class Facts:
    """A column of any kind; only numbers and texts have more facts."""

    rows: int
    missing: int

    @property
    def known(self) -> int:
        """Rows that hold a value."""
        return self.rows - self.missing


@dataclass(frozen=True)
class Edge:
    """One end of a number column, to distinguish a placeholder from a value."""

    value: float  # the smallest (or largest) finite one
    rows: int
    gap: float  # distance to the next value; 0 when there is none
    spread: float  # interquartile range of the column without this value


@dataclass(frozen=True)
class NumberFacts(Facts):
    """A number or boolean column; statistics are those of its finite values."""

    infinite: int
    distinct: int
    whole: bool
    lowest: Edge
    highest: Edge
    quartiles: tuple[float, float, float]
    p05: float
    p95: float
    p99_magnitude: float

    @property
    def finite(self) -> int:
        """Rows that hold a finite value."""
        return self.known - self.infinite

    @property
    def largest_magnitude(self) -> float:
        """Largest finite value without its sign; 0 where there is none."""
        if not self.finite:
            return 0.0
        return max(abs(self.lowest.value), abs(self.highest.value))


@dataclass(frozen=True, eq=False)
class TextFacts(Facts):
    """A text or category column: its texts, at most 10,000, the most frequent first."""

    distinct: int
    texts: tuple[str, ...]
    counts: np.ndarray  # (texts,) rows of each

    @cached_property
    def placeholders(self) -> np.ndarray:
        """Which texts usually mean that the value is missing: bool (texts,)."""
        return placeholders(self.texts)

    @cached_property
    def writing(self) -> "Writing":
        """How the texts write numbers, if they do."""
        return writing_of(self.texts)

    @cached_property
    def dates(self) -> dict[str, np.ndarray]:
        """Which texts each date format reads, the one that reads most first."""
        return date_formats(self.texts)

    @cached_property
    def holds_codes(self) -> bool:
        """Whether 1 % of the rows or more hold digits that are codes, as "01067"."""
        padded = [bool(_CODE.fullmatch(text)) for text in self.texts]
        return self.share(np.array(padded, dtype=bool)) >= _LEAST_CODES

    @property
    def share_of_dates(self) -> float:
        """Share of the rows that hold a date of some format, as `share` counts."""
        readable = np.zeros(len(self.texts), dtype=bool)
        for read_texts in self.dates.values():
            readable |= read_texts
        return self.share(readable)

    @property
    def share_of_numbers(self) -> float:
        """Share of the rows that hold a number, as `share` counts."""
        return self.share(self.writing.reads)

    def share(self, chosen: np.ndarray) -> float:
        """Share of the rows without placeholders with a chosen text, bool (texts,)."""
        meaningful = ~self.placeholders
        total = self.counts[meaningful].sum()
        return float(self.counts[chosen & meaningful].sum() / total) if total else 0.0

    def chosen(self, mask: np.ndarray) -> list[str]:
        """The texts where `mask`, bool (texts,), is true."""
        return [self.texts[position] for position in np.flatnonzero(mask)]


def facts_of(column: pd.Series) -> Facts:
    """Measure a column."""
    kind = kind_of(column)
    if kind in TEXTS:
        return text_facts(column)
    if kind not in NUMERIC:
        return Facts(len(column), int(column.isna().sum()))
    values = numbers_of(column)
    present = values[~np.isnan(values)]
    ordered = np.sort(present[np.isfinite(present)])
    steps = int(np.count_nonzero(ordered[1:] != ordered[:-1]))
    p05, first, middle, third, p95 = _at(ordered, 0.05, 0.25, 0.5, 0.75, 0.95)
    return NumberFacts(
        rows=len(values),
        missing=len(values) - len(present),
        infinite=len(present) - len(ordered),
        distinct=int(ordered.size > 0) + steps,
        whole=bool(np.all(ordered == np.trunc(ordered))),
        lowest=_edge(ordered, 1),
        highest=_edge(-ordered[::-1], -1),
        quartiles=(first, middle, third),
        p05=p05,
        p95=p95,
        p99_magnitude=_at(np.sort(np.abs(ordered)), 0.99)[0],
    )


def text_facts(column: pd.Series) -> TextFacts:
    """Measure a column whose values are read as texts."""
    present = column.dropna()
    counts = (as_text(present) if holds_objects(present) else present).value_counts()
    counts = counts[counts > 0]
    frequent = counts.iloc[:MOST_TEXTS]
    return TextFacts(
        rows=len(column),
        missing=len(column) - len(present),
        distinct=len(counts),
        texts=tuple(map(str, frequent.index)),
        counts=frequent.to_numpy(dtype=np.int64),
    )


def _at(ordered: np.ndarray, *shares: float) -> list[float]:
    """Values of sorted data at these shares of its length (the lower neighbour)."""
    if not ordered.size:
        return [np.nan] * len(shares)
    return [float(ordered[int(share * (ordered.size - 1))]) for share in shares]


def _edge(ordered: np.ndarray, sign: int) -> Edge:
    """The edge where the sorted data begins; `sign` -1 when it was mirrored."""
    if not ordered.size:
        return Edge(value=np.nan, rows=0, gap=0.0, spread=0.0)
    rows = int(np.searchsorted(ordered, ordered[0], side="right"))
    beyond = ordered[rows:]
    first, third = _at(beyond, 0.25, 0.75)
    return Edge(
        value=sign * float(ordered[0]),
        rows=rows,
        gap=float(beyond[0] - ordered[0]) if beyond.size else 0.0,
        spread=third - first if beyond.size else 0.0,
    )


_THINGS = (
    "user|customer|client|patient|subject|person|account|member|device|machine|vehicle"
    "|household|student|employee|session|store|sensor|engine"
)
_PAPERS = (
    "order|invoice|booking|ticket|contract|policy|product|item|case|transaction|serial"
    "|kunden"
)
_ID_NAME = re.compile(
    r"(?:^|[_\W])(?:(?i:ids?|key|nr)|no|No)\W*$|[a-z](?:Id|ID|Key|Nr|No)$|[_\W]NO$"
    rf"|(?i:uuid|guid|.num|.nbr|nummer)$|^(?:{_THINGS})$"
    rf"|(?i:^(?:{_THINGS}|{_PAPERS})[_\W]*(?:id|nr|number)$)"
)


def is_named_like_an_id(column: str) -> bool:
    """Whether a column is named as ids are: patient_id, tailnum, orderNo, Kunden-Nr."""
    return bool(_ID_NAME.search(column))


# (decimal, thousands), the likelier first: "1,234" alone is read as 1234.
_MARKS: tuple[tuple[str, str | None], ...] = (
    (".", None),
    (".", ","),
    (",", "."),
    (",", None),
    (".", "'"),
    (".", " "),
    (",", " "),
)
# More units than this are not units but part of a code, as in the seats 12A … 12F.
_MOST_UNITS = 3
_UNIT = r"[A-Za-zµΩ°²³/]{1,8}|%"
_CURRENCY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
# "007" and "00501" are codes: read as numbers they would lose their zeros.
_CODE = re.compile(r"\s*[-+]?0\d+\s*")
_LEAST_CODES = 0.01


@dataclass(frozen=True)
class Writing:
    """How the texts (n,) of a column write numbers, in the terms of `spec.Numbers`."""

    reads: np.ndarray  # bool (n,), the texts that are numbers in this way of writing
    bare: np.ndarray  # bool (n,), those of them without a unit
    decimal: str = "."
    thousands: str | None = None
    units: tuple[str, ...] = ()  # the most frequent first

    @property
    def declaration(self) -> dict[str, Any]:
        """The entry of `preparation.numbers`; the user corrects factors of units."""
        declared: dict[str, Any] = {}
        if self.decimal != ".":
            declared["decimal"] = self.decimal
        if self.thousands:
            declared["thousands"] = self.thousands
        if self.units:
            declared["units"] = dict.fromkeys(self.units, 1)
        return declared

    @property
    def words(self) -> str:
        """The way of writing as text: `decimal ',', unit kg`."""
        declared = self.declaration
        units = declared.pop("units", ())
        parts = [f"{key} {mark!r}" for key, mark in declared.items()]
        if units:
            parts.append(f"unit {', '.join(units)}")
        return ", ".join(parts) or "plain"


def writing_of(texts: Sequence[str], decimal: str = ".") -> Writing:
    """The writing that reads most texts; among equals, the one with `decimal`."""
    if not any(any(map(str.isdigit, text)) for text in texts):
        nothing = np.zeros(len(texts), dtype=bool)
        return Writing(nothing, nothing)
    writings = [_read_with(texts, mark, thousands) for mark, thousands in _MARKS]
    return max(writings, key=lambda w: (int(w.reads.sum()), w.decimal == decimal))


def _read_with(texts: Sequence[str], decimal: str, thousands: str | None) -> Writing:
    pattern = _number_pattern(decimal, thousands)
    units_of_texts = [_unit_of(text, pattern) for text in texts]
    counts = Counter(unit for unit in units_of_texts if unit)
    units: tuple[str, ...] = ()
    if len(counts) <= _MOST_UNITS:
        units = tuple(unit for unit, _ in counts.most_common())
    return Writing(
        reads=np.array([unit in {"", *units} for unit in units_of_texts], dtype=bool),
        bare=np.array([unit == "" for unit in units_of_texts], dtype=bool),
        decimal=decimal,
        thousands=thousands,
        units=units,
    )


def _number_pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    point = re.escape(decimal)
    mark = r"[\s\u00a0\u202f]" if thousands == " " else re.escape(thousands or "")
    # No group of thousands begins with a zero: "0,123" has a decimal comma.
    grouped = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|" if thousands else ""
    digits = rf"(?:{grouped}\d+)(?:{point}\d+)?(?:[eE][+-]?\d+)?|{point}\d+"
    return re.compile(
        rf"\s*[-+\u2212]?\s*(?P<before>{_CURRENCY})?\s*(?:{digits})\s*"
        rf"(?P<after>{_CURRENCY}|{_UNIT})?\s*"
    )


def _unit_of(text: str, pattern: re.Pattern[str]) -> str | None:
    """The unit of a number, "" if it has none; None: the text is not a number."""
    match = pattern.fullmatch(text)
    if match is None or _CODE.fullmatch(text):
        return None
    return match["before"] or match["after"] or ""


# After `fold`. "none" is left out: in many tables it is a category ("no garage").
_PLACEHOLDERS = (
    "|?|??|???|-|--|---|.|..|...|_|*|/|nan|na|n/a|n.a.|n/d|n.d.|#n/a|#na|#value!"
    "|#ref!|#div/0!|-1.#ind|-999|-9999|-99999|null|nil|missing|unknown|unk"
    "|undefined|unspecified|tbd|unbekannt|inconnu|desconocido|k.a.|(blank)|(null)"
    "|(none)|(missing)|(unknown)|not available|not known|not specified|no data"
    "|no answer|no value"
)
PLACEHOLDERS = frozenset(_PLACEHOLDERS.split("|"))


def fold(text: str) -> str:
    """A text without differences of case and spaces."""
    return " ".join(text.split()).casefold()


def placeholders(texts: Sequence[str]) -> np.ndarray:
    """Which texts usually mean that the value is missing: bool (n,)."""
    return np.array([fold(text) in PLACEHOLDERS for text in texts], dtype=bool)


ISO = "ISO8601"
# Tried in this order; of two that read as many texts the first wins.
DATE_FORMATS = (
    ISO,
    *(
        f"{day}{time_of_day}"
        for day in ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
        for time_of_day in ("", " %H:%M", " %H:%M:%S")
    ),
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%Y%m%d",
)
_ISO_SHAPE = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
_DATE_SHAPE = r"(?=.*\d)[\w.,/:+\- ]{6,35}"


def date_formats(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Date format → which texts it reads, bool (n,), if any; the best format first."""
    column = pd.Series(texts, dtype="str").str.strip()
    shaped = column[column.str.fullmatch(_DATE_SHAPE)]
    if shaped.empty:
        return {}
    reads: dict[str, np.ndarray] = {}
    for date_format in DATE_FORMATS:
        candidates = shaped
        if date_format == ISO:
            candidates = shaped[shaped.str.fullmatch(_ISO_SHAPE)]
        instants = pd.to_datetime(
            candidates, format=date_format, errors="coerce", utc=True
        )
        # Otherwise most numbers of eight digits would be dates.
        dates = candidates.index[instants.dt.year.between(1800, 2200)]
        if len(dates):
            reads[date_format] = np.isin(np.arange(len(texts)), dates)
    return dict(sorted(reads.items(), key=lambda pair: -int(pair[1].sum())))
