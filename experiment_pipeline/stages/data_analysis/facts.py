"""Facts about one column, which findings and the drafted YAML read."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any, Self

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Scalar
from experiment_pipeline.table.coercion import as_text, magnitude
from experiment_pipeline.table.features import plain
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
# The share of rows that a limit on rejections allows beyond those without a target.
_ROOM_FOR_REJECTED = 0.02


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
class Sentinels:
    """Repeated numbers far from all others of a column: marks of missing values.

    `marks` is value → rows; the others reach from `lowest` to `highest`.
    """

    marks: Mapping[Scalar, int] = field(default_factory=dict)
    lowest: float = np.nan
    highest: float = np.nan

    @property
    def rows(self) -> int:
        """Rows that hold one of the marks."""
        return sum(self.marks.values())

    @property
    def words(self) -> str:
        """`-200 in 1,642 rows, all others from 2 to 1,479`."""
        marks = ", ".join(
            f"{value} in {numbers.counted(rows, 'row')}"
            for value, rows in self.marks.items()
        )
        return f"{marks}, all others from {self.lowest:,.6g} to {self.highest:,.6g}"


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
    sentinels: "Sentinels"

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
        folded = map(fold, self.texts)
        return np.array([text in PLACEHOLDERS for text in folded], dtype=bool)

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
        if not self.dates:
            return 0.0
        return self.share(np.any([*self.dates.values()], axis=0))

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
        return list(compress(self.texts, mask))


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
        sentinels=sentinels(ordered),
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


# Usual marks of a missing number, below and above the others.
LOW_SENTINELS = frozenset(
    [
        *(-1, -9, -99, -999, -9999, -99999, -999999, -32768, -2147483648),
        *(-99.9, -999.9, -999.99),
    ]
)
HIGH_SENTINELS = frozenset(
    [99, 999, 9999, 99999, 999999, 9999999, 32767, 65535, 2147483647, 999.9]
)
# A sentinel stands in this many rows or more; beside it are this many other values.
_FEWEST_SENTINELS, _FEWEST_OTHERS = 3, 5
# Refused, not asked and not known may be 997, 998 and 999.
_MOST_SENTINELS = 3
# Beside so many other values a number may be a sentinel that is not a usual one.
_MANY_OTHERS = 20
# So many values at the edge of the others show whether they fade out there.
_NEIGHBOURS = 5
# Times as many rows as the next value, or standard errors more of them.
_STANDS_OUT = 3


def sentinels(ordered: np.ndarray) -> Sentinels:
    """Find repeated values far from all others: marks of missing values.

    `ordered` are finite numbers in ascending order (n,). A usual mark, such as -999, is
    further from the edge of the others than their median is; another one than they are
    wide, and is not a small positive number: those are often values. Distances are
    logarithmic if no value is negative. A whole number counts as well if it alone is
    negative, unless the others fade out towards zero. Zeros do not count: in many
    columns they are the most frequent value.
    """
    starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf))
    values = ordered[starts]
    counts = np.diff(starts, append=len(ordered))
    lowest = 1
    if not _is_alone_below_zero(values, counts):
        lowest = _far_below(values, counts, LOW_SENTINELS)
    # The highest values are the lowest ones of the mirrored column.
    mirrored = -values[lowest:][::-1]
    usual = frozenset(-mark for mark in HIGH_SENTINELS)
    highest = _far_below(mirrored, counts[lowest:][::-1], usual)
    end = len(values) - highest
    marks = [*range(lowest), *range(end, len(values))]
    if not marks:
        return Sentinels()
    return Sentinels(
        marks={plain(values[mark]): int(counts[mark]) for mark in marks},
        lowest=float(values[lowest]),
        highest=float(values[end - 1]),
    )


def _is_alone_below_zero(values: np.ndarray, counts: np.ndarray) -> bool:
    """Whether only the lowest value is negative, and repeats, as -1 among counts."""
    if len(values) <= _FEWEST_OTHERS or counts[0] < _FEWEST_SENTINELS:
        return False
    if values[0] >= 0 or values[1] < 0 or values[0] != np.floor(values[0]):
        return False
    near = counts[1 : 1 + _NEIGHBOURS]
    # Whole degrees of a mild winter: 3 days of -1, 5 of 0, 9 of 1, 14 of 2 …
    fade_out = 2 * near[0] < near.max()
    excess = counts[0] - near[0]
    stands_out = excess > _STANDS_OUT * np.sqrt(counts[0] + near[0])
    return bool(not fade_out or stands_out or counts[0] > _STANDS_OUT * near[0])


def _far_below(values: np.ndarray, counts: np.ndarray, usual: frozenset[float]) -> int:
    """How many of the lowest values are sentinels by their distance to the others.

    `values` are ascending, with the `counts` of their rows; see `sentinels`.
    """
    scaled = values
    if np.all(values >= 0) or np.all(values <= 0):
        scaled = np.sign(values) * np.log1p(np.abs(values))
    may_be_mark = (counts >= _FEWEST_SENTINELS) & (values != 0)
    most = min(_MOST_SENTINELS, len(values) - _FEWEST_OTHERS)
    for number in range(1, most + 1):
        if not may_be_mark[number - 1]:
            break
        beyond = scaled[number:]
        if not usual.isdisjoint(values[:number].tolist()):
            reach = _reach_of_usual(beyond, counts[number:])
        elif number == 1 and values[0] < 0 and len(beyond) >= _MANY_OTHERS:
            reach = beyond[-1] - beyond[0]
        else:
            continue
        if beyond[0] - scaled[number - 1] > reach:
            return number
    return 0


def _reach_of_usual(values: np.ndarray, counts: np.ndarray) -> float:
    """How far the lowest of the other values is from their median, or the highest."""
    rows = counts.cumsum()
    median = values[np.searchsorted(rows, rows[-1] / 2)]
    return float(median - values[0] or values[-1] - values[0])


_THINGS = (
    "user|customer|client|patient|subject|person|account|member|device|machine|vehicle"
    "|household|student|employee|session|store|sensor|engine"
)
_PAPERS = (
    "order|invoice|booking|ticket|contract|policy|product|item|case|transaction|serial"
    "|kunden"
)
_BIRTH = re.compile(r"birth|born|\bdob\b|(?<![a-z])dob(?![a-z])", re.IGNORECASE)


def is_named_like_a_birth(column: str) -> bool:
    """Whether a column's name says that it is of people and things, not of rows: a
    model meets every age at any time.
    """
    return _BIRTH.search(column) is not None


_ID_NAME = re.compile(
    r"(?:^|[_\W])(?:(?i:ids?|key|nr)|no|No)\W*$|[a-z](?:Key|Nr|No)$|[_\W]NO$"
    rf"|(?i:.num|.nbr|nummer)$|^(?:{_THINGS})$"
    rf"|(?i:^(?:{_THINGS}|{_PAPERS})[_\W]*(?:nr|number)$)"
    r"|(?i:^id[_\W]*(?:code|nr|no|num|number)$|^(?:patient|subject|person)$)"
)
# Other words that end so.
_WORDS_WITH_ID = re.compile(
    r"(?i:(?:(?:^|[_\W])(?:aid|bid|kid|lid|mid|wid|grid)|paid|medicaid|acid|lipid|fluid"
    r"|liquid|solid|humid|rapid|valid|void|hybrid|covid|android|steroid|thyroid|opioid"
    r")$)"
)


def is_named_like_an_id(column: str) -> bool:
    """Whether a column is named as ids are: patient_id, childid, SUBJID, tailnum,
    orderNo, Kunden-Nr.
    """
    if _ID_NAME.search(column):
        return True
    return column.lower().endswith("id") and not _WORDS_WITH_ID.search(column)


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
_UNIT = r"[A-Za-zµΩ°²³/]{1,8}|[%‰]"
_CURRENCY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
# Beside k, M or B these are magnitudes, too; else they may be metres, bytes or tonnes.
_PERHAPS_MAGNITUDES = {"m": 1e6, "b": 1e9, "G": 1e9, "T": 1e12, "t": 1e12, "MM": 1e6}
# Other letters behind whole numbers are parts of a code.
_LETTERS_OF_UNITS = frozenset("CFKVWNJTGMLBYDHSkglmhdswtyµΩ")
_NO_UNITS = frozenset(["st", "nd", "rd", "th", "am", "pm"])
_SHARES = ("%", "‰", "percent", "prozent")
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
    # Unit → its factor, the most frequent first.
    units: Mapping[str, float] = field(default_factory=dict)
    # Why only people can give the factors, as a clause; empty: they are clear.
    question: str = ""

    @property
    def declaration(self) -> dict[str, Any]:
        """The entry of `preparation.numbers`."""
        declared: dict[str, Any] = {}
        if self.decimal != ".":
            declared["decimal"] = self.decimal
        if self.thousands:
            declared["thousands"] = self.thousands
        if self.units:
            # Whole factors are written without a point.
            declared["units"] = {u: plain(factor) for u, factor in self.units.items()}
        return declared

    @property
    def words(self) -> str:
        """The way of writing as text: `decimal ',', unit kg, M as 1,000,000`."""
        declared = self.declaration
        parts = [
            f"{key} {declared[key]!r}"
            for key in ("decimal", "thousands")
            if key in declared
        ]
        factorless = [unit for unit, factor in self.units.items() if factor == 1]
        if factorless:
            parts.append(f"unit {', '.join(factorless)}")
        for unit, factor in self.units.items():
            if factor != 1:
                parts.append(f"{unit} as {factor:,.12g}")
        return ", ".join(parts) or "plain"


def writing_of(texts: Sequence[str], decimal: str = ".") -> Writing:
    """The writing that reads most texts; among equals, the one with `decimal`."""
    if not any(any(map(str.isdigit, text)) for text in texts):
        nothing = np.zeros(len(texts), dtype=bool)
        return Writing(nothing, nothing)
    readings = [_TextsRead.of(texts, mark, thousands) for mark, thousands in _MARKS]
    best = max(readings, key=lambda r: (int(r.reads.sum()), r.decimal == decimal))
    return best.writing()


@dataclass(frozen=True)
class _Number:
    """One text that is a number: its digits, and the units before and after them."""

    text: str
    digits: str
    units: tuple[str, ...]

    @classmethod
    def of(cls, text: str, pattern: re.Pattern[str]) -> "_Number | None":
        """Take a number apart; None: the text is none, or has two units."""
        match = pattern.fullmatch(text)
        if match is None or _CODE.fullmatch(text):
            return None
        units = tuple(filter(None, match.group("before", "after")))
        if len(units) > 1 and magnitude(units[1]) is None:
            return None
        return cls(text, match["digits"], units)


@dataclass(frozen=True, eq=False)
class _TextsRead:
    """The texts (n,) of a column, taken apart by one pair of marks."""

    decimal: str
    thousands: str | None
    parts: Sequence[_Number | None]

    @classmethod
    def of(cls, texts: Sequence[str], decimal: str, thousands: str | None) -> Self:
        """Take every text apart; None: it is not a number."""
        pattern = _number_pattern(decimal, thousands)
        return cls(decimal, thousands, [_Number.of(text, pattern) for text in texts])

    @cached_property
    def units(self) -> list[str]:
        """The units, the most frequent first; none if they are parts of codes."""
        counts = Counter(unit for part in self.parts if part for unit in part.units)
        if sum(magnitude(unit) is None for unit in counts) > _MOST_UNITS:
            return []
        return [unit for unit, _ in counts.most_common()]

    @cached_property
    def reads(self) -> np.ndarray:
        """Which texts are numbers: bool (n,)."""
        units = {*self.units}
        return np.array(
            [part is not None and units >= {*part.units} for part in self.parts]
        )

    @cached_property
    def numbers(self) -> list[_Number]:
        """The texts that are numbers."""
        return [part for part in compress(self.parts, self.reads) if part]

    @cached_property
    def bare(self) -> list[_Number]:
        """The numbers without a unit."""
        return [number for number in self.numbers if not number.units]

    @cached_property
    def magnitudes(self) -> dict[str, float]:
        """Factors of the units that multiply, as k, Mio and %."""
        scales = {unit: magnitude(unit) for unit in self.units}
        factors = {unit: scale for unit, scale in scales.items() if scale is not None}
        if factors.keys() - {*_SHARES}:
            perhaps = _PERHAPS_MAGNITUDES.keys() & {*self.units}
            factors |= {unit: _PERHAPS_MAGNITUDES[unit] for unit in perhaps}
        return factors

    def writing(self) -> Writing:
        """Give each unit its factor, or say why only people can."""
        bare = np.array([part is not None and not part.units for part in self.parts])
        if self.are_codes:
            return Writing(bare, bare, self.decimal, self.thousands)
        question = ""
        if not self.is_clear:
            examples: dict[tuple[str, ...], str] = {}
            for number in self.numbers:
                examples.setdefault(number.units, repr(number.text.strip()))
            question = f"numbers of several kinds: {', '.join(examples.values())}"
        factors = dict.fromkeys(self.units, 1.0) | self.magnitudes
        return Writing(
            self.reads, bare, self.decimal, self.thousands, factors, question
        )

    @property
    def are_codes(self) -> bool:
        """Whether whole numbers end in letters that are no units: 12A and 12B, 1st."""
        units = [unit for unit in self.units if magnitude(unit) is None]
        letters = {unit for unit in units if len(unit) == 1 and unit.isalpha()}
        # One letter alone behind all numbers cannot tell rows apart.
        of_places = len(self.units) > 1 and not letters <= _LETTERS_OF_UNITS
        if not of_places and {unit.casefold() for unit in units}.isdisjoint(_NO_UNITS):
            return False
        return not self.has_fractions

    @property
    def has_fractions(self) -> bool:
        """Whether a number with a unit has a decimal mark."""
        return any(n.units and self.decimal in n.digits for n in self.numbers)

    @property
    def is_clear(self) -> bool:
        """Whether the factors of all units follow from the texts."""
        plain_units = [unit for unit in self.units if unit not in self.magnitudes]
        # "1 day" and "2 days" have one unit, "9.5 km/kg" and "19 kmpl" have two.
        if len({unit.casefold().removesuffix("s") for unit in plain_units}) > 1:
            return False
        if not self.magnitudes:
            # "1.7m" beside "10584" may be a million, or a metre beside a mistake.
            return (
                not self.bare
                or not plain_units
                or plain_units[0] not in _PERHAPS_MAGNITUDES
            )
        are_shares = not self.magnitudes.keys().isdisjoint(_SHARES)
        if plain_units:  # "€565K" beside "€1.2M"
            return not are_shares and bool(re.fullmatch(_CURRENCY, plain_units[0]))
        return self._magnitudes_are_clear(are_shares=are_shares)

    def _magnitudes_are_clear(self, *, are_shares: bool) -> bool:
        """Whether magnitudes alone stand behind the numbers, and are meant."""
        if are_shares:
            # "0.45" beside "45%" is a share, "45" may be one or a mistake.
            return len(self.units) == 1 and all(map(self._is_at_most_one, self.bare))
        if len(self.magnitudes) == 1 and not self.bare:
            return True  # any factor gives the same order and ratios
        # "12B" beside "7" may be the number of a house, "1.2B" is a magnitude.
        return max(map(len, self.magnitudes)) > 1 or self.has_fractions

    def _is_at_most_one(self, number: _Number) -> bool:
        if self.thousands and self.thousands in number.digits:
            return False
        return float(number.digits.replace(self.decimal, ".")) <= 1


def _number_pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    point = re.escape(decimal)
    mark = r"[\s\u00a0\u202f]" if thousands == " " else re.escape(thousands or "")
    # No group of thousands begins with a zero: "0,123" has a decimal comma.
    grouped = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|" if thousands else ""
    digits = rf"(?:{grouped}\d+)(?:{point}\d+)?(?:[eE][+-]?\d+)?|{point}\d+"
    return re.compile(
        rf"\s*[-+\u2212]?\s*(?P<before>{_CURRENCY})?\s*(?P<digits>{digits})\s*"
        rf"(?P<after>{_CURRENCY}|{_UNIT})?\s*"
    )


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


ISO = "ISO8601"
_DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%d-%b-%Y", "%d-%b-%y", "%m/%d/%y", "%d.%m.%y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H.%M", " %H.%M.%S", " %I:%M %p", " %I:%M:%S %p")
# Tried in this order; of two that read as many texts the first wins.
DATE_FORMATS = (
    ISO,
    *(f"{day}{time_of_day}" for day in _DAYS for time_of_day in _TIMES),
    *(f"%Y-%m-%d{time_of_day}" for time_of_day in _TIMES[3:]),  # the others are ISO
    "%Y%m%d",
)
_ISO_SHAPE = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
_DATE_SHAPE = (
    r"\d{8}|(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}|[A-Za-z]{3,9} \d{1,2}, \d{4})"
    r"(?:[T ][\w.:+\- ]{1,24})?"
)
# A format that reads none of so many texts is not tried on the others.
_TRIED_TEXTS = 200


def date_formats(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Date format → which texts it reads, bool (n,), if any; the best format first."""
    column = pd.Series(texts, dtype="str").str.strip()
    shaped = column[column.str.fullmatch(_DATE_SHAPE)]
    if shaped.empty:
        return {}
    is_iso = shaped.str.fullmatch(_ISO_SHAPE)
    iso, others = shaped[is_iso], shaped[~is_iso]
    reads: dict[str, np.ndarray] = {}
    for date_format in DATE_FORMATS:
        column = iso if date_format.startswith((ISO, "%Y-")) else others
        tried = column.iloc[:: max(1, len(column) // _TRIED_TEXTS)]
        if column.size and _dates_in(tried, date_format).size:
            dates = _dates_in(column, date_format)
            reads[date_format] = np.isin(np.arange(len(texts)), dates)
    return dict(sorted(reads.items(), key=lambda pair: -int(pair[1].sum())))


def _dates_in(texts: pd.Series, date_format: str) -> np.ndarray:
    """Return the labels (m,) of the texts that are dates in this format."""
    instants = pd.to_datetime(texts, format=date_format, errors="coerce", utc=True)
    # Otherwise most numbers of eight digits would be dates.
    return texts.index[instants.dt.year.between(1800, 2200)].to_numpy()


def by_setting(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Turn column → setting → value into `preparation`: setting → column → value."""
    preparation: dict[str, dict[str, Any]] = {}
    for column, values in settings.items():
        for setting, value in values.items():
            preparation.setdefault(setting, {})[column] = value
    return preparation


def rejection_limit(missing: float) -> float:
    """The limit on rejected rows, in hundredths, where this share has no target."""
    return min(1.0, math.ceil(round((missing + _ROOM_FOR_REJECTED) * 100, 6)) / 100)
