"""Features that say the same: importance is shared between them at random.

Numbers are compared by rank correlation, so a change of unit, or a logarithm, is the same
column; a missing value ranks below all others. Columns of few values are compared value by
value, so a code and its name are the same column.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import numbers_of
from experiment_pipeline.stages.data_analysis.facts import NumberFacts, TextFacts
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
    "near_duplicate_columns",
    "Columns that say the same",
    "Keep one of each; which one cannot matter for the score.",
)
MOST_ROWS = 5_000
MOST_COLUMNS = 1_000
_FEWEST_ROWS = 10
Pair = tuple[str, str, float]


def check(subject: Subject) -> Finding:
    """Find pairs of features whose values determine each other on at most 5,000 rows."""
    varied = {
        column: facts
        for column, facts in subject.facts.items()
        if isinstance(facts, NumberFacts | TextFacts) and facts.distinct > 1
    }
    compared = list(varied)[:MOST_COLUMNS]
    if len(compared) < 2 or len(subject.frame) < _FEWEST_ROWS:
        return RULE.not_applicable("There are no two varying features with ten rows to compare.")
    limit = subject.threshold(RULE.code)
    rows = subject.sample(np.arange(len(subject.frame)), MOST_ROWS)
    sample = subject.frame[compared].iloc[rows]
    numbers = [c for c in compared if isinstance(varied[c], NumberFacts)]
    pairs = _one_to_one(sample, compared) + _correlated(sample, numbers, limit)
    best: dict[tuple[str, str], float] = {}
    for first, second, value in pairs:
        best[first, second] = max(value, best.get((first, second), 0.0))
    return _finding(subject, best, len(rows), len(varied), limit)


def _finding(
    subject: Subject, best: dict[tuple[str, str], float], rows: int, columns: int, limit: float
) -> Finding:
    sampled = " sampled" if rows < len(subject.frame) else ""
    scope = f"on {rows:,}{sampled} rows of {min(columns, MOST_COLUMNS):,} varying features"
    if columns > MOST_COLUMNS:
        scope += f" (the other {columns - MOST_COLUMNS:,} were not compared)"
    if not best:
        return RULE.not_found(f"No pair {scope}.", threshold=limit)
    pairs = sorted(best, key=lambda pair: -best[pair])
    each = some_of([f"{shown(a)} = {shown(b)} ({best[a, b]:.4f})" for a, b in pairs])
    later = list(dict.fromkeys(second for _, second in pairs))
    return RULE.found(
        "note",
        f"{count(len(pairs), 'pair')} {scope}: {each}.",
        columns=list(dict.fromkeys(column for pair in pairs for column in pair)),
        number=best[pairs[0]],
        threshold=limit,
        fix=exclude(later, "says the same as another column"),
    )


def _one_to_one(sample: pd.DataFrame, columns: Sequence[str]) -> list[Pair]:
    """Pairs whose values determine each other, among columns that repeat their values.

    Codes in order of appearance are equal exactly when each value of one column goes with
    one value of the other.
    """
    groups: defaultdict[bytes, list[str]] = defaultdict(list)
    for column in columns:
        codes = pd.factorize(sample[column])[0]
        if 0 < codes.max(initial=0) < len(codes) / 2:
            groups[codes.astype(np.int32).tobytes()].append(column)
    return [(same[0], other, 1.0) for same in groups.values() for other in same[1:]]


def _correlated(sample: pd.DataFrame, columns: Sequence[str], limit: float) -> list[Pair]:
    from scipy.stats import rankdata

    if len(columns) < 2:
        return []
    values = np.column_stack([numbers_of(sample[column]) for column in columns])
    ranks = rankdata(np.where(np.isnan(values), -np.inf, values), axis=0)
    spread = ranks.std(axis=0)
    scaled = (ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, 1)
    correlation = np.abs(scaled.T @ scaled) / len(sample)
    first, second = np.nonzero(np.triu(correlation >= limit, k=1))
    return [
        (columns[a], columns[b], float(min(correlation[a, b], 1.0)))
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
