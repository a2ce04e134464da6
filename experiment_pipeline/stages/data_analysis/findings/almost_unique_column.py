"""Features with another value in almost every row: ids, or texts that models cannot use.

Of numbers only whole ones count that look like ids: by their name, or because they run
through the table without holes. A measurement may well be different in every row.
"""

from experiment_pipeline.stages.data_analysis.facts import Facts, NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    exclude,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.findings.repeated_entities import is_named_like_an_id
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "almost_unique_column",
    "Columns that are almost unique",
    "Exclude ids: a model can only learn them by heart. Name a true row id in "
    "split.id_columns, so that it decides the row's set.",
)
_FEWEST_ROWS = 20


def check(subject: Subject) -> Finding:
    """Compare distinct values per known value of each feature with the threshold."""
    limit = subject.threshold(RULE.code)
    shares = {
        column: share
        for column, facts in subject.facts.items()
        if (share := _share(column, facts)) is not None and subject.is_category(column)
    }
    if not shares:
        return RULE.not_applicable(
            f"No text or id-like feature has {_FEWEST_ROWS} or more known values."
        )
    unique = sorted((c for c, share in shares.items() if share >= limit), key=lambda c: -shares[c])
    worst = max(shares.values())
    if not unique:
        return RULE.not_found(
            f"At most {percent(worst)} of a column's values are distinct.",
            number=worst,
            threshold=limit,
        )
    each = some_of([f"{shown(c)} ({percent(shares[c])} distinct)" for c in unique])
    return RULE.found(
        "condition",
        f"{count(len(unique), 'feature')} with almost only distinct values: {each}.",
        columns=unique,
        number=worst,
        threshold=limit,
        fix=exclude(unique, "is almost unique"),
    )


def _share(column: str, facts: Facts) -> float | None:
    """Distinct values per known value; None for a column that is not judged."""
    if not isinstance(facts, NumberFacts | TextFacts):
        return None
    known = facts.rows - facts.missing
    if known < _FEWEST_ROWS or (isinstance(facts, NumberFacts) and not _like_an_id(column, facts)):
        return None
    return facts.distinct / known


def _like_an_id(column: str, facts: NumberFacts) -> bool:
    if not facts.whole or facts.infinite or facts.distinct < _FEWEST_ROWS:
        return False
    without_holes = facts.highest.value - facts.lowest.value < 1.05 * facts.distinct
    return is_named_like_an_id(column) or without_holes
