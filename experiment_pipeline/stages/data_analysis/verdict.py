"""The verdict, from the findings alone, by rules that are written down here.

In: findings, acceptances marked on them. Out: one of three words and a sentence for each
finding that weighed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiment_pipeline.stages.data_analysis.finding import SEVERITIES, Finding, Severity

Verdict = Literal["go", "go with conditions", "no go"]

RULES = (
    "A found finding that blocks makes the verdict `no go`.",
    "Otherwise a found finding that is a condition makes it `go with conditions`.",
    "Otherwise it is `go`; notes never weigh.",
    "A finding that the YAML accepts weighs one step less: a block is a condition, a condition a note.",
)
_ONE_STEP_LESS: dict[Severity, Severity] = {
    "blocks": "condition",
    "condition": "note",
    "note": "note",
}


@dataclass(frozen=True)
class Judgement:
    """A verdict and why: a sentence per finding that weighed, and per acceptance."""

    verdict: Verdict
    reasons: tuple[str, ...]


def accept(findings: Sequence[Finding], reasons: Mapping[str, str]) -> tuple[Finding, ...]:
    """Mark the found findings that the YAML accepts."""
    return tuple(
        replace(finding, accepted=reasons[finding.code])
        if finding.outcome == "found" and finding.code in reasons
        else finding
        for finding in findings
    )


def weight(finding: Finding) -> Severity:
    """How much a finding weighs: its severity, one step less when it is accepted."""
    if finding.outcome != "found":
        return "note"
    return finding.severity if finding.accepted is None else _ONE_STEP_LESS[finding.severity]


def judge(findings: Sequence[Finding], accepted: Mapping[str, str]) -> Judgement:
    """Apply RULES to findings on which acceptances are marked."""
    weights = {weight(finding) for finding in findings}
    verdict: Verdict = "go"
    if "blocks" in weights:
        verdict = "no go"
    elif "condition" in weights:
        verdict = "go with conditions"
    weighed = [f for f in findings if weight(f) != "note" or f.accepted is not None]
    found = {finding.code for finding in findings if finding.outcome == "found"}
    idle = [f"accepted, but not found: {code}" for code in accepted if code not in found]
    return Judgement(verdict, (*map(_sentence, by_weight(weighed)), *idle))


def by_weight(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Found first, the heaviest first; then not found; then not applicable."""
    outcomes = ("found", "not_found", "not_applicable")
    return tuple(
        sorted(
            findings,
            key=lambda f: (outcomes.index(f.outcome), SEVERITIES.index(weight(f))),
        )
    )


def _sentence(finding: Finding) -> str:
    words = {"blocks": "blocks", "condition": "is a condition", "note": "is a note"}
    accepted = f" (accepted: {finding.accepted})" if finding.accepted is not None else ""
    return f"{finding.code} {words[weight(finding)]}{accepted}: {finding.evidence}"
