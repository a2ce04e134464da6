"""How well each feature predicts the target alone: a small model per feature, cross-fitted.

In: a subject. Out: one skill per feature, on at most 10,000 visible rows in two folds. The
model is the mean target per bin (32 quantile bins of a number, each text, one bin for
missing values), shrunk to the overall mean. For a numeric target a straight interpolation
between neighbours competes with it, because bins cannot follow an exact relation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiment_pipeline.core.data_analysis.columns import kind_of, numbers_of
from experiment_pipeline.core.data_analysis.folds import Fold, folds
from experiment_pipeline.core.data_analysis.skill import skill

if TYPE_CHECKING:
    from experiment_pipeline.core.data_analysis.subject import Subject

MOST_ROWS = 10_000
_BINS = 32
# Weight of the overall mean in a bin's mean, in rows: a bin of one row says little.
_PRIOR_ROWS = 2.0


@dataclass(frozen=True)
class Association:
    """Skill (0 to 1) of one feature alone, on rows its model was not fitted on."""

    column: str
    skill: float


def associations(subject: Subject) -> tuple[Association, ...]:
    """Every feature with its skill, the strongest first; empty when the target has a problem."""
    rows = subject.sample(subject.target.rows, MOST_ROWS)
    if not rows.size:
        return ()
    y = subject.target.y[np.searchsorted(subject.target.rows, rows)]
    pairs = list(folds(subject, rows, 2))
    measured = []
    for column in subject.features:
        values = subject.frame[column].iloc[rows]
        if kind_of(values) in {"number", "text"}:
            measured.append(Association(column, _skill_alone(subject, values, y, pairs)))
    return tuple(sorted(measured, key=lambda a: (-a.skill, a.column)))


def _skill_alone(subject: Subject, values: pd.Series, y: np.ndarray, pairs: list[Fold]) -> float:
    """Mean over the folds; a fold without both classes does not count."""
    task, outputs = subject.spec.task, max(subject.target.n_classes, 2)
    number = kind_of(values) == "number"
    data = numbers_of(values) if number else pd.factorize(values)[0].astype(np.float64)
    scores = []
    for fit, judge in pairs:
        bins = _bin(data[fit], data) if number else data.astype(np.int64) + 1
        truth = np.eye(outputs)[y.astype(np.int64)] if task == "multiclass" else y[:, None]
        means = _means(bins, truth, fit)[bins[judge]]
        candidates = [means if task == "multiclass" else means[:, 0]]
        if task == "regression" and number:
            candidates.append(_interpolated(data, y, fit, judge))
        scores.append(max(skill(task, y[judge], candidate) for candidate in candidates))
    known = [score for score in scores if np.isfinite(score)]
    return float(np.mean(known)) if known else 0.0


def _bin(fitted: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Bin (m,) of each value: 0 for missing, else by the quantiles of the fitted values."""
    known = np.sort(fitted[~np.isnan(fitted)])
    if not known.size:
        return np.zeros(len(data), dtype=np.int64)
    places = (np.arange(1, _BINS) * known.size) // _BINS
    bins = np.searchsorted(np.unique(known[places]), data, side="right") + 1
    bins[np.isnan(data)] = 0
    return bins


def _means(bins: np.ndarray, truth: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Mean target per bin (bins, outputs), shrunk to the mean of all fitted rows."""
    n_bins, overall = int(bins.max()) + 1, truth[fit].mean(axis=0)
    rows = np.bincount(bins[fit], minlength=n_bins)[:, None]
    sums = np.stack(
        [np.bincount(bins[fit], weights=column, minlength=n_bins) for column in truth[fit].T],
        axis=1,
    )
    return np.asarray((sums + _PRIOR_ROWS * overall) / (rows + _PRIOR_ROWS))


def _interpolated(
    data: np.ndarray, y: np.ndarray, fit: np.ndarray, judge: np.ndarray
) -> np.ndarray:
    """Targets (judge,) read off the line through the fitted points; the mean where unknown."""
    known = fit[np.isfinite(data[fit])]
    prediction = np.full(len(judge), y[fit].mean())
    if known.size:
        places, inverse = np.unique(data[known], return_inverse=True)
        means = np.bincount(inverse, weights=y[known]) / np.bincount(inverse)
        inside = np.isfinite(data[judge])
        prediction[inside] = np.interp(data[judge][inside], places, means)
    return prediction
