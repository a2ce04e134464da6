"""Columns that add up (or multiply) to the target exactly.

In: a subject with a numeric target. Out: the columns and the formula, or None. A least
squares fit of the target on the number features must reproduce every row it is shown;
multiplication is the same in logarithms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.columns.kinds import numbers_of
from experiment_pipeline.stages.data_analysis.finding import shown
from experiment_pipeline.stages.data_analysis.subject import Subject

MOST_ROWS = 5_000
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
    y = subject.target.y[np.searchsorted(subject.target.rows, rows)]
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
