"""Infinite values, which most models refuse and no mean survives."""

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "infinite_values",
    "Infinite values",
    "Correct the division or logarithm they come from, or declare them as missing.",
)


def check(subject: Subject) -> Finding:
    """Count the infinite values of each number feature."""
    if not subject.numbers:
        return RULE.not_applicable("There is no number feature.")
    infinite = {c: facts.infinite for c, facts in subject.numbers.items() if facts.infinite}
    if not infinite:
        return RULE.not_found("All numbers are finite.", number=0, threshold=1)
    columns = sorted(infinite, key=lambda c: -infinite[c])
    each = some_of([f"{shown(c)} ({count(infinite[c], 'row')})" for c in columns])
    return RULE.found(
        "condition",
        f"{count(len(columns), 'feature')} with infinite values: {each}.",
        columns=columns,
        number=infinite[columns[0]],
        threshold=1,
        fix={"preparation": {"missing_values": {c: ["inf", "-inf"] for c in columns}}},
    )
