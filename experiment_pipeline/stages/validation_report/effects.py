"""Which features the choice uses and how, where it is weakest, whether it decays, and
interval coverage.

Importance and partial dependence are measured with the train-only fit on test rows, in
a time bounded by that of the search; the measures are in `statistics/importance.py`.
Segments are parts of the validation set, horizons its stretches of time. In: a fitted
pipeline and the sets, the judged model. Out: frozen `Usage`, `Segment`s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, TimeSplit
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
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
# A share is known from fewer rows than a score is.
_FEWEST_COVERED = 20


@dataclass(frozen=True)
class Dependence:
    """Mean prediction when a feature is set to a value (partial dependence)."""

    feature: str
    values: tuple[str, ...]  # v values as text
    places: tuple[float, ...]  # v positions on an axis; empty for categories
    # quantiles of a number; of categories the share of rows of each
    marks: tuple[float, ...]
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
    cells = _Cells(train_only, sets)
    if cells.encodes_late:
        workers = 1  # a user's transformer is not thread-safe
        seconds_per_row += cells.encoding_seconds_per_row()
    effort = importance.Effort.within(
        workers * seconds,
        seconds_per_row,
        len(sets.test),
        (len(cells.columns), sum(map(len, cells.columns.values()))),
    )
    if effort is None:
        return None
    shuffled = importance.spread_evenly(len(sets.test), effort.rows)
    judged = importance.ScoredRows(
        cells.predict,
        cells.of(shuffled),
        sets.y_test[shuffled],
        importance.scored_by(spec.metric, cut),
        weights=None if sets.w_test is None else sets.w_test[shuffled],
    )
    ranked = importance.permutation_importance(
        judged, cells.columns, effort.repeats, seed=spec.seed, workers=workers
    )
    used = Usage(spec.metric, effort.rows, effort.repeats, ranked, (), 0)
    strongest = [feature.feature for feature in ranked if feature.drop > 0]
    strongest = strongest[:MOST_FEATURES]
    rows = importance.affordable_rows(
        _DEPENDENCE * seconds, seconds_per_row, len(sets.test), len(strongest)
    )
    if not ranked or not rows:
        return used
    curves = _dependences(cells, strongest, rows)
    return replace(used, dependence=tuple(curves), rows_of_dependence=rows)


class _Cells:
    """The test rows as numbers that can be shuffled by column, and predicted.

    These are the encoded columns. With a user's transformer, which may mix features, or
    sparse columns, which are too many, a cell is the row whose value a feature takes;
    it is encoded when predicted.
    """

    def __init__(self, fit: Any, sets: "TrainingSets") -> None:
        from experiment_pipeline.stages.search.voting import TakenApart

        self.sets = sets
        self.parts = TakenApart.of(fit)
        self.names = list(sets.features)
        self.encodes_late = self.parts.transformer is not None or self.parts.is_sparse
        self.columns = self.parts.columns  # feature → positions of its columns
        if self.encodes_late:
            places = range(len(self.names))
            self.columns = {self.names[place]: np.array([place]) for place in places}

    def encoding_seconds_per_row(self) -> float:
        """Measure the time to encode a row."""
        from experiment_pipeline.stages.search.learners.learner import Clock

        rows = self.sets.test.iloc[: importance.MOST_ROWS][self.names]
        with Clock() as clock:
            self.parts.encode(rows)
        return clock.wall_seconds / len(rows)

    def of(self, rows: np.ndarray) -> Any:
        """Return the cells of test rows at these positions, (n, columns)."""
        if self.encodes_late:
            return np.tile(rows[:, None], len(self.names))
        return self.parts.encode(self.sets.test.iloc[rows][self.names])

    def predict(self, cells: np.ndarray) -> np.ndarray:
        """Return the predictions of cells: (n,) or (n, k)."""
        if self.encodes_late:
            taken = {
                name: self.sets.test[name].iloc[cells[:, place]]
                for place, name in enumerate(self.names)
            }
            cells = self.parts.encode(of_columns(taken, pd.RangeIndex(len(cells))))
        return self.parts.predict(cells, self.sets.task, self.sets.classes)


class _CurveValues(NamedTuple):
    """The values at which a feature's curve is drawn, as of `Dependence`."""

    positions: np.ndarray  # (v,) of rows that have them
    values: list[str]
    places: list[float]
    marks: list[float]


def _dependences(
    cells: _Cells, features: Sequence[str], n_rows: int
) -> Iterator[Dependence]:
    """Yield the curves over so many test rows; none for a type without an axis, or a
    constant.
    """
    sample = importance.spread_evenly(len(cells.sets.test), n_rows)
    encoded = cells.of(sample)
    encoded = encoded.toarray() if hasattr(encoded, "toarray") else np.asarray(encoded)
    for feature in features:
        axis = _axis(cells.sets.test[feature].iloc[sample])
        if len(axis.positions) < 2:
            continue
        columns = cells.columns[feature]
        means = importance.partial_dependence(
            cells.predict, encoded, columns, encoded[axis.positions][:, columns]
        )
        curves = _named_curves(cells.sets, means)
        yield Dependence(
            feature,
            tuple(axis.values),
            tuple(axis.places),
            tuple(axis.marks),
            tuple(curves),
            tuple(tuple(mean.tolist()) for mean in curves.values()),
        )


def _named_curves(sets: "TrainingSets", means: np.ndarray) -> dict[str, np.ndarray]:
    """What is predicted → its means (v,); of several classes the most frequent ones."""
    classes = sets.classes or ()
    if means.ndim == 1:
        return {str(classes[1]) if classes else sets.target: means}
    rows = np.bincount(sets.y_test.astype(np.int64), minlength=len(classes))
    codes = most_frequent(rows, _MOST_CURVES)
    return {str(classes[code]): means[:, code] for code in codes}


def _axis(column: pd.Series) -> _CurveValues:
    kind = kind_of(column)
    if kind in QUANTITIES:
        return _axis_of_numbers(numbers_of(column))
    if kind in TEXTS or kind == "boolean":
        return _axis_of_categories(column)
    return _CurveValues(np.empty(0, dtype=np.int64), [], [], [])


def _axis_of_numbers(values: np.ndarray) -> _CurveValues:
    """Quantiles from 2 % to 98 %: beyond them few rows support a curve."""
    present = np.flatnonzero(np.isfinite(values))
    if not len(present):
        return _CurveValues(present, [], [], [])
    order = present[np.argsort(values[present], kind="stable")]
    share = np.linspace(0.02, 0.98, importance.MOST_VALUES) * (len(order) - 1)
    quantiles = order[share.round().astype(np.int64)]
    positions = quantiles[np.unique(values[quantiles], return_index=True)[1]]
    places = values[positions].tolist()
    marks = np.quantile(values[order], np.linspace(0, 1, _MOST_MARKS)).tolist()
    return _CurveValues(
        positions, [numbers.score(place) for place in places], places, marks
    )


def _axis_of_categories(column: pd.Series) -> _CurveValues:
    """The most frequent values, and missing values."""
    counts = column.value_counts().head(_MOST_CATEGORIES)
    named = [
        (numbers.shown(value), column == value) for value in counts[counts > 0].index
    ]
    if column.hasnans:
        named.append(("missing", column.isna()))
    masks = [mask.fillna(value=False).to_numpy(dtype=bool) for _, mask in named]
    positions = np.array([mask.argmax() for mask in masks], dtype=np.int64)
    shares = [float(mask.mean()) for mask in masks]
    return _CurveValues(positions, [name for name, _ in named], [], shares)


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


class _Subset(NamedTuple):
    """Rows that share something, as of `parts_of`."""

    column: str
    value: str
    mask: np.ndarray  # (n,)


def weakest_segments(model: JudgedModel) -> tuple[Segment, ...] | None:
    """Return the segments of the validation set that score furthest below what is
    expected there, the worst first.

    Segments are of the first MOST_COLUMNS features. Of many rows, every k-th is used.
    None: no segment has FEWEST_ROWS, or the metric is a user's own.
    """
    metric = model.spec.metric
    if metrics.metric_of(metric).is_own:
        return None
    model = _every_kth(model)
    parts = _parts_by_feature(model, FEWEST_ROWS)
    if not parts:
        return None
    level = 1 - (1 - interval.LEVEL) / len(parts)
    scores = ExpectedScores(metric, model.exported, model.cut)
    weak = []
    for part in parts:
        expected, spread = scores.of(part.mask)
        quantile = interval.quantile(spread.degrees_of_freedom, level)
        low, high = interval.by_skewness(spread, quantile)
        gap = interval.Interval(spread.estimate, low, high, level)
        if not np.isfinite(gap.estimate) or not metrics.better(
            metric, 0.0, gap.estimate
        ):
            continue
        clearly_worse = metrics.significantly_worse(metric, gap)
        segment = _segment(model, part, expected, clearly_worse=clearly_worse)
        best_case = metrics.better_bound(metric, gap)
        weak.append((metrics.metric_of(metric).sign * best_case, segment))
    weak.sort(key=lambda pair: (pair[0], pair[1].column, pair[1].value))
    return tuple(segment for _, segment in weak[:_WEAKEST])


def _segment(
    model: JudgedModel, part: _Subset, expected: float, *, clearly_worse: bool
) -> Segment:
    rows = model.exported.rows(part.mask)
    score = rows.interval(model.spec.metric, model.cut)
    return Segment(
        part.column, part.value, int(part.mask.sum()), score, expected, clearly_worse
    )


def _every_kth(model: JudgedModel) -> JudgedModel:
    """The model with at most MOST_ROWS evenly spread validation rows, fewer of many
    classes.
    """
    rows = model.exported
    classes = rows.prediction.shape[1] if rows.prediction.ndim == 2 else 2
    kth = slice(None, None, -(-len(rows.y) * classes // (2 * MOST_ROWS)))
    return replace(model, rows=model.rows.iloc[kth], exported=rows.rows(kth))


def _parts_by_feature(model: JudgedModel, fewest: int) -> list[_Subset]:
    columns = model.rows[list(model.features)[:MOST_COLUMNS]]
    return [
        _Subset(column, value, mask)
        for column, value, mask in parts_of(columns, fewest)
    ]


def by_horizon(model: JudgedModel) -> tuple[Segment, ...]:
    """Return up to four stretches of time of a validation set that is later than the
    fitted rows, in order.

    Their values are the time since the last fitted row. Empty: no split by time, too
    few rows, or a user's metric.
    """
    model = _every_kth(model)
    return _beside_the_first(model, list(_horizons(model)))


def by_acquaintance(model: JudgedModel) -> tuple[Segment, ...]:
    """Return the rows of groups that the model knows, and those of new ones, where a
    split by time predicts `both`.

    Known ones have a row among the fitted ones. Empty: another split, fewer than
    FEWEST_ROWS of either, or a user's metric.
    """
    split = model.spec.split
    if split.by != "time" or split.group is None or split.predicts != "both":
        return ()
    model = _every_kth(model)
    known = model.rows[split.group].isin(model.fitted[split.group]).to_numpy(dtype=bool)
    parts = [
        _Subset(split.group, "known", known),
        _Subset(split.group, "new", ~known),
    ]
    if min(part.mask.sum() for part in parts) < FEWEST_ROWS:
        return ()
    return _beside_the_first(model, parts)


def _beside_the_first(
    model: JudgedModel, parts: Sequence[_Subset]
) -> tuple[Segment, ...]:
    """Score parts of the rows; one is clearly worse if it is significantly further
    below its expected score than the first.
    """
    metric = model.spec.metric
    if not parts or metrics.metric_of(metric).is_own:
        return ()
    scores = ExpectedScores(metric, model.exported, model.cut)
    spreads = [scores.of(part.mask) for part in parts]
    level = 1 - (1 - interval.LEVEL) / max(len(parts) - 1, 1)
    first = spreads[0][1]
    segments = []
    for part, (expected, spread) in zip(parts, spreads, strict=True):
        change = interval.difference(first, spread, level)
        worse = bool(segments) and metrics.significantly_worse(metric, change)
        segments.append(_segment(model, part, expected, clearly_worse=worse))
    return tuple(segments)


def _horizons(model: JudgedModel) -> Iterator[_Subset]:
    """Cut rows by the time since the last fitted row, as `parts_of` does by a
    feature.
    """
    split = model.spec.split
    rows = model.rows
    most = min(_HORIZONS, len(rows) // FEWEST_ROWS)
    if not isinstance(split, TimeSplit) or most < 2:
        return
    times, _ = times_of(rows, split.column, pd.Timedelta(0))
    fitted, _ = times_of(model.fitted, split.column, pd.Timedelta(0))
    after = times - fitted.max()
    unit = ""
    if kind_of(rows[split.column]) == "datetime":
        after = after * (MICROSECOND / pd.Timedelta("1 day"))
        unit = " days"
    stretch, _ = cut_by_order(after, [1 / most] * most)
    for number in np.unique(stretch):
        mask = stretch == number
        ends = f"{after[mask].min():,.4g} to {after[mask].max():,.4g}{unit}"
        yield _Subset(split.column, ends, mask)


@dataclass(frozen=True)
class CoverageCheck:
    """The coverage that intervals or sets promise for new rows, and their coverage on
    the validation set.
    """

    coverage: float  # the share of rows that is promised
    calibrated: Calibrated  # on rows that the fit had not seen
    size: float = 0.0  # mean width of intervals, or mean number of classes in a set
    # upper bound of the share of rows that are held, at the level of gates
    at_most: float = 0.0
    # all rows, by class and time, the least covered by feature; empty: too few
    # calibration rows
    parts: tuple[Segment, ...] = ()


NOT_CHECKED = CoverageCheck(0.9, Calibrated())


def check_coverage(
    model: JudgedModel, calibrated: Calibrated, level: float = interval.LEVEL
) -> CoverageCheck:
    """Check the coverage of intervals or sets on the validation rows; of many, every
    k-th is used.

    Parts are by feature, and by time since the fitted rows; `level` is that of gates.
    The coverage's intervals allow for the sampling of calibration rows, its
    significance also for the number of parts.
    """
    coverage = model.spec.coverage or 0.9
    bounds = calibrated.at(coverage)
    if bounds is None:
        return CoverageCheck(coverage, calibrated)
    model = _every_kth(model)
    rows = model.exported
    if calibrated.classes:
        sets = sets_of(rows.prediction, bounds)
        hits = sets[np.arange(len(sets)), rows.y.astype(np.int64)]
        sizes = sets.sum(axis=1)
    else:
        ends = calibrated.columns(coverage, None, model.rows, rows.prediction)
        hits = (ends["lower"] <= rows.y) & (rows.y <= ends["upper"])
        sizes = ends["upper"] - ends["lower"]
    covered = replace(
        rows,
        y=hits * 1.0,
        prediction=np.ones(len(hits)),
        variance_factor=1 + len(hits) / calibrated.rows,
    )
    first = [_Subset("all rows", "", np.ones(len(hits), dtype=bool))]
    for code, label in enumerate(calibrated.classes):
        if (of_class := rows.y == code).any():
            first.append(_Subset(model.spec.target, str(label), of_class))
    first += _horizons(model)
    by_feature = _parts_by_feature(model, _FEWEST_COVERED)
    level_of_part = 1 - (1 - interval.LEVEL) / (len(first) + len(by_feature))

    def checked(parts: Sequence[_Subset]) -> list[Segment]:
        segments = []
        for part in parts:
            share = _spread_as_alone(covered.rows(part.mask))
            below = share.interval("accuracy", level=level_of_part).high < coverage
            score = share.interval("accuracy")
            segments.append(
                Segment(part.column, part.value, len(share.y), score, coverage, below)
            )
        return segments

    weak = sorted(checked(by_feature), key=lambda segment: segment.score.estimate)
    return CoverageCheck(
        coverage,
        calibrated,
        size=float(sizes.mean()),
        at_most=_spread_as_alone(covered).interval("accuracy", level=level).high,
        parts=(*checked(first), *weak[:_LEAST_COVERED]),
    )


def _spread_as_alone(rows: SetPrediction) -> SetPrediction:
    """The rows, as independent ones if that gives the wider interval: few clusters may
    vary less by chance.
    """

    def width(prediction: SetPrediction) -> float:
        bounds = prediction.interval("accuracy")
        return bounds.high - bounds.low

    return max(rows, replace(rows, clusters=np.arange(len(rows.y))), key=width)
