"""Features that give the target away: alone, or as a sum or product of several.

Measured by a small model on one feature (see `one_feature.py`) and, for numbers, by an exact
fit (see `combinations.py`). Columns that are known only after the outcome look like this;
so does a really good predictor, which is why people decide.
"""

from collections.abc import Sequence

from experiment_pipeline.core.data_analysis.combinations import exact_combination
from experiment_pipeline.core.data_analysis.finding import (
    Finding,
    Rule,
    exclude,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.core.data_analysis.one_feature import MOST_ROWS, Association
from experiment_pipeline.core.data_analysis.skill import NAMES
from experiment_pipeline.core.data_analysis.subject import Subject

RULE = Rule(
    "leak_suspect",
    "Features that give the target away",
    "Ask when each of these columns becomes known. Exclude what is known only after the "
    "moment of prediction; accept the finding if they are known before.",
)


def check(subject: Subject) -> Finding:
    """Compare the skill of the best single feature with two thresholds; look for sums."""
    if subject.target.problem:
        return RULE.not_applicable(f"Nothing to predict: {subject.target.problem}.")
    if not subject.associations:
        return RULE.not_applicable("There is no number or text feature.")
    limit, blocks = subject.threshold(RULE.code), subject.threshold(f"{RULE.code}_blocks")
    best = subject.associations[0].skill
    suspects = [a for a in subject.associations if a.skill >= limit]
    combination = exact_combination(subject) if subject.spec.task == "regression" else None
    sentences = [_alone(subject, suspects or subject.associations[:1])]
    columns = [suspect.column for suspect in suspects]
    if combination:
        best = 1.0
        columns += [column for column in combination.columns if column not in columns]
        sentences.append(
            f"{combination.formula} equals the target in all {combination.rows:,} rows read."
        )
    if not columns:
        return RULE.not_found(" ".join(sentences), number=best, threshold=limit)
    return RULE.found(
        "blocks" if best >= blocks else "condition",
        " ".join(sentences),
        columns=columns,
        number=best,
        threshold=blocks if best >= blocks else limit,
        fix=exclude(columns, "known only after the outcome"),
    )


def _alone(subject: Subject, strongest: Sequence[Association]) -> str:
    read = min(len(subject.target.rows), MOST_ROWS)
    sampled = " sampled" if read < len(subject.target.rows) else ""
    each = some_of([f"{shown(a.column)} ({percent(a.skill)})" for a in strongest])
    return f"Skill alone, as {NAMES[subject.spec.task]} on {read:,}{sampled} rows: {each}."
