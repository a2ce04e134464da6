"""A finding, and what makes one: a rule with its code, title, advice, thresholds and measure.

Any class that satisfies FindingRule is a rule. The rules of this package extend Rule, or
ColumnRule where a number per column is compared with the threshold. In: a Subject. Out: a Finding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.storage.records import yaml_bytes

Outcome = Literal["found", "not_found", "not_applicable"]
Severity = Literal["blocks", "condition", "note"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "condition", "note")
_MOST_IN_YAML = 20


@dataclass(frozen=True)
class Finding:
    """The result of one rule on one table.

    Attributes:
        code: stable name, the one that `analysis.accept` uses.
        title: what the rule looks for.
        outcome: found, not_found, or not_applicable (the evidence says why).
        severity: how much a found one counts in the verdict; `note` for the other outcomes.
        columns: the columns concerned, the worst first.
        number: what was measured; of several columns the worst.
        threshold: what the number was compared with.
        evidence: one sentence with the numbers.
        advice: what to do.
        yaml: the settings that deal with it, where there are some.
        ceiling: the best score of the experiment's metric that the train and test rows allow,
            where the rule knows one.
        accepted: the reason given in the YAML, where the code is accepted there.
    """

    code: str
    title: str
    outcome: Outcome
    severity: Severity
    columns: tuple[str, ...]
    number: float | None
    threshold: float | None
    evidence: str
    advice: str
    yaml: str | None = None
    ceiling: float | None = None
    accepted: str | None = None


@dataclass(frozen=True)
class Threshold:
    """A number that the YAML may change.

    Attributes:
        default: its value when the YAML does not set it.
        low, high: the allowed values, both included.
        meaning: what is compared with it.
    """

    default: float
    low: float
    high: float
    meaning: str


@runtime_checkable
class FindingRule(Protocol):
    """A rule. The YAML names an instance of a user's own class under `analysis.findings`.

    It may read all rows, but not the targets of the validation set: it reads `subject.target` or
    `subject.visible_target`, never the target's column of `subject.frame`.
    """

    @property
    def code(self) -> str:
        """Stable name, the one that `analysis.accept` uses."""

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """Numbers that the YAML may change: `<code>`, and `<code>_blocks` for the severe level."""

    def check(self, subject: Subject) -> Finding:
        """Examine a table: exactly one finding of this code."""


class Rule:
    """A rule that declares code, title, advice and thresholds as class attributes.

    Attributes:
        code, title, advice: the same in all its findings.
        threshold: what its number is compared with; None: 1, for what must not occur at all.
        blocks: the threshold of the severe level, where there is one.
        excluded: the reason that the suggested YAML gives to exclude the columns found; empty: it
            does not exclude them.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    advice: ClassVar[str]
    threshold: ClassVar[Threshold | None] = None
    blocks: ClassVar[Threshold | None] = None
    excluded: ClassVar[str] = ""

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """As in FindingRule."""
        named = {self.code: self.threshold, f"{self.code}_blocks": self.blocks}
        return {name: limit for name, limit in named.items() if limit is not None}

    def limit(self, subject: Subject) -> float:
        """The YAML's value of the threshold, else its default."""
        default = 1.0 if self.threshold is None else self.threshold.default
        return subject.spec.analysis.thresholds.get(self.code, default)

    def severe_limit(self, subject: Subject) -> float:
        """The YAML's value of the severe threshold, else its default."""
        name = f"{self.code}_blocks"
        return subject.spec.analysis.thresholds.get(name, self.thresholds[name].default)

    def found(
        self,
        severity: Severity,
        evidence: str,
        *,
        columns: Sequence[str] = (),
        number: float | None = None,
        threshold: float | None = None,
        fix: Mapping[str, Any] | None = None,
    ) -> Finding:
        """The table has it; `fix` is the part of the spec that deals with it."""
        if fix is None and self.excluded:
            fix = exclude(columns, self.excluded)
        return Finding(
            *(self.code, self.title, "found", severity, tuple(columns), number, threshold),
            *(evidence, self.advice, yaml_bytes(fix).decode() if fix else None),
        )

    def not_found(
        self, evidence: str, *, number: float | None = None, threshold: float | None = None
    ) -> Finding:
        """The table does not have it."""
        return Finding(
            *(self.code, self.title, "not_found", "note", (), number, threshold),
            *(evidence, self.advice),
        )

    def judged(
        self,
        severity: Severity | None,
        evidence: str,
        *,
        number: float,
        threshold: float,
        columns: Sequence[str] = (),
        fix: Mapping[str, Any] | None = None,
    ) -> Finding:
        """Found with that severity; None: not found, by the same number and evidence."""
        if severity is None:
            return self.not_found(evidence, number=number, threshold=threshold)
        return self.found(
            severity, evidence, columns=columns, number=number, threshold=threshold, fix=fix
        )

    def not_applicable(self, reason: str) -> Finding:
        """The rule does not apply to the table; `reason` is one sentence."""
        return Finding(
            *(self.code, self.title, "not_applicable", "note", (), None, None),
            *(reason, self.advice),
        )


class ColumnRule(Rule):
    """A rule that compares a number per column with the threshold and lists the worst first.

    Attributes:
        unjudged: the sentence for a table without a column to judge; empty: then nothing is found.
        one: the noun for a column in the evidence; its plural takes an s.
        said: the words after the number of columns found; `{limit}` is the threshold as a share.
        each: the words after the name of one column; `{number}` is its number, `{share}` that
            number as a share.
        innocence: the sentence where no column is found; with the worst `{number}` or `{share}`.
        above: whether a column must exceed the threshold to be found; else it may equal it.
        severity: the severity, if it does not depend on the columns.
    """

    unjudged: ClassVar[str] = ""
    one: ClassVar[str] = "feature"
    said: ClassVar[str]
    each: ClassVar[str]
    innocence: ClassVar[str]
    above: ClassVar[bool] = False
    severity: ClassVar[Severity] = "note"

    def measure(self, subject: Subject) -> Mapping[str, float]:
        """The number of each column that is judged; the larger, the worse."""
        raise NotImplementedError

    def words(self, subject: Subject, column: str, number: float) -> str:  # noqa: ARG002 - as below
        """The words after the name of a column found."""
        return f" ({self.each.format(number=number, share=numbers.share(number))})"

    def innocent(self, worst: float) -> str:
        """The sentence where no column is found, with the worst number."""
        return self.innocence.format(number=worst, share=numbers.share(worst))

    def is_beyond(self, number: float, limit: float) -> bool:
        """Whether a column is found."""
        return number > limit if self.above else number >= limit

    def weigh(self, subject: Subject, columns: Sequence[str]) -> Severity:  # noqa: ARG002 - it may depend on them
        """The severity, given the columns found."""
        return self.severity

    def fix(self, subject: Subject, columns: Sequence[str]) -> Mapping[str, Any] | None:  # noqa: ARG002 - as above
        """The part of the spec that deals with the columns found."""
        return None

    def check(self, subject: Subject) -> Finding:
        """Compare every column's number with the threshold."""
        measured = self.measure(subject)
        if not measured and self.unjudged:
            return self.not_applicable(self.unjudged)
        limit = self.limit(subject)
        worst_first = sorted(measured, key=lambda column: -measured[column])
        columns = [column for column in worst_first if self.is_beyond(measured[column], limit)]
        worst = measured[worst_first[0]] if worst_first else 0.0
        if not columns:
            return self.not_found(self.innocent(worst), number=worst, threshold=limit)
        said = self.said.format(limit=numbers.share(limit))
        words = {column: self.words(subject, column, measured[column]) for column in columns}
        return self.found(
            self.weigh(subject, columns),
            listed(self.one, said, words),
            columns=columns,
            number=worst,
            threshold=limit,
            fix=self.fix(subject, columns),
        )


def listed(one: str, said: str, words: Mapping[str, str]) -> str:
    """`2 features with gaps: a (7 rows), b (1 row).`, from column → the words after its name."""
    each = numbers.some_of([numbers.shown(column) + behind for column, behind in words.items()])
    return f"{numbers.counted(len(words), one)} {said}: {each}."


def exclude(columns: Sequence[str], reason: str) -> dict[str, Any]:
    """The YAML that keeps columns from the models, at most 20 of them."""
    return {"exclude": dict.fromkeys(columns[:_MOST_IN_YAML], reason)}
