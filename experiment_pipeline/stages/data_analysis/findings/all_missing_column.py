"""Features without a single value."""

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
    "all_missing_column",
    "Columns without any value",
    "Exclude them, or find out why the delivery lost their values.",
)


def check(subject: Subject) -> Finding:
    """List the features whose every value is missing."""
    empty = [c for c, facts in subject.facts.items() if facts.missing == facts.rows]
    if not empty:
        return RULE.not_found(f"{count(len(subject.facts), 'feature')}, each with values.")
    return RULE.found(
        "note",
        f"{count(len(empty), 'feature')} without any value: {some_of(list(map(shown, empty)))}.",
        columns=empty,
        number=len(empty),
        threshold=1,
        fix=exclude(empty, "holds no value"),
    )
