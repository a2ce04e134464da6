"""Text columns that hold numbers in some rows and something else in others.

Missing values and their placeholders do not count, and a number with a unit is no number
here: "9E" is a code. When nearly all texts are numbers the
column is `numbers_as_text` instead.
"""

import numpy as np

from experiment_pipeline.stages.data_analysis.facts import TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "mixed_types",
    "Columns of mixed types",
    "Declare what the column is: text if the numbers are codes; number if the texts are "
    "errors, whose rows are then rejected.",
)


def check(subject: Subject) -> Finding:
    """Compare the rarer of the two shares, numbers and other texts, with the threshold."""
    if not subject.undeclared_texts:
        return RULE.not_applicable("There is no text feature, but for those declared as text.")
    limit = subject.threshold(RULE.code)
    shares = {column: _rarer_share(facts) for column, facts in subject.undeclared_texts.items()}
    mixed = sorted((c for c, share in shares.items() if share >= limit), key=lambda c: -shares[c])
    worst = max(shares.values())
    if not mixed:
        return RULE.not_found(
            f"The rarer kind of value has at most {percent(worst)} of a column.",
            number=worst,
            threshold=limit,
        )
    each = some_of([f"{shown(c)} ({_kinds(subject.undeclared_texts[c])})" for c in mixed])
    return RULE.found(
        "condition",
        f"{count(len(mixed), 'column')} with numbers and other texts: {each}.",
        columns=mixed,
        number=worst,
        threshold=limit,
        fix={"preparation": {"types": dict.fromkeys(mixed, "text")}},
    )


def _rarer_share(facts: TextFacts) -> float:
    numbers = facts.share(facts.writing.bare)
    others = facts.share(~facts.writing.bare)
    return min(numbers, others)


def _kinds(facts: TextFacts) -> str:
    numbers = facts.writing.bare
    other = facts.texts[int(np.argmax(~numbers & ~facts.placeholders))]
    types = f"; Python types {', '.join(facts.python_types)}" if len(facts.python_types) > 1 else ""
    share = percent(facts.share(numbers))
    return f"{share} numbers, others such as {shown(other)!r}{facts.sampled}{types}"
