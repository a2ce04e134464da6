"""More classes than can be learnt, which mostly means that the target is a number or an id."""

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "too_many_classes",
    "Too many classes",
    "Merge classes in a preparation function, or predict a number (task: regression).",
)


def check(subject: Subject) -> Finding:
    """Count the classes; blocks when there are not even two rows for each."""
    if subject.spec.task != "multiclass":
        return RULE.not_applicable(f"The task is {subject.spec.task}.")
    known = subject.visible_target.dropna()
    classes = int(known.nunique())
    limit = subject.threshold(RULE.code)
    evidence = f"{count(classes, 'class', 'classes')} in {len(known):,} rows."
    if classes <= limit:
        return RULE.not_found(evidence, number=classes, threshold=limit)
    return RULE.found(
        "blocks" if classes > len(known) / 2 else "condition",
        evidence,
        columns=[subject.spec.target],
        number=classes,
        threshold=limit,
    )
