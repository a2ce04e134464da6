"""A finding, and the rule that makes it: one stable code, one title, one piece of advice.

In: the numbers that a module under `findings/` measured. Out: a Finding in one of three
outcomes. What findings add up to is in `verdict.py`; how they look is in `markdown.py` and
`page.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiment_pipeline.storage.records import yaml_bytes

Outcome = Literal["found", "not_found", "not_applicable"]
Severity = Literal["blocks", "condition", "note"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "condition", "note")
_LONGEST_NAME = 60
_MOST_IN_YAML = 20


@dataclass(frozen=True)
class Finding:
    """What one rule says about one table.

    Attributes:
        code: stable name, the one that `analysis.accept` uses.
        title: what the rule looks for.
        outcome: found, not_found, or not_applicable (the evidence says why).
        severity: how a found one weighs in the verdict; `note` for the other outcomes.
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
class Rule:
    """What is the same about all findings of a code."""

    code: str
    title: str
    advice: str

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
        """The rule's finding; `fix` is the part of an ExperimentSpec that deals with it."""
        return Finding(
            self.code,
            self.title,
            "found",
            severity,
            tuple(columns),
            number,
            threshold,
            evidence,
            self.advice,
            yaml_bytes(fix).decode() if fix else None,
        )

    def not_found(
        self, evidence: str, *, number: float | None = None, threshold: float | None = None
    ) -> Finding:
        """The table does not have it."""
        return Finding(
            self.code,
            self.title,
            "not_found",
            "note",
            (),
            number,
            threshold,
            evidence,
            self.advice,
        )

    def not_applicable(self, reason: str) -> Finding:
        """The question does not arise; `reason` is one sentence."""
        return Finding(
            self.code, self.title, "not_applicable", "note", (), None, None, reason, self.advice
        )


def shown(name: object) -> str:
    """A column name or value as part of a sentence: one line, not too long."""
    text = " ".join(str(name).split()) or repr(str(name))
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def some_of(items: Sequence[str], most: int = 5) -> str:
    """`a, b, c and 7 more`."""
    head = ", ".join(items[:most])
    return head if len(items) <= most else f"{head} and {len(items) - most:,} more"


def exclude(columns: Sequence[str], reason: str) -> dict[str, Any]:
    """The YAML that keeps columns from the models, at most 20 of them."""
    return {"exclude": dict.fromkeys(columns[:_MOST_IN_YAML], reason)}


def percent(share: float) -> str:
    """A share for people: `12 %`, `0.03 %`."""
    return f"{100 * share:.3g} %"


def count(number: int, what: str, several: str | None = None) -> str:
    """`1 row`, `1,234 rows`; `several` where the plural is not formed by an s."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"
