"""The pictures of a validation report, each with a sentence that says what it shows.

In: the report, and the predictions behind it. Out: section → drawings, in the order in which they
are seen. What they show is computed before; here it is only drawn, in the page's colours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.drawing import HEIGHT, Drawing, Palette, plain
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import Costs, Scalar
from experiment_pipeline.stages.validation_report.effects import Dependence, Usage
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.calibration import class_by_class
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.outcomes import confusion, most_frequent
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import threshold_curve, threshold_value

Drawings = Mapping[str, tuple[Drawing, ...]]
# What Dagster shows beside the facts: the most telling ones.
MOST_TELLING = ("calibration", "residuals", "classes", "importance")
_MOST_POINTS, _MOST_CURVE_POINTS, _MOST_BARS, _MOST_CELLS, _LINE = 400, 120, 15, 12, 0.24


def drawings(
    report: ValidationReport,
    exported: SetPrediction,
    test: SetPrediction,
    classes: Sequence[Scalar] | None,
    costs: Costs | None,
) -> Drawings:
    """Return what there is to draw.

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


def _on_axes(draw: Callable[[Axes, Palette], None]) -> Callable[[Figure, Palette], None]:
    return lambda figure, palette: draw(figure.subplots(), palette)


def _intervals(
    axes: Axes, names: Sequence[str], intervals: Sequence[Interval], colours: Sequence[str]
) -> None:
    """Draw estimates with their bounds below one another; what is not finite is left out."""
    for place, (interval, colour) in enumerate(zip(intervals, colours, strict=True)):
        low, high = interval.low, interval.high
        if np.isfinite([low, high]).all() and low < high:
            axes.hlines(place, low, high, color=colour, linewidth=2)
        if np.isfinite(interval.estimate):
            axes.scatter([interval.estimate], [place], color=colour, s=28, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _scores(report: ValidationReport) -> Drawing:
    score, gap = report.score(report.metric), report.gap
    how = evaluated(gap.evaluation)
    rows = {
        "without features": Interval(score.baseline, np.nan, np.nan),
        f"{how.name} (chosen here)": gap.test,
        "validation, same fit": gap.validation,
        "validation, exported": score.interval,
    }
    if gap.evaluation == "cross_validation":
        # There is no one fit of which that score is.
        del rows["validation, same fit"]

    def draw(axes: Axes, palette: Palette) -> None:
        before = [palette.series[0]] * (len(rows) - 2)
        colours = [palette.muted, *before, palette.series[1]]
        _intervals(axes, list(rows), list(rows.values()), colours)
        axes.set_xlabel(f"{report.metric}, 95 % interval")

    alt = (
        f"{report.metric} is {numbers.interval(score.interval)} on validation and "
        f"{numbers.interval(gap.test)} {how.short}; predicting without features would have scored "
        f"{numbers.score(score.baseline)}."
    )
    return Drawing(f"{how.name.capitalize()} against validation", alt, _on_axes(draw), height=2.2)


def _roc(predicted: SetPrediction, classes: Sequence[Scalar]) -> Iterator[Drawing]:
    curves = class_by_class(predicted, classes)
    if not curves or not np.isfinite(predicted.prediction).all():
        return
    areas = [scores.score("roc_auc", is_it, probability) for _, is_it, probability in curves]
    points = [(name, *_of_roc(is_it, probability)) for name, is_it, probability in curves]

    def draw(axes: Axes, palette: Palette) -> None:
        axes.plot([0, 1], [0, 1], color=palette.muted, linestyle="--", linewidth=1)
        for (name, x, y), colour in zip(points, palette.series, strict=False):
            axes.plot(x, y, color=colour, label=plain(name))
        axes.set(xlabel="False positive rate", ylabel="True positive rate")
        if len(points) > 1:
            axes.legend(loc="lower right")

    low, high = numbers.score(min(areas)), numbers.score(max(areas))
    area = low if low == high else f"{low} to {high}, each class against the others"
    yield Drawing(
        "ROC curve", f"The area below the curve is {area}; 0.5 is guessing.", _on_axes(draw)
    )


def _of_roc(is_it: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rates of false and true positives at some thresholds, over the whole range of them."""
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    found = np.concatenate([[0], np.cumsum(is_it[order])[ends]])
    called = np.concatenate([[0], ends + 1])
    at = np.unique(np.linspace(0, len(called) - 1, _MOST_CURVE_POINTS).astype(np.int64))
    return (called - found)[at] / (~is_it).sum(), found[at] / is_it.sum()


def _calibration(report: ValidationReport) -> Iterator[Drawing]:
    found, before = report.details.calibration, report.details.uncalibrated
    if not found:
        return
    highest = max(one.observed.high for curve in found for one in curve.bins)
    before = before if len(before) == 1 else ()
    said = (curve.bins[-1].predicted for curve in (*found, *before))
    highest = min(1.0, 1.05 * max(highest, *said))

    def draw(axes: Axes, palette: Palette) -> None:
        axes.plot([0, highest], [0, highest], color=palette.muted, linestyle="--", linewidth=1)
        for curve, colour in zip(found, palette.series, strict=False):
            x = [one.predicted for one in curve.bins]
            low, high = zip(
                *((one.observed.low, one.observed.high) for one in curve.bins), strict=True
            )
            y = [one.observed.estimate for one in curve.bins]
            axes.fill_between(
                x, low, high, color=colour, alpha=0.2 / len(found) ** 0.5, linewidth=0
            )
            axes.plot(x, y, color=colour, marker="o", markersize=4, label=plain(curve.of))
        for curve in before:
            x = [one.predicted for one in curve.bins]
            y = [one.observed.estimate for one in curve.bins]
            axes.plot(x, y, color=palette.muted, linestyle=":", label="before calibrating")
        axes.set(xlabel="Predicted probability", ylabel="Share that came true")
        axes.set(xlim=(0, highest), ylim=(0, highest))
        if len(found) > 1 or before:
            axes.legend(loc="upper left")

    worst = max(found, key=lambda one: one.expected_error)
    of = "" if len(found) == 1 else f", {worst.of}"
    alt = (
        "What came true against what was predicted, with a pointwise 95 % band; the mean distance "
        f"to the diagonal is {numbers.score(worst.expected_error)} at most{of}."
    )
    yield Drawing("Calibration", alt, _on_axes(draw))


def _threshold(
    report: ValidationReport, test: SetPrediction, costs: Costs | None
) -> Iterator[Drawing]:
    at = report.details.at_threshold
    if report.threshold is None or at is None or not np.isfinite(test.prediction).all():
        return
    curve, cut = (
        threshold_curve(test.y, test.prediction, costs, test.weights),
        report.threshold.value,
    )
    how = evaluated(report.gap.evaluation).short
    beside = 0.006 * np.ptp(curve.thresholds)
    shown = [("precision", curve.precision, at.precision), ("recall", curve.recall, at.recall)]

    def draw(axes: Axes, palette: Palette) -> None:
        axes.axvline(min(cut, 1.0), color=palette.muted, linestyle="--", linewidth=1)
        for (name, line, judged), colour, side in zip(
            shown, palette.series[:2], (-beside, beside), strict=True
        ):
            axes.plot(curve.thresholds, line, color=colour, label=f"{name} {how}")
            _judged(axes, cut + side, judged, colour)
        axes.set(xlabel="Called positive from this probability on", ylim=(0, 1.02))
        axes.legend(loc="best")

    alt = (
        f"Precision and recall against the threshold {how}; at the exported one, "
        f"{numbers.probability(cut)}, precision is {numbers.score(at.precision.estimate)} and "
        f"recall {numbers.score(at.recall.estimate)} on validation."
    )
    yield Drawing("Precision and recall", alt, _on_axes(draw))
    if curve.cost is None or not at.ways:
        return
    cost, chosen = curve.cost, at.ways[0]

    def draw_cost(axes: Axes, palette: Palette) -> None:
        axes.axvline(min(cut, 1.0), color=palette.muted, linestyle="--", linewidth=1)
        axes.plot(curve.thresholds, cost, color=palette.series[0], label=how)
        _judged(axes, cut, chosen.on_validation, palette.series[1])
        axes.set(xlabel="Called positive from this probability on", ylabel="Expected cost per row")
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")

    alt = (
        f"Expected cost per row against the threshold {how}; it is least at "
        f"{numbers.probability(cut)}, {numbers.score(chosen.on_test)}, and costs "
        f"{numbers.score(chosen.on_validation.estimate)} on validation."
    )
    yield Drawing("Expected cost", alt, _on_axes(draw_cost))


def _judged(axes: Axes, cut: float, judged: Interval, colour: str) -> None:
    """What came of it on validation, as a point with its interval."""
    if np.isfinite([judged.low, judged.high]).all():
        axes.vlines(min(cut, 1.0), judged.low, judged.high, color=colour, linewidth=3)
    if np.isfinite(judged.estimate):
        axes.scatter([min(cut, 1.0)], [judged.estimate], color=colour, s=36, zorder=3)


def _residuals(report: ValidationReport, predicted: SetPrediction) -> Iterator[Drawing]:
    found = report.details.residuals
    if found is None or not np.isfinite(predicted.prediction).all():
        return
    some = np.linspace(0, len(predicted.y) - 1, min(len(predicted.y), _MOST_POINTS))
    points = predicted.rows(some.astype(np.int64))
    residuals = predicted.y - predicted.prediction
    within = np.quantile(residuals, [0.005, 0.995])
    counts, ends_of_bars = np.histogram(residuals, bins=30, range=tuple(within))
    share = counts / len(residuals)

    def draw(axes: Axes, palette: Palette) -> None:
        ends = [
            min(points.y.min(), points.prediction.min()),
            max(points.y.max(), points.prediction.max()),
        ]
        axes.scatter(
            points.y, points.prediction, s=9, alpha=0.45, color=palette.series[0], linewidths=0
        )
        axes.plot(ends, ends, color=palette.muted, linestyle="--", linewidth=1)
        axes.set(xlabel="Actual", ylabel="Predicted")

    def draw_residuals(axes: Axes, palette: Palette) -> None:
        bars = ends_of_bars[:-1], share, np.diff(ends_of_bars)
        axes.bar(*bars, align="edge", color=palette.series[0], alpha=0.7)
        for value in (found.quantiles[0], found.quantiles[2], found.quantiles[4]):
            axes.axvline(value, color=palette.series[1], linewidth=1)
        axes.set(xlabel="Actual minus predicted", ylabel="Share of rows")

    yield Drawing(
        "Predicted and actual",
        f"{len(points.y):,} of {len(predicted.y):,} validation rows; on average the model is off by "
        f"{numbers.score(found.mean_absolute)}.",
        _on_axes(draw),
    )
    yield Drawing(
        "Residuals",
        f"How often an error has which size; nine of ten lie between "
        f"{numbers.score(found.quantiles[0])} and {numbers.score(found.quantiles[4])}.",
        _on_axes(draw_residuals),
    )


def _confusion(
    report: ValidationReport, predicted: SetPrediction, classes: Sequence[Scalar]
) -> Drawing:
    matrix = confusion(
        predicted.y, predicted.decided(threshold_value(report.threshold)), len(classes)
    )
    shown = most_frequent(matrix.sum(axis=1), _MOST_CELLS)
    cells = matrix[np.ix_(shown, shown)]
    share = cells / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    names = [plain(classes[code], 24) for code in shown]

    def draw(axes: Axes, palette: Palette) -> None:
        for row, column in np.ndindex(*cells.shape):
            colour = palette.good if row == column else palette.bad
            axes.fill_between(
                [column - 0.48, column + 0.48],
                row - 0.48,
                row + 0.48,
                color=colour,
                alpha=0.04 + 0.4 * share[row, column],
                linewidth=0,
            )
            text = f"{cells[row, column]:,}"
            size = 10 if len(shown) <= 6 else 8
            axes.text(column, row, text, ha="center", va="center", fontsize=size)
        upright = len(shown) * max(map(len, names)) > 40
        axes.set_xticks(range(len(shown)), names, rotation=90 if upright else 0)
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlabel="Decided", ylabel="Actual", ylim=(len(shown) - 0.5, -0.5))
        axes.tick_params(length=0)

    right, cut = np.trace(matrix) / max(matrix.sum(), 1), len(classes) - len(shown)
    alt = f"Rows by what they are and what they are decided to be; {numbers.share(right)} are right"
    alt += f"; the {cut} rarest classes are not shown." if cut else "."
    return Drawing("Confusion", alt, _on_axes(draw), height=max(2.4, 1.3 + 0.4 * len(shown)))


def _importance(usage: Usage) -> Iterator[Drawing]:
    top = usage.importance[:_MOST_BARS]
    if not top:
        return

    def draw(axes: Axes, palette: Palette) -> None:
        places = range(len(top))
        axes.barh(places, [one.drop for one in top], color=palette.series[0], alpha=0.75)
        for place, one in enumerate(top):
            ends = one.drop - one.deviation, one.drop + one.deviation
            axes.hlines(place, *ends, color=palette.ink, linewidth=1.2)
        axes.set_yticks(places, [plain(one.feature, 30) for one in top])
        axes.set_ylim(len(top) - 0.4, -0.6)
        axes.axvline(0, color=palette.muted, linewidth=1)
        axes.set_xlabel(f"{usage.metric} lost without it")

    alt = (
        f"What {usage.metric} loses when a feature is shuffled; the most by {top[0].feature}, "
        f"{numbers.score(top[0].drop)} (± {numbers.score(top[0].deviation)})."
    )
    height = 1.0 + _LINE * len(top)
    yield Drawing("Importance of features", alt, _on_axes(draw), height=height)


def _dependence(usage: Usage) -> Iterator[Drawing]:
    means = [value for one in usage.dependence for curve in one.means for value in curve]
    if not means:
        return
    # The same for all, so that a flat curve looks flat.
    room = 0.06 * (max(means) - min(means)) or 1.0
    limits = min(means) - room, max(means) + room
    for one in usage.dependence:
        low, high = (numbers.score(f(map(f, one.means))) for f in (min, max))
        alt = (
            f"Set to one value after the other, {one.feature} moves the mean prediction between "
            f"{low} and {high}."
        )
        height = HEIGHT - 0.9 if one.places else 1.0 + _LINE * len(one.values)
        title = f"{numbers.shown(one.feature)}: mean prediction"
        yield Drawing(title, alt, _on_axes(_drawn(one, limits)), height=height)


def _drawn(one: Dependence, limits: tuple[float, float]) -> Callable[[Axes, Palette], None]:
    def draw(axes: Axes, palette: Palette) -> None:
        for name, means, colour in zip(one.curves, one.means, palette.series, strict=False):
            if one.places:
                axes.plot(
                    one.places, means, color=colour, marker="o", markersize=3, label=plain(name)
                )
            else:
                axes.scatter(means, range(len(means)), color=colour, s=28, label=plain(name))
        if one.places:
            axes.set(ylim=limits, xlabel=plain(one.feature), ylabel="Mean prediction")
            inside = [mark for mark in one.marks if one.places[0] <= mark <= one.places[-1]]
            below = axes.get_xaxis_transform()
            axes.plot(inside, [0.03] * len(inside), "|", color=palette.muted, transform=below)
        else:
            labels = zip(one.values, one.marks, strict=True)
            texts = [f"{plain(value, 24)} ({numbers.share(part)})" for value, part in labels]
            axes.set_yticks(range(len(texts)), texts)
            axes.set(xlim=limits, ylim=(len(texts) - 0.5, -0.5), xlabel="Mean prediction")
        if len(one.curves) > 1:
            axes.legend(loc="best")

    return draw


def _segments(report: ValidationReport) -> Iterator[Drawing]:
    if not report.segments:
        return
    whole = report.score(report.metric).interval
    names = [f"{plain(one.column, 20)}: {plain(one.value, 20)}" for one in report.segments]

    def draw(axes: Axes, palette: Palette) -> None:
        colours = [
            palette.bad if one.clearly_worse else palette.series[0] for one in report.segments
        ]
        _intervals(axes, names, [one.score for one in report.segments], colours)
        axes.axvline(whole.estimate, color=palette.muted, linestyle="--", linewidth=1)
        axes.set_xlabel(f"{report.metric}, 95 % interval; dashed: all rows")

    worst = report.segments[0]
    alt = (
        f"{report.metric} of the weakest parts against {numbers.score(whole.estimate)} of all rows; "
        f"the weakest is {worst.column} {worst.value} with {numbers.interval(worst.score)}."
    )
    height = 1.0 + 0.28 * len(names)
    yield Drawing("Weakest segments", alt, _on_axes(draw), height=height)
