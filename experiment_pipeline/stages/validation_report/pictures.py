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
    INK,
    MUTED,
    SERIES,
    Option,
    bars,
    curve,
    dots,
    estimates,
    item,
    level,
    names_axis,
    plain,
    reference,
)
from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import Costs, Scalar
from experiment_pipeline.stages.validation_report.effects import Dependence, Usage
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.calibration import (
    class_by_class,
    confusion,
    most_frequent,
)
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import threshold_curve, threshold_value

_MOST_POINTS, _MOST_BARS, _MOST_CELLS = 400, 15, 12


def charts(
    report: ValidationReport,
    exported: SetPrediction,
    test: SetPrediction,
    classes: Sequence[Scalar] | None,
    costs: Costs | None,
) -> Mapping[str, tuple[Chart, ...]]:
    """Return the charts of a report by section; `classes` are None for regression.

    `exported` are the exported fit's predictions of validation rows, `test` the
    search's of test rows.
    """
    found = {
        "scores": (
            _scores(report),
            *(() if classes is None else _roc(exported, classes)),
        ),
        "calibration": tuple(_calibration(report)),
        "threshold": tuple(_threshold(report, test, costs)),
        "residuals": ()
        if report.details.residuals is None
        else tuple(_residuals(exported)),
        "classes": () if classes is None else (_confusion(report, exported, classes),),
        "importance": () if report.usage is None else tuple(_importance(report.usage)),
        "dependence": () if report.usage is None else tuple(_dependence(report.usage)),
    }
    return {section: drawn for section, drawn in found.items() if drawn}


def _points(
    x: Sequence[float], y: Sequence[float], tips: Sequence[str]
) -> list[Option]:
    return [item(*at, tip=tip) for *at, tip in zip(x, y, tips, strict=True)]


def _scores(report: ValidationReport) -> Chart:
    score, gap, how = (
        report.score(report.metric),
        report.gap,
        evaluated(report.gap.evaluation),
    )
    rows = {
        "baseline": (Interval(score.baseline, np.nan, np.nan), MUTED),
        f"{how.name} (used to choose)": (gap.test, SERIES[0]),
        "validation, same fit": (gap.validation, SERIES[0]),
        "validation, final model": (score.interval, SERIES[1]),
    }
    if gap.evaluation == "cross_validation":
        # The cross-validated score is not of one fit.
        del rows["validation, same fit"]
    return estimates(
        f"{how.name.capitalize()} against validation",
        f"{report.metric} is {numbers.interval(score.interval)} on validation and "
        f"{numbers.interval(gap.test)} {how.short}; the baseline (no features) scores "
        f"{numbers.score(score.baseline)}.",
        [(name, *row) for name, row in rows.items()],
        f"{report.metric}, 95 % interval",
    )


def _roc(predicted: SetPrediction, classes: Sequence[Scalar]) -> Iterator[Chart]:
    """True against false positive rate at every threshold, for each class against the
    others.
    """
    from sklearn.metrics import auc, roc_curve

    lines, areas = [], []
    for (name, is_it, probability), colour in zip(
        class_by_class(predicted, classes), SERIES, strict=False
    ):
        wrong, found, _ = roc_curve(is_it, probability, sample_weight=predicted.weights)
        areas.append(auc(wrong, found))
        some = np.unique(np.linspace(0, len(wrong) - 1, _MOST_POINTS, dtype=int))
        x, y = wrong[some].tolist(), found[some].tolist()
        tips = [
            f"{name}: finds {true:.1%} of the class and {false:.1%} of the others"
            for false, true in zip(x, y, strict=True)
        ]
        lines.append(curve(_points(x, y, tips), colour, plain(name), symbolSize=3))
    if lines:
        yield Chart(
            "ROC curve",
            f"The area below the curve is {' and '.join(map(numbers.score, areas))}; 0.5 is guessing.",
            {
                **({"legend": {}} if len(lines) > 1 else {}),
                "xAxis": {"name": "false positive rate", "min": 0, "max": 1},
                "yAxis": {"name": "true positive rate", "min": 0, "max": 1},
                "series": [reference((0, 0), (1, 1)), *lines],
            },
        )


def _calibration(report: ValidationReport) -> Iterator[Chart]:
    found = report.details.calibration
    if not found:
        return
    drawn: list[Option] = []
    for one, colour in zip(found, SERIES, strict=False):
        points, spans = [], []
        for b in one.bins:
            observed = numbers.interval(b.observed)
            tip = (
                f"{one.of}: predicted {numbers.score(b.predicted)}, observed {observed}"
            )
            points.append(item(b.predicted, b.observed.estimate, tip=tip))
            spans.append(item(b.predicted, b.observed.low, b.observed.high))
        drawn += [
            curve(points, colour, plain(one.of)),
            bars(spans, colour, upright=True),
        ]
    ends = [max(b.observed.high, b.predicted) for one in found for b in one.bins]
    highest = min(1.0, 1.05 * max(ends))
    worst = max(found, key=lambda one: one.expected_error)
    yield Chart(
        "Calibration",
        "Observed against predicted probability, with pointwise 95 % intervals; the mean distance "
        f"to the diagonal is at most {numbers.score(worst.expected_error)} ({worst.of}).",
        {
            **({"legend": {}} if len(found) > 1 else {}),
            "xAxis": {"name": "predicted probability", "min": 0, "max": highest},
            "yAxis": {"name": "observed share", "min": 0, "max": highest},
            "series": [reference((0, 0), (highest, highest)), *drawn],
        },
    )


def _threshold(
    report: ValidationReport, test: SetPrediction, costs: Costs | None
) -> Iterator[Chart]:
    """Precision, recall and cost against the threshold, with the result on
    validation.
    """
    at = report.details.at_threshold
    if report.threshold is None or at is None or not np.isfinite(test.prediction).all():
        return
    found = threshold_curve(test.y, test.prediction, costs, test.weights)
    cut, how = min(report.threshold.value, 1.0), evaluated(report.gap.evaluation).short
    beside = 0.006 * float(np.ptp(found.thresholds))

    def drawn(
        values: np.ndarray, judged: Interval, number: int, what: str, side: float = 0.0
    ) -> Iterator[Option]:
        colour, defined = SERIES[number], np.isfinite(values)
        x, y = found.thresholds[defined].tolist(), values[defined].tolist()
        tips = [f"{what} {how}: {numbers.score(one)}" for one in y]
        yield curve(_points(x, y, tips), colour, f"{what} {how}", symbolSize=3)
        if np.isfinite([judged.low, judged.high]).all():
            yield bars(
                [item(cut + side, judged.low, judged.high)], colour, upright=True
            )
        if np.isfinite(judged.estimate):
            tip = f"{what} on validation: {numbers.interval(judged)}"
            yield dots(
                [item(cut + side, judged.estimate, tip=tip)], colour, symbolSize=11
            )

    def chart(title: str, alt: str, axis: Option, series: Sequence[Option]) -> Chart:
        option = {
            "legend": {},
            "xAxis": {"name": "predicted positive from this probability on"},
            "yAxis": {"min": 0, **axis},
            "series": [level(cut, "xAxis", ""), *series],
        }
        text = "Dashed: the chosen threshold. Points with intervals: its result on validation."
        return Chart(title, f"{title} against the threshold {how}; {alt}", option, text)

    yield chart(
        "Precision and recall",
        f"at the chosen one, {numbers.probability(cut)}, precision is "
        f"{numbers.score(at.precision.estimate)} and recall {numbers.score(at.recall.estimate)} on "
        "validation.",
        {"name": "share", "max": 1},
        [
            *drawn(found.precision, at.precision, 0, "precision", -beside),
            *drawn(found.recall, at.recall, 1, "recall", beside),
        ],
    )
    if found.cost is not None and at.ways:
        cost = at.ways[0].on_validation
        yield chart(
            "Expected cost per row",
            f"it is least at {numbers.probability(cut)}, {numbers.score(at.ways[0].on_test)}, and "
            f"costs {numbers.score(cost.estimate)} on validation.",
            {"name": "expected cost per row"},
            [*drawn(found.cost, cost, 0, "cost")],
        )


def _residuals(predicted: SetPrediction) -> Iterator[Chart]:
    if not np.isfinite(predicted.prediction).all():
        return
    some = np.linspace(0, len(predicted.y) - 1, min(len(predicted.y), _MOST_POINTS))
    points = predicted.rows(some.astype(np.int64))
    x, y = points.y.tolist(), points.prediction.tolist()
    tips = [
        f"actual {numbers.score(actual)}, predicted {numbers.score(predicted_value)}"
        for actual, predicted_value in zip(x, y, strict=True)
    ]
    marks = dots(_points(x, y, tips), SERIES[0], symbolSize=5)
    pale = {"color": SERIES[0], "opacity": 0.5}
    yield Chart(
        "Predicted and actual",
        f"{len(x):,} of {len(predicted.y):,} validation rows; on the diagonal a prediction is right.",
        {
            "xAxis": {"name": "actual"},
            "yAxis": {"name": "predicted"},
            "series": [
                {**marks, "itemStyle": pale},
                reference([min(*x, *y)] * 2, [max(*x, *y)] * 2),
            ],
        },
    )


def _confusion(
    report: ValidationReport, predicted: SetPrediction, classes: Sequence[Scalar]
) -> Chart:
    decided = predicted.decided(threshold_value(report.threshold))
    matrix = confusion(predicted.y, decided, len(classes))
    shown = most_frequent(matrix.sum(axis=1), _MOST_CELLS)
    cells = matrix[np.ix_(shown, shown)]
    share = cells / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    names = [plain(classes[code], 24) for code in shown]
    data = []
    for row, column in np.ndindex(*cells.shape):
        count, part = int(cells[row, column]), float(share[row, column])
        colour = GOOD if row == column else BAD
        style = {
            "color": f"color-mix(in srgb, {colour} {5 + round(40 * part)}%, transparent)"
        }
        label = {"show": True, "formatter": f"{count:,}", "color": INK}
        tip = f"{count:,} rows of {names[row]} are predicted as {names[column]} ({numbers.share(part)})"
        data.append(item(column, row, part, tip=tip, itemStyle=style, label=label))
    right, cut = np.trace(matrix) / max(matrix.sum(), 1), len(classes) - len(shown)
    alt = f"Rows by actual and predicted class; {numbers.share(right)} are right"
    every: Option = {"interval": 0, "hideOverlap": False}
    upright, gap = ({"rotate": 60}, 84) if len(shown) > 4 else ({}, 28)
    return Chart(
        "Confusion",
        f"{alt}; the {cut} rarest classes are not shown." if cut else f"{alt}.",
        {
            "xAxis": names_axis(
                names, name="predicted", nameGap=gap, axisLabel=every | upright
            ),
            "yAxis": names_axis(
                names,
                name="actual",
                inverse=True,
                nameLocation="start",
                axisLabel=every,
            ),
            "series": [{"type": "heatmap", "data": data}],
        },
        height=int(max(200, 110 + gap + 34 * len(shown))),
    )


def _importance(usage: Usage) -> Iterator[Chart]:
    if not usage.importance:
        return
    first, top = usage.importance[0], usage.importance[:_MOST_BARS]
    spreads = [
        Interval(o.drop, o.drop - o.deviation, o.drop + o.deviation) for o in top
    ]
    yield estimates(
        "Importance of features",
        f"Loss of {usage.metric} when a feature is shuffled; the largest is that of {first.feature}, "
        f"{numbers.spread(first.drop, first.deviation)}.",
        [
            (plain(o.feature, 30), one, SERIES[0])
            for o, one in zip(top, spreads, strict=True)
        ],
        f"{usage.metric} lost when shuffled",
        reference=0.0,
    )


def _dependence(usage: Usage) -> Iterator[Chart]:
    means = [
        value for one in usage.dependence for curves in one.means for value in curves
    ]
    if not means:
        return
    # One axis range for all features, so that a flat curve looks flat.
    room = 0.06 * (max(means) - min(means)) or 1.0
    limits = {"min": min(means) - room, "max": max(means) + room}
    for one in usage.dependence:
        low, high = (numbers.score(f(map(f, one.means))) for f in (min, max))
        yield Chart(
            f"{numbers.shown(one.feature)}: mean prediction",
            f"Over the values of {one.feature}, the mean prediction varies between {low} and {high}.",
            _dependence_option(one, limits),
            height=250 if one.places else 80 + 26 * len(one.values),
        )


def _dependence_option(one: Dependence, limits: Mapping[str, float]) -> Option:
    """Curves over a number, with marks where the rows are; for categories dots beside
    their names.
    """
    drawn: list[Option] = []
    for name, means, colour in zip(one.curves, one.means, SERIES, strict=False):
        tips = [
            f"{one.feature} = {value}: {name} {numbers.score(mean)}"
            for value, mean in zip(one.values, means, strict=True)
        ]
        if one.places:
            drawn.append(curve(_points(one.places, means, tips), colour, plain(name)))
        else:
            points = _points(means, range(len(means)), tips)
            drawn.append(dots(points, colour, name=plain(name)))
    legend: Option = {"legend": {}} if len(one.curves) > 1 else {}
    if not one.places:
        labels = zip(one.values, one.marks, strict=True)
        names = [
            f"{plain(value, 24)} ({numbers.share(part)})" for value, part in labels
        ]
        axes = {"xAxis": {"name": "mean prediction", **limits}}
        return {
            **legend,
            **axes,
            "yAxis": names_axis(names, inverse=True),
            "series": drawn,
        }
    inside = [mark for mark in one.marks if one.places[0] <= mark <= one.places[-1]]
    rug = [item(mark, limits["min"]) for mark in inside]
    drawn.append(dots(rug, MUTED, symbol="rect", symbolSize=[1, 12], silent=True))
    axes = {
        "xAxis": {"name": plain(one.feature)},
        "yAxis": {"name": "mean prediction", **limits},
    }
    return {**legend, **axes, "series": drawn}
