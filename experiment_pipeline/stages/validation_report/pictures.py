"""The charts of a validation report, each with a sentence that states what it shows.

In: the report, and the predictions behind it. Out: section → charts, in reading order.
Most of what they show is already computed in the report.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.charts import (
    BAD,
    GOOD,
    MUTED,
    SERIES,
    Axis,
    Diagonal,
    Heatmap,
    Intervals,
    Level,
    Line,
    Mark,
    Plot,
    Points,
    Series,
    Span,
    chart,
    plain,
)
from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.validation_report.effects import Dependence, Usage
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.calibration import (
    class_by_class,
    confusion,
    most_frequent,
)
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import threshold_curve, threshold_value

_MOST_POINTS, _MOST_CELLS = 400, 12


def charts(
    report: ValidationReport, model: JudgedModel
) -> Mapping[str, tuple[Chart, ...]]:
    """Return the charts of a report by section."""
    exported = model.exported
    classes = model.classes
    by_section: dict[str, list[Chart]] = {
        "scores": [],
        "calibration": [*_calibration(report)],
        "threshold": [*_threshold(report, model)],
    }
    if classes is not None:
        by_section["scores"] += _roc(exported, classes)
        by_section["classes"] = [_confusion(report, exported, classes)]
    if report.details.residuals is not None:
        by_section["residuals"] = [*_residuals(exported)]
    if report.usage is not None:
        by_section["dependence"] = [*_dependence(report.usage)]
    return {section: tuple(drawn) for section, drawn in by_section.items() if drawn}


def _roc(predicted: SetPrediction, classes: Sequence[Scalar]) -> Iterator[Chart]:
    """True against false positive rate, for each class against the others."""
    from sklearn.metrics import auc, roc_curve

    series: list[Series] = [Diagonal(0, 1)]
    areas = []
    curves = class_by_class(predicted, classes)
    for (name, actual, probability), color in zip(curves, SERIES, strict=False):
        rates = roc_curve(actual, probability, sample_weight=predicted.weights)
        false_rates, true_rates, _ = rates
        areas.append(numbers.score(auc(false_rates, true_rates)))
        points = np.linspace(0, len(true_rates) - 1, _MOST_POINTS, dtype=int)
        marks = [
            Mark(
                false_rates[point],
                true_rates[point],
                f"{name}: finds {true_rates[point]:.1%} of the class and "
                f"{false_rates[point]:.1%} of the others",
            )
            for point in np.unique(points)
        ]
        series.append(Line(marks, color, plain(name), size=3))
    if not areas:
        return
    plot = Plot(
        Axis("false positive rate", 0, 1),
        Axis("true positive rate", 0, 1),
        series,
        legend=True,
    )
    below = f"The area below the curve is {' and '.join(areas)}; 0.5 is guessing."
    yield chart("ROC curve", below, plot)


def _calibration(report: ValidationReport) -> Iterator[Chart]:
    curves = report.details.calibration
    if not curves:
        return
    bins = [reliability for curve in curves for reliability in curve.bins]
    highest = min(1.0, 1.05 * max(max(b.observed.high, b.predicted) for b in bins))
    series: list[Series] = [Diagonal(0, highest)]
    for curve, color in zip(curves, SERIES, strict=False):
        marks = [
            Mark(
                reliability.predicted,
                reliability.observed.estimate,
                f"{curve.class_name}: "
                f"predicted {numbers.score(reliability.predicted)}, "
                f"observed {numbers.interval(reliability.observed)}",
            )
            for reliability in curve.bins
        ]
        spans = [
            Span(
                reliability.predicted,
                reliability.observed.low,
                reliability.observed.high,
            )
            for reliability in curve.bins
        ]
        series += [Line(marks, color, plain(curve.class_name)), Intervals(spans, color)]
    worst = max(curves, key=lambda curve: curve.expected_error)
    plot = Plot(
        Axis("predicted probability", 0, highest),
        Axis("observed share", 0, highest),
        series,
        legend=True,
    )
    yield chart(
        "Calibration",
        "Observed against predicted probability, with pointwise "
        f"{numbers.share(LEVEL)} intervals; the mean distance to the diagonal is at "
        "most "
        f"{numbers.score(worst.expected_error)} ({worst.class_name}).",
        plot,
    )


def _threshold(report: ValidationReport, model: JudgedModel) -> Iterator[Chart]:
    """Precision, recall and cost by threshold, with the result on validation."""
    at = report.details.at_threshold
    test = model.test
    if report.threshold is None or at is None or not np.isfinite(test.prediction).all():
        return
    by_threshold = threshold_curve(
        test.y, test.prediction, model.spec.costs, test.weights
    )
    cut = min(report.threshold.value, 1.0)
    where = evaluated(report.gap.evaluation).short
    beside = 0.006 * float(np.ptp(by_threshold.thresholds))

    def series(
        measure: str, values: np.ndarray, judged: Interval, at: float, color: str
    ) -> list[Series]:
        curve = zip(by_threshold.thresholds.tolist(), values.tolist(), strict=True)
        marks = [
            Mark(threshold, value, f"{measure} {where}: {numbers.score(value)}")
            for threshold, value in curve
        ]
        tip = f"{measure} on validation: {numbers.interval(judged)}"
        return [
            Line(marks, color, f"{measure} {where}", size=3),
            Intervals([Span(at, judged.low, judged.high)], color),
            Points([Mark(at, judged.estimate, tip)], color, size=11),
        ]

    def threshold_chart(
        title: str, alt: str, y: Axis, drawn: Sequence[Series]
    ) -> Chart:
        x = Axis("predicted positive from this probability on")
        return chart(
            title,
            f"{title} against the threshold {where}; {alt}",
            Plot(x, y, [Level("x", cut), *drawn], legend=True),
            "Dashed: the chosen threshold. Points with intervals: its result on "
            "validation.",
        )

    precision, recall = by_threshold.precision, by_threshold.recall
    yield threshold_chart(
        "Precision and recall",
        f"at the chosen one, {numbers.probability(cut)}, precision is "
        f"{numbers.score(at.precision.estimate)} and recall "
        f"{numbers.score(at.recall.estimate)} on validation.",
        Axis("share", 0, 1),
        [
            *series("precision", precision, at.precision, cut - beside, SERIES[0]),
            *series("recall", recall, at.recall, cut + beside, SERIES[1]),
        ],
    )
    if by_threshold.cost is not None and at.ways:
        cost = at.ways[0].on_validation
        yield threshold_chart(
            "Expected cost per row",
            f"it is least at {numbers.probability(cut)}, "
            f"{numbers.score(at.ways[0].on_test)}, and costs "
            f"{numbers.score(cost.estimate)} on validation.",
            Axis("expected cost per row", 0),
            series("cost", by_threshold.cost, cost, cut, SERIES[0]),
        )


def _residuals(predicted: SetPrediction) -> Iterator[Chart]:
    if not np.isfinite(predicted.prediction).all():
        return
    count = min(len(predicted.y), _MOST_POINTS)
    sample = predicted.rows(
        np.linspace(0, len(predicted.y) - 1, count).astype(np.int64)
    )
    marks = [
        Mark(
            actual,
            prediction,
            f"actual {numbers.score(actual)}, predicted {numbers.score(prediction)}",
        )
        for actual, prediction in zip(
            sample.y.tolist(), sample.prediction.tolist(), strict=True
        )
    ]
    ends = np.concatenate([sample.y, sample.prediction])
    diagonal = Diagonal(float(ends.min()), float(ends.max()))
    points = Points(marks, SERIES[0], size=5, opacity=0.5)
    yield chart(
        "Predicted and actual",
        f"{count:,} of {len(predicted.y):,} validation rows; on the diagonal a "
        "prediction is right.",
        Plot(Axis("actual"), Axis("predicted"), [points, diagonal]),
    )


def _confusion(
    report: ValidationReport, predicted: SetPrediction, classes: Sequence[Scalar]
) -> Chart:
    decided = predicted.decided(threshold_value(report.threshold))
    matrix = confusion(predicted.y, decided, len(classes))
    shown = most_frequent(matrix.sum(axis=1), _MOST_CELLS)
    counts = matrix[np.ix_(shown, shown)]
    shares = counts / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    names = [plain(classes[code], 24) for code in shown]
    marks = []
    for row, column in np.ndindex(*counts.shape):
        count = int(counts[row, column])
        share = float(shares[row, column])
        hue = GOOD if row == column else BAD
        tip = (
            f"{count:,} rows of {names[row]} are predicted as {names[column]} "
            f"({numbers.share(share)})"
        )
        strength = 5 + round(40 * share)
        color = f"color-mix(in srgb, {hue} {strength}%, transparent)"
        marks.append(Mark(column, row, tip, color=color, label=f"{count:,}"))
    right = np.trace(matrix) / max(matrix.sum(), 1)
    alt = f"Rows by actual and predicted class; {numbers.share(right)} are right"
    if hidden := len(classes) - len(shown):
        alt += f"; the {hidden} rarest classes are not shown"
    rotated = len(shown) > 4
    plot = Plot(
        Axis("predicted", names=names, rotated=rotated),
        Axis("actual", names=names, downwards=True),
        [Heatmap(marks)],
    )
    height = max(200, (194 if rotated else 138) + 34 * len(shown))
    return chart("Confusion", f"{alt}.", plot, height=height)


def _dependence(usage: Usage) -> Iterator[Chart]:
    means = [np.array(dependence.means) for dependence in usage.dependence]
    if not any(curves.size for curves in means):
        return
    # One axis range for all features, so that a flat curve looks flat.
    low = min(float(curves.min()) for curves in means)
    high = max(float(curves.max()) for curves in means)
    margin = 0.06 * (high - low) or 1.0
    for dependence, curves in zip(usage.dependence, means, strict=True):
        plot = _over_numbers if dependence.places else _over_categories
        yield chart(
            f"{numbers.shown(dependence.feature)}: mean prediction",
            f"Over the values of {dependence.feature}, the mean prediction varies "
            f"between {numbers.score(curves.min())} and {numbers.score(curves.max())}.",
            plot(dependence, low - margin, high + margin),
            height=250 if dependence.places else 80 + 26 * len(dependence.values),
        )


def _over_numbers(dependence: Dependence, low: float, high: float) -> Plot:
    """Curves, with marks on the axis where the rows are."""
    places = dependence.places
    rug = [
        Mark(quantile, low)
        for quantile in dependence.marks
        if places[0] <= quantile <= places[-1]
    ]
    series = [
        Line([*map(Mark, places, means, tips)], color, name)
        for name, means, tips, color in _curves(dependence)
    ]
    marks = Points(rug, MUTED, symbol="rect", size=[1, 12])
    feature = Axis(plain(dependence.feature))
    mean = Axis("mean prediction", low, high)
    return Plot(feature, mean, [*series, marks], legend=True)


def _over_categories(dependence: Dependence, low: float, high: float) -> Plot:
    """Dots beside the names of the categories and their shares of the rows."""
    names = [
        f"{plain(value, 24)} ({numbers.share(share)})"
        for value, share in zip(dependence.values, dependence.marks, strict=True)
    ]
    series = [
        Points([*map(Mark, means, range(len(means)), tips)], color, name)
        for name, means, tips, color in _curves(dependence)
    ]
    mean = Axis("mean prediction", low, high)
    return Plot(mean, Axis(names=names, downwards=True), series, legend=True)


def _curves(
    dependence: Dependence,
) -> Iterator[tuple[str, Sequence[float], list[str], str]]:
    """Yield name, means (v,), tips (v,) and colour of each curve."""
    curves = zip(dependence.curves, dependence.means, SERIES, strict=False)
    for name, means, color in curves:
        tips = [
            f"{dependence.feature} = {value}: {name} {numbers.score(mean)}"
            for value, mean in zip(dependence.values, means, strict=True)
        ]
        yield plain(name), means, tips, color
