"""Rules about single columns: missing values, ids, types, spelling, extremes."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.data_analysis.facts import (
    HIGH_SENTINELS,
    ISO,
    LARGEST_FLOAT32,
    LOW_SENTINELS,
    NumberFacts,
    TextFacts,
    fold,
    is_named_like_an_id,
)
from experiment_pipeline.stages.data_analysis.finding import (
    ColumnJudgement,
    ColumnRule,
    Finding,
    Rule,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.features import plain
from experiment_pipeline.table.preparation import day_columns


class MissingValues(ColumnRule):
    """Features that are mostly, or entirely, missing."""

    code = "missing_values"
    title = "Columns that are mostly missing"
    advice = (
        "Find out why: models learn from absence, too, and it must mean the same later."
    )
    threshold = Threshold(0.5, 0, 1, "share of missing values, found above it")
    above = True
    said = "with mostly missing values"
    each = "{share}"
    excluded = "is mostly missing"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {c: f.missing / f.rows for c, f in subject.facts.items() if f.rows}


class ConstantColumn(Rule):
    """Features with one value and no missing one."""

    code = "constant_column"
    title = "Columns with one value"
    advice = "Exclude them, unless later deliveries will vary."
    excluded = "is constant"

    def check(self, subject: Subject) -> Finding:
        constants = {}
        for column, facts in subject.numbers_and_texts.items():
            unusable = facts.missing + getattr(facts, "infinite", 0)
            if facts.distinct == 1 and not unusable:
                value = numbers.shown(subject.frame[column].iloc[0])
                constants[column] = f"{numbers.shown(column)} = {value}"
        if not constants:
            return self.not_found("Every feature varies.", 0, 1)
        count = numbers.counted(len(constants), "column")
        values = numbers.some_of([*constants.values()])
        evidence = f"{count} with one value: {values}."
        return self.found("note", evidence, len(constants), 1, [*constants])


class AlmostUniqueColumn(ColumnRule):
    """Features with a different value in almost every row; numbers only if like ids."""

    code = "almost_unique_column"
    title = "Columns that are almost unique"
    advice = (
        "Exclude ids; name a row's id in split.id_columns. `features: text` reads "
        "names and free texts, for linear models `features: ngrams`."
    )
    threshold = Threshold(0.95, 0.5, 1, "distinct values per row, found from it")
    said = "with almost only distinct values"
    each = "{share} distinct"
    severity = "condition"
    excluded = "is almost unique"
    _fewest_rows = 20

    def measure(self, subject: Subject) -> dict[str, float]:
        days = day_columns(subject.spec.preparation)
        shares = {}
        for column, facts in subject.numbers_and_texts.items():
            if isinstance(facts, TextFacts):
                may_be_an_id = facts.distinct > 0 and is_category(subject, column)
            else:
                may_be_an_id = column not in days and self._is_like_ids(column, facts)
            if may_be_an_id and facts.known >= self._fewest_rows:
                shares[column] = facts.distinct / facts.known
        return shares

    def _is_like_ids(self, column: str, facts: NumberFacts) -> bool:
        """Whether whole numbers are consecutive, or named like ids."""
        if not facts.whole or facts.infinite or facts.distinct < self._fewest_rows:
            return False
        span = facts.highest.value - facts.lowest.value
        return span < 1.05 * facts.distinct or is_named_like_an_id(column)


class MixedTypes(ColumnRule):
    """Text columns that hold numbers in some rows and something else in others."""

    code = "mixed_types"
    title = "Columns of mixed types"
    advice = "Declare text if the numbers are codes, number if the texts are errors."
    threshold = Threshold(
        0.05, 0, 0.5, "share of the rarer kind of value, found from it"
    )
    said = "with numbers and other texts"

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in subject.undeclared_texts.items():
            bare = facts.writing.bare
            share = facts.share(bare)
            words = [*facts.chosen(~bare & ~facts.placeholders), ""]
            judged[column] = ColumnJudgement(
                number=min(share, facts.share(~bare)),
                words=(
                    f"{numbers.share(share)} numbers, others such as "
                    f"{numbers.shown(words[0])!r}"
                ),
                preparation={"types": "text"},
            )
        return judged


class NumbersAsText(ColumnRule):
    """Numbers stored as texts: with separators, a decimal comma, a currency, a unit."""

    code = "numbers_as_text"
    title = "Numbers stored as text"
    advice = (
        "Declare it as number, correct the factors of units; accept the finding for "
        "codes."
    )
    threshold = Threshold(
        0.95, 0.5, 1, "share of texts that are numbers, found from it"
    )
    said = "with numbers as texts"

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in subject.undeclared_texts.items():
            writing = facts.writing
            example = max(facts.chosen(writing.reads), key=len, default="")
            words = f"{writing.words}, such as {numbers.shown(example)!r}"
            if writing.question:
                words = f"{numbers.shown(writing.question)}: give each its factor"
            judged[column] = ColumnJudgement(
                number=facts.share_of_numbers,
                words=words,
                preparation=number_preparation(facts),
            )
        return judged


class DatesAsText(ColumnRule):
    """Dates stored as texts, possibly in several formats."""

    code = "dates_as_text"
    title = "Dates stored as text"
    advice = (
        "Declare it as datetime: a calendar makes features of it, a split by time "
        "needs it."
    )
    threshold = Threshold(0.95, 0.5, 1, "share of texts that are dates, found from it")
    said = "with dates as texts"

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in subject.undeclared_texts.items():
            formats = _used_formats(facts)
            words = f"format {', '.join(formats)}"
            for date_format, reads in facts.dates.items():
                first = facts.dates[formats[0]]
                if date_format not in formats and np.array_equal(reads, first):
                    words += f"; {date_format} reads them as well, so decide"
                    break
            preparation: dict[str, Any] = {"types": "datetime"}
            if formats != [ISO]:
                preparation["datetime_formats"] = formats
            preparation["calendar"] = ["month", "day_of_week"]
            preparation |= _missing_values(facts)
            judged[column] = ColumnJudgement(facts.share_of_dates, words, preparation)
        return judged


def _used_formats(facts: TextFacts) -> list[str]:
    """Formats that read a text which no earlier one reads."""
    used = []
    read = np.zeros(len(facts.texts), dtype=bool)
    for date_format, reads in facts.dates.items():
        if (reads & ~read).any():
            used.append(date_format)
            read |= reads
    return used


def number_preparation(facts: TextFacts) -> dict[str, Any]:
    """The settings that read a text column as numbers, its placeholders as missing.

    Empty if only people can give the factors of its units.
    """
    if facts.writing.question:
        return {}
    settings: dict[str, Any] = {"types": "number"}
    if facts.writing.declaration:
        settings["numbers"] = facts.writing.declaration
    return settings | _missing_values(facts)


def _missing_values(facts: TextFacts) -> dict[str, Any]:
    texts = facts.chosen(facts.placeholders)
    return {"missing_values": texts} if texts else {}


_NUMBERS, _DATES = NumbersAsText(), DatesAsText()


def is_category(subject: Subject, column: str) -> bool:
    """Whether a text feature is neither numbers nor dates stored as text."""
    facts = subject.undeclared_texts.get(column)
    return facts is None or (
        facts.share_of_numbers < _NUMBERS.limit(subject)
        and facts.share_of_dates < _DATES.limit(subject)
    )


class CategoryVariants(ColumnRule):
    """One category under several spellings that differ in case and spaces."""

    code = "category_variants"
    title = "Several spellings of a category"
    advice = "Give each category one spelling; drop pairs that mean different things."
    said = "with several spellings of a category"
    _most_compared = 2_000

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in subject.texts_and_target.items():
            repeats = facts.distinct < 0.95 * facts.known
            if repeats and 1 < facts.distinct <= self._most_compared:
                groups = _spellings(facts)
                pairs = [
                    numbers.shown(f"{spellings[0]!r} = {variant!r}")
                    for spellings in groups
                    for variant in spellings[1:]
                ]
                judged[column] = ColumnJudgement(
                    number=len(pairs),
                    words=numbers.some_of(pairs, most=3),
                    preparation={"categories": _one_spelling(groups)},
                )
        return judged


def _spellings(facts: TextFacts) -> list[list[str]]:
    """Spellings of each category that has several, its most frequent one first."""
    spellings = defaultdict(list)
    for text in facts.texts:
        spellings[fold(text)].append(text)
    return [group for group in spellings.values() if len(group) > 1]


def _one_spelling(groups: list[list[str]]) -> dict[str, Any]:
    """An entry of `preparation.categories`."""
    trimmed = [[" ".join(text.split()) for text in group] for group in groups]
    declared: dict[str, Any] = {}
    if trimmed != groups:
        declared["trim"] = True
    variants = {group[0]: sorted(set(group) - {group[0]}) for group in trimmed}
    if any(variants.values()):
        declared["variants"] = {
            name: texts for name, texts in variants.items() if texts
        }
    return declared


class PlaceholderValues(ColumnRule):
    """Values that stand for a missing one: ?, unknown, blanks, -999.

    A number counts if it lies at an end, repeats, and is far from its neighbour; others
    than the usual ones must be far from all values.
    """

    code = "placeholder_values"
    title = "Placeholders for missing values"
    advice = "If these values mean that nothing is known, declare them as missing."
    threshold = Threshold(0.001, 0, 1, "share of rows with it, found from it")
    said = "with placeholders"
    _numbers = frozenset([0]) | LOW_SENTINELS | HIGH_SENTINELS
    _fewest_rows = 2
    # Columns with fewer distinct values are codes, which have gaps anyway.
    _fewest_distinct = 10

    def check(self, subject: Subject) -> Finding:
        finding = super().check(subject)
        if finding.outcome != "not_applicable" or not self._columns(subject):
            return finding
        return self.not_found("No column holds one of the usual placeholders.")

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in self._columns(subject).items():
            placeholders = self._values(facts)
            # 0 and -1 may be real values; a placeholder among texts does little harm.
            harmful = column == subject.spec.target or any(
                not isinstance(value, str) and value not in {0, -1}
                for value in placeholders
            )
            share = sum(placeholders.values()) / max(facts.rows, 1)
            values = ", ".join(map(repr, placeholders))
            if placeholders:
                judged[column] = ColumnJudgement(
                    number=share,
                    words=f"{values}: {numbers.share(share)}",
                    preparation={"missing_values": [*placeholders]},
                    severity="condition" if harmful else "note",
                )
        return judged

    def _columns(self, subject: Subject) -> dict[str, NumberFacts | TextFacts]:
        return {**subject.numbers, **subject.texts_and_target}

    def _values(self, facts: NumberFacts | TextFacts) -> Mapping[Scalar, int]:
        """Placeholders of a column, and how many rows hold each."""
        if isinstance(facts, TextFacts):
            rows = facts.counts[facts.placeholders].tolist()
            return dict(zip(facts.chosen(facts.placeholders), rows, strict=True))
        values = dict(facts.sentinels.marks)
        if facts.distinct >= self._fewest_distinct:
            for edge in (facts.lowest, facts.highest):
                below_zero = edge is facts.lowest and edge.value == -1 and edge.gap >= 1
                far_away = edge.value in self._numbers and edge.gap > edge.spread > 0
                if edge.rows >= self._fewest_rows and (far_away or below_zero):
                    values[plain(edge.value)] = edge.rows
        return values


class InfiniteValues(ColumnRule):
    """Infinite values, which most models refuse and which make every mean infinite."""

    code = "infinite_values"
    title = "Infinite values"
    advice = (
        "Correct the division or logarithm they come from, or declare them as missing."
    )
    said = "with infinite values"

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        return {
            column: ColumnJudgement(
                number=facts.infinite,
                words=numbers.counted(facts.infinite, "row"),
                preparation={"missing_values": ["inf", "-inf"]},
            )
            for column, facts in subject.numbers.items()
        }


class AbsurdMagnitudes(ColumnRule):
    """Values a thousand times larger than nearly all others, or beyond float32.

    A target beyond float32 blocks.
    """

    code = "absurd_magnitudes"
    title = "Absurd magnitudes"
    advice = (
        "Correct them, or give the column a range in schema.yaml: such rows are "
        "rejected."
    )
    threshold = Threshold(
        1000, 10, 1e30, "magnitude over the 99th percentile, found above it"
    )
    above = True
    said = "with absurd values"
    _fewest_rows = 100

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in subject.numbers_and_target.items():
            largest, usual = facts.largest_magnitude, facts.p99_magnitude
            impossible = largest > LARGEST_FLOAT32
            ratio = 0.0
            if impossible:
                ratio = largest
            elif facts.finite >= self._fewest_rows and usual > 0:
                ratio = largest / usual
            blocks = impossible and column == subject.spec.target
            judged[column] = ColumnJudgement(
                number=ratio,
                words=f"up to {largest:.3g}, 99th percentile {usual:.3g}",
                severity="blocks" if blocks else "condition",
            )
        return judged


class Outliers(ColumnRule):
    """Values many interquartile ranges from the nearer quartile.

    Tukey (1977) calls three "far out". In a long tail the logarithms are compared.
    """

    code = "outliers"
    title = "Outliers"
    advice = "Look at these rows; a range in schema.yaml rejects what is impossible."
    threshold = Threshold(
        10, 1.5, 1e6, "interquartile ranges from a quartile, found above it"
    )
    above = True
    said = "with values far outside"
    _fewest_rows = 50
    # (p95 + p05 - 2 median) / (p95 - p05) is 0 for a symmetric bulk and 1 for a
    # one-sided one.
    _long_tail = 0.3

    def judge(self, subject: Subject) -> dict[str, ColumnJudgement]:
        judged = {}
        for column, facts in subject.numbers_and_target.items():
            first, median, third = facts.quartiles
            low, high = facts.lowest.value, facts.highest.value
            asymmetry = facts.p95 + facts.p05 - 2 * median
            long_tail = asymmetry > self._long_tail * (facts.p95 - facts.p05)
            scale = math.log if low > 0 and long_tail else float
            spread = scale(third) - scale(first)
            # Where half of the values are equal there is no spread.
            if facts.finite >= self._fewest_rows and spread > 0:
                above = (scale(high) - scale(third)) / spread
                below = (scale(first) - scale(low)) / spread
                far, value = max((above, high), (below, low))
                judged[column] = ColumnJudgement(
                    number=far,
                    words=(
                        f"{value:.6g}, {far:.3g} interquartile ranges, median "
                        f"{median:.6g}"
                    ),
                    severity="note",
                )
        return judged


RULES = (
    ConstantColumn(),
    AlmostUniqueColumn(),
    MixedTypes(),
    _NUMBERS,
    _DATES,
    PlaceholderValues(),
    InfiniteValues(),
    AbsurdMagnitudes(),
    Outliers(),
    MissingValues(),
    CategoryVariants(),
)
