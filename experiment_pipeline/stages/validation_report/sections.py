"""The sections of a validation report: what, how certain, against what.

In: the report, and the charts of each section. Out: sections of a document; nothing is computed.
"""

import math
from collections.abc import Mapping

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    HOLD_OUT,
    Block,
    Bullets,
    Chart,
    Code,
    Paragraph,
    Section,
    TableBlock,
    first_rows,
)
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import NextSearch
from experiment_pipeline.statistics.calibration import CalibrationCurve, named
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS, better, significantly_better
from experiment_pipeline.statistics.thresholds import EXPECTED_COST

Charts = Mapping[str, tuple[Chart, ...]]
_MOST_CLASSES, _MOST_FEATURES = 50, 20


def decision(report: ValidationReport) -> str:
    """Return the decision: accepted or not, by which gates, with which score and baseline."""
    score, count = report.score(report.metric), len(report.gates)
    if report.accepted:
        rules = "; ".join(gate.rule.partition(":")[0] for gate in report.gates)
        passed = "the one gate passes" if count == 1 else f"all {count} gates pass"
        first = f"Accepted: {passed} ({rules})."
    else:
        failed = "; ".join(
            f"{gate.rule.partition(':')[0]}, but it is {numbers.score(gate.value)}"
            for gate in report.failed_gates
        )
        which = "the one gate" if count == 1 else f"{len(report.failed_gates)} of {count} gates"
        first = f"Not accepted: {which} failed ({failed})."
    seen = "which were not used to choose the model"
    if report.looks > 1:
        others = numbers.counted(report.looks - 1, "other model was", "other models were")
        seen = f"on which {others} evaluated before"
    direction = "" if METRICS[report.metric].greater_is_better else " (lower is better)"
    measured = (
        f"{report.configuration} scores {report.metric} {numbers.score(score.interval.estimate)}"
        f"{direction} on {report.rows:,} rows of the {HOLD_OUT}, {seen}."
    )
    if math.isfinite(score.interval.low) and math.isfinite(score.interval.high):
        measured += f" The 95 % interval is {numbers.bounds(score.interval)}."
    return f"{first} {measured} {_against_baseline(report)}"


def _against_baseline(report: ValidationReport) -> str:
    score = report.score(report.metric)
    if not math.isfinite(score.baseline):
        return "The score of the baseline (no features) is undefined on these rows."
    how = "not better"
    if significantly_better(report.metric, score.difference_to_baseline):
        how = "significantly better (95 % level)"
    elif better(report.metric, score.interval.estimate, score.baseline):
        how = "better, but not significantly (95 % level)"
    return f"The baseline (no features) scores {numbers.score(score.baseline)}: the model is {how}."


def gates(report: ValidationReport) -> Section:
    """The decision, and each gate with value, limit and meaning."""
    rows = tuple(
        (gate.outcome, gate.rule, numbers.score(gate.value), numbers.score(gate.limit), gate.means)
        for gate in report.gates
    )
    table = TableBlock(("outcome", "gate", "value", "limit", "what it means"), rows)
    return Section("Decision", (Paragraph(decision(report)), table))


def champion(report: ValidationReport) -> list[Section]:
    """The comparison with the champion, where there is one."""
    held = report.champion
    if held is None or held.scores is None:
        return []
    level = numbers.share(held.scores.difference.level)
    rows = (
        ("this model", numbers.score(held.scores.challenger)),
        (f"champion {held.version}", numbers.score(held.scores.champion)),
        (
            f"this model minus champion ({level} interval)",
            numbers.interval(held.scores.difference),
        ),
        ("tolerance", numbers.score(held.tolerance)),
    )
    text = f"Both models on the same {held.scores.rows:,} validation rows, paired."
    if held.left_out:
        text += f" {held.left_out:,} rows are left out: the champion was fitted or chosen on them."
    return [Section("Against the champion", (Paragraph(text), TableBlock(("", held.metric), rows)))]


def next_steps(next_search: NextSearch) -> Section:
    """Why the model is not accepted, and the next search as YAML."""
    reasons = tuple(f"{reason.evidence} {reason.advice}" for reason in next_search.reasons)
    return Section(
        "Why, and what to try next",
        (
            Paragraph("Reasons found, the most certain first:"),
            Bullets(reasons),
            Paragraph("The next search to try:"),
            Code("yaml", next_search.yaml.rstrip("\n")),
        ),
    )


def metrics(report: ValidationReport, charts: Charts) -> Section:
    """Every metric beside the baseline, and the loss from test to validation."""
    rows = tuple(
        (
            named(score.metric, reweighted=report.miscalibration is not None),
            numbers.score(score.interval.estimate),
            numbers.bounds(score.interval),
            numbers.score(score.baseline),
            numbers.interval(score.difference_to_baseline),
            METRICS[score.metric].better_is,
        )
        for score in report.scores
    )
    seen = "train and test rows" if report.refitted else "train rows"
    settings = numbers.settings(report.hyperparameters) or "default settings"
    text = (
        f"{report.metric} is {METRICS[report.metric].words}. The exported model ({settings}) was "
        f"fitted on {seen} and evaluated on {report.rows:,} validation rows."
    )
    if report.prevalence is not None:
        text += f" {numbers.share(report.prevalence)} of them are positive."
    text += (
        " The baseline predicts the same for every row: the constant that suits the metric best. The "
        "difference to it is paired by row, so it has an interval of its own."
    )
    header = ("metric", "estimate", "95 % interval", "baseline", "minus the baseline", "better is")
    blocks = (Paragraph(text), TableBlock(header, rows), *_gap(report), *charts.get("scores", ()))
    return Section("Scores", blocks)


def _gap(report: ValidationReport) -> list[Block]:
    gap = report.gap
    chosen_on = evaluated(gap.evaluation).name
    text = (
        f"From test to validation: {report.metric} of the same fit, which was fitted on train rows "
        "only. A loss shows the selection bias of the test score."
    )
    if gap.evaluation == "cross_validation":
        text = (
            f"From cross-validation to validation: {report.metric} of models that were fitted on a part "
            "of the train and test rows and scored on the others; and of the exported model, which "
            "was fitted on all of these rows and should score slightly better. A loss shows the "
            "selection bias of the cross-validated score."
        )
    if gap.rows is not None:
        text += f" Computed on {gap.rows:,} evenly spaced validation rows."
    if report.threshold is not None and METRICS[report.metric].by_threshold:
        text += (
            f" Here the score {evaluated(gap.evaluation).short} uses a threshold that was chosen on "
            "other rows, so that it can be compared with validation; it is lower than the score in "
            "the ranking."
        )
    rows = (
        (chosen_on, numbers.interval(gap.test)),
        ("validation", numbers.interval(gap.validation)),
        (f"validation minus {chosen_on}", numbers.interval(gap.difference)),
    )
    return [Paragraph(text), TableBlock(("on", report.metric), rows)]


def calibration(report: ValidationReport, charts: Charts) -> list[Section]:
    """Whether predicted probabilities agree with observed shares."""
    found, before = report.details.calibration, report.details.uncalibrated
    if not found:
        return []
    rows = tuple(
        (
            f"{one.of}{which}",
            numbers.interval(one.slope),
            numbers.interval(one.intercept),
            numbers.score(one.expected_error),
            numbers.score(one.by_chance),
        )
        for some, which in ((found, ""), (before, ", before calibrating"))
        for one in some
    )
    header = ("class", "slope (ideal: 1)", "intercept (ideal: 0)", "mean error", "by chance")
    texts = [" ".join(_calibrated(one, len(found) == 1) for one in found)]
    if report.miscalibration is not None:
        setting = report.miscalibration.setting
        texts.insert(0, f"The probabilities are not calibrated: {setting} shifts them.")
    if report.calibrated_by is not None:
        texts.append(
            f"A calibrator was applied ({report.calibrated_by}), learnt from predictions of train rows "
            "by fits that had not seen these rows."
        )
        if len(before) == 1:
            texts[-1] += (
                f" Without it, the mean error is {_points(before[0].expected_error)} and the slope "
                f"{numbers.score(before[0].slope.estimate)}."
            )
    meaning = (
        "Slope and intercept come from a logistic recalibration on the validation rows (Cox 1958; the "
        "intercept with slope 1), with 95 % intervals. The mean error is the expected calibration "
        "error over bins of equal size; the last column is its value for a perfectly calibrated "
        "model. Vertical lines are Wilson's 95 % interval of each bin alone."
    )
    table, drawn = TableBlock(header, rows), charts.get("calibration", ())
    return [Section("Calibration", (*map(Paragraph, texts), table, *drawn, Paragraph(meaning)))]


def _points(share: float) -> str:
    return f"{100 * share:.1f} percentage points"


def _calibrated(found: CalibrationCurve, alone: bool) -> str:
    """What slope and intercept mean, in a sentence."""
    of = "" if alone else f"{found.of}: "
    off = f"the mean error is {_points(found.expected_error)}"
    if not math.isfinite(found.slope.high - found.slope.low):
        return f"{of}The slope cannot be estimated here; {off}."
    if not found.in_doubt:
        chance = f"{100 * found.by_chance:.1f} are expected by chance"
        return f"{of}No miscalibration is detected: {off}, {chance}."
    ways = []
    if math.isfinite(found.slope.estimate) and found.slope.high < 1:
        ways.append("overconfident: high ones are too high and low ones too low")
    if math.isfinite(found.slope.estimate) and found.slope.low > 1:
        ways.append("underconfident: high ones are too low and low ones too high")
    if found.intercept.high < 0:
        ways.append("too high on average")
    if found.intercept.low > 0:
        ways.append("too low on average")
    return f"{of}The probabilities are {', and '.join(ways)}; {off}."


def threshold(report: ValidationReport, charts: Charts) -> list[Section]:
    """From which probability on a row is predicted positive, and the result."""
    chosen, at = report.threshold, report.details.at_threshold
    if chosen is None or at is None:
        return []
    how = evaluated(report.gap.evaluation)
    verb = "minimises" if chosen.metric == EXPECTED_COST else "maximises"
    cut = numbers.probability(chosen.value) if chosen.value <= 1 else "above 1"
    text = (
        f"A row is predicted positive from a probability of {cut} on. This threshold {verb} "
        f"{chosen.metric} {how.where} ({numbers.score(chosen.test_score)} there). On validation, "
        f"{numbers.share(at.called)} of the rows are predicted positive; {_percent(at.precision)} of "
        f"these are positive (precision), and {_percent(at.recall)} of the positive rows are found "
        "(recall)."
    )
    blocks: list[Block] = [Paragraph(text)]
    if at.ways:
        rows = tuple(
            (
                way.name,
                numbers.probability(way.threshold) if 0 < way.threshold <= 1 else "not needed",
                numbers.score(way.on_test),
                numbers.interval(way.on_validation),
            )
            for way in at.ways
        )
        blocks += [
            Paragraph(
                f"With costs in the YAML, the threshold of least cost {how.short} is exported; f1, "
                "accuracy and balanced accuracy above are computed at it. Its cost on validation:"
            ),
            TableBlock(
                ("decide by", "threshold", f"cost per row {how.short}", "on validation"), rows
            ),
        ]
    blocks += charts.get("threshold", ())
    blocks.append(
        Paragraph(
            f"The curves are those of {how.by}, where the threshold is chosen; the points are the "
            "result on validation. Do not choose another threshold by the points: that would be "
            "choosing on validation rows."
        )
    )
    return [Section("Decision threshold", tuple(blocks))]


def _percent(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "an undefined share"
    low, high = numbers.share(interval.low), numbers.share(interval.high)
    return f"{numbers.share(interval.estimate)} ({low} to {high})"


def errors(report: ValidationReport, charts: Charts) -> list[Section]:
    """The errors of a regression, in units of the target."""
    found = report.details.residuals
    if found is None:
        return []
    side = "too low" if found.mean > 0 else "too high"
    text = (
        f"The mean absolute error is {numbers.score(found.mean_absolute)}, the median "
        f"{numbers.score(found.median_absolute)}, the largest {numbers.score(found.largest)}, all in "
        "units of the target. The standard deviation of the target is "
        f"{numbers.score(found.spread_of_target)}. On average, predictions are "
        f"{numbers.score(abs(found.mean))} {side}."
    )
    rows = (("actual minus predicted", *map(numbers.score, found.quantiles)),)
    table = TableBlock(("quantile of rows", "5 %", "25 %", "50 %", "75 %", "95 %"), rows)
    return [Section("Errors", (Paragraph(text), table, *charts.get("residuals", ())))]


def classes(report: ValidationReport, charts: Charts) -> list[Section]:
    """Precision, recall and the most frequent mistake of each class."""
    found = report.details.classes
    if not found:
        return []
    rows = [
        (
            one.label,
            f"{one.support:,}",
            *map(numbers.score, (one.precision, one.recall, one.f1)),
            ""
            if one.confused_with is None
            else f"{one.confused_with} ({one.confused:,}, {numbers.share(one.confused / one.support)})",
        )
        for one in found
    ]
    header = ("class", "rows", "precision", "recall", "f1", "most often predicted as")
    worst = min(found, key=lambda one: (math.isnan(one.recall), one.recall))
    text = (
        "Recall is the share of a class's rows that are found; precision is the share of the rows "
        f"predicted as the class that belong to it. Class {worst.label} has the lowest recall: "
        f"{numbers.share(worst.recall)} of {worst.support:,} rows."
    )
    table, *more = first_rows(header, rows, _MOST_CLASSES, "class in report.json")
    drawn = charts.get("classes", ())
    return [Section("Class by class", (Paragraph(text), table, *drawn, *more))]


def features(report: ValidationReport, charts: Charts) -> list[Section]:
    """Which features the model uses, with which noise, and how it uses the first of them."""
    used = report.usage
    if used is None or not used.importance:
        return []
    rows = [
        (
            one.feature,
            numbers.score(round(one.drop, 4)),
            numbers.score(round(one.deviation, 4)),
            "yes" if one.drop > 2 * one.deviation and one.drop > 0 else "no, within the noise",
        )
        for one in used.importance
    ]
    rows_of = "test rows" if report.gap.evaluation == "test_set" else "rows of the first fold"
    times = "once" if used.repeats == 1 else f"{used.repeats} times"
    text = (
        f"Loss of {used.metric} when the values of a feature are shuffled, on {used.rows:,} {rows_of}, "
        f"shuffled {times}. The noise is the standard deviation between the shuffles. Two features "
        "with the same information each look unimportant."
    )
    header = ("feature", f"{used.metric} lost", "noise (±)", "more than twice the noise")
    table = first_rows(header, rows, _MOST_FEATURES, "feature in report.json")
    drawn = charts.get("importance", ())
    sections = [Section("Importance of features", (Paragraph(text), *drawn, *table))]
    if used.dependence:
        how = (
            "Mean prediction when a feature is set to one value after the other, on "
            f"{used.rows_of_dependence:,} {rows_of} (partial dependence, Friedman 2001). It is an "
            "average and no causal effect: changing the feature in the world need not change the "
            "outcome. Marks and shares show where the rows are; elsewhere the curve extrapolates."
        )
        drawn = charts.get("dependence", ())
        sections.append(Section("How the first features are used", (Paragraph(how), *drawn)))
    return sections


def segments(report: ValidationReport, charts: Charts) -> Section:
    """The parts of the validation set with the worst scores."""
    if not report.segments:
        return Section("Weakest segments", (Paragraph("No segment scores below the whole set."),))
    rows = tuple(
        (
            segment.column,
            segment.value,
            f"{segment.rows:,}",
            numbers.interval(segment.score),
            "significantly" if segment.clearly_worse else "not significantly",
        )
        for segment in report.segments
    )
    header = ("feature", "value", "rows", report.metric, "worse than the whole set")
    return Section("Weakest segments", (*charts.get("segments", ()), TableBlock(header, rows)))


def caveats(report: ValidationReport) -> Section:
    """How often the rows were used, and what limits the claims."""
    looks = Paragraph(looked_at(report.looks, report.overlap))
    return Section("Caveats", (looks, *([Bullets(report.notes)] if report.notes else [])))
