"""Columns that are the target: alone but for some noise, or several together exactly.

In: a subject. Out: such columns and how they tell. Noise in one row of ten keeps a copy below any
threshold of skill that an honest column may reach; that it is a copy shows in how it agrees: to
the last digit, or class by class with a value of its own for each. Columns that add up (or
multiply) to a numeric target are found by a least squares fit, which must reproduce every row it
is shown; multiplication is the same in logarithms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, TEXTS, kind_of, numbers_of
from experiment_pipeline.stages.data_analysis.finding import shown
from experiment_pipeline.stages.data_analysis.subject import Subject

MOST_ROWS = 5_000
# Share of the rows of a number that are the target to the last digits.
FEWEST_EQUAL = 0.5
# Share of each class that is told, beyond guessing: Youden's J for two classes.
LEAST_TOLD = 0.7
_PAIRS = 500
_ROUNDING = 1e-6
# In a target of few values equal ones meet by chance.
_COMMONEST = 0.1
_FEWEST_ROWS = 50


@dataclass(frozen=True)
class NearCopy:
    """A column that is the target in most rows.

    Attributes:
        column: its name.
        share: of the rows that agree for a number; for classes the share of each class that is
            told, beyond guessing.
        words: this in words.
    """

    column: str
    share: float
    words: str


def near_copies(subject: Subject) -> Iterator[NearCopy]:
    """Yield the number and text features that are the target in most of at most 5,000 rows."""
    rows = subject.sample(subject.target.rows, MOST_ROWS)
    y = subject.target.of(rows)
    if len(rows) < _FEWEST_ROWS:
        return
    if subject.spec.task == "regression":
        if np.unique(y, return_counts=True)[1].max() <= _COMMONEST * len(y):
            for column in subject.calculable:
                share = _equal(numbers_of(subject.frame[column].iloc[rows]), y, subject)
                if share >= FEWEST_EQUAL:
                    yield NearCopy(column, share, f"the target in {100 * share:.3g} % of the rows")
        return
    for column in subject.features:
        values = subject.frame[column].iloc[rows]
        if kind_of(values) in NUMERIC | TEXTS:
            told = _told(pd.factorize(values, use_na_sentinel=False)[0], y)
            if told >= LEAST_TOLD:
                yield NearCopy(column, told, f"a value for each class tells {100 * told:.3g} %")


def _equal(x: np.ndarray, y: np.ndarray, subject: Subject) -> float:
    """Share of the rows on the line through most of them; pairs of rows vote for its slope."""
    known = np.flatnonzero(np.isfinite(x))
    if known.size < _FEWEST_ROWS:
        return 0.0
    first, second = subject.generator().choice(known, (2, _PAIRS))
    apart = y[first] != y[second]
    slopes = (x[first] - x[second])[apart] / (y[first] - y[second])[apart]
    slope = float(np.median(slopes)) if slopes.size else 0.0
    if slope == 0 or np.mean(np.isclose(slopes, slope, rtol=1e-3)) < FEWEST_EQUAL**2:
        return 0.0
    offsets = x[known] - slope * y[known]
    near = np.abs(offsets - np.median(offsets)) <= _ROUNDING * abs(slope) * np.std(y)
    return float(near.sum() / len(x))


def _told(levels: np.ndarray, y: np.ndarray) -> float:
    """Mean share of each class that has the level of its own, from 0 for guessing to 1.

    0 unless there are as many levels as classes, but for one more where the value is missing.
    """
    y = y.astype(np.int64)
    classes = int(y.max()) + 1
    if not classes <= levels.max() + 1 <= classes + 1:
        return 0.0
    counts = np.zeros((classes, levels.max() + 1))
    np.add.at(counts, (y, levels), 1)
    recall = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    own = recall.argmax(axis=1)
    if len(np.unique(own)) < classes:
        return 0.0
    return float((classes * recall.max(axis=1).mean() - 1) / (classes - 1))


MOST_COLUMNS = 100
# A residual of this share of the target's spread is rounding, not noise.
_EXACT = 1e-6
Writer = Callable[[Sequence[tuple[str, float]]], str]


@dataclass(frozen=True)
class Combination:
    """A formula that gives the target on all rows it was tried on."""

    columns: tuple[str, ...]
    formula: str
    rows: int


def exact_combination(subject: Subject) -> Combination | None:
    """Find two or more number features whose sum or product is the target.

    At most 5,000 rows and the first 100 number features are read; columns with a missing or
    infinite value among those rows take no part.
    """
    rows = subject.sample(subject.target.rows, MOST_ROWS)
    y = subject.target.of(rows)
    columns, values = _complete_columns(subject, rows)
    if len(columns) < 2 or len(rows) < 2 * len(columns) + 10 or np.ptp(y) == 0:
        return None
    weights = _exact_weights(values, y)
    if weights is not None:
        return _combination(columns, weights, _sum, len(rows))
    positive = np.flatnonzero(values.min(axis=0) > 0)
    if len(positive) < 2 or y.min() <= 0:
        return None
    weights = _exact_weights(np.log(values[:, positive]), np.log(y))
    kept = [columns[position] for position in positive]
    return None if weights is None else _combination(kept, weights, _product, len(rows))


def _complete_columns(subject: Subject, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    columns, values = [], []
    for column in list(subject.calculable)[:MOST_COLUMNS]:
        numbers = numbers_of(subject.frame[column].iloc[rows])
        if np.isfinite(numbers).all():
            columns.append(column)
            values.append(numbers)
    return columns, np.column_stack(values) if values else np.empty((len(rows), 0))


def _exact_weights(values: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Weight (columns,) of each column when the fit leaves nothing over, else None.

    Fitted on every other row and tried on all of them.
    """
    centre, scale = values.mean(axis=0), values.std(axis=0)
    usable = scale > 1e-9 * (1 + np.abs(centre))
    design = (values[:, usable] - centre[usable]) / scale[usable]
    design = np.column_stack([design, np.ones(len(y))])
    solution = np.linalg.lstsq(design[::2], y[::2], rcond=1e-10)[0]
    if np.max(np.abs(design @ solution - y)) > _EXACT * np.ptp(y):
        return None
    weights = np.zeros(values.shape[1])
    weights[usable] = solution[:-1] / scale[usable]
    weights[np.abs(weights) * scale < 1e-5 * y.std()] = 0
    return weights if np.count_nonzero(weights) > 1 else None


def _combination(
    columns: Sequence[str], weights: np.ndarray, write: Writer, rows: int
) -> Combination:
    terms = [(c, w) for c, w in zip(columns, weights, strict=True) if w]
    return Combination(tuple(column for column, _ in terms), write(terms), rows)


def _sum(terms: Sequence[tuple[str, float]]) -> str:
    parts = [shown(c) if np.isclose(w, 1) else f"{w:.4g} · {shown(c)}" for c, w in terms]
    return " + ".join(parts).replace("+ -", "- ")


def _product(terms: Sequence[tuple[str, float]]) -> str:
    return " · ".join(shown(c) if np.isclose(w, 1) else f"{shown(c)}^{w:.4g}" for c, w in terms)
