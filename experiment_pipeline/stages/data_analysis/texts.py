"""Recognise missing values, numbers, dates and spelling variants among the texts of a column.

In: distinct texts. Out: which of them are what. The writing of numbers is given in the terms of
`spec.Numbers`, so that the preparation can read what is recognised here.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

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


@dataclass(frozen=True)
class Writing:
    """How the texts (n,) of a column write numbers, in the terms of `spec.Numbers`."""

    reads: np.ndarray  # bool (n,), the texts it reads
    bare: np.ndarray  # bool (n,), those of them without a unit
    decimal: str = "."
    thousands: str | None = None
    units: tuple[str, ...] = ()  # the most frequent first

    @property
    def plain(self) -> bool:
        """Whether a number is read without any declaration."""
        return self.decimal == "." and self.thousands is None and not self.units

    @property
    def words(self) -> str:
        """The way of writing for people."""
        parts = [f"decimal {self.decimal!r}"] if self.decimal != "." else []
        parts += [f"thousands {self.thousands!r}"] if self.thousands else []
        parts += [f"unit {', '.join(self.units)}"] if self.units else []
        return ", ".join(parts) or "plain"

    @property
    def declaration(self) -> dict[str, Any]:
        """The entry of `preparation.numbers`; every unit has factor 1, for the user to correct."""
        declared: dict[str, Any] = {"decimal": self.decimal} if self.decimal != "." else {}
        if self.thousands:
            declared["thousands"] = self.thousands
        if self.units:
            declared["units"] = dict.fromkeys(self.units, 1)
        return declared


def writing_of(texts: Sequence[str], decimal: str = ".") -> Writing:
    """Return the way of writing that reads most of the texts, of two the one with `decimal`."""
    candidates = [text for text in texts if any(map(str.isdigit, text))]
    if not candidates:
        nothing = np.zeros(len(texts), dtype=bool)
        return Writing(nothing, nothing)
    writings = [_read_with(texts, *marks) for marks in _MARKS]
    return max(writings, key=lambda w: (int(w.reads.sum()), w.decimal == decimal))


def _read_with(texts: Sequence[str], decimal: str, thousands: str | None) -> Writing:
    point = re.escape(decimal)
    mark = r"[\s\u00a0\u202f]" if thousands == " " else re.escape(thousands or "")
    # No group of thousands begins with a zero: "0,123" has a decimal comma.
    grouped = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|" if thousands else ""
    digits = rf"(?:{grouped}\d+)(?:{point}\d+)?(?:[eE][+-]?\d+)?|{point}\d+"
    pattern = re.compile(
        rf"\s*[-+\u2212]?\s*(?P<before>{_CURRENCY})?\s*(?:{digits})\s*"
        rf"(?P<after>{_CURRENCY}|{_UNIT})?\s*"
    )
    matches = [None if _CODE.fullmatch(text) else pattern.fullmatch(text) for text in texts]
    found = [match and (match["before"] or match["after"] or "") for match in matches]
    units = Counter(unit for unit in found if unit)
    taken = tuple(unit for unit, _ in units.most_common()) if len(units) <= _MOST_UNITS else ()
    reads = np.array([unit in {"", *taken} for unit in found], dtype=bool)
    bare = np.array([unit == "" for unit in found], dtype=bool)
    return Writing(reads, bare, decimal, thousands, taken)


# As `fold` writes them. "none" is left out: in many tables it is a category ("no garage").
PLACEHOLDERS = frozenset(
    {
        "",
        *("?", "??", "???", "-", "--", "---", ".", "..", "...", "_", "*", "/", "nan", "na", "n/a"),
        *("n.a.", "n/d", "n.d.", "#n/a", "#na", "#value!", "#ref!", "#div/0!", "null", "nil"),
        *("missing", "unknown", "unk", "undefined", "unspecified", "tbd", "unbekannt", "inconnu"),
        *("desconocido", "k.a.", "(blank)", "(null)", "(none)", "(missing)", "(unknown)"),
        *("-1.#ind", "-999", "-9999", "-99999"),
        *("not available", "not known", "not specified", "no data", "no answer", "no value"),
    }
)

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
# Shorter texts are codes; longer ones are prose, which would take long to compare.
_FEWEST_LETTERS, _MOST_LETTERS = 5, 60
_ISO_SHAPE = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
_DATE_SHAPE = r"(?=.*\d)[\w.,/:+\- ]{6,35}"


def fold(text: str) -> str:
    """A text without differences of case and spaces."""
    return " ".join(text.split()).casefold()


def placeholders(texts: Sequence[str]) -> np.ndarray:
    """Which texts usually mean that the value is missing: bool (n,)."""
    return np.fromiter((fold(text) in PLACEHOLDERS for text in texts), bool, len(texts))


def date_formats(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Date format → which texts it reads, bool (n,); the format that reads most comes first.

    Formats that read no text are left out. 03/04/2024 is so read as most of its column.
    """
    column = pd.Series(texts, dtype="str").str.strip()
    shaped = column[column.str.fullmatch(_DATE_SHAPE)]
    read: dict[str, np.ndarray] = {}
    for wanted in DATE_FORMATS if len(shaped) else ():
        candidates = shaped[shaped.str.fullmatch(_ISO_SHAPE)] if wanted == ISO else shaped
        instants = pd.to_datetime(candidates, format=wanted, errors="coerce", utc=True)
        # Eight digits are a date only when the year is one of our time.
        dates = candidates.index[instants.dt.year.between(1800, 2200)]
        if len(dates):
            read[wanted] = np.isin(np.arange(len(texts)), dates)
    return dict(sorted(read.items(), key=lambda item: -int(item[1].sum())))


def spellings(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of texts that differ in case and spaces only, each in the order given."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        groups[fold(text)].append(text)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def look_alikes(texts: Sequence[str], counts: np.ndarray) -> list[tuple[str, str]]:
    """Pairs (text, other) that may mean the same: a typing error, or words left out.

    A typing error is one letter more, less or changed in a text of five to sixty letters with at
    most a twentieth of the other's rows. Words left out: the one text begins with all words of
    the other. Texts with digits are codes and are not compared.
    """
    rows: dict[str, int] = {}
    written: dict[str, str] = {}
    for text, n in zip(texts, counts, strict=True):
        folded = fold(text)
        rows[folded] = rows.get(folded, 0) + int(n)
        written.setdefault(folded, text)
    words = [
        text
        for text in rows
        if _FEWEST_LETTERS <= len(text) <= _MOST_LETTERS and not any(map(str.isdigit, text))
    ]
    known = set(words)
    longer_names = {
        (" ".join(parts[:n]), word)
        for word in words
        for parts in [word.split()]
        for n in range(1, len(parts))
        if " ".join(parts[:n]) in known
    }
    pairs = _typing_errors(words, rows) | longer_names
    ordered = sorted(pairs, key=lambda pair: (-rows[pair[0]], pair))
    return [(written[kept], written[other]) for kept, other in ordered]


def _typing_errors(words: list[str], rows: dict[str, int]) -> set[tuple[str, str]]:
    """Pairs (frequent, rare) of words that are one letter apart."""
    neighbours: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        for shortened in {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}:
            neighbours[shortened].append(word)
    return {
        (frequent, rare)
        for group in neighbours.values()
        for frequent in group
        for rare in group
        if rows[rare] * 20 <= rows[frequent] and _one_letter_apart(frequent, rare)
    }


def _one_letter_apart(first: str, second: str) -> bool:
    letters = zip(first, second, strict=False)
    start = next((i for i, (a, b) in enumerate(letters) if a != b), min(len(first), len(second)))
    one, other = first[start:], second[start:]
    return one[1:] == other[1:] or one[1:] == other or one == other[1:]
