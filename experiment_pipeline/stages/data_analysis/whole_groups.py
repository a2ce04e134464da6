"""Columns that may group the rows, and all rows of a few of their groups.

In: a subject. Out: names and positions. What is computed by group needs whole groups to be seen,
which a sample of rows would tear apart; of a large table only the groups read are looked up.
"""

import numpy as np

from experiment_pipeline.columns.kinds import TEXTS, kind_of
from experiment_pipeline.stages.data_analysis.columns import NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.subject import Subject


def key_columns(subject: Subject, most: int) -> list[str]:
    """Texts and whole numbers whose values repeat, features or not; the split's group first."""
    split = subject.spec.split
    first = [split.column] if split.by == "group" else []
    others = [c for c in subject.frame.columns if c not in {*first, subject.spec.target}]
    found: list[str] = []
    for column in [*first, *others]:
        if len(found) < most and _repeats(subject, column):
            found.append(column)
    return found


def rows_of_groups(subject: Subject, column: str, most: int) -> np.ndarray:
    """Positions of all rows with the first few values of a column, ascending.

    About `most` rows, if the values have equally many; where they do not, at most four times as
    many, of which the last may lack rows of their group.
    """
    values = subject.frame[column]
    each = len(values) / max(_distinct(subject, column), 1)
    few = values.iloc[:most].dropna().unique()[: max(int(most / each), 1)]
    return np.flatnonzero(values.isin(few).to_numpy())[: 4 * most]


def _repeats(subject: Subject, column: str) -> bool:
    values = subject.frame[column]
    if kind_of(values) not in TEXTS | {"integer", "boolean"}:
        return False
    return 2 <= _distinct(subject, column) <= len(values) / 2


def _distinct(subject: Subject, column: str) -> int:
    facts = subject.facts.get(column)
    if isinstance(facts, NumberFacts | TextFacts):
        return facts.distinct
    return int(subject.frame[column].nunique())
