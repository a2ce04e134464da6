"""The sections of a validation report, in words that need no training: what, how sure, against what.

In: the report, and the pictures of each section. Out: sections of a document; nothing is computed.
"""

import math
from collections.abc import Mapping

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Chart,
    Code,
    Paragraph,
    Section,
    TableBlock,
)
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.stages.validation_report.next_search import NextSearch
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.calibration import named
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS, better, significantly_better
from experiment_pipeline.statistics.thresholds import EXPECTED_COST

Charts = Mapping[str, tuple[Chart, ...]]
_MOST_CLASSES, _MOST_FEATURES = 50, 20


def decision(report: ValidationReport) -> str:
    """Return the decision: accepted or not, by what, how sure, and against what."""
    score = report.score(report.metric)
    count = len(report.gates)
    if report.accepted:
        rules = "; ".join(gate.rule.partition(":")[0] for gate in report.gates)
        said = f"Accepted: {'the one gate holds' if count == 1 else f'all {count} gates hold'} ({rules})."
    else:
        failed = "; ".join(
            f"{gate.rule.partition(':')[0]}, but it is {numbers.score(gate.value)}"
            for gate in report.failed_gates
        )
        which = "the one gate" if count == 1 else f"{len(report.failed_gates)} of {count} gates"
        said = f"Not accepted: {which} failed ({failed})."
    direction = "" if METRICS[report.metric].greater_is_better else ", where lower is better"
    chose = "that nobody chose by"
    if report.looks > 1:
        others = numbers.counted(report.looks - 1, "other model")
        chose = f"at which {others} had been looked at before"
    measured = (
        f"{report.configuration} scores {report.metric} {numbers.score(score.interval.estimate)} on "
        f"{report.rows:,} validation rows {chose}{direction}"
    )
    if math.isfinite(score.interval.low) and math.isfinite(score.interval.high):
        measured += f"; with 95 % confidence it lies between {_and(score.interval)}"
    return f"{said} {measured}. {_against_baseline(report)}"


def _and(interval: Interval) -> str:
    return f"{numbers.score(interval.low)} and {numbers.score(interval.high)}"


def _against_baseline(report: ValidationReport) -> str:
    score = report.score(report.metric)
    if not math.isfinite(score.baseline):
        return "What predicting without features would have scored is undefined on these rows."
    said = f"Predicting without features would have scored {numbers.score(score.baseline)}: "
    if significantly_better(report.metric, score.difference_to_baseline):
        return said + "the model is better by more than chance."
    if better(report.metric, score.interval.estimate, score.baseline):
        return said + "the model is better, but by no more than chance may explain."
    return said + "the model is no better."


def gates(report: ValidationReport) -> Section:
    """The decision, and each gate with value, limit and what that means."""
    rows = tuple(
        (gate.outcome, gate.rule, numbers.score(gate.value), numbers.score(gate.limit), gate.means)
        for gate in report.gates
    )
    table = TableBlock(("outcome", "gate", "value", "limit", "what it means"), rows)
    return Section("Decision", (Paragraph(decision(report)), table))


def champion(report: ValidationReport) -> list[Section]:
    """The numbers behind the gate, where there are some."""
    held = report.champion
    if held is None or held.scores is None:
        return []
    rows = (
        ("this model", numbers.score(held.scores.challenger)),
        (f"champion {held.version}", numbers.score(held.scores.champion)),
        (
            f"this model minus champion ({numbers.share(held.scores.difference.level)} interval)",
            numbers.interval(held.scores.difference),
        ),
        ("tolerance", numbers.score(held.tolerance)),
    )
    said = f"Both on the same {held.scores.rows:,} validation rows, paired."
    if held.left_out:
        said += f" Left out: {held.left_out:,} rows that the champion was fitted or chosen on."
    table = TableBlock(("", held.metric), rows)
    return [Section("Against the champion", (Paragraph(said), table))]


def next_steps(next_search: NextSearch) -> Section:
    """Why it is not accepted, and the next search as YAML."""
    reasons = tuple(f"{reason.evidence} {reason.advice}" for reason in next_search.reasons)
    return Section(
        "Why, and what to try next",
        (
            Paragraph("Reasons seen so far, the surest first:"),
            Bullets(reasons),
            Paragraph("The next search to try:"),
            Code("yaml", next_search.yaml.rstrip("\n")),
        ),
    )


def metrics(report: ValidationReport, charts: Charts) -> Section:
    """Every metric beside what the baseline would have done, and test against validation."""
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
    settings = numbers.settings(report.hyperparameters)
    said = (
        f"{report.metric} is {METRICS[report.metric].words}. The exported model "
        f"({settings or 'default settings'}) was fitted on {seen}; it is judged on "
        f"{report.rows:,} validation rows."
    )
    if report.prevalence is not None:
        said += f" Positive are {numbers.share(report.prevalence)} of them."
    said += (
        " The baseline predicts the same for every row, what suits the metric best; the "
        "difference to it is paired, so its interval is not that of the score moved."
    )
    header = ("metric", "estimate", "95 % interval", "baseline", "minus the baseline", "better is")
    blocks = (Paragraph(said), TableBlock(header, rows), *_gap(report), *charts.get("scores", ()))
    return Section("Scores", blocks)


def _gap(report: ValidationReport) -> list[Block]:
    gap = report.gap
    chosen_on = evaluated(gap.evaluation).name
    rows = (
        (chosen_on, numbers.interval(gap.test)),
        ("validation", numbers.interval(gap.validation)),
        (f"validation minus {chosen_on}", numbers.interval(gap.difference)),
    )
    said = (
        f"From test to validation: {report.metric} of the same fit, the one of the search, which "
        "has seen train rows only. A loss shows how much of the test score was luck of the choice."
    )
    if gap.evaluation == "cross_validation":
        said = (
            f"From cross-validation to validation: {report.metric} of models that were each fitted "
            "on some of the train and test rows, on the others; and of the exported model, which "
            "has seen all of these rows, and should score a little better. A loss shows how much "
            "of the first was luck of the choice."
        )
    if gap.rows is not None:
        said += f" On {gap.rows:,} of the validation rows, spread evenly."
    if report.threshold is not None and METRICS[report.metric].by_threshold:
        said += (
            " Before validation, every row is decided by a threshold that was chosen on other rows: this "
            "score is lower than the one that ranked, and can be compared with validation."
        )
    return [Paragraph(said), TableBlock(("on", report.metric), rows)]


def threshold(report: ValidationReport, charts: Charts) -> list[Section]:
    """From which probability on a row is called positive, and what comes of it."""
    chosen, at = report.threshold, report.details.at_threshold
    if chosen is None or at is None:
        return []
    how = evaluated(report.gap.evaluation)
    verb = "minimises" if chosen.metric == EXPECTED_COST else "maximises"
    cut = numbers.probability(chosen.value) if chosen.value <= 1 else "above 1"
    said = (
        f"A row is called positive from a probability of {cut} on: this {verb} "
        f"{chosen.metric} {how.where} ({numbers.score(chosen.test_score)} there). On "
        f"validation {numbers.share(at.called)} of the rows are called positive; of these "
        f"{_percent(at.precision)} are (precision), and of the positive rows "
        f"{_percent(at.recall)} are found (recall)."
    )
    blocks: list[Block] = [Paragraph(said)]
    if at.ways:
        rows = tuple(
            (
                way.name,
                numbers.probability(way.threshold) if 0 < way.threshold <= 1 else "none needed",
                numbers.score(way.on_test),
                numbers.interval(way.on_validation),
            )
            for way in at.ways
        )
        blocks += [
            Paragraph(
                f"With costs in the YAML the threshold that costs least {how.short} is the one that is "
                "exported; f1, accuracy and balanced accuracy above are at it, not at their own "
                "best one. What it costs on validation was not chosen there:"
            ),
            TableBlock(
                ("decide by", "threshold", f"cost per row {how.short}", "on validation"), rows
            ),
        ]
    blocks += charts.get("threshold", ())
    blocks.append(
        Paragraph(
            f"The curves are those of {how.by}, where a threshold is chosen; the points are what "
            "came of it on validation. Choosing another one by the points would be choosing on "
            "validation rows."
        )
    )
    return [Section("Decision threshold", tuple(blocks))]


def _percent(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "an undefined share"
    low, high = numbers.share(interval.low), numbers.share(interval.high)
    return f"{numbers.share(interval.estimate)} ({low} to {high})"


def errors(report: ValidationReport, charts: Charts) -> list[Section]:
    """How far a regression is off, in units of the target."""
    found = report.details.residuals
    if found is None:
        return []
    low, lower, middle, upper, high = map(numbers.score, found.quantiles)
    side = "too little" if found.mean > 0 else "too much"
    said = (
        f"On average the model is off by {numbers.score(found.mean_absolute)} (mean absolute "
        f"error), in half of the rows by less than {numbers.score(found.median_absolute)} (median), "
        f"at most by {numbers.score(found.largest)}, all in units of the target. For comparison, "
        f"the target itself varies by {numbers.score(found.spread_of_target)} (standard "
        f"deviation). In sum it says {numbers.score(abs(found.mean))} {side} per row."
    )
    rows = (("actual minus predicted", low, lower, middle, upper, high),)
    header = ("quantile of rows", "5 %", "25 %", "50 %", "75 %", "95 %")
    drawn = charts.get("residuals", ())
    return [Section("Errors", (Paragraph(said), TableBlock(header, rows), *drawn))]


def classes(report: ValidationReport, charts: Charts) -> list[Section]:
    """What became of the rows of each class."""
    found = report.details.classes
    if not found:
        return []
    shown = found[:_MOST_CLASSES]
    rows = tuple(
        (
            one.label,
            f"{one.support:,}",
            numbers.score(one.precision),
            numbers.score(one.recall),
            numbers.score(one.f1),
            ""
            if one.confused_with is None
            else f"{one.confused_with} ({one.confused:,}, {numbers.share(one.confused / one.support)})",
        )
        for one in shown
    )
    header = ("class", "rows", "precision", "recall", "f1", "most often taken for")
    worst = min(found, key=lambda one: (math.isnan(one.recall), one.recall))
    said = (
        "Recall is the share of a class's rows that are recognised, precision the share of the "
        f"rows called so that are. Recognised least is class {worst.label}: {numbers.share(worst.recall)} "
        f"of {worst.support:,} rows."
    )
    blocks: list[Block] = [Paragraph(said), TableBlock(header, rows), *charts.get("classes", ())]
    if len(found) > len(shown):
        blocks.append(Paragraph(f"{len(found) - len(shown):,} more classes are in report.json."))
    return [Section("Class by class", tuple(blocks))]


def features(report: ValidationReport, charts: Charts) -> list[Section]:
    """Which features the model uses, how sure that is, and how it uses the first of them."""
    used = report.usage
    if used is None or not used.importance:
        return []
    shown = used.importance[:_MOST_FEATURES]
    rows = tuple(
        (
            one.feature,
            numbers.score(round(one.drop, 4)),
            numbers.score(round(one.deviation, 4)),
            "yes" if one.drop > 2 * one.deviation and one.drop > 0 else "not more than noise",
        )
        for one in shown
    )
    rows_of = "test rows" if report.gap.evaluation == "test_set" else "rows of the first fold"
    times = "once" if used.repeats == 1 else f"{used.repeats} times"
    said = (
        f"How much {used.metric} loses when the values of a feature change places, on "
        f"{used.rows:,} {rows_of}, shuffled {times}. The noise is the deviation between the "
        "shuffles. Two features that say the same each look unimportant."
    )
    header = ("feature", f"{used.metric} lost", "noise (±)", "more than twice the noise")
    blocks: list[Block] = [
        Paragraph(said),
        *charts.get("importance", ()),
        TableBlock(header, rows),
    ]
    if len(used.importance) > len(shown):
        more = len(used.importance) - len(shown)
        blocks.append(Paragraph(f"{numbers.counted(more, 'more feature')} in report.json."))
    sections = [Section("Importance of features", tuple(blocks))]
    if used.dependence:
        how = (
            "What the model says on average when a feature is set to one value after the other, on "
            f"{used.rows_of_dependence:,} {rows_of} (partial dependence, Friedman 2001). It is an "
            "average, and no cause: changing the feature in the world need not change the outcome. "
            "Marks and shares show where the rows are; elsewhere the curve is a guess."
        )
        drawn = charts.get("dependence", ())
        sections.append(Section("How the first features are used", (Paragraph(how), *drawn)))
    return sections


def segments(report: ValidationReport, charts: Charts) -> Section:
    """Where the model is weakest."""
    none = Paragraph("No part of the set scores below the whole.")
    rows = tuple(
        (
            segment.column,
            segment.value,
            f"{segment.rows:,}",
            numbers.interval(segment.score),
            "clearly" if segment.clearly_worse else "perhaps by chance",
        )
        for segment in report.segments
    )
    header = ("feature", "value", "rows", report.metric, "worse than the whole set")
    if not rows:
        return Section("Weakest segments", (none,))
    return Section("Weakest segments", (*charts.get("segments", ()), TableBlock(header, rows)))


def notes(report: ValidationReport) -> Section:
    """What to know before believing it."""
    looks = Paragraph(looked_at(report.looks, report.overlap))
    return Section("Notes", (looks, *([Bullets(report.notes)] if report.notes else [])))
