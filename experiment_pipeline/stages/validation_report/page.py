"""A validation report as an outcome, and as a document.

In: the report, and the charts of each section. Out: facts, checks, rows of the run
record; sections of a document. Nothing is computed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType

import pandas as pd

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.reporting import numbers, run_record
from experiment_pipeline.reporting.document import (
    HOLD_OUT,
    Block,
    Bullets,
    Chart,
    Code,
    Document,
    Paragraph,
    Section,
    TableBlock,
    around,
    evidence_sections,
    first_rows,
    rows_table,
)
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.outcome import (
    Check,
    Markdown,
    Notes,
    Outcome,
    PagePath,
    Rows,
)
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.validation_report import audit
from experiment_pipeline.stages.validation_report.effects import Segment
from experiment_pipeline.stages.validation_report.gates import coverage_gate
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.stages.validation_report.report import (
    NextSearch,
    ValidationReport,
)
from experiment_pipeline.statistics.calibration import CalibrationCurve, named
from experiment_pipeline.statistics.metrics import (
    better,
    metric_of,
    significantly_better,
)
from experiment_pipeline.statistics.thresholds import EXPECTED_COST
from experiment_pipeline.table.table import plain_rows

Charts = Mapping[str, tuple[Chart, ...]]
_MOST_CLASSES, _MOST_FEATURES = 50, 20
_WORST_ROWS, _WORST_COLUMNS = 10, 10  # shown of each set
MORE_SEGMENTS = "the segments of more features are not computed: "
_SIGNIFICANT = {True: "yes", False: "no", None: "not tested: too few shuffles"}
_IN_CAVEATS = "see the caveats"
_CALIBRATED = "No miscalibration is detected"


def outcome(
    report: ValidationReport, markdown: str, places: Mapping[str, str], words: str
) -> Outcome:
    """Return scores, gates and decision.

    `markdown` is that of the document, `places` are name → place of the page
    ("validation_report"), the search to try next ("next_search") and other files,
    `words` are the chosen configuration.
    """
    ranking, place = report.score(report.metric), places["validation_report"]
    score = f"{report.metric} {numbers.interval(ranking.interval)}"
    decision, refusal = numbers.accepted_under(report.conditions), None
    if not report.accepted:
        decision, why = (
            "not accepted",
            "; ".join(gate.in_words() for gate in report.failed_gates),
        )
        fix = (
            "Read the report for the reasons; the search to try next is in it, and in "
            f"{places.get('next_search', 'no file')}."
        )
        for one in filter(lambda held: held.may_have_leaked, report.champions):
            fix += f" If {one.version} was fitted with a leak, {one.retired(report.experiment)}."
        refusal = NotAccepted(words, why, fix)
    alone = report.gates[0] if len(report.gates) == 1 else None
    shown = [
        (gate.outcome, gate.value, gate.limit, gate.rule, gate.means)
        for gate in report.gates
    ]
    columns = ["outcome", "value", "limit", "gate", "what it means"]
    gates = Rows(pd.DataFrame(shown, columns=columns))
    check = Check(
        "acceptance_criteria_met",
        passed=report.accepted,
        means="\n".join(gate.in_words() for gate in report.gates),
        value=None if alone is None else alone.value,
        limit=None if alone is None else alone.limit,
        facts={"gates": gates},
        refusal=refusal,
    )
    return Outcome(
        notes=[f"{decision}: {words}: {score} on the {HOLD_OUT}", f"report: {place}"],
        facts={
            "decision": decision,
            "score on validation": score,
            "baseline": f"{numbers.score(ranking.baseline)} without features",
            "minus baseline": numbers.interval(ranking.difference_to_baseline),
            "validation rows": f"{report.rows:,}",
            "gates": gates,
            **({"conditions": Notes(report.conditions)} if report.conditions else {}),
            "configuration": words,
            "looked at": looked_at(report.looks, report.overlap, report.level),
            "report": PagePath(place),
            "notes": Notes(report.notes),
            "judgement": Markdown(markdown),
            f"validation {report.metric}": ranking.interval.estimate,
            f"baseline {report.metric}": ranking.baseline,
            "looks": report.looks,
        },
        checks=[check],
        record=[
            *_record_rows(report),
            *(run_record.ReportRow(name=n, place=p) for n, p in places.items()),
        ],
    )


def _record_rows(report: ValidationReport) -> Iterator[run_record.RecordRow]:
    ranking = report.score(report.metric)
    decision = [gate.in_words() for gate in report.gates]
    decision += [
        f"{numbers.CONDITION}{one}" for one in report.conditions if report.accepted
    ]
    yield run_record.RunFacts(
        validation_score=ranking.interval.estimate,
        validation_low=ranking.interval.low,
        validation_high=ranking.interval.high,
        validation_baseline=ranking.baseline,
        looks=report.looks,
        overlap=report.overlap,
        decision="; ".join(decision),
    )
    for score in report.scores:
        yield run_record.ScoreRow.of(
            "validation", score.metric, score.interval, score.baseline
        )
    yield from (
        replace(one, number=n) for n, one in enumerate(report.evidence, start=1)
    )
    for number, gate in enumerate(report.gates, start=1):
        same = {
            name: getattr(gate, name) for name in ("metric", "rule", "value", "outcome")
        }
        yield run_record.GateRow(number=number, limit_value=gate.limit, **same)
    yield from report.audit


def build_document(
    report: ValidationReport,
    following: NextSearch | None = None,
    charts: Charts = MappingProxyType({}),
) -> Document:
    """Return the report as a document: the decision, the reasons, and the details."""
    why: tuple[Section, ...] = ()
    if following is not None:
        blocks = (
            Paragraph("Reasons found, the most certain first:"),
            Bullets(
                tuple(
                    f"{reason.evidence} {reason.advice}" for reason in following.reasons
                )
            ),
            Paragraph(
                "The next search to try. It replaces search in defs.yaml: the current entries "
                "come first, and their fits are reused."
            ),
            Code("yaml", following.yaml.rstrip("\n")),
        )
        why = (Section("Why, and what to try next", blocks),)
    looks = looked_at(report.looks, report.overlap, report.level)
    sections = (
        _decision(report),
        *why,
        _scores(report, charts),
        *_calibration(report, charts),
        *_threshold(report, charts),
        *_errors(report, charts),
        *_classes(report, charts),
        *_features(report, charts),
        _segments(report),
        *_horizons(report),
        _coverage(report),
        *audit.section(report.audit),
        *evidence_sections([asdict(one) for one in report.evidence], report.metric),
        Section("Caveats", (Bullets((looks, *report.notes)),)),
    )
    return Document(
        f"{report.experiment}: validation report", sections, around(report.experiment)
    )


def _decision(report: ValidationReport) -> Section:
    score, count = report.score(report.metric), len(report.gates)
    if report.accepted:
        rules = "; ".join(gate.rule.partition(":")[0] for gate in report.gates)
        passed = (
            "the one gate passes" if count == 1 else f"{count} of {count} gates pass"
        )
        first = f"A{numbers.accepted_under(report.conditions)[1:]}: {passed} ({rules})."
    else:
        failed = "; ".join(
            f"{gate.rule.partition(':')[0]}, but it is {numbers.score(gate.value)}"
            for gate in report.failed_gates
        )
        which = (
            "the one gate"
            if count == 1
            else f"{len(report.failed_gates)} of {count} gates"
        )
        first = f"Not accepted: {which} failed ({failed})."
    seen = "which were not used to choose the model"
    if report.looks > 1:
        others = numbers.counted(
            report.looks - 1, "other model was", "other models were"
        )
        seen = f"on which {others} evaluated before (gates at {numbers.share(report.level, 6)})"
    direction = (
        "" if metric_of(report.metric).greater_is_better else " (lower is better)"
    )
    interval = ""
    if math.isfinite(score.interval.low) and math.isfinite(score.interval.high):
        interval = f" The 95 % interval is {numbers.bounds(score.interval)}."
    how = "not better"
    if significantly_better(report.metric, score.difference_to_baseline):
        how = "significantly better (95 % level)"
    elif better(report.metric, score.interval.estimate, score.baseline):
        how = "better, but not significantly (95 % level)"
    text = (
        f"{first} {_named(report)} scores {report.metric} "
        f"{numbers.score(score.interval.estimate)}{direction} on {report.rows:,} rows of the "
        f"{HOLD_OUT}, {seen}.{interval} The baseline (no features) scores "
        f"{numbers.score(score.baseline)}: the model is {how}."
    )
    header = ("outcome", "gate", "value", "limit", "what it means")
    rows = tuple(
        (
            gate.outcome,
            gate.rule,
            numbers.score(gate.value),
            numbers.score(gate.limit),
            gate.means,
        )
        for gate in report.gates
    )
    under = (
        (Paragraph("Conditions:"), Bullets(report.conditions))
        if report.conditions
        else ()
    )
    return Section("Decision", (Paragraph(text), TableBlock(header, rows), *under))


def _named(report: ValidationReport) -> str:
    """`lightgbm (learning_rate 0.05)`, not the key, which may end in a digest; an
    ensemble's name alone.
    """
    name, settings = report.configuration.partition("__")[0], report.hyperparameters
    plain = name == ENSEMBLE or not settings
    return name if plain else f"{name} ({numbers.settings(settings)})"


def _scores(report: ValidationReport, charts: Charts) -> Section:
    rows = tuple(
        (
            named(score.metric, reweighted=report.miscalibration is not None),
            numbers.score(score.interval.estimate),
            numbers.bounds(score.interval),
            numbers.score(score.baseline),
            numbers.interval(score.difference_to_baseline),
            metric_of(score.metric).better_is,
        )
        for score in report.scores
    )
    seen = "train and test rows" if report.refitted else "train rows"
    settings = numbers.settings(report.hyperparameters) or "default settings"
    positive = (
        ""
        if report.prevalence is None
        else f", {numbers.share(report.prevalence)} positive"
    )
    text = (
        f"{report.metric} is {metric_of(report.metric).words}. The model ({settings}) was "
        f"fitted on {seen} and evaluated on {report.rows:,} validation rows{positive}. The baseline "
        "predicts the same for every row: the constant that suits the metric best. The difference "
        "to it is paired by row, so it has an interval of its own."
    )
    header = (
        "metric",
        "estimate",
        "95 % interval",
        "baseline",
        "minus the baseline",
        "better is",
    )
    gap, cross = report.gap, report.gap.evaluation == "cross_validation"
    chosen_on, whose = evaluated(gap.evaluation).name, "of the fit on the train rows"
    if cross:
        whose = "of models fitted on a part of the train and test rows, and of the final model"
    part = "" if gap.rows is None else f", there on {gap.rows:,} evenly spaced rows"
    loss = (
        f"From {chosen_on} to validation: {report.metric} {whose}{part}. A loss shows the selection "
        f"bias of the score {evaluated(gap.evaluation).short}, whose interval on the leaderboard allows "
        "for the choice."
    )
    gap_rows = (
        (chosen_on, numbers.interval(gap.test)),
        ("validation", numbers.interval(gap.validation)),
        (f"validation minus {chosen_on}", numbers.interval(gap.difference)),
    )
    compared = TableBlock(("on", report.metric), gap_rows)
    blocks = (Paragraph(text), TableBlock(header, rows), Paragraph(loss), compared)
    return Section("Scores", (*blocks, *charts.get("scores", ())))


def _calibration(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    found, before = report.details.calibration, report.details.uncalibrated
    if not found:
        return
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
    header = (
        "class",
        "slope (ideal: 1)",
        "intercept (ideal: 0)",
        "mean error",
        "by chance",
    )
    texts = list(_calibrated(found))
    if report.miscalibration is not None:
        setting = report.miscalibration.setting
        texts.insert(0, f"The probabilities are not calibrated: {setting} shifts them.")
    if report.calibrated_by is not None:
        texts.append(
            f"A calibrator was applied ({report.calibrated_by}), learnt from predictions of train rows "
            "by fits that had not seen these rows."
        )
    meaning = (
        "Slope and intercept are of a logistic recalibration on the validation rows (Cox 1958; the "
        "intercept with slope 1); their intervals hold together at the 95 % level. The mean error "
        "is over bins of equal size; the last column is its value for a perfectly calibrated model. "
        "Vertical lines: Wilson's interval for each bin alone."
    )
    table, drawn = TableBlock(header, rows), charts.get("calibration", ())
    yield Section(
        "Calibration", (*map(Paragraph, texts), table, *drawn, Paragraph(meaning))
    )


def _calibrated(found: Sequence[CalibrationCurve]) -> Iterator[str]:
    """What slopes and intercepts mean: one sentence for all classes with the same
    meaning.
    """
    alike: dict[str, list[CalibrationCurve]] = {}
    for one in found:
        alike.setdefault(_miscalibration_of(one), []).append(one)
    for meaning, some in alike.items():
        off = ", ".join(f"{100 * one.expected_error:.1f}" for one in some)
        off = f"the mean error is {off} percentage points"
        if meaning == _CALIBRATED:
            chance = ", ".join(f"{100 * one.by_chance:.1f}" for one in some)
            off += f", {chance} are expected by chance"
        names = ", ".join(one.of for one in some)
        yield f"{'' if len(found) == 1 else f'{names}: '}{meaning}; {off}."


def _miscalibration_of(found: CalibrationCurve) -> str:
    if not math.isfinite(found.slope.high - found.slope.low):
        return "The slope cannot be estimated here"
    ways = {
        "overconfident: high ones are too high and low ones too low": found.slope.high
        < 1,
        "underconfident: high ones are too low and low ones too high": found.slope.low
        > 1,
        "too high on average": found.intercept.high < 0,
        "too low on average": found.intercept.low > 0,
    }
    named = ", and ".join(way for way, is_so in ways.items() if is_so)
    return f"The probabilities are {named}" if found.in_doubt else _CALIBRATED


def _threshold(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    chosen, at = report.threshold, report.details.at_threshold
    if chosen is None or at is None:
        return
    how = evaluated(report.gap.evaluation)
    verb = "minimises" if chosen.metric == EXPECTED_COST else "maximises"
    cut = numbers.probability(chosen.value) if chosen.value <= 1 else "above 1"
    text = (
        f"A row is predicted positive from a probability of {cut} on. This threshold {verb} "
        f"{chosen.metric} {how.where} ({numbers.score(chosen.test_score)} there). On validation, "
        f"{numbers.share(at.called)} of the rows are predicted positive; the precision is "
        f"{numbers.interval(at.precision)}, the recall {numbers.interval(at.recall)}."
    )
    costs: list[Block] = []
    if at.ways:
        rows = tuple(
            (
                way.name,
                numbers.probability(way.threshold)
                if 0 < way.threshold <= 1
                else "not needed",
                numbers.score(way.on_test),
                numbers.interval(way.on_validation),
            )
            for way in at.ways
        )
        text_on_costs = (
            f"With costs in the YAML, the threshold of least cost {how.short} is used; f1, "
            "accuracy and balanced accuracy above are computed at it. Its cost on validation:"
        )
        header = (
            "decide by",
            "threshold",
            f"cost per row {how.short}",
            "on validation",
        )
        costs = [Paragraph(text_on_costs), TableBlock(header, rows)]
    warning = (
        f"The curves are those of {how.by}; the points are the result on validation. Do not choose "
        "another threshold by the points: that would be choosing on validation rows."
    )
    blocks = (Paragraph(text), *costs, *charts.get("threshold", ()), Paragraph(warning))
    yield Section("Decision threshold", blocks)


def _errors(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    found = report.details.residuals
    if found is None:
        return
    side = "too low" if found.mean > 0 else "too high"
    text = (
        f"The mean absolute error is {numbers.score(found.mean_absolute)}, the median "
        f"{numbers.score(found.median_absolute)}, the largest {numbers.score(found.largest)}, all in "
        "units of the target. The standard deviation of the target is "
        f"{numbers.score(found.spread_of_target)}. On average, predictions are "
        f"{numbers.score(abs(found.mean))} {side}."
    )
    rows = (("actual minus predicted", *map(numbers.score, found.quantiles)),)
    table = TableBlock(
        ("quantile of rows", "5 %", "25 %", "50 %", "75 %", "95 %"), rows
    )
    shares: list[Block] = []
    if (quantile := report.details.quantile) is not None:
        said = (
            f"{numbers.share(quantile.level)} of the targets should be below the prediction; "
            f"{numbers.interval(quantile.below)} of the validation rows are. With "
            f"{numbers.score(quantile.shift)} added to every prediction, the shift that is right on "
            f"the rows {evaluated(report.gap.evaluation).by}, "
            f"{numbers.interval(quantile.shifted)} are. The model itself does not add it."
        )
        shares.append(Paragraph(said))
    yield Section(
        "Errors", (Paragraph(text), *shares, table, *charts.get("residuals", ()))
    )


def _classes(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    found = report.details.classes
    if not found:
        return
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
        f"{numbers.share(worst.recall)} of {numbers.counted(worst.support, 'row')}."
    )
    table, *more = first_rows(header, rows, _MOST_CLASSES, "class in report.json")
    yield Section(
        "Class by class", (Paragraph(text), table, *charts.get("classes", ()), *more)
    )


def _features(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    used, title = report.usage, "Importance of features"
    if used is None or not used.importance:
        why = f"{report.metric} is undefined on the test rows"
        yield Section(title, (_not_computed(_IN_CAVEATS if used is None else why),))
        return
    # Of a target in small units, the largest loss may be far below one.
    largest = max(abs(one.drop) for one in used.importance)
    known = 0 < largest < math.inf
    digits = max(4, 2 - math.floor(math.log10(largest))) if known else 4
    rows = [
        (
            one.feature,
            numbers.score(round(one.drop, digits)),
            numbers.score(round(one.deviation, digits)),
            _SIGNIFICANT[one.significant],
        )
        for one in used.importance
    ]
    rows_of = (
        "test rows" if report.gap.evaluation == "test_set" else "rows of the first fold"
    )
    text = (
        f"Loss of {used.metric} when the values of a feature are shuffled, on {used.rows:,} {rows_of}, "
        f"{numbers.counted(used.repeats, 'shuffle')} each. The noise is the standard deviation "
        "between shuffles; a loss is significant by Student's t-test against it (95 % level). Two "
        "features with the same information both look unimportant."
    )
    header = ("feature", f"{used.metric} lost", "noise (±)", "significant")
    table = first_rows(header, rows, _MOST_FEATURES, "feature in report.json")
    drawn = charts.get("importance", ())
    yield Section(title, (Paragraph(text), *drawn, *table))
    if used.dependence:
        how = (
            "Mean prediction when a feature is set to one value after the other, on "
            f"{used.rows_of_dependence:,} {rows_of} (partial dependence, Friedman 2001). It is an "
            "average, not a causal effect: changing the feature in the world need not change the "
            "outcome. Marks and shares show where the rows are; elsewhere the curve extrapolates."
        )
        drawn = charts.get("dependence", ())
        yield Section("How the first features are used", (Paragraph(how), *drawn))
    elif not used.rows_of_dependence:
        why = "predicting the rows again for each value would take too long"
        yield Section("How the first features are used", (_not_computed(why),))


def _not_computed(why: str) -> Paragraph:
    return Paragraph(f"Not computed: {why}.")


def _segments(report: ValidationReport) -> Section:
    title = "Weakest segments"
    if report.segments is None:
        return Section(title, (_not_computed(_IN_CAVEATS),))
    text = "The expected score of a segment is that of rows with about the same predictions."
    if report.details.residuals is None:
        text = (
            "The expected score of a segment is that of a model whose probabilities, recalibrated on "
            "the whole set, are right there: a rare or difficult class alone does not make a segment weak."
        )
    left_out = [f"{one}." for one in report.notes if one.startswith(MORE_SEGMENTS)]
    which = "of the other features " if left_out else ""
    if not report.segments:
        text = f"No segment {which}scores below what is expected there. {text}"
    text = " ".join([text, *(one[0].upper() + one[1:] for one in left_out)])
    header = (
        "feature",
        "value",
        "rows",
        report.metric,
        "expected",
        "worse than expected",
    )
    table = [_parts(report.segments, header)] if report.segments else []
    return Section(title, (Paragraph(text), *table))


def _parts(parts: Sequence[Segment], header: tuple[str, ...]) -> Block:
    rows = tuple(
        (
            part.column,
            part.value,
            f"{part.rows:,}",
            numbers.interval(part.score),
            numbers.score(part.expected),
            "significantly" if part.clearly_worse else "not significantly",
        )
        for part in parts
    )
    return TableBlock(header, rows)


def _horizons(report: ValidationReport) -> Iterator[Section]:
    if not report.horizons:
        return
    text = (
        "Validation rows by their time after the last fitted row. The score has decayed where it is "
        "significantly worse than at first, each against the expected score (95 % level, all together)."
    )
    when = "time after the last fitted row"
    table = _parts(
        report.horizons, ("feature", when, "rows", report.metric, "expected", "decayed")
    )
    yield Section("Score by horizon", (Paragraph(text), table))


def _coverage(report: ValidationReport) -> Section:
    check, gate = report.coverage, coverage_gate(report.coverage)
    title, size = "Prediction intervals", f"a mean width of {numbers.score(check.size)}"
    if check.calibrated.classes:
        title, size = (
            "Prediction sets",
            f"{numbers.score(check.size)} classes on average",
        )
    rule = f"{gate.rule} ({size}), " if check.parts else f"{gate.rule}: "
    text = (
        f"{rule[0].upper()}{rule[1:]}{gate.means}. Calibrated on {check.calibrated.rows:,} rows "
        f"{evaluated(report.gap.evaluation).short}. The parts are classes, stretches of time, and the least "
        "covered segments. The intervals of these shares also allow for the sampling of the calibration rows."
    )
    header = ("feature", "value", "rows", "covered", "promised", "below the promise")
    return Section(title, (Paragraph(text), _parts(check.parts, header)))


def worst_rows(report: ValidationReport, rows: pd.DataFrame) -> Section:
    """Return the rows of PREDICTED_ROWS with the largest loss."""
    loss = "log loss" if report.details.residuals is None else "absolute error"
    text = (
        f"The rows with the largest {loss}: of the {HOLD_OUT}, then of the "
        f"{evaluated(report.gap.evaluation).place} set. Ids and features are as delivered. Look for wrong "
        "labels, broken values and missing features. More rows: experiment_pipeline.worst_rows."
    )
    worst = (
        run_record.worst_of(rows, _WORST_ROWS).iloc[:, :_WORST_COLUMNS].reset_index()
    )
    return Section(
        "Worst rows", (Paragraph(text), rows_table(plain_rows(worst))), folded=True
    )
