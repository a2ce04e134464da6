"""Classes with too few rows in the train, test or validation set, and those that are set aside.

The classes of the validation set are not read: its expected number of rows of a class is
its size times the share of the class elsewhere.
"""

import numpy as np

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "too_few_rows_per_class",
    "Classes with too few rows in a set",
    "Deliver more rows of the class, merge it with another under preparation.categories, or give "
    "the smaller sets a larger share. Must it be predicted, then write validation: rare_classes: "
    "stop, and no run goes on without it.",
)

SETS = ("train", "test", "validation")


def check(subject: Subject) -> Finding:
    """Find the class and set with the fewest rows; blocks when less than one is expected."""
    target = subject.target
    if subject.spec.task == "regression":
        return RULE.not_applicable("The task is regression.")
    if target.problem:
        return RULE.not_applicable(f"No classes to count: {target.problem}.")
    rows = subject.set_counts(target.y.astype(np.int64), target.rows, target.n_classes)
    limit = subject.threshold(RULE.code)
    rarest, place = np.unravel_index(int(np.argmin(rows)), rows.shape)
    fewest = float(rows[rarest, place])
    name = shown((target.classes or ())[rarest])
    about = "about " if SETS[place] == "validation" else ""
    evidence = (
        f"Class {name!r} has {about}{fewest:.3g} rows in the {SETS[place]} set, the fewest of "
        f"{len(rows)} classes in three sets."
    )
    if fewest >= limit and not target.set_aside:
        return RULE.not_found(evidence, number=fewest, threshold=limit)
    return RULE.found(
        "blocks" if fewest < 1 else "condition",
        _set_aside(subject) + evidence,
        columns=[subject.spec.target],
        number=fewest,
        threshold=limit,
        fix={"validation": {"rare_classes": "stop"}} if target.set_aside else None,
    )


def _set_aside(subject: Subject) -> str:
    """The sentence about classes that are too rare for three sets; empty where there are none."""
    rare = subject.target.set_aside
    if not rare:
        return ""
    each = some_of([f"{shown(name)!r} ({count(rows, 'row')})" for name, rows in rare.items()])
    return (
        f"{count(len(rare), 'class', 'classes')} too rare for three sets will be set aside, and no "
        f"model can predict {'it' if len(rare) == 1 else 'them'}: {each}, without the validation "
        "set's rows. Of the others: "
    )
