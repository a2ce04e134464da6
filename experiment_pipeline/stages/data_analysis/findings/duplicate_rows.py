"""Rows that repeat another one in every column but the target, over all sets.

A random split keeps equal rows in one set, so they only count twice. Under another split
they may stand on both sides. In a table with few possible combinations equal rows are no
copies, and the question does not arise.
"""

import numpy as np

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, percent
from experiment_pipeline.stages.data_analysis.subject import ROOM, Subject

RULE = Rule(
    "duplicate_rows",
    "Rows that repeat another",
    "Reject the copies, unless the same case can really occur twice.",
)


def check(subject: Subject) -> Finding:
    """Compare the share of rows that repeat an earlier row with the threshold."""
    if subject.spec.validation.duplicate_rows == "reject":
        return RULE.not_applicable("The validation rejects rows that repeat another.")
    combinations, rows = subject.possible_combinations, len(subject.frame)
    if not rows:
        return RULE.not_applicable("The table has no row.")
    if combinations < ROOM * rows:
        return RULE.not_applicable(
            f"The features allow only {combinations:,.0f} combinations for {rows:,} rows, so "
            "equal rows need not be copies."
        )
    distinct = len(np.unique(subject.whole_row_hashes))
    share, limit = 1 - distinct / rows, subject.threshold(RULE.code)
    evidence = f"{rows - distinct:,} of {rows:,} rows ({percent(share)}) repeat an earlier one."
    if share <= limit:
        return RULE.not_found(evidence, number=share, threshold=limit)
    kept_together = subject.spec.split.by == "random"
    return RULE.found(
        "note" if kept_together else "condition",
        evidence if kept_together else f"{evidence} They may stand in two sets.",
        number=share,
        threshold=limit,
        fix={"validation": {"duplicate_rows": "reject"}},
    )
