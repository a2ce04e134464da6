"""Which features the chosen configuration uses, and how: importance and partial dependence.

Both ask the train-only fit about test rows: nothing is chosen by them, and the validation rows are
for the judgement. Both are bounded in time by what the search took. In: a fitted pipeline and the
sets. Out: a frozen `Usage`; how it is measured lives in `statistics/importance.py`.
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
from experiment_pipeline.statistics.outcomes import most_frequent
from experiment_pipeline.table.kinds import QUANTITIES, TEXTS, kind_of

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.training_sets import TrainingSets

# What this may take: shares of the search, and seconds of the wall.
_SHARE_OF_SEARCH, _LEAST_SECONDS, _MOST_SECONDS = 0.075, 1.0, 10.0
_DEPENDENCE = 1 / 3
MOST_FEATURES = 4
_MOST_CURVES = 4
_MOST_CATEGORIES = 8
_MOST_MARKS = 40


@dataclass(frozen=True)
class Dependence:
    """What the model says on average when a feature is set to a value.

    Attributes:
        feature: its name.
        values: v of them in words, as they stand in the data.
        places: v numbers on an axis; empty for categories.
        marks: where the rows lie: quantiles of a number; of categories the share of each.
        curves: in words, what is predicted: a class, or the target.
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
        """Between the smallest and the largest mean of a curve, of the curve that moves most."""
        return max(max(mean) - min(mean) for mean in self.means)


@dataclass(frozen=True)
class Usage:
    """Which features are used, and how.

    Attributes:
        metric: of the importance.
        rows: of test that were shuffled.
        repeats: how often.
        importance: the most important first; empty for an undefined score.
        dependence: of the first of them; empty where the time does not suffice.
        rows_of_dependence: of test that were averaged.
    """

    metric: str
    rows: int
    repeats: int
    importance: tuple[importance.FeatureImportance, ...]
    dependence: tuple[Dependence, ...]
    rows_of_dependence: int


@dataclass(frozen=True)
class Work:
    """What decides how long features may be looked at.

    Attributes:
        search_seconds: what the search took, by the clock on the wall.
        seconds_per_row: of one core, to predict an encoded row.
        workers: predictions at a time, one thread each.
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
        """Whether the budget leaves all the time that is wanted."""
        return self.left >= self._wanted

    @property
    def seconds(self) -> float:
        """By the clock on the wall."""
        return min(self._wanted, max(self.left, 0.0))


def usage(
    spec: ExperimentSpec,
    train_only: Any,
    sets: "TrainingSets",
    work: Work,
    cut: float,
) -> Usage | None:
    """Measure what the features do; None where even shuffling each once would take too long.

    Args:
        spec: the experiment.
        train_only: the fit of the search.
        sets: train and test set.
        work: what it may cost.
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
    """Values of a feature, each as the position of a row that has it; else as of `Dependence`."""

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
    """The curve of one feature of a sample; None where its values have no place on an axis."""
    grid = _grid(column)
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


def _grid(column: pd.Series) -> _Grid | None:
    kind = kind_of(column)
    if kind in QUANTITIES:
        return _numbers(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _categories(column) if kind in TEXTS | {"boolean"} else None


def _numbers(values: np.ndarray) -> _Grid:
    """From the second percentile to the last but one: beyond them few rows hold a curve."""
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
    """The most frequent values, and what is missing."""
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
