"""Which features the chosen configuration uses, and how: importance and partial dependence.

Both are measured with the train-only fit on test rows, in a time bounded by that of the search. In:
a fitted pipeline and the sets. Out: a frozen `Usage`. The measures are in
`statistics/importance.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.statistics import importance
from experiment_pipeline.statistics.calibration import most_frequent
from experiment_pipeline.table.kinds import QUANTITIES, TEXTS, kind_of

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.training_sets import TrainingSets

# Time limits: a share of the search's, and wall seconds.
_SHARE_OF_SEARCH, _LEAST_SECONDS, _MOST_SECONDS = 0.075, 1.0, 10.0
_DEPENDENCE = 1 / 3
MOST_FEATURES = 4
_MOST_CURVES = 4
_MOST_CATEGORIES = 8
_MOST_MARKS = 40


@dataclass(frozen=True)
class Dependence:
    """Mean prediction when a feature is set to a value (partial dependence).

    Attributes:
        feature: its name.
        values: v values as text.
        places: v positions on an axis; empty for categories.
        marks: where the rows lie: quantiles of a number; of categories the share of each.
        curves: what is predicted: classes, or the target.
        means: per curve v mean predictions.
    """

    feature: str
    values: tuple[str, ...]
    places: tuple[float, ...]
    marks: tuple[float, ...]
    curves: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]

    @property
    def reach(self) -> float:
        """Largest difference between two means of one curve."""
        return max(max(mean) - min(mean) for mean in self.means)


@dataclass(frozen=True)
class Usage:
    """Which features are used, and how.

    Attributes:
        metric: of the importance.
        rows: test rows that were shuffled.
        repeats: shuffles per feature.
        importance: the most important first; empty for an undefined score.
        dependence: of the first of them; empty where the time does not suffice.
        rows_of_dependence: test rows that were averaged.
    """

    metric: str
    rows: int
    repeats: int
    importance: tuple[importance.FeatureImportance, ...]
    dependence: tuple[Dependence, ...]
    rows_of_dependence: int


@dataclass(frozen=True)
class Work:
    """The time that the measurement may take.

    Attributes:
        search_seconds: wall seconds of the search.
        seconds_per_row: to predict an encoded row on one core.
        workers: parallel predictions, one thread each.
        left: seconds of the experiment's budget; infinite without one.
    """

    search_seconds: float
    seconds_per_row: float
    workers: int
    left: float = math.inf

    @property
    def _wanted(self) -> float:
        return min(max(_SHARE_OF_SEARCH * self.search_seconds, _LEAST_SECONDS), _MOST_SECONDS)

    @property
    def is_unhurried(self) -> bool:
        """Whether the budget leaves all the requested time."""
        return self.left >= self._wanted

    @property
    def seconds(self) -> float:
        """Wall seconds that may be used."""
        return min(self._wanted, max(self.left, 0.0))


def usage(
    spec: ExperimentSpec,
    train_only: Any,
    sets: "TrainingSets",
    work: Work,
    cut: float,
) -> Usage | None:
    """Measure the use of features; None where shuffling each once would take too long.

    Args:
        spec: the experiment.
        train_only: the fit of the search.
        sets: train and test set.
        work: the time limit.
        cut: the exported threshold.
    """
    from experiment_pipeline.stages.search.voting import TakenApart

    parts = TakenApart.of(train_only)
    seconds, workers = work.seconds, work.workers
    columns = parts.columns
    shape = len(columns), sum(map(len, columns.values()))
    effort = importance.Effort.within(
        workers * seconds, work.seconds_per_row, len(sets.test), shape
    )
    if effort is None:
        return None

    def predict(rows: np.ndarray) -> np.ndarray:
        return parts.predict(rows, sets.task, sets.classes)

    test, names = sets.test, list(sets.features)
    shuffled = importance.spread_evenly(len(test), effort.rows)
    weights = sets.w_test
    ranked = importance.permutation_importance(
        predict,
        parts.encode(test.iloc[shuffled][names]),
        columns,
        importance.scored_by(spec.metric, cut),
        sets.y_test[shuffled],
        effort.repeats,
        weights=None if weights is None else weights[shuffled],
        seed=spec.seed,
        workers=workers,
    )
    known = Usage(spec.metric, effort.rows, effort.repeats, ranked, (), 0)
    first = [one.feature for one in ranked if one.drop > 0][:MOST_FEATURES]
    rows = importance.affordable_rows(
        _DEPENDENCE * seconds, work.seconds_per_row, len(test), len(first)
    )
    if not ranked or not rows:
        return known
    sample = test.iloc[importance.spread_evenly(len(test), rows)][names]
    cells = parts.encode(sample)
    cells = cells.toarray() if hasattr(cells, "toarray") else np.asarray(cells)
    curves = (_dependence(sets, sample[name], cells, columns[name], predict) for name in first)
    return replace(known, dependence=tuple(filter(None, curves)), rows_of_dependence=rows)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Values of a feature; `positions` are those of rows that have them, else as in `Dependence`."""

    positions: np.ndarray
    values: tuple[str, ...]
    places: tuple[float, ...]
    marks: tuple[float, ...]


def _dependence(
    sets: "TrainingSets",
    column: pd.Series,
    encoded: np.ndarray,
    columns: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
) -> Dependence | None:
    """The curve of one feature of a sample; None for a type without an axis, or a constant."""
    kind, grid = kind_of(column), None
    if kind in QUANTITIES:
        grid = _numbers(column.to_numpy(dtype=np.float64, na_value=np.nan))
    elif kind in TEXTS | {"boolean"}:
        grid = _categories(column)
    if grid is None or len(grid.positions) < 2:
        return None
    means = importance.partial_dependence(
        predict, encoded, columns, encoded[grid.positions][:, columns]
    )
    if means.ndim == 1:
        shown = {sets.target if sets.classes is None else str(sets.classes[1]): means}
    else:
        classes = sets.classes or ()
        counts = np.bincount(sets.y_test.astype(np.int64), minlength=len(classes))
        frequent = most_frequent(counts, _MOST_CURVES)
        shown = {str(classes[code]): means[:, code] for code in frequent}
    return Dependence(
        str(column.name),
        grid.values,
        grid.places,
        grid.marks,
        tuple(shown),
        tuple(tuple(mean.tolist()) for mean in shown.values()),
    )


def _numbers(values: np.ndarray) -> _Grid:
    """Quantiles from 2 % to 98 %: beyond them few rows support a curve."""
    present = np.flatnonzero(np.isfinite(values))
    order = present[np.argsort(values[present], kind="stable")]
    share = np.linspace(0.02, 0.98, importance.MOST_VALUES) * max(len(order) - 1, 0)
    at = order[share.round().astype(np.int64)] if len(order) else order
    _, first = np.unique(values[at], return_index=True)
    at = at[first]
    marks = np.quantile(values[order], np.linspace(0, 1, _MOST_MARKS)) if len(order) else at
    places = tuple(values[at].tolist())
    return _Grid(at, tuple(map(numbers.score, places)), places, tuple(marks.tolist()))


def _categories(column: pd.Series) -> _Grid:
    """The most frequent values, and missing values."""
    missing = column.isna().to_numpy()
    shares = {value: int(count) for value, count in column.value_counts().items()}
    found = [
        (numbers.shown(value), np.flatnonzero((column == value).fillna(value=False))[0], count)
        for value, count in list(shares.items())[:_MOST_CATEGORIES]
        if count
    ]
    if missing.any():
        found.append(("missing", np.flatnonzero(missing)[0], int(missing.sum())))
    names, positions, counts = zip(*found, strict=True)
    marks = tuple(count / len(column) for count in counts)
    return _Grid(np.array(positions), names, (), marks)
