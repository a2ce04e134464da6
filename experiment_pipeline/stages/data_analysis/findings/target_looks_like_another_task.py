"""A target whose values fit another task than the declared one.

A regression target with a handful of values is a class; a class with fractions is a number;
two classes are binary. Blocks where the declared task cannot be fitted at all.
"""

from typing import Any

import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, QUANTITIES, kind_of
from experiment_pipeline.spec import Task
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Severity, shown
from experiment_pipeline.stages.data_analysis.findings.numbers_as_text import number_preparation
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import names_of

RULE = Rule(
    "target_looks_like_another_task",
    "Target that looks like another task",
    "Change the task together with its metric, or accept this finding with the reason why "
    "the declared task is meant.",
)


def check(subject: Subject) -> Finding:
    """Compare the values of the visible targets with the declared task."""
    known = subject.visible_target.dropna()
    distinct = int(known.nunique())
    if distinct < 2:
        return RULE.not_applicable("The target has fewer than two values.")
    declared = subject.spec.task
    limit = subject.threshold(RULE.code)
    likely = _likely_task(known, distinct, limit)
    severity = _severity(declared, likely, known, distinct)
    examples = ", ".join(shown(value) for value in known.unique()[:3])
    evidence = (
        f"The target has {distinct:,} distinct values of type {known.dtype} ({examples}"
        f"{', …' if distinct > 3 else ''}), the task is {declared}."
    )
    if severity is None:
        return RULE.not_found(evidence, number=distinct, threshold=limit)
    return RULE.found(
        severity,
        f"{evidence[:-1]}; they look like {likely}.",
        columns=[subject.spec.target],
        number=distinct,
        threshold=limit,
        fix=_fix(subject, likely),
    )


def _likely_task(known: pd.Series, distinct: int, limit: float) -> Task:
    if distinct == 2:
        return "binary"
    if kind_of(known) not in QUANTITIES:
        return "multiclass"
    fractions = bool((known % 1 != 0).any())
    return "regression" if fractions or distinct > limit else "multiclass"


def _severity(declared: Task, likely: Task, known: pd.Series, distinct: int) -> Severity | None:
    """None: the declared task is plausible, even where another one is too."""
    if declared == "binary" and distinct > 2:
        return "blocks"
    if declared == "regression" and kind_of(known) not in NUMERIC:
        return "blocks"
    if declared == "multiclass" and likely == "regression":
        # Whole numbers may well be codes of classes; fractions are not.
        return "condition" if bool((known % 1 != 0).any()) else None
    return None if declared == likely else "condition"


def _fix(subject: Subject, likely: Task) -> dict[str, Any] | None:
    facts = subject.texts_and_target.get(subject.spec.target)
    if subject.spec.task == "regression" and facts and facts.writing.reads.all():
        return number_preparation({subject.spec.target: facts})
    if subject.spec.acceptance or subject.spec.positive_class is not None:
        return None  # they would have to change too, and only people know to what
    return {"task": likely, "metric": names_of(likely)[0]}
