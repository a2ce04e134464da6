"""Number features with a very long tail: a linear model hears little but the tail."""

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "skewed_column",
    "Very skewed columns",
    "Trees do not mind. For a linear model take the logarithm in a preparation function.",
)
_FEWEST_DISTINCT = 10


def check(subject: Subject) -> Finding:
    """Compare the absolute skewness of each number feature with the threshold."""
    skewness = {
        c: facts.skewness
        for c, facts in subject.numbers_and_target.items()
        if facts.distinct >= _FEWEST_DISTINCT
    }
    if not skewness:
        return RULE.not_applicable(
            f"No number column has {_FEWEST_DISTINCT} or more distinct values."
        )
    limit = subject.threshold(RULE.code)
    ordered = sorted(skewness, key=lambda c: -abs(skewness[c]))
    worst = abs(skewness[ordered[0]])
    skewed = [column for column in ordered if abs(skewness[column]) > limit]
    if not skewed:
        return RULE.not_found(f"Skewness is at most {worst:.3g}.", number=worst, threshold=limit)
    each = some_of([f"{shown(c)} ({skewness[c]:.3g})" for c in skewed])
    return RULE.found(
        "note",
        f"{count(len(skewed), 'column')} of high skewness: {each}.",
        columns=skewed,
        number=worst,
        threshold=limit,
    )
