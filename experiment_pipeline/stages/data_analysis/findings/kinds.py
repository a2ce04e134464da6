"""Columns that are not what they seem: empty, constant, ids, of mixed types, numbers or dates as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import Facts, NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    ColumnRule,
    Finding,
    Rule,
    Threshold,
    exclude,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.findings.rows import is_named_like_an_id
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.texts import ISO

_NO_TEXT = "There is no text feature, but for those declared as text."


class AllMissingColumn(Rule):
    """Features without a single value."""

    code = "all_missing_column"
    title = "Columns without any value"
    advice = "Exclude them, or find out why the delivery lost their values."

    def check(self, subject: Subject) -> Finding:
        """List the features whose every value is missing."""
        empty = [c for c, facts in subject.facts.items() if facts.missing == facts.rows]
        if not empty:
            features = numbers.counted(len(subject.facts), "feature")
            return self.not_found(f"{features}, each with values.")
        each = some_of(list(map(shown, empty)))
        return self.found(
            "note",
            f"{numbers.counted(len(empty), 'feature')} without any value: {each}.",
            columns=empty,
            number=len(empty),
            threshold=1,
            fix=exclude(empty, "holds no value"),
        )


class ConstantColumn(Rule):
    """Features with one value: they tell no two rows apart (a missing value would)."""

    code = "constant_column"
    title = "Columns with one value"
    advice = "Exclude them, unless later deliveries will vary."

    def check(self, subject: Subject) -> Finding:
        """List the features that have the same value in every row."""
        facts = subject.facts
        constant = {c: self._value(f) for c, f in facts.items() if self._is_constant(f)}
        if not constant:
            features = numbers.counted(len(facts), "feature")
            return self.not_found(f"{features}, none of them constant.")
        each = some_of([f"{shown(column)} = {value}" for column, value in constant.items()])
        return self.found(
            "note",
            f"{numbers.counted(len(constant), 'feature')} with one value: {each}.",
            columns=list(constant),
            number=len(constant),
            threshold=1,
            fix=exclude(list(constant), "is constant"),
        )

    @staticmethod
    def _is_constant(facts: Facts) -> bool:
        if not isinstance(facts, NumberFacts | TextFacts):
            return False
        infinite = facts.infinite if isinstance(facts, NumberFacts) else 0
        return facts.distinct == 1 and facts.missing == 0 and infinite == 0

    @staticmethod
    def _value(facts: Facts) -> str:
        if isinstance(facts, NumberFacts):
            return f"{facts.lowest.value:g}"
        return shown(facts.texts[0]) if isinstance(facts, TextFacts) else ""


class AlmostUniqueColumn(ColumnRule):
    """Features with another value in almost every row: ids, or texts that models cannot use.

    Of numbers only whole ones count that look like ids: by their name, or because they run
    through the table without holes. A measurement may well be different in every row.
    """

    code = "almost_unique_column"
    title = "Columns that are almost unique"
    advice = (
        "Exclude ids: a model can only learn them by heart. Name a true row id in "
        "split.id_columns, so that it decides the row's set."
    )
    threshold = Threshold(0.95, 0.5, 1, "distinct values per row, found from it")
    _fewest_rows = 20
    unjudged = f"No text or id-like feature has {_fewest_rows} or more known values."
    said = "with almost only distinct values"
    severity = "condition"
    excluded = "is almost unique"

    def measure(self, subject: Subject) -> dict[str, float]:
        """Distinct values per known value."""
        shares = {column: self._share(column, facts) for column, facts in subject.facts.items()}
        return {c: share for c, share in shares.items() if share and is_category(subject, c)}

    def words(self, subject: Subject, column: str, number: float) -> str:  # noqa: ARG002
        """How many are distinct."""
        return f" ({numbers.share(number)} distinct)"

    def innocent(self, worst: float) -> str:
        """None is nearly unique."""
        return f"At most {numbers.share(worst)} of a column's values are distinct."

    def _share(self, column: str, facts: Facts) -> float:
        """0 for a column that is not judged."""
        if not isinstance(facts, NumberFacts | TextFacts):
            return 0.0
        known = facts.rows - facts.missing
        like_an_id = isinstance(facts, TextFacts) or self._is_like_an_id(column, facts)
        return facts.distinct / known if known >= self._fewest_rows and like_an_id else 0.0

    def _is_like_an_id(self, column: str, facts: NumberFacts) -> bool:
        if not facts.whole or facts.infinite or facts.distinct < self._fewest_rows:
            return False
        without_holes = facts.highest.value - facts.lowest.value < 1.05 * facts.distinct
        return is_named_like_an_id(column) or without_holes

    def repeats(self, subject: Subject, facts: TextFacts) -> bool:
        """Whether a text has too few distinct values for this rule."""
        return facts.distinct < self.limit(subject) * (facts.rows - facts.missing)


class MixedTypes(ColumnRule):
    """Text columns that hold numbers in some rows and something else in others.

    Missing values and their placeholders do not count, and a number with a unit is no number
    here: "9E" is a code. When nearly all texts are numbers, the column is `numbers_as_text`.
    """

    code = "mixed_types"
    title = "Columns of mixed types"
    advice = (
        "Declare what the column is: text if the numbers are codes; number if the texts are "
        "errors, whose rows are then rejected."
    )
    threshold = Threshold(0.05, 0, 0.5, "share of the rarer kind of value, found from it")
    unjudged = _NO_TEXT
    one = "column"
    said = "with numbers and other texts"
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        """The smaller of the shares of numbers and of other texts."""
        return {
            column: min(facts.share(facts.writing.bare), facts.share(~facts.writing.bare))
            for column, facts in subject.undeclared_texts.items()
        }

    def words(self, subject: Subject, column: str, number: float) -> str:  # noqa: ARG002
        """How many are numbers, and what another text is."""
        facts = subject.undeclared_texts[column]
        bare = facts.writing.bare
        other = facts.texts[int(np.argmax(~bare & ~facts.placeholders))]
        several = len(facts.python_types) > 1
        types = f"; Python types {', '.join(facts.python_types)}" if several else ""
        share = numbers.share(facts.share(bare))
        return f" ({share} numbers, others such as {shown(other)!r}{facts.sampled}{types})"

    def innocent(self, worst: float) -> str:
        """None is mixed."""
        return f"The rarer kind of value has at most {numbers.share(worst)} of a column."

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002
        """Declare them as texts."""
        return {"preparation": {"types": dict.fromkeys(columns, "text")}}


class NumbersAsText(ColumnRule):
    """Numbers stored as texts: with separators, a decimal comma, a currency or a unit.

    As texts they are categories: 9 is as far from 10 as from 1000.
    """

    code = "numbers_as_text"
    title = "Numbers stored as text"
    advice = (
        "Declare the column as number and how it is written; correct the factor of each unit. "
        "Codes (postcodes, branches) stay text: accept the finding."
    )
    threshold = Threshold(0.95, 0.5, 1, "share of texts that are numbers, found from it")
    unjudged = _NO_TEXT
    one = "text column"
    said = "of numbers"
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        """The share of the rows with a number."""
        return {c: facts.share_of_numbers for c, facts in subject.undeclared_texts.items()}

    def words(self, subject: Subject, column: str, number: float) -> str:
        """How they are written, which the longest shows best."""
        facts = subject.undeclared_texts[column]
        example = max(facts.chosen(facts.writing.reads), key=len)
        return (
            f" ({numbers.share(number)}, {facts.writing.words}, such as "
            f"{shown(example)!r}{facts.sampled})"
        )

    def innocent(self, worst: float) -> str:
        """None holds numbers."""
        return f"At most {numbers.share(worst)} of a text column are numbers."

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        """Read them as numbers."""
        return number_preparation({c: subject.undeclared_texts[c] for c in columns})


class DatesAsText(ColumnRule):
    """Dates stored as texts, maybe in several formats: as texts they have no order."""

    code = "dates_as_text"
    title = "Dates stored as text"
    advice = (
        "Declare the column as datetime with its formats; a calendar makes features of it, a "
        "split by time needs it."
    )
    threshold = Threshold(0.95, 0.5, 1, "share of texts that are dates, found from it")
    unjudged = _NO_TEXT
    one = "text column"
    said = "of dates"
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        """The share of the rows that some date format reads."""
        return {c: facts.share_of_dates for c, facts in subject.undeclared_texts.items()}

    def words(self, subject: Subject, column: str, number: float) -> str:
        """Their formats."""
        facts = subject.undeclared_texts[column]
        used = self._used(facts)
        first = facts.dates[used[0]]
        same = [f for f, reads in facts.dates.items() if f not in used and (reads == first).all()]
        words = f"{'formats' if len(used) > 1 else 'format'} {', '.join(used)}{facts.sampled}"
        decide = f"; {same[0]} reads them as well, so decide" if same else ""
        return f" ({numbers.share(number)}, {words}{decide})"

    def innocent(self, worst: float) -> str:
        """None holds dates."""
        return f"At most {numbers.share(worst)} of a text column are dates."

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        """Read them as datetimes, and make features of their calendar."""
        found = {column: subject.undeclared_texts[column] for column in columns}
        preparation: dict[str, Any] = {"types": dict.fromkeys(found, "datetime")}
        used = {column: self._used(facts) for column, facts in found.items()}
        if formats := {c: each for c, each in used.items() if each != [ISO]}:
            preparation["datetime_formats"] = formats
        preparation |= _missing_values(found)
        preparation["calendar"] = {column: self._calendar(f) for column, f in found.items()}
        return {"preparation": preparation}

    @staticmethod
    def _used(facts: TextFacts) -> list[str]:
        """Formats that read a text which no earlier one reads."""
        used, read = [], np.zeros(len(facts.texts), dtype=bool)
        for wanted, reads in facts.dates.items():
            if (reads & ~read).any():
                used.append(wanted)
                read |= reads
        return used

    @staticmethod
    def _calendar(facts: TextFacts) -> list[str]:
        by_time_of_day = any(":" in text for text in facts.texts)
        return ["month", "day_of_week", *(["hour"] if by_time_of_day else [])]


ALMOST_UNIQUE, NUMBERS, DATES = AlmostUniqueColumn(), NumbersAsText(), DatesAsText()
RULES = (AllMissingColumn(), ConstantColumn(), ALMOST_UNIQUE, MixedTypes(), NUMBERS, DATES)


def is_category(subject: Subject, column: str) -> bool:
    """Whether a text feature is no number or date in disguise, which rules of their own find."""
    facts = subject.undeclared_texts.get(column)
    return facts is None or (
        facts.share_of_numbers < NUMBERS.limit(subject)
        and facts.share_of_dates < DATES.limit(subject)
    )


def number_preparation(columns: Mapping[str, TextFacts]) -> dict[str, Any]:
    """The YAML that reads these columns as numbers, their placeholders as missing."""
    preparation: dict[str, Any] = {"types": dict.fromkeys(columns, "number")}
    writings = {c: f.writing.declaration for c, f in columns.items() if not f.writing.plain}
    if writings:
        preparation["numbers"] = writings
    return {"preparation": preparation | _missing_values(columns)}


def _missing_values(columns: Mapping[str, TextFacts]) -> dict[str, Any]:
    missing = {c: f.chosen(f.placeholders) for c, f in columns.items() if f.placeholders.any()}
    return {"missing_values": missing} if missing else {}
