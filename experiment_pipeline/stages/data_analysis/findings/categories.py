"""Categories with several spellings, rare or too many ones, and columns with equal content."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import (
    ColumnRule,
    Finding,
    Rule,
    Threshold,
    exclude,
    listed,
)
from experiment_pipeline.stages.data_analysis.findings.kinds import ALMOST_UNIQUE, is_category
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.texts import look_alikes, spellings
from experiment_pipeline.table.kinds import numbers_of

_MANY = 1e12
# Texts of a column whose spellings are compared.
MOST_COMPARED = 2_000
# Rows and columns compared pair by pair to find near duplicates.
MOST_ROWS, MOST_COLUMNS = 5_000, 1_000


@dataclass(frozen=True)
class _Variants:
    """Pairs (kept, replaced) of spellings in one column."""

    sure: tuple[tuple[str, str], ...]  # they differ in case and spaces only
    maybe: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        pairs = [f"{_quoted(kept)} = {_quoted(other)}" for kept, other in self.sure]
        pairs += [f"{_quoted(kept)} ~ {_quoted(other)}" for kept, other in self.maybe]
        return numbers.some_of(pairs, most=3)

    @property
    def declaration(self) -> dict[str, Any]:
        """An entry of `preparation.categories`: trimmed, each other spelling replaced once."""
        replaced: dict[str, str] = {}
        for pair in (*self.sure, *self.maybe):
            kept, other = (" ".join(text.split()) for text in pair)
            kept = replaced.get(kept, kept)
            if other != kept:
                replaced.setdefault(other, kept)
        spellings_of: dict[str, list[str]] = {}
        for other, kept in replaced.items():
            spellings_of.setdefault(replaced.get(kept, kept), []).append(other)
        trim = any(" ".join(text.split()) != text for pair in self.sure for text in pair)
        return ({"trim": True} if trim else {}) | ({"variants": spellings_of} if replaced else {})


def _quoted(text: str) -> str:
    """A text in quotes, with its spaces, which may be the only difference."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


class CategoryVariants(Rule):
    """One category under several spellings: case, spaces, typing errors, words left out.

    A difference of case or spaces is a condition; look-alikes are a guess, and so only a note.
    """

    code = "category_variants"
    title = "Several spellings of a category"
    advice = (
        "Give each category one spelling; drop the pairs from this list that mean different things."
    )

    def check(self, subject: Subject) -> Finding:
        judged = {
            column: facts
            for column, facts in subject.texts_and_target.items()
            if 1 < facts.distinct <= MOST_COMPARED and ALMOST_UNIQUE.repeats(subject, facts)
        }
        if not judged:
            return self.not_applicable(f"No text column has 2 to {MOST_COMPARED:,} categories.")
        found: dict[str, _Variants] = {}
        for column, facts in judged.items():
            groups = spellings(facts.texts)  # the most frequent spelling of each is kept
            sure = tuple((kept, other) for kept, *others in groups for other in others)
            maybe = tuple(look_alikes(facts.texts, facts.counts))
            if sure or maybe:
                found[column] = _Variants(sure, maybe)
        if not found:
            return self.not_found("No two texts of a column look alike.", number=0, threshold=1)
        columns = sorted(found, key=lambda c: (-len(found[c].sure), -len(found[c].maybe)))
        total = sum(len(each.sure) + len(each.maybe) for each in found.values())
        each_column = numbers.some_of([f"{numbers.shown(c)}: {found[c]}" for c in columns])
        return self.found(
            "condition" if any(each.sure for each in found.values()) else "note",
            f"{numbers.counted(total, 'pair')} of spellings in "
            f"{numbers.counted(len(columns), 'column')}; {each_column}.",
            columns=columns,
            number=total,
            threshold=1,
            fix={"preparation": {"categories": {c: found[c].declaration for c in columns}}},
        )


class HighCardinality(ColumnRule):
    """Text features with many distinct values, fewer than an id has."""

    code = "high_cardinality"
    title = "Many categories"
    advice = "Try without the column, or replace it by what it stands for (region for postcode)."
    threshold = Threshold(100, 2, _MANY, "distinct texts, found above it")
    unjudged = "There is no text feature."
    said = "with many categories"
    each = "{number:,}"
    above = True
    excluded = "has too many categories"

    def measure(self, subject: Subject) -> dict[str, float]:
        return {
            column: facts.distinct
            if ALMOST_UNIQUE.repeats(subject, facts) and is_category(subject, column)
            else 0
            for column, facts in subject.texts.items()
        }

    def innocent(self, worst: float) -> str:
        return f"At most {numbers.counted(int(worst), 'category', 'categories')} in a feature."


class RareCategories(Rule):
    """Categories with too few rows to learn from, in columns without high cardinality."""

    code = "rare_categories"
    title = "Rare categories"
    advice = (
        "Usually nothing: the models pool or ignore them. Check that they are not typing errors."
    )
    threshold = Threshold(10, 2, _MANY, "rows of a category, rare below it")

    def check(self, subject: Subject) -> Finding:
        most = HIGH_CARDINALITY.limit(subject)
        judged = {
            column: facts
            for column, facts in subject.texts.items()
            if 1 < facts.distinct <= most and is_category(subject, column)
        }
        if not judged:
            return self.not_applicable(f"No text feature has 2 to {most:,.0f} distinct values.")
        limit = self.limit(subject)
        rare = {c: facts.all_counts[facts.all_counts < limit] for c, facts in judged.items()}
        columns = sorted((c for c, rows in rare.items() if len(rows)), key=lambda c: -len(rare[c]))
        fewest = int(min(facts.all_counts[-1] for facts in judged.values()))
        if not columns:
            evidence = f"Every category has at least {numbers.counted(fewest, 'row')}."
            return self.not_found(evidence, number=fewest, threshold=limit)
        words = {}
        for column in columns:
            share = numbers.share(float(rare[column].sum() / len(subject.frame)))
            count = numbers.counted(len(rare[column]), "category", "categories")
            words[column] = f" ({count}, {share})"
        return self.found(
            "note",
            listed("feature", "with rare categories", words),
            columns=columns,
            number=fewest,
            threshold=limit,
        )


class NearDuplicateColumns(Rule):
    """Features with equal content: importance is shared between them at random.

    Numbers are compared by rank correlation, so a change of unit, or a logarithm, is the same
    column; a missing value ranks below all others. Columns whose values repeat are compared value
    by value, so a code and its name are the same column.
    """

    code = "near_duplicate_columns"
    title = "Columns with equal content"
    advice = "Keep one of each; which one does not matter for the score."
    threshold = Threshold(0.999, 0.5, 1, "rank correlation, found from it")
    _fewest_rows = 10

    def check(self, subject: Subject) -> Finding:
        varied = {
            column: facts
            for column, facts in subject.facts.items()
            if isinstance(facts, NumberFacts | TextFacts) and facts.distinct > 1
        }
        compared = list(varied)[:MOST_COLUMNS]
        if len(compared) < 2 or len(subject.frame) < self._fewest_rows:
            return self.not_applicable(
                "There are no two varying features with ten rows to compare."
            )
        limit = self.limit(subject)
        rows = subject.sample(np.arange(len(subject.frame)), MOST_ROWS)
        sample = subject.frame[compared].iloc[rows]
        quantities = [c for c in compared if isinstance(varied[c], NumberFacts)]
        best = _one_to_one(sample, compared)
        for pair, value in _correlated(sample, quantities, limit).items():
            best[pair] = max(value, best.get(pair, 0.0))
        sampled = " sampled" if len(rows) < len(subject.frame) else ""
        scope = f"on {len(rows):,}{sampled} rows of {len(compared):,} varying features"
        if len(varied) > len(compared):
            scope += f" (the other {len(varied) - len(compared):,} were not compared)"
        if not best:
            return self.not_found(f"No pair {scope}.", threshold=limit)
        pairs = sorted(best, key=lambda pair: -best[pair])
        each = numbers.some_of(
            [f"{numbers.shown(a)} = {numbers.shown(b)} ({best[a, b]:.4f})" for a, b in pairs]
        )
        later = list(dict.fromkeys(second for _, second in pairs))
        return self.found(
            "note",
            f"{numbers.counted(len(pairs), 'pair')} {scope}: {each}.",
            columns=list(dict.fromkeys(column for pair in pairs for column in pair)),
            number=best[pairs[0]],
            threshold=limit,
            fix=exclude(later, "duplicates another column"),
        )


def _one_to_one(sample: pd.DataFrame, columns: Sequence[str]) -> dict[tuple[str, str], float]:
    """Pairs of columns whose values repeat and determine each other.

    That is so exactly when their codes in order of appearance are equal.
    """
    groups: defaultdict[bytes, list[str]] = defaultdict(list)
    for column in columns:
        codes = pd.factorize(sample[column])[0]
        if 0 < codes.max(initial=0) < len(codes) / 2:
            groups[codes.astype(np.int32).tobytes()].append(column)
    return {(same[0], other): 1.0 for same in groups.values() for other in same[1:]}


def _correlated(
    sample: pd.DataFrame, columns: Sequence[str], limit: float
) -> dict[tuple[str, str], float]:
    from scipy.stats import rankdata

    if len(columns) < 2:
        return {}
    values = np.column_stack([numbers_of(sample[column]) for column in columns])
    ranks = rankdata(np.where(np.isnan(values), -np.inf, values), axis=0)
    spread = ranks.std(axis=0)
    scaled = (ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, 1)
    correlation = np.abs(scaled.T @ scaled) / len(sample)
    first, second = np.nonzero(np.triu(correlation >= limit, k=1))
    return {
        (columns[a], columns[b]): float(min(correlation[a, b], 1.0))
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    }


HIGH_CARDINALITY = HighCardinality()
RULES = (CategoryVariants(), RareCategories(), HIGH_CARDINALITY, NearDuplicateColumns())
