"""Dates stored as texts, maybe in several formats: as texts they are categories without order."""

from typing import Any

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
from experiment_pipeline.stages.data_analysis.texts import ISO

RULE = Rule(
    "dates_as_text",
    "Dates stored as text",
    "Declare the column as datetime with its formats; a calendar makes features of it, a "
    "split by time needs it.",
)


def check(subject: Subject) -> Finding:
    """Compare the share of texts that some date format reads with the threshold."""
    if not subject.undeclared_texts:
        return RULE.not_applicable("There is no text feature, but for those declared as text.")
    limit = subject.threshold(RULE.code)
    shares = {column: facts.share_of_dates for column, facts in subject.undeclared_texts.items()}
    dates = sorted((c for c, share in shares.items() if share >= limit), key=lambda c: -shares[c])
    worst = max(shares.values())
    if not dates:
        return RULE.not_found(
            f"At most {percent(worst)} of a text column are dates.", number=worst, threshold=limit
        )
    found = {column: subject.undeclared_texts[column] for column in dates}
    each = some_of([f"{shown(c)} ({percent(shares[c])}, {_words(found[c])})" for c in dates])
    return RULE.found(
        "condition",
        f"{count(len(dates), 'text column')} of dates: {each}.",
        columns=dates,
        number=worst,
        threshold=limit,
        fix={"preparation": _preparation(found)},
    )


def _used(facts: TextFacts) -> list[str]:
    """Formats that read a text which no earlier one reads."""
    used, read = [], np.zeros(len(facts.texts), dtype=bool)
    for wanted, reads in facts.dates.items():
        if (reads & ~read).any():
            used.append(wanted)
            read |= reads
    return used


def _words(facts: TextFacts) -> str:
    used = _used(facts)
    first = facts.dates[used[0]]
    same = [f for f, reads in facts.dates.items() if f not in used and (reads == first).all()]
    words = f"{'formats' if len(used) > 1 else 'format'} {', '.join(used)}{facts.sampled}"
    return f"{words}; {same[0]} reads them as well, so decide" if same else words


def _preparation(columns: dict[str, TextFacts]) -> dict[str, Any]:
    preparation: dict[str, Any] = {"types": dict.fromkeys(columns, "datetime")}
    used = {column: _used(facts) for column, facts in columns.items()}
    if formats := {c: each for c, each in used.items() if each != [ISO]}:
        preparation["datetime_formats"] = formats
    missing = {c: f.chosen(f.placeholders) for c, f in columns.items() if f.placeholders.any()}
    if missing:
        preparation["missing_values"] = missing
    preparation["calendar"] = {column: _calendar(facts) for column, facts in columns.items()}
    return preparation


def _calendar(facts: TextFacts) -> list[str]:
    by_time_of_day = any(":" in text for text in facts.texts)
    return ["month", "day_of_week", *(["hour"] if by_time_of_day else [])]
