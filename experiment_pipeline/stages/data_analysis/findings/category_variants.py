"""One category under several spellings: case, spaces, typing errors, words left out.

Spellings that differ in case or spaces are almost surely the same. Look-alikes (see
`texts.look_alikes`) are a guess, and so only a note.
"""

from dataclasses import dataclass
from typing import Any

from experiment_pipeline.stages.data_analysis.facts import TextFacts
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.texts import look_alikes, spellings

RULE = Rule(
    "category_variants",
    "Several spellings of a category",
    "Give each category one spelling; drop the pairs from this list that mean different things.",
)
MOST_COMPARED = 2_000
_LONGEST = 60


@dataclass(frozen=True)
class _Variants:
    """Pairs (kept, replaced) of one column, surely or maybe the same."""

    sure: tuple[tuple[str, str], ...]
    maybe: tuple[tuple[str, str], ...]


def check(subject: Subject) -> Finding:
    """Find texts of a column that are the same after folding, or nearly."""
    unique = subject.threshold("almost_unique_column")
    judged = {
        column: facts
        for column, facts in subject.texts_and_target.items()
        if 1 < facts.distinct <= MOST_COMPARED
        and facts.distinct < unique * (facts.rows - facts.missing)
    }
    if not judged:
        return RULE.not_applicable(f"No text column has 2 to {MOST_COMPARED:,} categories.")
    found = {c: v for c, f in judged.items() if (v := _variants(f)).sure or v.maybe}
    if not found:
        return RULE.not_found("No two texts of a column look alike.", number=0, threshold=1)
    columns = sorted(found, key=lambda c: (-len(found[c].sure), -len(found[c].maybe)))
    total = sum(len(variants.sure) + len(variants.maybe) for variants in found.values())
    each = some_of([f"{shown(c)}: {_words(found[c])}" for c in columns])
    return RULE.found(
        "condition" if any(variants.sure for variants in found.values()) else "note",
        f"{count(total, 'pair')} of spellings in {count(len(columns), 'column')}; {each}.",
        columns=columns,
        number=total,
        threshold=1,
        fix={"preparation": {"categories": {c: _declaration(found[c]) for c in columns}}},
    )


def _variants(facts: TextFacts) -> _Variants:
    """The most frequent spelling of each group is kept."""
    sure = tuple((kept, other) for kept, *others in spellings(facts.texts) for other in others)
    return _Variants(sure, tuple(look_alikes(facts.texts, facts.counts)))


def _words(variants: _Variants) -> str:
    pairs = [f"{_quoted(kept)} = {_quoted(other)}" for kept, other in variants.sure]
    pairs += [f"{_quoted(kept)} ~ {_quoted(other)}" for kept, other in variants.maybe]
    return some_of(pairs, most=3)


def _quoted(text: str) -> str:
    """A text in quotes, with its spaces, for it may differ in nothing else."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def _declaration(variants: _Variants) -> dict[str, Any]:
    """An entry of `preparation.categories`: trimmed, and each other spelling replaced once."""
    replaced: dict[str, str] = {}
    for pair in (*variants.sure, *variants.maybe):
        kept, other = (" ".join(text.split()) for text in pair)
        kept = replaced.get(kept, kept)
        if other != kept:
            replaced.setdefault(other, kept)
    spellings_of: dict[str, list[str]] = {}
    for other, kept in replaced.items():
        spellings_of.setdefault(replaced.get(kept, kept), []).append(other)
    trim = any(" ".join(text.split()) != text for pair in variants.sure for text in pair)
    return ({"trim": True} if trim else {}) | ({"variants": spellings_of} if replaced else {})
