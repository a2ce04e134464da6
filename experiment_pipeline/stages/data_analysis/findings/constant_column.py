"""Features with one value: they tell no two rows apart (a missing value would)."""

from experiment_pipeline.stages.data_analysis.facts import Facts, NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    exclude,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "constant_column",
    "Columns with one value",
    "Exclude them, unless later deliveries will vary.",
)


def check(subject: Subject) -> Finding:
    """List the features that have the same value in every row."""
    constant = {c: _value(facts) for c, facts in subject.facts.items() if _is_constant(facts)}
    if not constant:
        return RULE.not_found(f"{count(len(subject.facts), 'feature')}, none of them constant.")
    each = some_of([f"{shown(column)} = {value}" for column, value in constant.items()])
    return RULE.found(
        "note",
        f"{count(len(constant), 'feature')} with one value: {each}.",
        columns=list(constant),
        number=len(constant),
        threshold=1,
        fix=exclude(list(constant), "is constant"),
    )


def _is_constant(facts: Facts) -> bool:
    if not isinstance(facts, NumberFacts | TextFacts):
        return False
    infinite = facts.infinite if isinstance(facts, NumberFacts) else 0
    return facts.distinct == 1 and facts.missing == 0 and infinite == 0


def _value(facts: Facts) -> str:
    if isinstance(facts, NumberFacts):
        return f"{facts.lowest.value:g}"
    return shown(facts.texts[0]) if isinstance(facts, TextFacts) else ""
