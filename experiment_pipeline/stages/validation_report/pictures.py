"""The charts of a validation report, each with a sentence that states what it shows.

In: the report, and the predictions behind it. Out: section → charts, in the order in which they
are read, and pictures for Dagster's page. What they show is computed before.
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
    Estimates,
    Option,
    bars,
    curve,
    dots,
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
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.calibration import class_by_class, confusion, most_frequent
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import threshold_curve, threshold_value

Charts = Mapping[str, tuple[Chart, ...]]
_MOST_POINTS, _MOST_CURVE_POINTS, _MOST_BARS, _MOST_CELLS = 400, 120, 15, 12
_MARKED = "Dashed: the exported threshold. Points with intervals: its result on validation."
_FROM = "predicted positive from this probability on"


def charts(
    report: ValidationReport,
    exported: SetPrediction,
    test: SetPrediction,
    classes: Sequence[Scalar] | None,
    costs: Costs | None,
) -> Charts:
    """Return the charts of a report by section.

    Args:
        report: on the model.
        exported: predictions of the exported fit on the validation rows.
        test: of the fit of the search on the test rows, where thresholds are chosen.
        classes: of the target; None for regression.
        costs: of wrong decisions, where the YAML names them.
    """
    found = {
        "scores": (_scores(report), *(() if classes is None else _roc(exported, classes))),
        "calibration": tuple(_calibration(report)),
        "threshold": tuple(_threshold(report, test, costs)),
        "residuals": tuple(_residuals(report, exported)),
        "classes": () if classes is None else (_confusion(report, exported, classes),),
        "importance": () if report.usage is None else tuple(_importance(report.usage)),
        "dependence": () if report.usage is None else tuple(_dependence(report.usage)),
        "segments": tuple(_segments(report)),
    }
    return {section: drawn for section, drawn in found.items() if drawn}


def pngs(report: ValidationReport) -> dict[str, bytes]:
    """Return title → PNG of what Dagster's page shows: the scores, and the importance of features."""
    found = {"Scores": score_estimates(report)}
    if report.usage is not None and report.usage.importance:
        found["Importance of features"] = _importance_estimates(report.usage)
    return {title: estimates.png() for title, estimates in found.items()}


def score_estimates(report: ValidationReport) -> Estimates:
    """Return the score of the chosen model where it was chosen, and on the validation set."""
    score, gap = report.score(report.metric), report.gap
    how = evaluated(gap.evaluation)
    rows = {
        "baseline": (Interval(score.baseline, np.nan, np.nan), MUTED),
        f"{how.name} (used to choose)": (gap.test, SERIES[0]),
        "validation, same fit": (gap.validation, SERIES[0]),
        "validation, exported": (score.interval, SERIES[1]),
    }
    if gap.evaluation == "cross_validation":
        # There is no one fit of which that score is.
        del rows["validation, same fit"]
    intervals, colours = zip(*rows.values(), strict=True)
    return Estimates(tuple(rows), intervals, colours, f"{report.metric}, 95 % interval")


def _scores(report: ValidationReport) -> Chart:
    score, how = report.score(report.metric), evaluated(report.gap.evaluation)
    estimates = score_estimates(report)
    return Chart(
        f"{how.name.capitalize()} against validation",
        f"{report.metric} is {numbers.interval(score.interval)} on validation and "
        f"{numbers.interval(report.gap.test)} {how.short}; the baseline (no features) scores "
        f"{numbers.score(score.baseline)}.",
        estimates.option(),
        height=estimates.height,
    )


def _roc(predicted: SetPrediction, classes: Sequence[Scalar]) -> Iterator[Chart]:
    curves = class_by_class(predicted, classes)
    if not curves or not np.isfinite(predicted.prediction).all():
        return
    areas = [scores.score("roc_auc", is_it, probability) for _, is_it, probability in curves]
    low, high = numbers.score(min(areas)), numbers.score(max(areas))
    area = low if low == high else f"{low} to {high}, each class against the others"
    lines = []
    for (name, is_it, probability), colour in zip(curves, SERIES, strict=False):
        x, y = _roc_of(is_it, probability)
        tips = [
            f"{name}: finds {y:.1%} of the class and {x:.1%} of the others"
            for x, y in zip(x, y, strict=True)
        ]
        points = [
            item(*one, tip=tip) for *one, tip in zip(x.tolist(), y.tolist(), tips, strict=True)
        ]
        lines.append(curve(points, colour, plain(name), symbolSize=3))
    yield Chart(
        "ROC curve",
        f"The area below the curve is {area}; 0.5 is guessing.",
        {
            **({"legend": {}} if len(lines) > 1 else {}),
            "xAxis": {"name": "false positive rate", "min": 0, "max": 1},
            "yAxis": {"name": "true positive rate", "min": 0, "max": 1},
            "series": [reference((0, 0), (1, 1)), *lines],
        },
    )


def _roc_of(is_it: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rates of false and true positives at some thresholds, over the whole range of them."""
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    found = np.concatenate([[0], np.cumsum(is_it[order])[ends]])
    called = np.concatenate([[0], ends + 1])
    at = np.unique(np.linspace(0, len(called) - 1, _MOST_CURVE_POINTS).astype(np.int64))
    return (called - found)[at] / (~is_it).sum(), found[at] / is_it.sum()


def _calibration(report: ValidationReport) -> Iterator[Chart]:
    found, before = report.details.calibration, report.details.uncalibrated
    if not found:
        return
    before = before if len(before) == 1 else ()
    drawn: list[Option] = []
    for one, colour in [*zip(found, SERIES, strict=False), *((one, MUTED) for one in before)]:
        points, spans = [], []
        for b in one.bins:
            tip = f"{one.of}: predicted {numbers.share(b.predicted)}, observed {_share_interval(b.observed)}"
            points.append(item(b.predicted, b.observed.estimate, tip=tip))
            spans.append(item(b.predicted, b.observed.low, b.observed.high))
        calibrated = colour != MUTED
        name = plain(one.of) if calibrated else "before calibrating"
        drawn.append(curve(points, colour, name, kind="solid" if calibrated else "dotted"))
        drawn += [bars(spans, colour, upright=True)] if calibrated else []
    ends = [b.observed.high for one in found for b in one.bins]
    ends += [one.bins[-1].predicted for one in (*found, *before)]
    highest = min(1.0, 1.05 * max(ends))
    worst = max(found, key=lambda one: one.expected_error)
    of = "" if len(found) == 1 else f", {worst.of}"
    yield Chart(
        "Calibration",
        "Observed against predicted probability, with pointwise 95 % intervals; the mean distance "
        f"to the diagonal is at most {numbers.score(worst.expected_error)}{of}.",
        {
            **({"legend": {}} if len(found) > 1 or before else {}),
            "xAxis": {"name": "predicted probability", "min": 0, "max": highest},
            "yAxis": {"name": "observed share", "min": 0, "max": highest},
            "series": [reference((0, 0), (highest, highest)), *drawn],
        },
    )


def _share_interval(of: Interval) -> str:
    return f"{numbers.share(of.estimate)} ({numbers.share(of.low)} to {numbers.share(of.high)})"


def _threshold(
    report: ValidationReport, test: SetPrediction, costs: Costs | None
) -> Iterator[Chart]:
    at = report.details.at_threshold
    if report.threshold is None or at is None or not np.isfinite(test.prediction).all():
        return
    found = threshold_curve(test.y, test.prediction, costs, test.weights)
    cut, how = min(report.threshold.value, 1.0), evaluated(report.gap.evaluation).short
    beside = 0.006 * float(np.ptp(found.thresholds))
    legend = {"legend": {}, "xAxis": {"name": _FROM}}
    drawn: list[Option] = [level(cut, "xAxis", "")]
    for name, values, judged, colour, side in (
        ("precision", found.precision, at.precision, SERIES[0], -beside),
        ("recall", found.recall, at.recall, SERIES[1], beside),
    ):
        drawn.append(_over_thresholds(found.thresholds, values, colour, f"{name} {how}"))
        drawn += _judged(cut + side, judged, colour, f"{name} on validation")
    yield Chart(
        "Precision and recall",
        f"Precision and recall against the threshold {how}; at the exported one, "
        f"{numbers.probability(cut)}, precision is {numbers.score(at.precision.estimate)} and "
        f"recall {numbers.score(at.recall.estimate)} on validation.",
        {**legend, "yAxis": {"name": "share", "min": 0, "max": 1}, "series": drawn},
        _MARKED,
    )
    if found.cost is None or not at.ways:
        return
    chosen = at.ways[0]
    line = _over_thresholds(found.thresholds, found.cost, SERIES[0], f"cost {how}")
    point = _judged(cut, chosen.on_validation, SERIES[1], "cost on validation")
    yield Chart(
        "Expected cost",
        f"Expected cost per row against the threshold {how}; it is least at "
        f"{numbers.probability(cut)}, {numbers.score(chosen.on_test)}, and costs "
        f"{numbers.score(chosen.on_validation.estimate)} on validation.",
        {
            **legend,
            "yAxis": {"name": "expected cost per row", "min": 0},
            "series": [level(cut, "xAxis", ""), line, *point],
        },
        _MARKED,
    )


def _over_thresholds(at: np.ndarray, values: np.ndarray, colour: str, name: str) -> Option:
    points = [
        item(x, y, tip=f"{name}: {numbers.score(y)} from {numbers.probability(x)} on")
        for x, y in zip(at.tolist(), values.tolist(), strict=True)
        if np.isfinite(y)
    ]
    return curve(points, colour, name, symbolSize=3)


def _judged(cut: float, judged: Interval, colour: str, name: str) -> list[Option]:
    """The result on validation, as a point with its interval."""
    drawn = []
    if np.isfinite([judged.low, judged.high]).all():
        drawn.append(bars([item(cut, judged.low, judged.high)], colour, upright=True))
    if np.isfinite(judged.estimate):
        point = item(cut, judged.estimate, tip=f"{name}: {numbers.interval(judged)}")
        drawn.append(dots([point], colour, symbolSize=11))
    return drawn


def _residuals(report: ValidationReport, predicted: SetPrediction) -> Iterator[Chart]:
    found = report.details.residuals
    if found is None or not np.isfinite(predicted.prediction).all():
        return
    some = np.linspace(0, len(predicted.y) - 1, min(len(predicted.y), _MOST_POINTS))
    points = predicted.rows(some.astype(np.int64))
    residuals = predicted.y - predicted.prediction
    within = np.quantile(residuals, [0.005, 0.995])
    counts, ends = np.histogram(residuals, bins=30, range=tuple(within))
    both = [*points.y.tolist(), *points.prediction.tolist()]
    marks = [
        item(y, said, tip=f"actual {numbers.score(y)}, predicted {numbers.score(said)}")
        for y, said in zip(points.y.tolist(), points.prediction.tolist(), strict=True)
    ]
    pale = {"color": SERIES[0], "opacity": 0.5}
    yield Chart(
        "Predicted and actual",
        f"{len(points.y):,} of {len(predicted.y):,} validation rows; on average the model is off by "
        f"{numbers.score(found.mean_absolute)}.",
        {
            "xAxis": {"name": "actual"},
            "yAxis": {"name": "predicted"},
            "series": [
                {**dots(marks, SERIES[0], symbolSize=5), "itemStyle": pale},
                reference([min(both)] * 2, [max(both)] * 2),
            ],
        },
    )
    shares = counts / len(residuals)
    between = zip(shares.tolist(), ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    bins = [
        item(
            (start + end) / 2,
            share,
            tip=f"{numbers.share(share)} of the rows: {numbers.score(start)} to {numbers.score(end)}",
        )
        for share, start, end in between
    ]
    quantiles = [level(found.quantiles[place], "xAxis", "", SERIES[1]) for place in (0, 2, 4)]
    yield Chart(
        "Residuals",
        "How often an error has which size; nine of ten lie between "
        f"{numbers.score(found.quantiles[0])} and {numbers.score(found.quantiles[4])}.",
        {
            "xAxis": {"name": "actual minus predicted"},
            "yAxis": {"name": "share of rows", "min": 0},
            "series": [
                {"type": "bar", "barWidth": "2.6%", "itemStyle": pale, "data": bins},
                *quantiles,
            ],
        },
        "Vertical lines: 5 %, 50 % and 95 % of the rows have a smaller residual.",
    )


def _confusion(
    report: ValidationReport, predicted: SetPrediction, classes: Sequence[Scalar]
) -> Chart:
    matrix = confusion(
        predicted.y, predicted.decided(threshold_value(report.threshold)), len(classes)
    )
    shown = most_frequent(matrix.sum(axis=1), _MOST_CELLS)
    cells = matrix[np.ix_(shown, shown)]
    share = cells / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    names = [plain(classes[code], 24) for code in shown]
    data = []
    for row, column in np.ndindex(*cells.shape):
        count, part = int(cells[row, column]), float(share[row, column])
        colour = GOOD if row == column else BAD
        style = {"color": f"color-mix(in srgb, {colour} {5 + round(40 * part)}%, transparent)"}
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
            "xAxis": names_axis(names, name="predicted", nameGap=gap, axisLabel=every | upright),
            "yAxis": names_axis(
                names, name="actual", inverse=True, nameLocation="start", axisLabel=every
            ),
            "series": [{"type": "heatmap", "data": data}],
        },
        height=int(max(200, 110 + gap + 34 * len(shown))),
    )


def _importance_estimates(usage: Usage) -> Estimates:
    top = usage.importance[:_MOST_BARS]
    spread = [Interval(one.drop, one.drop - one.deviation, one.drop + one.deviation) for one in top]
    names = tuple(plain(one.feature, 30) for one in top)
    axis = f"{usage.metric} lost when shuffled"
    return Estimates(names, tuple(spread), (SERIES[0],) * len(top), axis, reference=0.0)


def _importance(usage: Usage) -> Iterator[Chart]:
    if not usage.importance:
        return
    first, estimates = usage.importance[0], _importance_estimates(usage)
    yield Chart(
        "Importance of features",
        f"Loss of {usage.metric} when a feature is shuffled; the largest is that of {first.feature}, "
        f"{numbers.score(first.drop)} (± {numbers.score(first.deviation)}).",
        estimates.option(),
        height=estimates.height,
    )


def _dependence(usage: Usage) -> Iterator[Chart]:
    means = [value for one in usage.dependence for curves in one.means for value in curves]
    if not means:
        return
    # The same for all, so that a flat curve looks flat.
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
    drawn: list[Option] = []
    for name, means, colour in zip(one.curves, one.means, SERIES, strict=False):
        where = one.places or range(len(means))
        said = map(numbers.score, one.places) if one.places else one.values
        tips = [
            f"{one.feature} = {value}: {name} {numbers.score(mean)}"
            for value, mean in zip(said, means, strict=True)
        ]
        if one.places:
            points = [item(*at, tip=tip) for *at, tip in zip(where, means, tips, strict=True)]
            drawn.append(curve(points, colour, plain(name)))
        else:
            points = [item(*at, tip=tip) for *at, tip in zip(means, where, tips, strict=True)]
            drawn.append(dots(points, colour, name=plain(name)))
    legend: Option = {"legend": {}} if len(one.curves) > 1 else {}
    if not one.places:
        labels = zip(one.values, one.marks, strict=True)
        names = [f"{plain(value, 24)} ({numbers.share(part)})" for value, part in labels]
        axes = {
            "xAxis": {"name": "mean prediction", **limits},
            "yAxis": names_axis(names, inverse=True),
        }
        return {**legend, **axes, "series": drawn}
    inside = [mark for mark in one.marks if one.places[0] <= mark <= one.places[-1]]
    rug = [item(mark, limits["min"]) for mark in inside]
    drawn.append(dots(rug, MUTED, symbol="rect", symbolSize=[1, 12], silent=True))
    axes = {"xAxis": {"name": plain(one.feature)}, "yAxis": {"name": "mean prediction", **limits}}
    return {**legend, **axes, "series": drawn}


def _segments(report: ValidationReport) -> Iterator[Chart]:
    if not report.segments:
        return
    whole, worst = report.score(report.metric).interval, report.segments[0]
    estimates = Estimates(
        tuple(f"{plain(one.column, 20)}: {plain(one.value, 20)}" for one in report.segments),
        tuple(one.score for one in report.segments),
        tuple(BAD if one.clearly_worse else SERIES[0] for one in report.segments),
        f"{report.metric}, 95 % interval; dashed: all rows",
        whole.estimate,
    )
    yield Chart(
        "Weakest segments",
        f"{report.metric} of the weakest segments, against {numbers.score(whole.estimate)} on all rows; "
        f"the weakest is {worst.column} {worst.value} with {numbers.interval(worst.score)}.",
        estimates.option(),
        height=estimates.height,
    )
