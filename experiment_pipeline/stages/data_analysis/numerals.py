"""Recognising numbers that are written as texts, and how their column writes them.

In: distinct texts. Out: the way of writing that reads most of them, in the words of
`spec.Numbers`, so that the preparation reads what is recognised here. Which texts are to be
numbers is the findings' business.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# (decimal, thousands), the likelier first: "1,234" alone is read as a thousand.
_MARKS: tuple[tuple[str, str | None], ...] = (
    (".", None),
    (".", ","),
    (",", "."),
    (",", None),
    (".", "'"),
    (".", " "),
    (",", " "),
)
# More units than this are no units but part of a code, as in the seats 12A … 12F.
_MOST_UNITS = 3
_UNIT = r"[A-Za-zµΩ°²³/]{1,8}|%"
_CURRENCY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
# "007" and "00501" are codes: read as numbers they would lose their zeros.
_CODE = re.compile(r"\s*[-+]?0\d+\s*")


@dataclass(frozen=True)
class Writing:
    """How the texts of a column write numbers.

    Attributes:
        reads: bool (n,), the texts it reads.
        bare: bool (n,), those of them without a unit.
        decimal, thousands, units: as in `spec.Numbers`; units the most frequent first.
    """

    reads: np.ndarray
    bare: np.ndarray
    decimal: str = "."
    thousands: str | None = None
    units: tuple[str, ...] = field(default=())

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
        """The entry of `preparation.numbers`; every unit has factor 1, for people to correct."""
        declared: dict[str, Any] = {"decimal": self.decimal} if self.decimal != "." else {}
        if self.thousands:
            declared["thousands"] = self.thousands
        if self.units:
            declared["units"] = dict.fromkeys(self.units, 1)
        return declared


def writing_of(texts: Sequence[str]) -> Writing:
    """Return the way of writing that reads most of the texts; it may read none."""
    candidates = [text for text in texts if any(map(str.isdigit, text))]
    if not candidates:
        nothing = np.zeros(len(texts), dtype=bool)
        return Writing(nothing, nothing)
    writings = [_read_with(texts, decimal, thousands) for decimal, thousands in _MARKS]
    return max(writings, key=lambda writing: int(writing.reads.sum()))


def _read_with(texts: Sequence[str], decimal: str, thousands: str | None) -> Writing:
    pattern = _pattern(decimal, thousands)
    matches = [None if _CODE.fullmatch(text) else pattern.fullmatch(text) for text in texts]
    found = [None if match is None else _unit_of(match) for match in matches]
    units = Counter(unit for unit in found if unit)
    taken = tuple(unit for unit, _ in units.most_common()) if len(units) <= _MOST_UNITS else ()
    reads = np.array([unit in {"", *taken} for unit in found], dtype=bool)
    bare = np.array([unit == "" for unit in found], dtype=bool)
    return Writing(reads, bare, decimal, thousands, taken)


def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    point = re.escape(decimal)
    mark = r"[\s\u00a0\u202f]" if thousands == " " else re.escape(thousands or "")
    grouped = rf"\d{{1,3}}(?:{mark}\d{{3}})+|" if thousands else ""
    digits = rf"(?:{grouped}\d+)(?:{point}\d+)?(?:[eE][+-]?\d+)?|{point}\d+"
    return re.compile(
        rf"\s*[-+\u2212]?\s*(?P<before>{_CURRENCY})?\s*(?:{digits})\s*"
        rf"(?P<after>{_CURRENCY}|{_UNIT})?\s*"
    )


def _unit_of(match: re.Match[str]) -> str:
    return match["before"] or match["after"] or ""
