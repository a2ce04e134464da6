"""Classes with too few rows in the train, test or validation set.

The classes of the validation set are not read: its expected number of rows of a class is
its size times the share of the class elsewhere.
"""

import numpy as np

from experiment_pipeline.core.data_analysis.finding import Finding, Rule, shown
from experiment_pipeline.core.data_analysis.subject import Subject

RULE = Rule(
    "too_few_rows_per_class",
    "Classes with too few rows in a set",
    "Deliver more rows of the class, merge it with another, or give the smaller sets a "
    "larger share.",
)

SETS = ("train", "test", "validation")


def check(subject: Subject) -> Finding:
    """Find the class and set with the fewest rows; blocks when less than one is expected."""
    if subject.spec.task == "regression":
        return RULE.not_applicable("The task is regression.")
    if subject.target.problem:
        return RULE.not_applicable(f"No classes to count: {subject.target.problem}.")
    rows = _rows_per_class(subject)
    limit = subject.threshold(RULE.code)
    rarest, place = np.unravel_index(int(np.argmin(rows)), rows.shape)
    fewest = float(rows[rarest, place])
    name = shown((subject.target.classes or ())[rarest])
    about = "about " if SETS[place] == "validation" else ""
    evidence = (
        f"Class {name!r} has {about}{fewest:.3g} rows in the {SETS[place]} set, the fewest of "
        f"{len(rows)} classes in three sets."
    )
    if fewest >= limit:
        return RULE.not_found(evidence, number=fewest, threshold=limit)
    return RULE.found(
        "blocks" if fewest < 1 else "condition",
        evidence,
        columns=[subject.spec.target],
        number=fewest,
        threshold=limit,
    )


def _rows_per_class(subject: Subject) -> np.ndarray:
    """Rows (classes, sets) of each class in each of SETS; those of validation are expected."""
    target, classes = subject.target, subject.target.n_classes
    y = target.y.astype(np.int64)
    sets = subject.sets.to_numpy()[target.rows]
    train, test = (np.bincount(y[sets == name], minlength=classes) for name in SETS[:2])
    expected = np.bincount(y, minlength=classes) / len(y) * len(subject.positions("validation"))
    return np.column_stack([train, test, expected])
