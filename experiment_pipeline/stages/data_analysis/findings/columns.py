"""Rules about single columns: missing values, ids, types in text, spelling, extreme
values.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import (
    ISO,
    LARGEST_FLOAT32,
    NumberFacts,
    TextFacts,
    fold,
    is_named_like_an_id,
)
from experiment_pipeline.stages.data_analysis.finding import (
    ColumnRule,
    Finding,
    Rule,
    Threshold,
    listed,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.preparation import day_columns


class MissingValues(ColumnRule):
    """Features that are mostly, or entirely, missing."""

    code, title = "missing_values", "Columns that are mostly missing"
    advice = (
        "Find out why: models learn from absence, too, and it must mean the same later."
    )
    threshold = Threshold(0.5, 0, 1, "share of missing values, found above it")
    said, each, above = "with mostly missing values", "{share}", True
    excluded = "is mostly missing"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {c: f.missing / f.rows for c, f in subject.facts.items() if f.rows}


class ConstantColumn(Rule):
    """Features with one value and no missing one."""

    code, title = "constant_column", "Columns with one value"
    advice = "Exclude them, unless later deliveries will vary."
    excluded = "is constant"

    def check(self, subject: Subject) -> Finding:
        columns = [
            column
            for column, facts in (subject.numbers | subject.texts).items()
            if facts.distinct == 1
            and not facts.missing
            and not getattr(facts, "infinite", 0)
        ]
        each = [
            f"{numbers.shown(column)} = {numbers.shown(subject.frame[column].iloc[0])}"
            for column in columns
        ]
        evidence = (
            listed(each, "with one value") if columns else "Every feature varies."
        )
        return self.found(
            "note" if columns else None, evidence, len(columns), 1, columns
        )


class AlmostUniqueColumn(ColumnRule):
    """Features with a different value in almost every row; numbers only if they look
    like ids.
    """

    code, title = "almost_unique_column", "Columns that are almost unique"
    advice = "Exclude ids; name a row's id in split.id_columns. `features: text` reads names."
    threshold = Threshold(0.95, 0.5, 1, "distinct values per row, found from it")
    said, each, severity = (
        "with almost only distinct values",
        "{share} distinct",
        "condition",
    )
    excluded = "is almost unique"
    _fewest_rows = 20

    def measure(self, subject: Subject) -> dict[str, float]:
        shares, days = {}, day_columns(subject.spec.preparation)
        for column, facts in (subject.numbers | subject.texts).items():
            known = facts.rows - facts.missing
            judged = (
                known >= self._fewest_rows and facts.distinct > 0 and column not in days
            )
            if isinstance(facts, TextFacts):
                judged &= is_category(subject, column)
            else:
                consecutive = (
                    facts.highest.value - facts.lowest.value < 1.05 * facts.distinct
                )
                judged &= facts.whole and not facts.infinite
                judged &= facts.distinct >= self._fewest_rows
                judged &= consecutive or is_named_like_an_id(column)
            if judged:
                shares[column] = facts.distinct / known
        return shares


class MixedTypes(Rule):
    """Text columns that hold numbers in some rows and something else in others."""

    code, title = "mixed_types", "Columns of mixed types"
    advice = "Declare text if the numbers are codes, number if the texts are errors."
    threshold = Threshold(
        0.05, 0, 0.5, "share of the rarer kind of value, found from it"
    )
    said, severity = "with numbers and other texts", "condition"

    def check(self, subject: Subject) -> Finding:
        texts = subject.undeclared_texts

        def each(column: str) -> str:
            facts, bare = texts[column], texts[column].writing.bare
            other = facts.texts[int(np.argmax(~bare & ~facts.placeholders))]
            share = numbers.share(facts.share(bare))
            return f"{share} numbers, others such as {numbers.shown(other)!r}"

        return self.over_columns(
            subject,
            {
                c: min(f.share(f.writing.bare), f.share(~f.writing.bare))
                for c, f in texts.items()
            },
            each,
            lambda columns: {"preparation": {"types": dict.fromkeys(columns, "text")}},
        )


class NumbersAsText(Rule):
    """Numbers stored as texts, with separators, a decimal comma, a currency
    or a unit.
    """

    code, title = "numbers_as_text", "Numbers stored as text"
    advice = "Declare it as number, correct the factors of units; accept the finding for codes."
    threshold = Threshold(
        0.95, 0.5, 1, "share of texts that are numbers, found from it"
    )
    said, severity = "with numbers as texts", "condition"

    def check(self, subject: Subject) -> Finding:
        texts = subject.undeclared_texts

        def each(column: str) -> str:
            writing = texts[column].writing
            example = max(texts[column].chosen(writing.reads), key=len)
            return f"{writing.words}, such as {numbers.shown(example)!r}"

        shares = {column: facts.share_of_numbers for column, facts in texts.items()}
        return self.over_columns(
            subject,
            shares,
            each,
            lambda found: number_preparation({c: texts[c] for c in found}),
        )


class DatesAsText(Rule):
    """Dates stored as texts, possibly in several formats."""

    code, title = "dates_as_text", "Dates stored as text"
    advice = "Declare it as datetime: a calendar makes features of it, a split by time needs it."
    threshold = Threshold(0.95, 0.5, 1, "share of texts that are dates, found from it")
    said, severity = "with dates as texts", "condition"

    def check(self, subject: Subject) -> Finding:
        texts = subject.undeclared_texts

        def each(column: str) -> str:
            facts, used = texts[column], _used_formats(texts[column])
            first = facts.dates[used[0]]
            same = [
                f
                for f, reads in facts.dates.items()
                if f not in used and (reads == first).all()
            ]
            decide = f"; {same[0]} reads them as well, so decide" if same else ""
            return f"format {', '.join(used)}{decide}"

        def fix(columns: Sequence[str]) -> dict[str, Any]:
            found = {column: texts[column] for column in columns}
            preparation: dict[str, Any] = {"types": dict.fromkeys(found, "datetime")}
            used = {column: _used_formats(facts) for column, facts in found.items()}
            if formats := {c: each for c, each in used.items() if each != [ISO]}:
                preparation["datetime_formats"] = formats
            preparation["calendar"] = {
                column: ["month", "day_of_week"] for column in found
            }
            return {"preparation": preparation | _missing_values(found)}

        shares = {column: facts.share_of_dates for column, facts in texts.items()}
        return self.over_columns(subject, shares, each, fix)


def _used_formats(facts: TextFacts) -> list[str]:
    """Formats that read a text which no earlier one reads."""
    used, read = [], np.zeros(len(facts.texts), dtype=bool)
    for wanted, reads in facts.dates.items():
        if (reads & ~read).any():
            used.append(wanted)
            read |= reads
    return used


def number_preparation(columns: Mapping[str, TextFacts]) -> dict[str, Any]:
    """The YAML that reads these columns as numbers, their placeholders as missing."""
    preparation: dict[str, Any] = {"types": dict.fromkeys(columns, "number")}
    if writings := {c: d for c, f in columns.items() if (d := f.writing.declaration)}:
        preparation["numbers"] = writings
    return {"preparation": preparation | _missing_values(columns)}


def _missing_values(columns: Mapping[str, TextFacts]) -> dict[str, Any]:
    missing = {
        c: f.chosen(f.placeholders) for c, f in columns.items() if f.placeholders.any()
    }
    return {"missing_values": missing} if missing else {}


_NUMBERS, _DATES = NumbersAsText(), DatesAsText()


def is_category(subject: Subject, column: str) -> bool:
    """Whether a text feature is neither numbers nor dates stored as text."""
    facts = subject.undeclared_texts.get(column)
    return facts is None or (
        facts.share_of_numbers < _NUMBERS.limit(subject)
        and facts.share_of_dates < _DATES.limit(subject)
    )


class CategoryVariants(Rule):
    """One category under several spellings that differ in case and spaces."""

    code, title = "category_variants", "Several spellings of a category"
    advice = "Give each category one spelling; drop pairs that mean different things."
    said, severity = "with several spellings of a category", "condition"
    _most_compared = 2_000

    def check(self, subject: Subject) -> Finding:
        variants: dict[str, list[list[str]]] = {}
        for column, facts in subject.texts_and_target.items():
            repeats = facts.distinct < 0.95 * (facts.rows - facts.missing)
            if repeats and 1 < facts.distinct <= self._most_compared:
                groups = defaultdict(list)
                for (
                    text
                ) in facts.texts:  # the most frequent spelling of each comes first
                    groups[fold(text)].append(text)
                variants[column] = [
                    group for group in groups.values() if len(group) > 1
                ]

        def each(column: str) -> str:
            pairs = [
                f"{g[0]!r} = {other!r}" for g in variants[column] for other in g[1:]
            ]
            return numbers.some_of(list(map(numbers.shown, pairs)), most=3)

        def declared(groups: list[list[str]]) -> dict[str, Any]:
            """An entry of `preparation.categories`."""
            trimmed = [[" ".join(text.split()) for text in group] for group in groups]
            others = {g[0]: sorted(set(g) - {g[0]}) for g in trimmed if len(set(g)) > 1}
            trim = {"trim": True} if trimmed != groups else {}
            return trim | ({"variants": others} if others else {})

        counts = {c: sum(len(g) - 1 for g in groups) for c, groups in variants.items()}
        return self.over_columns(
            subject,
            counts,
            each,
            lambda found: {
                "preparation": {"categories": {c: declared(variants[c]) for c in found}}
            },
        )


class PlaceholderValues(Rule):
    """Values that stand for a missing one: ?, unknown, blanks, -999.

    A number counts if it is a usual one, lies at an end, repeats, and is far from its
    neighbour.
    """

    code, title = "placeholder_values", "Placeholders for missing values"
    advice = "If these values mean that nothing is known, declare them as missing."
    threshold = Threshold(0.001, 0, 1, "share of rows with it, found from it")
    said = "with placeholders"
    _numbers = frozenset(
        {
            *(-1, -9, -99, -999, -9999, -99999, -999999, -32768, -2147483648),
            *(0, 99, 999, 9999, 99999, 999999, 9999999, 32767, 65535, 2147483647),
            *(-99.9, -999.9, -999.99, 999.9),
        }
    )
    _fewest_rows = 2
    # Columns with fewer distinct values are codes, which have gaps anyway.
    _fewest_distinct = 10

    def check(self, subject: Subject) -> Finding:
        judged = subject.numbers | subject.texts_and_target
        values = {c: v for c, facts in judged.items() if (v := self._values(facts))}
        if judged and not values:
            return self.not_found("No column holds one of the usual placeholders.")
        shares = {c: sum(v.values()) / judged[c].rows for c, v in values.items()}
        # 0 and -1 may be real values, and a placeholder among texts does little harm.
        condition = any(
            column == subject.spec.target
            or any(
                not isinstance(one, str) and one not in {0, -1}
                for one in values[column]
            )
            for column, share in shares.items()
            if share >= self.limit(subject)
        )
        return self.over_columns(
            subject,
            shares,
            lambda c: f"{', '.join(map(repr, values[c]))}: {numbers.share(shares[c])}",
            lambda found: {
                "preparation": {"missing_values": {c: [*values[c]] for c in found}}
            },
            "condition" if condition else None,
        )

    def _values(self, facts: NumberFacts | TextFacts) -> dict[str | float, int]:
        """Placeholders of a column, and how many rows hold each."""
        if isinstance(facts, TextFacts):
            rows = zip(
                facts.texts, facts.counts.tolist(), facts.placeholders, strict=True
            )
            return {text: n for text, n, mark in rows if mark}
        if facts.distinct < self._fewest_distinct:
            return {}
        lowest, highest = facts.lowest, facts.highest
        edges = [
            e
            for e in (lowest, highest)
            if e.value in self._numbers and e.gap > e.spread > 0
        ]
        if lowest.value == -1 and lowest.gap >= 1 and lowest not in edges:
            edges.append(lowest)
        return {
            int(edge.value) if edge.value.is_integer() else edge.value: edge.rows
            for edge in edges
            if edge.rows >= self._fewest_rows
        }


class InfiniteValues(Rule):
    """Infinite values, which most models refuse and which make every mean infinite."""

    code, title = "infinite_values", "Infinite values"
    advice = (
        "Correct the division or logarithm they come from, or declare them as missing."
    )
    said, severity = "with infinite values", "condition"

    def check(self, subject: Subject) -> Finding:
        rows = {column: facts.infinite for column, facts in subject.numbers.items()}
        return self.over_columns(
            subject,
            rows,
            lambda column: numbers.counted(rows[column], "row"),
            lambda found: {
                "preparation": {"missing_values": {c: ["inf", "-inf"] for c in found}}
            },
        )


class AbsurdMagnitudes(Rule):
    """Values a thousand times larger than nearly all others, or beyond float32: such a
    target blocks.
    """

    code, title = "absurd_magnitudes", "Absurd magnitudes"
    advice = "Correct them, or give the column a range in schema.yaml: such rows are rejected."
    threshold = Threshold(
        1000, 10, 1e30, "magnitude over the 99th percentile, found above it"
    )
    said, severity, above = "with absurd values", "condition", True
    _fewest_rows = 100

    def check(self, subject: Subject) -> Finding:
        facts = subject.numbers_and_target
        ratios, impossible = {}, False
        for column, each in facts.items():
            judged = each.finite >= self._fewest_rows and each.p99_magnitude > 0
            ratios[column] = (
                each.largest_magnitude / each.p99_magnitude if judged else 0.0
            )
            if each.largest_magnitude > LARGEST_FLOAT32:
                ratios[column] = each.largest_magnitude
                impossible |= column == subject.spec.target
        return self.over_columns(
            subject,
            ratios,
            lambda c: (
                f"up to {facts[c].largest_magnitude:.3g}, 99th percentile "
                f"{facts[c].p99_magnitude:.3g}"
            ),
            severity="blocks" if impossible else None,
        )


class Outliers(Rule):
    """Values many interquartile ranges from the nearer quartile (Tukey 1977 calls three
    "far out").
    """

    code, title = "outliers", "Outliers"
    advice = "Look at these rows; a range in schema.yaml rejects what is impossible."
    threshold = Threshold(
        10, 1.5, 1e6, "interquartile ranges from a quartile, found above it"
    )
    said, above = "with values far outside", True
    _fewest_rows = 50
    # (p95 + p05 - 2 median) / (p95 - p05) is 0 for a symmetric bulk and 1 for a
    # one-sided one.
    _long_tail = 0.3

    def check(self, subject: Subject) -> Finding:
        farthest: dict[str, tuple[float, float]] = {}
        for column, facts in subject.numbers_and_target.items():
            first, median, third = facts.quartiles
            asymmetry = facts.p95 + facts.p05 - 2 * median
            long_tail = asymmetry > self._long_tail * (facts.p95 - facts.p05)
            scale = math.log if facts.lowest.value > 0 and long_tail else float
            spread = scale(third) - scale(first)
            # Where half of the values are equal there is no spread.
            if facts.finite >= self._fewest_rows and spread > 0:
                high = (scale(facts.highest.value) - scale(third)) / spread
                low = (scale(first) - scale(facts.lowest.value)) / spread
                farthest[column] = max(
                    (high, facts.highest.value), (low, facts.lowest.value)
                )
        return self.over_columns(
            subject,
            {column: distance for column, (distance, _) in farthest.items()},
            lambda column: (
                f"{farthest[column][1]:.6g}, {farthest[column][0]:.3g} interquartile "
                f"ranges, median {subject.numbers_and_target[column].quartiles[1]:.6g}"
            ),
        )


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
