import itertools

from experiment_pipeline.stages.data_analysis.analysis import accept, by_weight, judge, weight
from experiment_pipeline.stages.data_analysis.finding import SEVERITIES, Finding, Rule


def _rule(severity: str) -> Rule:
    named = type("Named", (Rule,), {"code": severity, "title": severity, "advice": ""})
    return named()


RULES = {severity: _rule(severity) for severity in SEVERITIES}
FOUND = {severity: rule.found(severity, "evidence") for severity, rule in RULES.items()}


def _verdict(*findings: Finding, **accepted: str) -> str:
    return judge(accept(findings, accepted), accepted).verdict


def test_the_heaviest_finding_decides() -> None:
    """Whatever the order, one block means no go, one condition means conditions."""
    for several in itertools.permutations(FOUND.values()):
        assert _verdict(*several) == "no go"
    assert _verdict(FOUND["note"], FOUND["condition"]) == "go with conditions"
    assert _verdict(FOUND["note"]) == "go"


def test_what_was_not_found_never_weighs() -> None:
    """Not found and not applicable leave the verdict at go."""
    rule = RULES["blocks"]
    assert _verdict(rule.not_found(""), rule.not_applicable("")) == "go"


def test_an_accepted_finding_weighs_one_step_less() -> None:
    """A block that is accepted is a condition, a condition a note; the reason is recorded."""
    assert _verdict(FOUND["blocks"], blocks="known") == "go with conditions"
    assert _verdict(FOUND["condition"], condition="known") == "go"
    (accepted,) = accept([FOUND["blocks"]], {"blocks": "known"})
    assert (accepted.accepted, accepted.severity, weight(accepted)) == (
        "known",
        "blocks",
        "condition",
    )


def test_reasons_tell_what_weighed_and_what_was_accepted() -> None:
    """Each finding that weighed has a sentence; an acceptance of nothing is said to be idle."""
    accepted = {"condition": "known", "note": "why not"}
    marked = accept([FOUND["condition"], FOUND["blocks"]], accepted)
    assert judge(marked, accepted).reasons == (
        "blocks blocks: evidence",
        "condition is a note (accepted: known): evidence",
        "accepted, but not found: note",
    )


def test_findings_are_ordered_by_outcome_and_weight() -> None:
    """What was found comes first, the heaviest first."""
    rule = RULES["note"]
    missing, idle = rule.not_found(""), rule.not_applicable("")
    ordered = by_weight([idle, FOUND["note"], missing, FOUND["blocks"], FOUND["condition"]])
    assert ordered == (FOUND["blocks"], FOUND["condition"], FOUND["note"], missing, idle)
