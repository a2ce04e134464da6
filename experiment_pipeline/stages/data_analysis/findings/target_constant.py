"""A target with fewer than two values: there is nothing to predict."""

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "target_constant",
    "Target with one value",
    "Name another target, or deliver rows of every class.",
)


def check(subject: Subject) -> Finding:
    """Count the distinct targets of the visible rows."""
    known = subject.visible_target.dropna()
    distinct = int(known.nunique())
    if distinct > 1:
        return RULE.not_found(f"The target has {distinct:,} values.", number=distinct, threshold=2)
    only = f", all {shown(known.iloc[0])!r}" if distinct else ""
    return RULE.found(
        "blocks",
        f"{count(len(known), 'row')} outside of the validation set have a target{only}.",
        columns=[subject.spec.target],
        number=distinct,
        threshold=2,
    )
