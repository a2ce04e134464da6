"""Values a thousand times larger than nearly all others of their column, or beyond float32.

They are mostly errors of unit or typing, and one of them decides a mean or a linear model.
"""

from experiment_pipeline.stages.data_analysis.facts import LARGEST_FLOAT32, NumberFacts
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "absurd_magnitudes",
    "Absurd magnitudes",
    "Correct them at the source, or give the column a range in schema.yaml, so that such rows "
    "are rejected and counted.",
)
_FEWEST_ROWS = 100


def check(subject: Subject) -> Finding:
    """Compare the largest magnitude over the 99th percentile with the threshold.

    A target beyond float32 blocks: no model can be fitted to it.
    """
    judged = subject.numbers_and_target
    if not judged:
        return RULE.not_applicable("There is no number to judge.")
    limit = subject.threshold(RULE.code)
    ratios = {column: _ratio(facts) for column, facts in judged.items()}
    absurd = sorted((c for c, ratio in ratios.items() if ratio > limit), key=lambda c: -ratios[c])
    worst = max(ratios.values())
    if not absurd:
        return RULE.not_found(
            f"At most {worst:.3g} times the 99th percentile.", number=worst, threshold=limit
        )
    each = some_of([_words(c, judged[c]) for c in absurd])
    target = judged.get(subject.spec.target)
    impossible = target is not None and target.largest_magnitude > LARGEST_FLOAT32
    return RULE.found(
        "blocks" if impossible else "condition",
        f"{count(len(absurd), 'column')} with absurd values: {each}.",
        columns=absurd,
        number=worst,
        threshold=limit,
    )


def _ratio(facts: NumberFacts) -> float:
    largest = facts.largest_magnitude
    if largest > LARGEST_FLOAT32:
        return largest
    if facts.finite < _FEWEST_ROWS or not facts.p99_magnitude > 0:
        return 0.0
    return largest / facts.p99_magnitude


def _words(column: str, facts: NumberFacts) -> str:
    return (
        f"{shown(column)} (up to {facts.largest_magnitude:.3g}, 99th percentile "
        f"{facts.p99_magnitude:.3g})"
    )
