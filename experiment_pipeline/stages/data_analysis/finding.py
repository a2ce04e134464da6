"""A finding, and what makes one: a rule with its code, title, advice, thresholds and
check.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.stages.data_analysis.subject import Subject

Outcome = Literal["found", "not_found", "not_applicable"]
Severity = Literal["blocks", "condition", "note"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "condition", "note")
_MOST_IN_YAML = 20


@dataclass(frozen=True)
class Finding:
    """The result of one rule on one table."""

    code: str  # stable name, the one that `analysis.accept` uses
    title: str  # what the rule looks for
    outcome: Outcome
    severity: Severity  # how much it counts in the verdict; `note` if it is not found
    columns: tuple[str, ...]  # the columns concerned, the worst first
    number: float | None  # what was measured; of several columns the worst
    threshold: float | None  # what the number was compared with
    evidence: str  # a sentence with the numbers, or why the rule does not apply
    advice: str
    yaml: str | None = None  # settings that would resolve it
    ceiling: float | None = (
        None  # best score of the metric that the train and test rows allow
    )
    accepted: str | None = None  # the reason that the YAML gives


@dataclass(frozen=True)
class Threshold:
    """A number that the YAML may change, between `low` and `high`; `meaning`: what it
    limits.
    """

    default: float
    low: float
    high: float
    meaning: str


@runtime_checkable
class FindingRule(Protocol):
    """A rule. The YAML names an instance of a user's own class under
    `analysis.findings`.

    It may read all rows, but not the targets of the validation set: it reads
    `subject.target` or `subject.visible_target`, never the target's column of
    `subject.frame`.
    """

    @property
    def code(self) -> str:
        """Stable name, the one that `analysis.accept` uses."""

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """Numbers that the YAML may change: `<code>`, and `<code>_blocks` for the
        severe level.
        """

    def check(self, subject: Subject) -> Finding:
        """Examine a table: exactly one finding of this code."""


class Rule:
    """A rule that declares code, title, advice and thresholds as class attributes."""

    code: str
    title: ClassVar[str]
    advice: ClassVar[str]
    threshold: ClassVar[Threshold | None] = (
        None  # None: 1, for what must not occur at all
    )
    blocks: ClassVar[Threshold | None] = None  # of the severe level
    excluded: ClassVar[str] = (
        ""  # why the YAML that it suggests excludes the columns found
    )
    # of a rule over columns:
    said: ClassVar[str]  # the words after the number of columns found
    severity: ClassVar[Severity] = "note"
    above: ClassVar[bool] = (
        False  # whether a column that equals the threshold is not found
    )

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """As in FindingRule."""
        named = {self.code: self.threshold, f"{self.code}_blocks": self.blocks}
        return {name: limit for name, limit in named.items() if limit is not None}

    def limit(self, subject: Subject, *, severe: bool = False) -> float:
        """The YAML's value of the threshold, else its default."""
        name = f"{self.code}_blocks" if severe else self.code
        declared = self.thresholds.get(name)
        default = 1.0 if declared is None else declared.default
        return subject.spec.analysis.thresholds.get(name, default)

    def found(
        self,
        severity: Severity | None,
        evidence: str,
        number: float | None = None,
        threshold: float | None = None,
        columns: Sequence[str] = (),
        fix: Mapping[str, Any] | None = None,
    ) -> Finding:
        """Found with this severity, resolved by `fix` in the spec; None: not found, by
        the same evidence.
        """
        if severity is None:
            return self.not_found(evidence, number, threshold)
        if fix is None and self.excluded:
            fix = {"exclude": dict.fromkeys(columns[:_MOST_IN_YAML], self.excluded)}
        yaml = to_yaml(fix) if fix else None
        measured = (tuple(columns), number, threshold, evidence, self.advice, yaml)
        return Finding(self.code, self.title, "found", severity, *measured)

    def not_found(
        self, evidence: str, number: float | None = None, threshold: float | None = None
    ) -> Finding:
        """The table does not have the problem."""
        measured = ((), number, threshold, evidence, self.advice)
        return Finding(self.code, self.title, "not_found", "note", *measured)

    def not_applicable(self, reason: str) -> Finding:
        """The rule does not apply to the table; `reason` is one sentence."""
        return replace(self.not_found(reason), outcome="not_applicable")

    def over_columns(
        self,
        subject: Subject,
        measured: Mapping[str, float],
        each: Callable[[str], str],
        fix: Callable[[Sequence[str]], Mapping[str, Any] | None] = lambda _: None,
        severity: Severity | None = None,
    ) -> Finding:
        """Compare a number per judged column with the threshold and list the worst
        columns first.

        `each`: words after a column's name; `fix`: the part of the spec that deals with
        the columns found.
        """
        if not measured:
            return self.not_applicable("No column can be judged by this rule.")
        limit = self.limit(subject)
        ordered = sorted(measured, key=lambda column: -measured[column])
        worst = measured[ordered[0]]
        far = operator.gt if self.above else operator.ge
        columns = [column for column in ordered if far(measured[column], limit)]
        if not columns:
            nearest = f"{numbers.shown(ordered[0])} is nearest to it with {worst:.4g}"
            return self.not_found(f"No column {self.said}; {nearest}.", worst, limit)
        words = listed([f"{numbers.shown(c)} ({each(c)})" for c in columns], self.said)
        return self.found(
            severity or self.severity, words, worst, limit, columns, fix(columns)
        )


class ColumnRule(Rule):
    """A rule that compares a number per column with the threshold and lists the worst
    first.
    """

    each: ClassVar[str] = (
        "{number:.4g}"  # the words after the name of one column; also {share}
    )

    def measure(self, subject: Subject) -> Mapping[str, float]:
        """The number of each column that is judged; the larger, the worse."""
        raise NotImplementedError

    def check(self, subject: Subject) -> Finding:
        """Compare every column's number with the threshold."""
        measured = self.measure(subject)

        def each(column: str) -> str:
            number = measured[column]
            return self.each.format(number=number, share=numbers.share(number))

        return self.over_columns(subject, measured, each)


def listed(each: Sequence[str], said: str) -> str:
    """Return `2 columns with gaps: a (7 rows), b (1 row).`."""
    return f"{numbers.counted(len(each), 'column')} {said}: {numbers.some_of(each)}."
