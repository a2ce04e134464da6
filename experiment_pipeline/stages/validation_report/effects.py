"""Which features the choice uses and how, where it is weakest, whether it decays, and
interval coverage.

Importance and partial dependence are measured with the train-only fit on test rows, in
a time bounded by that of the search; the measures are in `statistics/importance.py`.
Segments are parts of the validation set, horizons its stretches of time. In: a fitted
pipeline and the sets, predictions.
Out: frozen `Usage`, `Segment`s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, TimeSplit
from experiment_pipeline.statistics import importance, interval, metrics
from experiment_pipeline.statistics.calibration import most_frequent, sets_of
from experiment_pipeline.statistics.expected import ExpectedScores
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.clusters import MICROSECOND, times_of
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline.table.kinds import (
    QUANTITIES,
    TEXTS,
    kind_of,
    numbers_of,
    parts_of,
)
from experiment_pipeline.table.membership import cut_by_order
from experiment_pipeline.table.table import of_columns

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.training_sets import TrainingSets

_DEPENDENCE = 1 / 3  # of the time for the importance
MOST_FEATURES = 4
_MOST_CURVES = 4
_MOST_CATEGORIES = 8
_MOST_MARKS = 40
# Limits on the search for weak segments: columns, rows.
MOST_COLUMNS, FEWEST_ROWS, MOST_ROWS = 100, 100, 50_000
_HORIZONS, _LEAST_COVERED, _WEAKEST = 4, 5, 5
_Part = tuple[str, str, np.ndarray]  # as of `parts_of`


@dataclass(frozen=True)
class Dependence:
    """Mean prediction when a feature is set to a value (partial dependence)."""

    feature: str
    values: tuple[str, ...]  # v values as text
    places: tuple[float, ...]  # v positions on an axis; empty for categories
    marks: tuple[
        float, ...
    ]  # quantiles of a number; of categories the share of rows of each
    curves: tuple[str, ...]  # what is predicted: classes, or the target
    means: tuple[tuple[float, ...], ...]  # per curve v mean predictions


@dataclass(frozen=True)
class Usage:
    """Which features are used, and how."""

    metric: str  # whose loss is the importance
    rows: int  # test rows that were shuffled
    repeats: int  # shuffles per feature
    # the most important first; empty for an undefined score
    importance: tuple[importance.FeatureImportance, ...]
    dependence: tuple[Dependence, ...]  # of the most important ones, if there is time
    rows_of_dependence: int  # test rows that were averaged


def usage(
    spec: ExperimentSpec,
    train_only: Any,
    sets: "TrainingSets",
    cut: float,
    *,
    seconds: float,
    seconds_per_row: float,
    workers: int,
) -> Usage | None:
    """Measure the use of features; None where shuffling each once would take too long.

    `train_only` is the fit of the search on these sets, `cut` the exported threshold.
    It may take `seconds` of wall time; an encoded row is predicted in `seconds_per_row`
    on one core.
    """
    from experiment_pipeline.stages.search.learners.learner import Clock
    from experiment_pipeline.stages.search.voting import TakenApart

    parts = TakenApart.of(train_only)
    columns, test, names, weights = (
        parts.columns,
        sets.test,
        list(sets.features),
        sets.w_test,
    )
    made = parts.own is not None or not columns.keys() <= {
        *names
    }  # columns of several features
    if made:
        # Shuffled before encoding: a cell is the row whose value a feature takes. A
        # transformer is not thread-safe.
        columns, workers = (
            {name: np.array([place]) for place, name in enumerate(names)},
            1,
        )
        with Clock() as clock:
            parts.encode(some := test.iloc[: importance.MOST_ROWS][names])
        seconds_per_row += clock.wall_seconds / len(some)
    shape = len(columns), sum(map(len, columns.values()))
    effort = importance.Effort.within(
        workers * seconds, seconds_per_row, len(test), shape
    )
    if effort is None:
        return None

    def encode(at: np.ndarray) -> Any:
        return (
            np.tile(at[:, None], len(names))
            if made
            else parts.encode(test.iloc[at][names])
        )

    def predict(cells: np.ndarray) -> np.ndarray:
        if made:
            taken = {
                name: test[name].iloc[cells[:, of[0]]] for name, of in columns.items()
            }
            cells = parts.encode(of_columns(taken, pd.RangeIndex(len(cells))))
        return parts.predict(cells, sets.task, sets.classes)

    shuffled = importance.spread_evenly(len(test), effort.rows)
    given = (
        importance.scored_by(spec.metric, cut),
        sets.y_test[shuffled],
        effort.repeats,
    )
    ranked = importance.permutation_importance(
        *(predict, encode(shuffled), columns, *given),
        weights=None if weights is None else weights[shuffled],
        seed=spec.seed,
        workers=workers,
    )
    known = Usage(spec.metric, effort.rows, effort.repeats, ranked, (), 0)
    first = [one.feature for one in ranked if one.drop > 0][:MOST_FEATURES]
    rows = importance.affordable_rows(
        _DEPENDENCE * seconds, seconds_per_row, len(test), len(first)
    )
    if not ranked or not rows:
        return known
    cells = encode(at := importance.spread_evenly(len(test), rows))
    cells = cells.toarray() if hasattr(cells, "toarray") else np.asarray(cells)
    shown = test.iloc[at]
    curves = (
        _dependence(sets, shown[name], cells, columns[name], predict) for name in first
    )
    return replace(
        known, dependence=tuple(filter(None, curves)), rows_of_dependence=rows
    )


def _dependence(
    sets: "TrainingSets",
    column: pd.Series,
    encoded: np.ndarray,
    columns: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
) -> Dependence | None:
    """The curve of one feature of a sample; None for a type without an axis, or a
    constant.
    """
    kind = kind_of(column)
    places: tuple[float, ...] = ()
    if kind in QUANTITIES:
        # Quantiles from 2 % to 98 %: beyond them few rows support a curve.
        every = numbers_of(column)
        present = np.flatnonzero(np.isfinite(every))
        if not len(present):
            return None
        order = present[np.argsort(every[present], kind="stable")]
        share = np.linspace(0.02, 0.98, importance.MOST_VALUES) * (len(order) - 1)
        at = order[share.round().astype(np.int64)]
        positions = at[np.unique(every[at], return_index=True)[1]]
        places = tuple(every[positions].tolist())
        marks = tuple(
            np.quantile(every[order], np.linspace(0, 1, _MOST_MARKS)).tolist()
        )
        values = [numbers.score(place) for place in places]
    elif kind in TEXTS | {"boolean"}:
        # The most frequent values, and missing values.
        counts = column.value_counts().head(_MOST_CATEGORIES)
        named = [
            (numbers.shown(value), column == value)
            for value in counts[counts > 0].index
        ]
        named += [("missing", column.isna())] if column.hasnans else []
        masks = [mask.fillna(value=False).to_numpy(dtype=bool) for _, mask in named]
        positions = np.array([mask.argmax() for mask in masks], dtype=np.int64)
        marks = tuple(float(mask.mean()) for mask in masks)
        values = [name for name, _ in named]
    else:
        return None
    if len(positions) < 2:
        return None
    means = importance.partial_dependence(
        predict, encoded, columns, encoded[positions][:, columns]
    )
    if means.ndim == 1:
        shown = {sets.target if sets.classes is None else str(sets.classes[1]): means}
    else:
        classes = sets.classes or ()
        rows = np.bincount(sets.y_test.astype(np.int64), minlength=len(classes))
        shown = {
            str(classes[k]): means[:, k] for k in most_frequent(rows, _MOST_CURVES)
        }
    curves = tuple(tuple(mean.tolist()) for mean in shown.values())
    return Dependence(
        str(column.name), tuple(values), places, marks, tuple(shown), curves
    )


@dataclass(frozen=True)
class Segment:
    """Rows that share a value, a range of values, or their absence."""

    column: str  # the feature
    value: str  # as text: `EWR`, `513 to 1,089`, `missing`
    rows: int  # their number
    score: interval.Interval  # of the model on them, with its own 95 % interval
    expected: float  # the score to expect there, by `ExpectedScores`
    # whether the score is significantly worse than that after a Bonferroni correction
    # for the number of segments
    clearly_worse: bool


def weakest_segments(
    frame: pd.DataFrame,
    features: Sequence[str],
    predicted: SetPrediction,
    metric: str,
    threshold: float = 0.5,
) -> tuple[Segment, ...] | None:
    """Return the segments of a set that score furthest below what is expected there,
    the worst first.

    `frame` (n, columns) holds the predicted rows, prepared; segments are of the first
    MOST_COLUMNS features. Of many rows, every k-th is used. None: no segment has
    FEWEST_ROWS.
    """
    frame, predicted = _every_kth(frame, predicted)
    parts = list(parts_of(frame[list(features)[:MOST_COLUMNS]], FEWEST_ROWS))
    if not parts:
        return None
    level = 1 - (1 - interval.LEVEL) / len(parts)
    scores = ExpectedScores(metric, predicted, threshold)
    weak = []
    for column, value, mask in parts:
        expected, spread = scores.of(mask)
        bounds = interval.by_skewness(
            spread, interval.quantile(spread.degrees_of_freedom, level)
        )
        gap = interval.Interval(spread.estimate, *bounds, level)
        if metrics.better(metric, 0.0, gap.estimate) and np.isfinite(gap.estimate):
            best_case = metrics.better_bound(metric, gap)
            clearly = metrics.significantly_worse(metric, gap)
            own = predicted.rows(mask).interval(metric, threshold)
            segment = Segment(column, value, int(mask.sum()), own, expected, clearly)
            weak.append((metrics.metric_of(metric).sign * best_case, segment))
    weak.sort(key=lambda pair: (pair[0], pair[1].column, pair[1].value))
    return tuple(segment for _, segment in weak[:_WEAKEST])


def _every_kth(
    frame: pd.DataFrame, predicted: SetPrediction
) -> tuple[pd.DataFrame, SetPrediction]:
    classes = predicted.prediction.shape[1] if predicted.prediction.ndim == 2 else 2
    some = slice(None, None, -(-len(predicted.y) * classes // (2 * MOST_ROWS)))
    return frame.iloc[some], predicted.rows(some)


def by_horizon(
    spec: ExperimentSpec,
    fitted: pd.DataFrame,
    frame: pd.DataFrame,
    predicted: SetPrediction,
    threshold: float = 0.5,
) -> tuple[Segment, ...]:
    """Return up to four stretches of time of a set that is later than the fitted rows,
    in order.

    Their values are the time since the last fitted row. One is clearly worse if it is
    significantly further below its expected score than the first. Empty: no split by
    time, too few rows, or a user's metric.
    """
    frame, predicted = _every_kth(frame, predicted)
    metric, stretches = spec.metric, list(_horizons(spec, fitted, frame))
    if not stretches or metrics.metric_of(metric).is_own:
        return ()
    scores, found = ExpectedScores(metric, predicted, threshold), list[Segment]()
    each = [scores.of(mask) for *_, mask in stretches]
    level = 1 - (1 - interval.LEVEL) / max(len(each) - 1, 1)
    (_, first), *_ = each
    for (column, ends, mask), (expected, spread) in zip(stretches, each, strict=True):
        own = predicted.rows(mask).interval(metric, threshold)
        change = interval.difference(first, spread, level)
        decayed = bool(found) and metrics.significantly_worse(metric, change)
        found.append(Segment(column, ends, int(mask.sum()), own, expected, decayed))
    return tuple(found)


def _horizons(
    spec: ExperimentSpec, fitted: pd.DataFrame, frame: pd.DataFrame
) -> Iterator[_Part]:
    """Cut rows by the time since the last fitted row, as `parts_of` does by a
    feature.
    """
    split, most = spec.split, min(_HORIZONS, len(frame) // FEWEST_ROWS)
    if not isinstance(split, TimeSplit) or most < 2:
        return
    times, last = (
        times_of(rows, split.column, pd.Timedelta(0))[0] for rows in (frame, fitted)
    )
    after, unit = times - last.max(), ""
    if kind_of(frame[split.column]) == "datetime":
        after, unit = after * (MICROSECOND / pd.Timedelta("1 day")), " days"
    stretch, _ = cut_by_order(after, [1 / most] * most)
    for mask in (stretch == number for number in np.unique(stretch)):
        yield (
            split.column,
            f"{after[mask].min():,.4g} to {after[mask].max():,.4g}{unit}",
            mask,
        )


@dataclass(frozen=True)
class CoverageCheck:
    """The coverage that intervals or sets promise for new rows, and their coverage on
    the validation set.
    """

    coverage: float  # the share of rows that is promised
    calibrated: Calibrated  # on rows that the fit had not seen
    size: float = 0.0  # mean width of intervals, or mean number of classes in a set
    at_most: float = (
        0.0  # upper bound of the share of rows that are held, at the level of gates
    )
    # all rows, by class and time, the least covered by feature; empty: too few
    # calibration rows
    parts: tuple[Segment, ...] = ()


NOT_CHECKED = CoverageCheck(0.9, Calibrated())


def check_coverage(
    spec: ExperimentSpec,
    calibrated: Calibrated,
    frame: pd.DataFrame,
    predicted: SetPrediction,
    features: Sequence[str],
    fitted: pd.DataFrame,
    level: float = interval.LEVEL,
) -> CoverageCheck:
    """Check the coverage of intervals or sets on the predicted rows `frame`; of many,
    every k-th is used.

    Parts are by `features`, and by time since the `fitted` rows; `level` is that of
    gates. The coverage's intervals allow for the sampling of calibration rows, its
    significance also for the number of parts.
    """
    if (bounds := calibrated.at(coverage := spec.coverage or 0.9)) is None:
        return CoverageCheck(coverage, calibrated)
    frame, predicted = _every_kth(frame, predicted)
    if calibrated.classes:
        sets = sets_of(predicted.prediction, bounds)
        hits, size = (
            sets[np.arange(len(sets)), predicted.y.astype(np.int64)],
            sets.sum(axis=1),
        )
    else:
        ends = calibrated.columns(coverage, None, frame, predicted.prediction)
        hits = (ends["lower"] <= predicted.y) & (predicted.y <= ends["upper"])
        size = ends["upper"] - ends["lower"]
    factor, called = 1 + len(hits) / calibrated.rows, np.ones(len(hits))
    held = replace(predicted, y=hits * 1.0, prediction=called, variance_factor=factor)
    most = _spread_as_alone(held).interval("accuracy", level=level).high
    masks = [
        (spec.target, str(one), predicted.y == k)
        for k, one in enumerate(calibrated.classes)
    ]
    masks = [("all rows", "", hits | True), *(one for one in masks if one[2].any())]
    first = [*masks, *_horizons(spec, fitted, frame)]
    by_feature = list(parts_of(frame[list(features)[:MOST_COLUMNS]], FEWEST_ROWS))
    each = 1 - (1 - interval.LEVEL) / (len(first) + len(by_feature))

    def part(column: str, value: str, mask: np.ndarray) -> Segment:
        rows = _spread_as_alone(held.rows(mask))
        below = rows.interval("accuracy", level=each).high < coverage
        return Segment(
            column, value, len(rows.y), rows.interval("accuracy"), coverage, below
        )

    weak = sorted(
        (part(*one) for one in by_feature), key=lambda one: one.score.estimate
    )
    parts = (*(part(*one) for one in first), *weak[:_LEAST_COVERED])
    return CoverageCheck(coverage, calibrated, float(size.mean()), most, parts)


def _spread_as_alone(rows: SetPrediction) -> SetPrediction:
    """The rows, as independent ones if that gives the wider interval: few clusters may
    vary less by chance.
    """
    alone = replace(rows, clusters=np.arange(len(rows.y)))
    return max(
        rows, alone, key=lambda one: (of := one.interval("accuracy")).high - of.low
    )
