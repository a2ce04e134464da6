"""Numbers stored as texts: with separators, a decimal comma, a currency or a unit.

As texts they are categories: 9 is as far from 10 as from 1000.
"""

from collections.abc import Mapping
from typing import Any

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
    "numbers_as_text",
    "Numbers stored as text",
    "Declare the column as number and how it is written; correct the factor of each unit. "
    "Codes (postcodes, branches) stay text: accept the finding.",
)


def check(subject: Subject) -> Finding:
    """Compare the share of texts that are numbers with the threshold."""
    if not subject.undeclared_texts:
        return RULE.not_applicable("There is no text feature, but for those declared as text.")
    limit = subject.threshold(RULE.code)
    shares = {column: f.share_of_numbers for column, f in subject.undeclared_texts.items()}
    numbers = sorted((c for c, share in shares.items() if share >= limit), key=lambda c: -shares[c])
    worst = max(shares.values())
    if not numbers:
        return RULE.not_found(
            f"At most {percent(worst)} of a text column are numbers.",
            number=worst,
            threshold=limit,
        )
    each = some_of([_words(c, subject.undeclared_texts[c], shares[c]) for c in numbers])
    return RULE.found(
        "condition",
        f"{count(len(numbers), 'text column')} of numbers: {each}.",
        columns=numbers,
        number=worst,
        threshold=limit,
        fix=number_preparation({c: subject.undeclared_texts[c] for c in numbers}),
    )


def _words(column: str, facts: TextFacts, share: float) -> str:
    # The longest number shows best how they are written.
    example = max(facts.chosen(facts.writing.reads), key=len)
    return (
        f"{shown(column)} ({percent(share)}, {facts.writing.words}, such as "
        f"{shown(example)!r}{facts.sampled})"
    )


def number_preparation(columns: Mapping[str, TextFacts]) -> dict[str, Any]:
    """The YAML that reads these columns as numbers, their placeholders as missing."""
    preparation: dict[str, Any] = {"types": dict.fromkeys(columns, "number")}
    writings = {c: f.writing.declaration for c, f in columns.items() if not f.writing.plain}
    missing = {c: f.chosen(f.placeholders) for c, f in columns.items() if f.placeholders.any()}
    if writings:
        preparation["numbers"] = writings
    if missing:
        preparation["missing_values"] = missing
    return {"preparation": preparation}
