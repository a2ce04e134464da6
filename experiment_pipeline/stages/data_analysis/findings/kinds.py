"""Columns that are empty, constant, ids, of mixed types, or numbers or dates stored as text."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import Facts, NumberFacts, OtherFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    ColumnRule,
    Finding,
    Rule,
    Threshold,
    listed,
)
from experiment_pipeline.stages.data_analysis.findings.rows import is_named_like_an_id
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.texts import ISO

_NO_TEXT = "There is no text feature, but for those declared as text."


class _EveryRow(Rule):
    """Features with a property that holds in every row."""

    said: ClassVar[str]  # the words after the number of columns found
    innocence: ClassVar[str]  # the words after the number of features, where none is found

    def value(self, facts: Facts) -> str | None:
        """The words after the name of a column found; None for all others."""
        raise NotImplementedError

    def check(self, subject: Subject) -> Finding:
        values = {column: self.value(facts) for column, facts in subject.facts.items()}
        found = {column: value for column, value in values.items() if value is not None}
        if not found:
            return self.not_found(f"{numbers.counted(len(values), 'feature')}, {self.innocence}.")
        return self.found(
            "note",
            listed("feature", self.said, found),
            columns=list(found),
            number=len(found),
            threshold=1,
        )


class AllMissingColumn(_EveryRow):
    """Features without a single value."""

    code = "all_missing_column"
    title = "Columns without any value"
    advice = "Exclude them, or find out why the delivery lost their values."
    said, innocence, excluded = "without any value", "each with values", "holds no value"

    def value(self, facts: Facts) -> str | None:
        return "" if facts.missing == facts.rows else None


class ConstantColumn(_EveryRow):
    """Features with one value and no missing one."""

    code = "constant_column"
    title = "Columns with one value"
    advice = "Exclude them, unless later deliveries will vary."
    said, innocence, excluded = "with one value", "none of them constant", "is constant"

    def value(self, facts: Facts) -> str | None:
        if isinstance(facts, OtherFacts) or facts.distinct != 1 or facts.missing:
            return None
        if isinstance(facts, TextFacts):
            return f" = {numbers.shown(facts.texts[0])}"
        return None if facts.infinite else f" = {facts.lowest.value:g}"


class AlmostUniqueColumn(ColumnRule):
    """Features with a different value in almost every row: ids, or texts that models cannot use.

    Numbers count only if they are whole and look like ids: by their name, or because they are
    consecutive. A measurement may be different in every row.
    """

    code = "almost_unique_column"
    title = "Columns that are almost unique"
    advice = (
        "Exclude ids: a model can only memorise them. Name a true row id in "
        "split.id_columns, so that it decides the row's set. Names and titles may stay: "
        "`features: text` of a search entry reads their letters."
    )
    threshold = Threshold(0.95, 0.5, 1, "distinct values per row, found from it")
    _fewest_rows = 20
    unjudged = f"No text or id-like feature has {_fewest_rows} or more known values."
    said = "with almost only distinct values"
    each = "{share} distinct"
    innocence = "At most {share} of a column's values are distinct."
    severity = "condition"
    excluded = "is almost unique"

    def measure(self, subject: Subject) -> dict[str, float]:
        shares = {column: self._share(column, facts) for column, facts in subject.facts.items()}
        return {c: share for c, share in shares.items() if share and is_category(subject, c)}

    def _share(self, column: str, facts: Facts) -> float:
        """0 for a column that is not judged."""
        if not isinstance(facts, NumberFacts | TextFacts):
            return 0.0
        known = facts.rows - facts.missing
        if isinstance(facts, NumberFacts):
            if not facts.whole or facts.infinite or facts.distinct < self._fewest_rows:
                return 0.0
            consecutive = facts.highest.value - facts.lowest.value < 1.05 * facts.distinct
            if not consecutive and not is_named_like_an_id(column):
                return 0.0
        return facts.distinct / known if known >= self._fewest_rows else 0.0

    def repeats(self, subject: Subject, facts: TextFacts) -> bool:
        """Whether a text has too few distinct values for this rule."""
        return facts.distinct < self.limit(subject) * (facts.rows - facts.missing)


class MixedTypes(ColumnRule):
    """Text columns that hold numbers in some rows and something else in others.

    Missing values and placeholders do not count. A number with a unit counts as a text: "9E" is a
    code. When nearly all texts are numbers, the finding is `numbers_as_text`.
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
    innocence = "The rarer kind of value has at most {share} of a column."
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {
            column: min(facts.share(facts.writing.bare), facts.share(~facts.writing.bare))
            for column, facts in subject.undeclared_texts.items()
        }

    def words(self, subject: Subject, column: str, number: float) -> str:
        facts = subject.undeclared_texts[column]
        bare = facts.writing.bare
        other = facts.texts[int(np.argmax(~bare & ~facts.placeholders))]
        several = len(facts.python_types) > 1
        types = f"; Python types {', '.join(facts.python_types)}" if several else ""
        share = numbers.share(facts.share(bare))
        return f" ({share} numbers, others such as {numbers.shown(other)!r}{facts.sampled}{types})"

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        return {"preparation": {"types": dict.fromkeys(columns, "text")}}


class NumbersAsText(ColumnRule):
    """Numbers stored as texts, with separators, a decimal comma, a currency or a unit.

    As texts they are categories without an order.
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
    innocence = "At most {share} of a text column are numbers."
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {c: facts.share_of_numbers for c, facts in subject.undeclared_texts.items()}

    def words(self, subject: Subject, column: str, number: float) -> str:
        facts = subject.undeclared_texts[column]
        example = max(facts.chosen(facts.writing.reads), key=len)
        return (
            f" ({numbers.share(number)}, {facts.writing.words}, such as "
            f"{numbers.shown(example)!r}{facts.sampled})"
        )

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        return number_preparation({c: subject.undeclared_texts[c] for c in columns})


class DatesAsText(ColumnRule):
    """Dates stored as texts, possibly in several formats."""

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
    innocence = "At most {share} of a text column are dates."
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {c: facts.share_of_dates for c, facts in subject.undeclared_texts.items()}

    def words(self, subject: Subject, column: str, number: float) -> str:
        facts = subject.undeclared_texts[column]
        used = self._used(facts)
        first = facts.dates[used[0]]
        same = [f for f, reads in facts.dates.items() if f not in used and (reads == first).all()]
        words = f"{'formats' if len(used) > 1 else 'format'} {', '.join(used)}{facts.sampled}"
        decide = f"; {same[0]} reads them as well, so decide" if same else ""
        return f" ({numbers.share(number)}, {words}{decide})"

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        found = {column: subject.undeclared_texts[column] for column in columns}
        preparation: dict[str, Any] = {"types": dict.fromkeys(found, "datetime")}
        used = {column: self._used(facts) for column, facts in found.items()}
        if formats := {c: each for c, each in used.items() if each != [ISO]}:
            preparation["datetime_formats"] = formats
        preparation |= _missing_values(found)
        calendar = preparation["calendar"] = {}
        for column, facts in found.items():
            by_time_of_day = any(":" in text for text in facts.texts)
            calendar[column] = ["month", "day_of_week", *(["hour"] if by_time_of_day else [])]
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


ALMOST_UNIQUE, NUMBERS, DATES = AlmostUniqueColumn(), NumbersAsText(), DatesAsText()
RULES = (AllMissingColumn(), ConstantColumn(), ALMOST_UNIQUE, MixedTypes(), NUMBERS, DATES)


def is_category(subject: Subject, column: str) -> bool:
    """Whether a text feature is neither numbers nor dates stored as text."""
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
