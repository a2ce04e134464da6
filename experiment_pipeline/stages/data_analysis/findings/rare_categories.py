"""Categories with a handful of rows: a model learns nothing about them.

Columns of high cardinality are another finding and are not listed here.
"""

import numpy as np

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
    "rare_categories",
    "Rare categories",
    "Nothing, as a rule: the models pool or ignore them. Check that they are no typing errors.",
)


def check(subject: Subject) -> Finding:
    """Count the categories of each text feature that have fewer rows than the threshold."""
    most = subject.threshold("high_cardinality")
    judged = {
        c: f for c, f in subject.texts.items() if 1 < f.distinct <= most and subject.is_category(c)
    }
    if not judged:
        return RULE.not_applicable(f"No text feature has 2 to {most:,.0f} distinct values.")
    limit = subject.threshold(RULE.code)
    rare = {c: facts.all_counts[facts.all_counts < limit] for c, facts in judged.items()}
    columns = sorted((c for c, rows in rare.items() if len(rows)), key=lambda c: -len(rare[c]))
    fewest = int(min(facts.all_counts[-1] for facts in judged.values()))
    if not columns:
        return RULE.not_found(
            f"Every category has at least {count(fewest, 'row')}.", number=fewest, threshold=limit
        )
    each = some_of([f"{shown(c)} ({_words(rare[c], len(subject.frame))})" for c in columns])
    return RULE.found(
        "note",
        f"{count(len(columns), 'feature')} with rare categories: {each}.",
        columns=columns,
        number=fewest,
        threshold=limit,
    )


def _words(rows: np.ndarray, total: int) -> str:
    return f"{count(len(rows), 'category', 'categories')}, {percent(float(rows.sum() / total))}"
