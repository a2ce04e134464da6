"""Missing values that tell the target: in all rows that miss a value the outcome is the same.

A plane that is looked up by its tail number is missing where the flight was cancelled. Few
rows are concerned, so the column predicts little on the whole and is no leak suspect; for
these rows the answer is given away all the same.
"""

import math
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    count,
    exclude,
    percent,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "telling_missing_values",
    "Missing values that tell the target",
    "Ask when these values become known. If they are missing because of the outcome, exclude "
    "the columns.",
)
_FEWEST_ROWS = 20
# Chance that so many rows of one class are missing together, if missing meant nothing.
_LARGEST_CHANCE = 1e-4


@dataclass(frozen=True)
class _Told:
    """What the rows that miss a value have in common, and how well it describes them."""

    rows: int
    skill: float
    words: str


def check(subject: Subject) -> Finding:
    """Compare how much the rows that miss a value agree on the target with the threshold."""
    if subject.target.problem:
        return RULE.not_applicable(f"Nothing to predict: {subject.target.problem}.")
    told = {c: t for c, f in subject.facts.items() if f.missing and (t := _told(subject, c))}
    if not told:
        return RULE.not_applicable(f"No feature is missing in {_FEWEST_ROWS} or more rows.")
    limit = subject.threshold(RULE.code)
    columns = sorted((c for c in told if told[c].skill >= limit), key=lambda c: -told[c].rows)
    best = max(each.skill for each in told.values())
    if not columns:
        return RULE.not_found(
            f"Rows that miss a value agree on the target by {percent(best)} at most.",
            number=best,
            threshold=limit,
        )
    each = some_of([f"{shown(c)} ({told[c].words})" for c in columns])
    return RULE.found(
        "condition",
        f"{count(len(columns), 'feature')} missing where the target is the same: {each}.",
        columns=columns,
        number=best,
        threshold=limit,
        fix=exclude(columns, "missing because of the outcome"),
    )


def _told(subject: Subject, column: str) -> _Told | None:
    """None when too few visible rows miss the value."""
    missing = subject.frame[column].isna().to_numpy()[subject.target.rows]
    y = subject.target.y[missing]
    if len(y) < _FEWEST_ROWS or len(y) == len(missing):
        return None
    if subject.spec.task == "regression":
        skill = 1 - float(np.var(y) / np.var(subject.target.y))
        return _Told(len(y), skill, f"{len(y):,} rows, target {y.mean():.4g} ± {y.std():.2g}")
    return _told_class(subject, y)


def _told_class(subject: Subject, y: np.ndarray) -> _Told:
    """Share of the errors avoided by saying the most frequent class of these rows."""
    commonest = int(np.bincount(y).argmax())
    share, usual = float(np.mean(y == commonest)), float(np.mean(subject.target.y == commonest))
    surprising = usual < 1 and len(y) * math.log(usual) < math.log(_LARGEST_CHANCE)
    name = shown((subject.target.classes or ())[commonest])
    words = f"{len(y):,} rows, {percent(share)} of them {name}, {percent(usual)} elsewhere"
    return _Told(len(y), max((share - usual) / (1 - usual), 0.0) if surprising else 0.0, words)
