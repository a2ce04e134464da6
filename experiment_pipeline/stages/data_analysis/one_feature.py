"""How well each feature predicts the target alone: a small model per feature, cross-fitted.

In: a subject. Out: one skill per feature, on at most 10,000 visible rows in two folds. The
model is the mean target per bin (of a number the leaves of a small tree, or 32 quantiles for a
numeric target; each text; one bin for missing values), shrunk to the overall mean. For a numeric
target a straight interpolation between neighbours competes with it, because bins cannot follow
an exact relation. Texts that hardly repeat are read in other ways, too (see `text_readings.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, TEXTS, kind_of, numbers_of
from experiment_pipeline.columns.texts import as_text
from experiment_pipeline.stages.data_analysis.folds import Fold, folds
from experiment_pipeline.stages.data_analysis.skill import skill
from experiment_pipeline.stages.data_analysis.text_readings import numbers_of_texts, words_of_texts

if TYPE_CHECKING:
    from experiment_pipeline.stages.data_analysis.subject import Subject

MOST_ROWS = 10_000
_BINS = 32
_LEAF = 5
# Of fewer texts each has rows enough to stand for itself.
_FEWEST_TEXTS = 50
# Weight of the overall mean in a bin's mean, in rows: a bin of one row says little.
_PRIOR_ROWS = 2.0


@dataclass(frozen=True)
class Association:
    """Skill (0 to 1) of one feature alone, on rows its model was not fitted on.

    Attributes:
        column: its name.
        skill: on the scale of `skill.py`.
        way: how it was read, where that is not by its values: "by its words".
    """

    column: str
    skill: float
    way: str = ""


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
        if kind_of(values) in NUMERIC | TEXTS:
            measured.append(_strongest(subject, column, values, y, pairs))
    return tuple(sorted(measured, key=lambda a: (-a.skill, a.column)))


def _strongest(
    subject: Subject, column: str, values: pd.Series, y: np.ndarray, pairs: list[Fold]
) -> Association:
    """The column by the way of reading it that predicts best."""
    if kind_of(values) in NUMERIC:
        return Association(column, _by_number(subject, numbers_of(values), y, pairs))
    texts = as_text(values)
    codes = pd.factorize(texts)[0] + 1
    read = [Association(column, _by_bins(subject, [codes] * len(pairs), y, pairs))]
    if codes.max(initial=0) >= max(_FEWEST_TEXTS, len(codes) / 10):
        for way, numbers in numbers_of_texts(texts):
            read.append(Association(column, _by_number(subject, numbers, y, pairs), way))
        if subject.spec.task != "regression":
            read.append(Association(column, _by_words(subject, texts, y, pairs), "by its words"))
    return max(read, key=lambda one: one.skill)


def _by_number(subject: Subject, data: np.ndarray, y: np.ndarray, pairs: list[Fold]) -> float:
    regression = subject.spec.task == "regression"
    if not regression:
        return _by_bins(subject, [_leaves(data, y, fit) for fit, _ in pairs], y, pairs)
    in_bins = _by_bins(subject, [_quantile_bins(data[fit], data) for fit, _ in pairs], y, pairs)
    lines = [
        skill("regression", y[judge], _interpolated(data, y, fit, judge)) for fit, judge in pairs
    ]
    return max(in_bins, _mean_of_known(lines))


def _by_bins(
    subject: Subject, bins: Sequence[np.ndarray], y: np.ndarray, pairs: list[Fold]
) -> float:
    """Skill of the mean target of each bin; `bins` holds (m,) bins of all rows for each fold."""
    task, outputs = subject.spec.task, max(subject.target.n_classes, 2)
    truth = np.eye(outputs)[y.astype(np.int64)] if task == "multiclass" else y[:, None]
    scores = []
    for (fit, judge), each in zip(pairs, bins, strict=True):
        means = _means(each, truth, fit)[each[judge]]
        scores.append(skill(task, y[judge], means if task == "multiclass" else means[:, 0]))
    return _mean_of_known(scores)


def _by_words(subject: Subject, texts: pd.Series, y: np.ndarray, pairs: list[Fold]) -> float:
    """Skill of naive Bayes on which of the 2,000 most frequent words a text holds."""
    from sklearn.naive_bayes import MultinomialNB

    words = words_of_texts(texts)
    if words is None:
        return 0.0
    scores = []
    for fit, judge in pairs:
        model = MultinomialNB().fit(words[fit], y[fit].astype(np.int64))
        found = np.zeros((len(judge), max(subject.target.n_classes, 2)))
        found[:, model.classes_] = model.predict_proba(words[judge])
        binary = subject.spec.task == "binary"
        scores.append(skill(subject.spec.task, y[judge], found[:, 1] if binary else found))
    return _mean_of_known(scores)


def _mean_of_known(scores: Sequence[float]) -> float:
    """Mean over the folds; a fold without both classes does not count."""
    known = [score for score in scores if np.isfinite(score)]
    return float(np.mean(known)) if known else 0.0


def _leaves(data: np.ndarray, y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Leaf (m,) of each value in a small tree, which cuts where the classes part; 0 for missing."""
    from sklearn.tree import DecisionTreeClassifier

    missing = np.isnan(data)
    known = fit[~missing[fit]]
    if not known.size:
        return np.zeros(len(data), dtype=np.int64)
    # A tree reads float32; places among the values are exact.
    values, places = np.unique(data[known], return_inverse=True)
    tree = DecisionTreeClassifier(max_leaf_nodes=_BINS, min_samples_leaf=_LEAF, random_state=0)
    fitted = tree.fit(places[:, None], y[known]).tree_
    below = np.sort(fitted.threshold[fitted.feature >= 0]).astype(np.int64)
    # Halfway between two values, as a tree on the values would cut.
    halfway = values[below] / 2 + values[below + 1] / 2
    cuts = np.where(halfway > values[below], halfway, values[below + 1])
    return np.asarray(np.where(missing, 0, np.searchsorted(cuts, data, side="right") + 1))


def _quantile_bins(fitted: np.ndarray, data: np.ndarray) -> np.ndarray:
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
