"""Values that are missing, stand for a missing one, are infinite, or far from all others."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import (
    LARGEST_FLOAT32,
    Edge,
    NumberFacts,
    TextFacts,
)
from experiment_pipeline.stages.data_analysis.finding import (
    ColumnRule,
    Finding,
    Severity,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.subject import Subject


class PlaceholderValues(ColumnRule):
    """Values that stand for a missing one: ?, unknown, blanks, -999.

    A text counts if it is a usual placeholder. A number counts if it is a usual one, lies at an
    end of the column, repeats, and is further from its neighbour than the interquartile range of
    the other values; a -1 also when no other value is negative.
    """

    code = "placeholder_values"
    title = "Placeholders for missing values"
    advice = "If these values mean that nothing is known, declare them as missing."
    threshold = Threshold(0.001, 0, 1, "share of rows with it, found from it")
    unjudged = "There is no number or text feature."
    one = "column"
    said = "with placeholders"
    innocence = "No column holds one of the usual placeholders."
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

    def measure(self, subject: Subject) -> dict[str, float]:
        return {
            column: sum(self._values(facts).values()) / max(facts.rows, 1)
            for column, facts in self._judged(subject).items()
        }

    def is_beyond(self, number: float, limit: float) -> bool:
        return number > 0 and number >= limit

    def words(self, subject: Subject, column: str, number: float) -> str:
        values = self._values(self._judged(subject)[column])
        return f" ({', '.join(map(repr, values))}: {numbers.share(number)})"

    def check(self, subject: Subject) -> Finding:
        finding = super().check(subject)
        return finding if finding.outcome == "found" else replace(finding, number=None)

    def weigh(self, subject: Subject, columns: Sequence[str]) -> Severity:
        """A placeholder in the target, or a number other than 0 and -1, is a condition.

        0 and -1 may be real values, and a placeholder among texts does little harm.
        """
        judged = self._judged(subject)
        values = [value for column in columns for value in self._values(judged[column])]
        certain = any(not isinstance(value, str) and value not in {0, -1} for value in values)
        return "condition" if certain or subject.spec.target in columns else "note"

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        judged = self._judged(subject)
        values = {column: list(self._values(judged[column])) for column in columns}
        return {"preparation": {"missing_values": values}}

    @staticmethod
    def _judged(subject: Subject) -> dict[str, NumberFacts | TextFacts]:
        return subject.numbers | subject.texts_and_target

    def _values(self, facts: NumberFacts | TextFacts) -> dict[str | float, int]:
        """Placeholders of a column, and how many rows hold each."""
        if isinstance(facts, TextFacts):
            rows = zip(facts.texts, facts.counts.tolist(), facts.placeholders, strict=True)
            return {text: n for text, n, mark in rows if mark}
        if facts.distinct < self._fewest_distinct:
            return {}
        edges = [edge for edge in (facts.lowest, facts.highest) if self._stands_apart(edge)]
        if facts.lowest.value == -1 and facts.lowest.gap >= 1 and facts.lowest not in edges:
            edges.append(facts.lowest)
        return {
            int(edge.value) if edge.value.is_integer() else edge.value: edge.rows
            for edge in edges
            if edge.rows >= self._fewest_rows
        }

    def _stands_apart(self, edge: Edge) -> bool:
        return edge.value in self._numbers and edge.gap > edge.spread > 0


class InfiniteValues(ColumnRule):
    """Infinite values, which most models refuse and which make every mean infinite."""

    code = "infinite_values"
    title = "Infinite values"
    advice = "Correct the division or logarithm they come from, or declare them as missing."
    unjudged = "There is no number feature."
    said = "with infinite values"
    innocence = "All numbers are finite."
    severity = "condition"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {column: facts.infinite for column, facts in subject.numbers.items()}

    def words(self, subject: Subject, column: str, number: float) -> str:
        return f" ({numbers.counted(int(number), 'row')})"

    def fix(self, subject: Subject, columns: Sequence[str]) -> dict[str, Any]:
        return {"preparation": {"missing_values": {c: ["inf", "-inf"] for c in columns}}}


class AbsurdMagnitudes(ColumnRule):
    """Values a thousand times larger than nearly all others of their column, or beyond float32.

    They are mostly wrong units or typing errors, and one of them can dominate a mean or a linear
    model. A target beyond float32 blocks: no model can be fitted to it.
    """

    code = "absurd_magnitudes"
    title = "Absurd magnitudes"
    advice = (
        "Correct them at the source, or give the column a range in schema.yaml, so that such rows "
        "are rejected and counted."
    )
    threshold = Threshold(
        1000, 10, 1e30, "largest magnitude over the 99th percentile, found above it"
    )
    unjudged = "There is no number to judge."
    one = "column"
    said = "with absurd values"
    innocence = "At most {number:.3g} times the 99th percentile."
    above = True
    _fewest_rows = 100

    def measure(self, subject: Subject) -> dict[str, float]:
        return {column: self._ratio(f) for column, f in subject.numbers_and_target.items()}

    def words(self, subject: Subject, column: str, number: float) -> str:
        facts = subject.numbers_and_target[column]
        return f" (up to {facts.largest_magnitude:.3g}, 99th percentile {facts.p99_magnitude:.3g})"

    def weigh(self, subject: Subject, columns: Sequence[str]) -> Severity:
        target = subject.numbers_and_target.get(subject.spec.target)
        impossible = target is not None and target.largest_magnitude > LARGEST_FLOAT32
        return "blocks" if impossible else "condition"

    def _ratio(self, facts: NumberFacts) -> float:
        largest = facts.largest_magnitude
        if largest > LARGEST_FLOAT32:
            return largest
        if facts.finite < self._fewest_rows or not facts.p99_magnitude > 0:
            return 0.0
        return largest / facts.p99_magnitude


class Outliers(ColumnRule):
    """Values far outside of the bulk of their column.

    Distance is counted in interquartile ranges from the nearer quartile (Tukey 1977 calls three
    "far out"); of a positive column with a long right tail, on the logarithm.
    """

    code = "outliers"
    title = "Outliers"
    advice = (
        "Look at these rows. A range in schema.yaml rejects impossible values; rare but true "
        "ones do not harm trees."
    )
    threshold = Threshold(10, 1.5, 1e6, "interquartile ranges from a quartile, found above it")
    _fewest_rows = 50
    unjudged = f"No number column has {_fewest_rows} finite values of which half differ."
    one = "column"
    said = "with values far outside"
    innocence = "At most {number:.3g} interquartile ranges from a quartile."
    above = True
    # (p95 + p05 - 2 median) / (p95 - p05) is 0 for a symmetric bulk and 1 for a one-sided one.
    _long_tail = 0.3

    def measure(self, subject: Subject) -> dict[str, float]:
        judged = subject.numbers_and_target.items()
        enough = {c: facts for c, facts in judged if facts.finite >= self._fewest_rows}
        return {c: far[0] for c, facts in enough.items() if (far := self._farthest(facts))}

    def words(self, subject: Subject, column: str, number: float) -> str:
        facts = subject.numbers_and_target[column]
        value = (self._farthest(facts) or (0.0, math.nan))[1]
        return (
            f" = {value:.6g} ({number:.3g} interquartile ranges, median {facts.quartiles[1]:.6g})"
        )

    def _farthest(self, facts: NumberFacts) -> tuple[float, float] | None:
        """(distance, value) of the farthest value; None where half of the values are equal."""
        first, median, third = facts.quartiles
        asymmetry = facts.p95 + facts.p05 - 2 * median
        long_tail = asymmetry > self._long_tail * (facts.p95 - facts.p05)
        scale = math.log if facts.lowest.value > 0 and long_tail else float
        spread = scale(third) - scale(first)
        if not spread > 0:
            return None
        high = (scale(facts.highest.value) - scale(third)) / spread
        low = (scale(first) - scale(facts.lowest.value)) / spread
        return (high, facts.highest.value) if high >= low else (low, facts.lowest.value)


class SkewedColumn(ColumnRule):
    """Number features with a very long tail, which dominates a linear model."""

    code = "skewed_column"
    title = "Very skewed columns"
    advice = "No harm for trees. For a linear model take the logarithm in a preparation function."
    threshold = Threshold(10, 1, 1e6, "skewness in absolute value, found above it")
    _fewest_distinct = 10
    unjudged = f"No number column has {_fewest_distinct} or more distinct values."
    one = "column"
    said = "of high skewness"
    innocence = "Skewness is at most {number:.3g}."
    above = True

    def measure(self, subject: Subject) -> dict[str, float]:
        judged = subject.numbers_and_target.items()
        return {c: abs(f.skewness) for c, f in judged if f.distinct >= self._fewest_distinct}

    def words(self, subject: Subject, column: str, number: float) -> str:
        return f" ({subject.numbers_and_target[column].skewness:.3g})"


class MissingValues(ColumnRule):
    """Features that are mostly missing, but not entirely."""

    code = "missing_values"
    title = "Columns that are mostly missing"
    advice = (
        "Find out why. The models learn from the absence too, which is right only if it means the "
        "same in future data."
    )
    threshold = Threshold(0.5, 0, 1, "share of missing values, found above it")
    said = "with more than {limit} missing"
    each = "{share}"
    innocence = "At most {share} of a feature are missing."
    excluded = "is mostly missing"

    def measure(self, subject: Subject) -> dict[str, float]:
        shares = {c: f.missing / f.rows for c, f in subject.facts.items() if f.rows}
        return {c: share for c, share in shares.items() if share < 1} or shares

    def is_beyond(self, number: float, limit: float) -> bool:
        return limit < number < 1


RULES = (
    PlaceholderValues(),
    InfiniteValues(),
    AbsurdMagnitudes(),
    Outliers(),
    SkewedColumn(),
    MissingValues(),
)
