"""Rows without a target: they are rejected before the split.

Many of them ask for the reason: what is known only about some rows is often known because
of the outcome.
"""

import numpy as np

from experiment_pipeline.columns.kinds import NUMERIC, kind_of, numbers_of
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, percent
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "target_missing",
    "Rows without a target",
    "Find out why these rows have no target. They are rejected; if that depends on the "
    "outcome, the model learns from a biased part.",
)


def check(subject: Subject) -> Finding:
    """Compare the share of visible rows without a target with two thresholds."""
    target = subject.visible_target
    unusable = target.isna().to_numpy()
    if subject.spec.task == "regression" and kind_of(target) in NUMERIC:
        unusable = ~np.isfinite(numbers_of(target))
    share = float(unusable.mean()) if len(target) else 1.0
    limit, blocks = subject.threshold(RULE.code), subject.threshold(f"{RULE.code}_blocks")
    evidence = (
        f"{percent(share)} of {count(len(target), 'row')} outside of the validation set have "
        "no target."
    )
    if share <= limit:
        return RULE.not_found(evidence, number=share, threshold=limit)
    severe = share > blocks
    return RULE.found(
        "blocks" if severe else "condition",
        evidence,
        columns=[subject.spec.target],
        number=share,
        threshold=blocks if severe else limit,
    )
