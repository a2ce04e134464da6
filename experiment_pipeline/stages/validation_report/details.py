"""Details of a model on the validation rows: calibration, decisions, classes, weakest segments.

They decide nothing: the threshold was chosen on test rows before. In: predictions on both sets.
Out: frozen numbers, part of the report.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import CalibrationMethod, ExperimentSpec, Scalar
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.calibration import (
    CalibrationCurve,
    ClassOutcome,
    Residuals,
    calibrations,
    class_outcomes,
    confusion,
    residuals_of,
)
from experiment_pipeline.statistics.interval import LEVEL, Interval, weighted_mean
from experiment_pipeline.statistics.scores import SetPrediction, interval_of, mean_with_interval
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    cheapest_threshold,
    cost_of,
    decision_threshold,
)
from experiment_pipeline.table.kinds import QUANTITIES, TEXTS, kind_of


@dataclass(frozen=True)
class WayToDecide:
    """A threshold and the cost of its wrong decisions.

    Attributes:
        name: a phrase.
        threshold: positive from this probability on.
        on_test: expected cost per test row; thresholds are chosen there.
        on_validation: the same on the validation rows.
    """

    name: str
    threshold: float
    on_test: float
    on_validation: Interval


@dataclass(frozen=True)
class AtThreshold:
    """The decisions at the exported threshold, on the validation rows.

    Attributes:
        called: share of the rows that is predicted positive.
        precision: share of these that is positive.
        recall: share of the positive rows that is predicted positive.
        ways: the exported threshold, the one without costs, no row, every row; empty without costs.
    """

    called: float
    precision: Interval
    recall: Interval
    ways: tuple[WayToDecide, ...]


@dataclass(frozen=True, eq=False)
class Uncalibrated:
    """Predictions of a calibrated model without its calibrators, and the calibration method."""

    prediction: SetPrediction
    calibrated_by: CalibrationMethod


@dataclass(frozen=True)
class Details:
    """What the report shows beside scores and gates.

    Attributes:
        calibration: of the positive class, or of the most frequent ones.
        uncalibrated: the same without the calibrators; empty for a model without them.
        at_threshold: binary only.
        classes: in the order of the target's classes; empty for regression.
        residuals: regression only.
    """

    calibration: tuple[CalibrationCurve, ...] = ()
    uncalibrated: tuple[CalibrationCurve, ...] = ()
    at_threshold: AtThreshold | None = None
    classes: tuple[ClassOutcome, ...] = ()
    residuals: Residuals | None = None


def exported_threshold(spec: ExperimentSpec, test: SetPrediction) -> DecisionThreshold | None:
    """Return the exported threshold, chosen on the test rows; None: not binary.

    With costs it is the cheapest one, else the best one for the metric.
    """
    if spec.costs is not None:
        return cheapest_threshold(spec.costs, test.y, test.prediction, test.weights)
    return metric_threshold(spec, test)


def metric_threshold(spec: ExperimentSpec, test: SetPrediction) -> DecisionThreshold | None:
    """Return the threshold at which the configuration was ranked; None: not binary."""
    return decision_threshold(spec.metric_names, test.y, test.prediction, test.weights)


def details_of(
    spec: ExperimentSpec,
    exported: SetPrediction,
    test: SetPrediction,
    classes: tuple[Scalar, ...] | None,
    threshold: DecisionThreshold | None,
    uncalibrated: Uncalibrated | None = None,
) -> Details:
    """Return the details of the exported fit; arguments as of `report.judge`."""
    if classes is None:
        return Details(residuals=residuals_of(exported.y, exported.prediction))
    cut = 0.5 if threshold is None else threshold.value
    matrix = confusion(exported.y, exported.decided(cut), len(classes))
    return Details(
        calibration=calibrations(exported, classes),
        uncalibrated=() if uncalibrated is None else calibrations(uncalibrated.prediction, classes),
        at_threshold=None if threshold is None else _at(spec, exported, test, threshold),
        classes=class_outcomes(matrix, classes),
    )


def _at(
    spec: ExperimentSpec,
    exported: SetPrediction,
    test: SetPrediction,
    threshold: DecisionThreshold,
) -> AtThreshold:
    called, positive = exported.prediction >= threshold.value, exported.y == 1
    cheapest = f"the exported threshold, the cheapest {evaluated(spec.evaluation_name).short}"
    compared = {cheapest: threshold.value}
    if (own := metric_threshold(spec, test)) is not None:
        compared[f"the threshold that is best for {own.metric}"] = own.value
    compared |= {"call no row positive": float("inf"), "call every row positive": 0.0}
    ways, costs = [], spec.costs
    for name, cut in compared.items():
        if costs is None:
            break
        on_test, on_validation = (
            cost_of(costs, one.y, one.prediction >= cut) for one in (test, exported)
        )
        interval = mean_with_interval(on_validation, exported.clusters, exported.weights)
        ways.append(WayToDecide(name, cut, float(weighted_mean(on_test, test.weights)), interval))
    return AtThreshold(
        called=float(weighted_mean(called, exported.weights)),
        precision=_share(positive, exported, called),
        recall=_share(called, exported, positive),
        ways=tuple(ways),
    )


def _share(found: np.ndarray, of: SetPrediction, among: np.ndarray) -> Interval:
    rows = of.rows(among)
    return mean_with_interval(found[among], rows.clusters, rows.weights, share=True)


# Limits of the work: columns, rows, values of a category.
MOST_COLUMNS = 100
MOST_ROWS = 100_000
_MOST_VALUES = 20
_BINS = 4


@dataclass(frozen=True)
class Segment:
    """Rows that share a value, a range of values, or their absence.

    Attributes:
        column: the feature.
        value: as text: `EWR`, `513 to 1,089`, `missing`.
        rows: their number.
        score: of the model on them, with its own 95 % interval.
        clearly_worse: whether it is significantly worse than the whole set's score after a
            Bonferroni correction for the number of segments.
    """

    column: str
    value: str
    rows: int
    score: Interval
    clearly_worse: bool


def weakest_segments(
    frame: pd.DataFrame,
    features: Sequence[str],
    predicted: SetPrediction,
    metric: str,
    *,
    threshold: float = 0.5,
    least_rows: int = 100,
    most: int = 5,
) -> tuple[Segment, ...]:
    """Return the parts of a set with the worst scores, by their better bound.

    Args:
        frame: (n, columns) the rows, prepared.
        features: the columns to cut by; the first MOST_COLUMNS are used.
        predicted: of the same rows; above MOST_ROWS every k-th is used.
        metric: of the scores.
        threshold: for metrics that need one.
        least_rows: smaller parts are skipped.
        most: number of parts to return.
    """
    step = -(-len(frame) // MOST_ROWS)
    frame, predicted = frame.iloc[::step], predicted.rows(slice(None, None, step))
    overall = predicted.score(metric, threshold)
    parts = [
        (column, value, predicted.rows(mask))
        for column in list(features)[:MOST_COLUMNS]
        for value, mask in _parts(frame[column])
        if least_rows <= int(mask.sum()) < len(frame)
    ]
    level = 1 - (1 - LEVEL) / max(len(parts), 1)
    weak = []
    for column, value, rows in parts:
        spread = rows.spread(metric, threshold)
        if not metrics.better(metric, overall, spread.estimate) or np.isnan(spread.estimate):
            continue
        score = interval_of(metric, spread)
        best_case = metrics.better_bound(metric, interval_of(metric, spread, level))
        clearly = metrics.better(metric, overall, best_case)
        segment = Segment(column, value, len(rows.y), score, clearly)
        weak.append((metrics.METRICS[metric].sign * best_case, segment))
    weak.sort(key=lambda pair: (pair[0], pair[1].column, pair[1].value))
    return tuple(segment for _, segment in weak[:most])


def _parts(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """The shared value as text, and a mask (n,) of the rows."""
    missing = column.isna().to_numpy()
    if missing.any():
        yield "missing", missing
    kind = kind_of(column)
    numeric = kind in QUANTITIES
    if numeric and column.nunique() > _BINS:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        quantiles = np.quantile(values[np.isfinite(values)], np.linspace(0, 1, _BINS + 1))
        ends = np.unique(quantiles)
        for low, high in itertools.pairwise(ends):
            last = high == ends[-1]
            mask = (values >= low) & ((values <= high) if last else (values < high))
            yield f"{low:,.6g} to {'' if last else 'below '}{high:,.6g}", mask
    elif numeric or kind in TEXTS | {"boolean"}:
        for value in column.value_counts().index[:_MOST_VALUES]:
            mask = (column == value).fillna(value=False).to_numpy(dtype=bool)
            yield " ".join(str(value).split()), mask
