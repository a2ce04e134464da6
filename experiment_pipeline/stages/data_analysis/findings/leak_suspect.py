"""Features that give the target away: alone, with noise, or as a sum or product of several.

Measured by a small model on one feature (see `one_feature.py`), by agreement with the target
(see `near_copies.py`) and, for numbers, by an exact fit (see `combinations.py`). Columns that are known only after the outcome look like this;
so does a really good predictor, which is why people decide.
"""

from collections.abc import Sequence

from experiment_pipeline.stages.data_analysis.copies import NearCopy, exact_combination, near_copies
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    exclude,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.probe import NoProbe, run_probe
from experiment_pipeline.stages.data_analysis.skill import MOST_ROWS, NAMES, Association
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "leak_suspect",
    "Features that give the target away",
    "Is each of these columns known before the prediction is made? Exclude what is not; if all "
    "are, write the reason under analysis: accept: leak_suspect.",
)


def check(subject: Subject) -> Finding:
    """Compare the skill of the best single feature with two thresholds; look for copies and sums."""
    if subject.target.problem:
        return RULE.not_applicable(f"Nothing to predict: {subject.target.problem}.")
    if not subject.associations:
        return RULE.not_applicable("There is no number or text feature.")
    limit, blocks = subject.threshold(RULE.code), subject.threshold(f"{RULE.code}_blocks")
    best = subject.associations[0].skill
    suspects = [a for a in subject.associations if a.skill >= limit]
    columns = [suspect.column for suspect in suspects]
    sentences = [_alone(subject, suspects or subject.associations[:1])]
    if copies := _copies(subject, columns):
        columns += [copy.column for copy in copies]
        each = some_of([f"{shown(copy.column)} ({copy.words})" for copy in copies])
        sentences.append(f"The target with noise, it seems: {each}.")
    combination = exact_combination(subject) if subject.spec.task == "regression" else None
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


def _copies(subject: Subject, suspects: Sequence[str]) -> list[NearCopy]:
    """Copies with noise that are no suspects yet.

    Those of classes only where everything else together predicts less: an honest flag that says
    so much stands among others that say something too.
    """
    copies = [copy for copy in near_copies(subject) if copy.column not in suspects]
    if not copies or subject.spec.task == "regression":
        return copies
    others = run_probe(subject, [*suspects, *(copy.column for copy in copies)])
    return [copy for copy in copies if isinstance(others, NoProbe) or others.skill < copy.share]


def _alone(subject: Subject, strongest: Sequence[Association]) -> str:
    read = min(len(subject.target.rows), MOST_ROWS)
    sampled = " sampled" if read < len(subject.target.rows) else ""
    each = some_of([f"{shown(a.column)} ({_skill(a)})" for a in strongest])
    return f"Skill alone, as {NAMES[subject.spec.task]} on {read:,}{sampled} rows: {each}."


def _skill(association: Association) -> str:
    return ", ".join(filter(None, [percent(association.skill), association.way]))
