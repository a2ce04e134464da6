"""A finding, and what makes one: a rule with code, advice, thresholds and check."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.stages.data_analysis.facts import by_setting
from experiment_pipeline.stages.data_analysis.subject import Subject

FindingOutcome = Literal["found", "not_found", "not_applicable"]
Severity = Literal["blocks", "condition", "note"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "condition", "note")
_MOST_IN_YAML = 20


@dataclass(frozen=True)
class Finding:
    """The result of one rule on one table."""

    code: str  # stable name, the one that `analysis.accept` uses
    title: str  # what the rule looks for
    outcome: FindingOutcome
    severity: Severity  # how much it counts in the verdict; `note` if it is not found
    columns: tuple[str, ...]  # the columns concerned, the worst first
    number: float | None  # what was measured; of several columns the worst
    threshold: float | None  # what the number was compared with
    evidence: str  # a sentence with the numbers, or why the rule does not apply
    advice: str
    yaml: str | None = None  # settings that would resolve it
    # Best score of the metric that the train and test rows allow.
    ceiling: float | None = None
    accepted: str | None = None  # the reason that the YAML gives


@dataclass(frozen=True)
class Threshold:
    """A number that the YAML may change; `meaning`: what it limits."""

    default: float
    low: float
    high: float
    meaning: str


@runtime_checkable
class FindingRule(Protocol):
    """A rule. The YAML names an instance of a user's own class in `analysis.findings`.

    It may read all rows, but not the targets of the validation set: it reads
    `subject.target` or `subject.visible_target`, never the target's column of
    `subject.frame`.
    """

    @property
    def code(self) -> str:
        """Stable name, the one that `analysis.accept` uses."""

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """What the YAML may change: `<code>`; the severe level: `<code>_blocks`."""

    def check(self, subject: Subject) -> Finding:
        """Examine a table: exactly one finding of this code."""


class Rule:
    """A rule that declares code, title, advice and thresholds as class attributes."""

    code: str
    title: ClassVar[str]
    advice: ClassVar[str]
    # None: 1, for what must not occur at all.
    threshold: ClassVar[Threshold | None] = None
    blocks: ClassVar[Threshold | None] = None  # of the severe level
    # Why the YAML that the rule suggests excludes the columns.
    excluded: ClassVar[str] = ""

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
        """Found with this severity, resolved by `fix` in the spec; None: not found."""
        finding = self.not_found(evidence, number, threshold)
        if severity is None:
            return finding
        if fix is None and self.excluded:
            fix = {"exclude": dict.fromkeys(columns[:_MOST_IN_YAML], self.excluded)}
        return replace(
            finding,
            outcome="found",
            severity=severity,
            columns=tuple(columns),
            yaml=to_yaml(fix) if fix else None,
        )

    def not_found(
        self, evidence: str, number: float | None = None, threshold: float | None = None
    ) -> Finding:
        """The table does not have the problem."""
        return Finding(
            code=self.code,
            title=self.title,
            outcome="not_found",
            severity="note",
            columns=(),
            number=number,
            threshold=threshold,
            evidence=evidence,
            advice=self.advice,
        )

    def not_applicable(self, reason: str) -> Finding:
        """The rule does not apply to the table; `reason` is one sentence."""
        return replace(self.not_found(reason), outcome="not_applicable")


class TargetRule(Rule):
    """A rule about what predicts the target; it needs one that can be modelled."""

    tasks: ClassVar[tuple[Task, ...]] = ("binary", "multiclass", "regression")

    def examine(self, subject: Subject) -> Finding:
        """Examine a table whose target can be modelled."""
        raise NotImplementedError

    def check(self, subject: Subject) -> Finding:
        """Examine a table, unless its task or target rules that out."""
        task, problem = subject.spec.task, subject.target.problem
        if task not in self.tasks:
            return self.not_applicable(f"The task is {task}.")
        if problem:
            return self.not_applicable(f"Nothing to predict: {problem}.")
        return self.examine(subject)


@dataclass(frozen=True)
class ColumnJudgement:
    """One column under a rule."""

    number: float  # compared with the threshold; the larger, the worse
    words: str  # of the evidence, after the column's name
    # What resolves it: setting of `preparation` → its value for the column.
    preparation: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "condition"


class ColumnRule(Rule):
    """A rule that compares a number per column with the threshold, the worst first."""

    # The words after the number of columns.
    said: ClassVar[str]
    # The words after the name of one column; also {share}.
    each: ClassVar[str] = "{number:.4g}"
    severity: ClassVar[Severity] = "note"
    # Whether a column must be above the threshold; else it may equal it.
    above: ClassVar[bool] = False

    def measure(self, subject: Subject) -> Mapping[str, float]:
        """The number of each column that is judged; the larger, the worse."""
        raise NotImplementedError

    def judge(self, subject: Subject) -> Mapping[str, ColumnJudgement]:
        """The judged columns; of a rule whose words or severity differ by column."""
        return {
            column: ColumnJudgement(
                number,
                self.each.format(number=number, share=numbers.share(number)),
                severity=self.severity,
            )
            for column, number in self.measure(subject).items()
        }

    def check(self, subject: Subject) -> Finding:
        """Compare every column's number with the threshold."""
        judged = self.judge(subject)
        if not judged:
            return self.not_applicable("No column can be judged by this rule.")
        limit = self.limit(subject)
        exceeds = operator.gt if self.above else operator.ge
        ordered = sorted(judged, key=lambda column: -judged[column].number)
        worst = judged[ordered[0]].number
        columns = [name for name in ordered if exceeds(judged[name].number, limit)]
        if not columns:
            nearest = f"{numbers.shown(ordered[0])} is nearest to it with {worst:.4g}"
            return self.not_found(f"No column {self.said}; {nearest}.", worst, limit)
        count = numbers.counted(len(columns), "column")
        words = described({column: judged[column].words for column in columns})
        severities = [judged[column].severity for column in columns]
        preparation = by_setting({name: judged[name].preparation for name in columns})
        return self.found(
            severity=min(severities, key=SEVERITIES.index),
            evidence=f"{count} {self.said}: {words}.",
            number=worst,
            threshold=limit,
            columns=columns,
            fix={"preparation": preparation} if preparation else None,
        )


def described(words: Mapping[str, str], most: int = 5) -> str:
    """Return `a (7 rows), b (1 row) and 2 more` of words (`7 rows`) for each name."""
    names = [f"{numbers.shown(name)} ({word})" for name, word in words.items()]
    return numbers.some_of(names, most)
