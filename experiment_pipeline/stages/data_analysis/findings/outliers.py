"""Values far outside of the bulk of their column.

Distance is counted in interquartile ranges from the nearer quartile (Tukey 1977 calls three
"far out"); of a positive column with a long right tail, on the logarithm.
"""

import math
from dataclasses import dataclass

from experiment_pipeline.stages.data_analysis.facts import NumberFacts
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "outliers",
    "Outliers",
    "Look at these rows. A range in schema.yaml rejects what cannot be true; trees do not mind "
    "what is rare but true.",
)
_FEWEST_ROWS = 50
# (p95 + p05 - 2 median) / (p95 - p05) is 0 for a symmetric bulk and 1 for a one-sided one.
_LONG_TAIL = 0.3


@dataclass(frozen=True)
class _Extreme:
    value: float
    distance: float


def check(subject: Subject) -> Finding:
    """Compare the distance of the farthest value of each feature with the threshold."""
    judged = {c: f for c, f in subject.numbers_and_target.items() if f.finite >= _FEWEST_ROWS}
    extremes = {c: e for c, f in judged.items() if (e := _farthest(f)) is not None}
    if not extremes:
        return RULE.not_applicable(
            f"No number column has {_FEWEST_ROWS} finite values of which half differ."
        )
    limit = subject.threshold(RULE.code)
    far = sorted(
        (c for c, e in extremes.items() if e.distance > limit), key=lambda c: -extremes[c].distance
    )
    worst = max(extreme.distance for extreme in extremes.values())
    if not far:
        return RULE.not_found(
            f"At most {worst:.3g} interquartile ranges from a quartile.",
            number=worst,
            threshold=limit,
        )
    each = some_of(
        [
            f"{shown(c)} = {extremes[c].value:.6g} ({extremes[c].distance:.3g} interquartile ranges, "
            f"median {judged[c].quartiles[1]:.6g})"
            for c in far
        ]
    )
    return RULE.found(
        "note",
        f"{count(len(far), 'column')} with values far outside: {each}.",
        columns=far,
        number=worst,
        threshold=limit,
    )


def _farthest(facts: NumberFacts) -> _Extreme | None:
    """The value farthest out; None where half of the values are equal."""
    first, _, third = facts.quartiles
    scale = math.log if _has_long_tail(facts) else float
    spread = scale(third) - scale(first)
    if not spread > 0:
        return None
    high = (scale(facts.highest.value) - scale(third)) / spread
    low = (scale(first) - scale(facts.lowest.value)) / spread
    return max(
        _Extreme(facts.highest.value, high),
        _Extreme(facts.lowest.value, low),
        key=lambda extreme: extreme.distance,
    )


def _has_long_tail(facts: NumberFacts) -> bool:
    if facts.lowest.value <= 0:
        return False
    asymmetry = facts.p95 + facts.p05 - 2 * facts.quartiles[1]
    return asymmetry > _LONG_TAIL * (facts.p95 - facts.p05)
