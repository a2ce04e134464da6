"""A rare class: accuracy says little, and a score needs many rows to be sure of."""

import numpy as np

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, percent, shown
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import METRICS

RULE = Rule(
    "class_imbalance",
    "Rare class",
    "Judge by average_precision or roc_auc next to the prevalence. Do not reweight by habit: "
    "a reweighted model is not calibrated.",
)


def check(subject: Subject) -> Finding:
    """Compare the share of the rarest class with the threshold.

    A condition when the metric rewards ignoring the rare class, else a note.
    """
    if subject.spec.task == "regression":
        return RULE.not_applicable("The task is regression.")
    if subject.target.problem:
        return RULE.not_applicable(f"No classes to compare: {subject.target.problem}.")
    shares = np.bincount(subject.target.y.astype(np.int64)) / len(subject.target.y)
    rarest = int(np.argmin(shares))
    share, limit = float(shares[rarest]), subject.threshold(RULE.code)
    name = shown((subject.target.classes or ())[rarest])
    evidence = f"The rarest class, {name!r}, has {percent(share)} of the rows."
    if share >= limit:
        return RULE.not_found(evidence, number=share, threshold=limit)
    fooled = METRICS[subject.spec.metric].hides_rare
    return RULE.found(
        "condition" if fooled else "note",
        evidence,
        columns=[subject.spec.target],
        number=share,
        threshold=limit,
        fix=_fix(subject) if fooled else None,
    )


def _fix(subject: Subject) -> dict[str, str]:
    binary = subject.spec.task == "binary"
    return {"metric": "average_precision" if binary else "balanced_accuracy"}
