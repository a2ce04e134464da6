"""Text features with many distinct values, fewer than an id has."""

from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    exclude,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "high_cardinality",
    "Many categories",
    "Try without the column, or replace it by what it stands for (region for postcode).",
)


def check(subject: Subject) -> Finding:
    """Compare the number of distinct texts of each feature with the threshold."""
    if not subject.texts:
        return RULE.not_applicable("There is no text feature.")
    limit, unique = subject.threshold(RULE.code), subject.threshold("almost_unique_column")
    distinct = {
        column: facts.distinct
        for column, facts in subject.texts.items()
        if facts.distinct < unique * (facts.rows - facts.missing) and subject.is_category(column)
    }
    most = max(distinct.values(), default=0)
    high = sorted((c for c, n in distinct.items() if n > limit), key=lambda c: -distinct[c])
    if not high:
        return RULE.not_found(
            f"At most {count(most, 'category', 'categories')} in a feature.",
            number=most,
            threshold=limit,
        )
    each = some_of([f"{shown(c)} ({distinct[c]:,})" for c in high])
    return RULE.found(
        "note",
        f"{count(len(high), 'feature')} with many categories: {each}.",
        columns=high,
        number=most,
        threshold=limit,
        fix=exclude(high, "has too many categories"),
    )
