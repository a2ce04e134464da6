"""Cutting visible rows into folds the way the experiment cuts its sets.

In: a subject and positions of rows. Out: pairs of index arrays into those positions. By
time, folds look forward only; otherwise a unit (group, declared id, or copies of one record)
is never on both sides of a fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiment_pipeline.rows.units import unit_hashes

if TYPE_CHECKING:
    from experiment_pipeline.stages.data_analysis.subject import Subject

Fold = tuple[np.ndarray, np.ndarray]


def folds(subject: Subject, rows: np.ndarray, number: int) -> Iterator[Fold]:
    """Yield (fit, judge) index arrays into `rows`, an array of positions of known targets.

    Args:
        subject: whose `spec.split` decides how to cut.
        rows: positions (m,), a subset of `subject.target.rows`.
        number: at most so many folds; fewer where there are fewer units.
    """
    if subject.spec.split.by == "time":
        times = subject.frame[subject.spec.split.column].iloc[rows]
        yield from _forward(pd.factorize(times, sort=True)[0], number)
        return
    fold = _fold_of_each(subject, rows, number)
    for left_out in np.unique(fold):
        if (fold != left_out).any():
            yield np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)


def _forward(moments: np.ndarray, number: int) -> Iterator[Fold]:
    """Fit on all moments before a block, judge on the block; cuts are between moments."""
    ordered = np.sort(moments)
    cuts = [ordered[len(ordered) * k // (number + 1)] for k in range(1, number + 1)]
    for start, end in zip(cuts, [*cuts[1:], ordered[-1] + 1], strict=True):
        fit, judge = np.flatnonzero(moments < start), moments >= start
        judge = np.flatnonzero(judge & (moments < end))
        if fit.size and judge.size:
            yield fit, judge


def _fold_of_each(subject: Subject, rows: np.ndarray, number: int) -> np.ndarray:
    """Fold (m,) of each row: units sorted by target, equal ones at random, dealt in turn."""
    hashes = unit_hashes(subject.frame, subject.spec, subject.features, "folds")
    units = np.unique(hashes[rows], return_inverse=True)[1]
    _, first = np.unique(units, return_index=True)
    target = subject.target.y[np.searchsorted(subject.target.rows, rows[first])]
    dealt = np.empty(len(first), dtype=np.int64)
    order = np.lexsort((subject.generator().random(len(first)), target))
    dealt[order] = np.arange(len(first)) % number
    return np.asarray(dealt[units])
