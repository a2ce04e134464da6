"""Features that are mostly missing."""

from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    exclude,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "missing_values",
    "Columns that are mostly missing",
    "Find out why. The models learn from the absence too, which is right only if it will mean "
    "the same tomorrow.",
)


def check(subject: Subject) -> Finding:
    """Compare the share of missing values of each feature with the threshold."""
    limit = subject.threshold(RULE.code)
    shares = {c: f.missing / f.rows for c, f in subject.facts.items() if f.rows}
    worst = max(shares.values(), default=0.0)
    # Columns without any value are another finding.
    sparse = sorted((c for c, s in shares.items() if limit < s < 1), key=lambda c: -shares[c])
    if not sparse:
        mostly = max((share for share in shares.values() if share < 1), default=worst)
        return RULE.not_found(
            f"At most {percent(mostly)} of a feature are missing.", number=mostly, threshold=limit
        )
    each = some_of([f"{shown(c)} ({percent(shares[c])})" for c in sparse])
    return RULE.found(
        "note",
        f"{count(len(sparse), 'feature')} with more than {percent(limit)} missing: {each}.",
        columns=sparse,
        number=shares[sparse[0]],
        threshold=limit,
        fix=exclude(sparse, "is mostly missing"),
    )
