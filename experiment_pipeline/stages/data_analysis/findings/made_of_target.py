"""Features that are computed from the target of their own row, or of one after it.

A rolling mean that includes the day itself, target encoding over all rows, a running total:
alone they may predict little, and a model that unravels them is perfect and useless. Their
arithmetic is checked, not their skill.
"""

from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    exclude,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.target_means import FromTarget, target_means
from experiment_pipeline.stages.data_analysis.target_windows import target_windows

RULE = Rule(
    "made_of_target",
    "Features made of the target",
    "Is the target known when the value is computed? If not, compute the column from earlier "
    "rows only (or leave encoding to search.features), or exclude it; if it is, write the reason "
    "under analysis: accept: made_of_target.",
)
# A mean of more rows than this gives little of each away.
_FEW_ROWS = 20


def check(subject: Subject) -> Finding:
    """Find such columns; blocks where a column gives a noticeable part of its own row away."""
    if subject.target.problem:
        return RULE.not_applicable(f"Nothing to predict: {subject.target.problem}.")
    if not subject.numbers:
        return RULE.not_applicable("There is no number feature.")
    found: dict[str, FromTarget] = {}
    for one in (*target_windows(subject), *target_means(subject)):
        found.setdefault(one.column, one)
    if not found:
        return RULE.not_found("No number feature is a window or a mean over the target.")
    worst = sorted(found.values(), key=lambda one: -one.own_weight)
    columns = [one.column for one in worst]
    each = some_of([f"{shown(one.column)} is {one.words}" for one in worst])
    return RULE.found(
        "blocks" if worst[0].own_weight * _FEW_ROWS >= 1 else "condition",
        f"{count(len(columns), 'feature')} computed from the target: {each}.",
        columns=columns,
        fix=exclude(columns, "computed from the target"),
    )
