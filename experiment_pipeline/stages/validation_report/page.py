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
from experiment_pipeline.reporting.charts import around_zero, on_line
from experiment_pipeline.reporting.document import (
    HOLD_OUT,
    Block,
    Bullets,
    Chart,
    Document,
    Paragraph,
    Section,
    TableBlock,
    evidence_sections,
    first_rows,
    rows_table,
    with_meanings,
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
from experiment_pipeline.stages.validation_report.report import (
    AtThreshold,
    ValidationReport,
)
from experiment_pipeline.statistics.calibration import (
    QUANTILES,
    CalibrationCurve,
    fewest_for,
    named,
)
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.metrics import (
    better,
    metric_of,
    significantly_better,
)
from experiment_pipeline.table.table import plain_rows

Charts = Mapping[str, tuple[Chart, ...]]
_MOST_CLASSES, _MOST_FEATURES = 50, 20
_WORST_ROWS, _WORST_COLUMNS = 10, 10  # shown of each set
MORE_SEGMENTS = "the segments of more features are not computed: "
_SIGNIFICANT = {True: "yes", False: "no", None: "not tested: too few shuffles"}
_CALIBRATED = "No miscalibration is detected"
_CONFIDENCE = numbers.share(LEVEL)
# Fewer rows may lack the errors that decide a squared error.
_FEW_FOR_A_TAIL = 2_000


def outcome(
    report: ValidationReport, markdown: str, places: Mapping[str, str], words: str
) -> Outcome:
    """Return scores, gates and decision.

    `markdown` is that of the document, `places` are name → place of the page
    ("validation_report"), the search to try next ("next_search") and other files,
    `words` are the chosen configuration.
    """
    ranking = report.score(report.metric)
    place = places["validation_report"]
    score = f"{report.metric} {numbers.interval(ranking.interval)}"
    refusal = None
    if not report.accepted:
        refusal = _refusal(report, words, places.get("next_search", "no file"))
    rows = [
        (gate.outcome, gate.value, gate.limit, gate.rule, gate.means)
        for gate in report.gates
    ]
    columns = ["outcome", "value", "limit", "gate", "what it means"]
    gates = Rows(pd.DataFrame(rows, columns=columns))
    check = Check(
        "acceptance_criteria_met",
        passed=report.accepted,
        means=report.gates_in_words,
        facts={"gates": gates},
        refusal=refusal,
    )
    if len(report.gates) == 1:
        (gate,) = report.gates
        check = replace(check, value=gate.value, limit=gate.limit)
    conditions = {"conditions": Notes(report.conditions)} if report.conditions else {}
    notes_of_run = [f"{report.decision}: {words}: {score} on the {HOLD_OUT}"]
    if place:  # a run in memory writes no page
        notes_of_run.append(f"report: {place}")
    return Outcome(
        notes=notes_of_run,
        facts={
            "decision": report.decision,
            "score on validation": score,
            "baseline": f"{numbers.score(ranking.baseline)} without features",
            "minus baseline": numbers.interval(ranking.difference_to_baseline),
            "validation rows": f"{report.rows:,}",
            "gates": gates,
            **conditions,
            "configuration": words,
            "looked at": report.looks_in_words,
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


def _refusal(report: ValidationReport, words: str, next_search: str) -> NotAccepted:
    advice = (
        "Read the report for the reasons; the search to try next is in it, and in "
        f"{next_search}."
    )
    for champion in report.champions:
        if champion.may_have_leaked:
            retire = champion.retired(report.experiment)
            advice += f" If {champion.version} was fitted with a leak, {retire}."
    return NotAccepted(words, rule=report.gates_in_words, fix=advice)


def _record_rows(report: ValidationReport) -> Iterator[run_record.RecordRow]:
    ranking = report.score(report.metric)
    decision = [report.gates_in_words]
    if report.accepted:
        decision += [f"{numbers.CONDITION}{words}" for words in report.conditions]
    yield run_record.RunFacts(
        validation_score=ranking.interval.estimate,
        validation_low=ranking.interval.low,
        validation_high=ranking.interval.high,
        validation_baseline=ranking.baseline,
        looks=report.looks,
        overlap=report.overlap,
        decision="; ".join(filter(None, decision)),
    )
    for score in report.scores:
        yield run_record.ScoreRow.of(
            "validation", score.metric, score.interval, score.baseline
        )
    for number, evidence in enumerate(report.evidence, start=1):
        yield replace(evidence, number=number)
    for number, gate in enumerate(report.gates, start=1):
        yield run_record.GateRow(
            number=number,
            metric=gate.metric,
            rule=gate.rule,
            value=gate.value,
            limit_value=gate.limit,
            outcome=gate.outcome,
        )
    yield from report.audit


def build_document(
    report: ValidationReport,
    charts: Charts = MappingProxyType({}),
    rows: pd.DataFrame | None = None,
) -> Document:
    """Return the page of the model; `rows`: PREDICTED_ROWS, if they are shown.

    Gates, reasons and the next search are on the page of the decision.
    """
    details = (_scores(report, charts), *_beside(report))
    sections = (
        _section("Model", _in_words(report)),
        *_of_model(report, charts),
        *([] if rows is None else [_worst_rows(report, rows)]),
        *(replace(section, folded=True) for section in details),
    )
    return Document(f"{report.experiment}: model", sections)


def _of_model(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    """What the model uses, then how it fares and where it is weak."""
    yield _features(report)
    yield from _dependence(report, charts)
    yield from _calibration(report, charts)
    yield from _threshold(report, charts)
    yield from _errors(report, charts)
    yield from _classes(report, charts)
    yield _segments(report)
    yield from _horizons(report)
    yield from _acquaintance(report)
    yield _coverage(report)
    yield from audit.section(report.audit, report.meanings)


def _beside(report: ValidationReport) -> Iterator[Section]:
    evidence = [asdict(row) for row in report.evidence]
    yield from evidence_sections(evidence, report.metric)
    caveats = Bullets((report.looks_in_words, *report.notes))
    yield Section("Caveats", (caveats,))


def _section(title: str, *blocks: Block | str) -> Section:
    """A section whose texts are paragraphs."""
    return Section(
        title,
        [Paragraph(block) if isinstance(block, str) else block for block in blocks],
    )


def _in_words(report: ValidationReport) -> str:
    score = report.score(report.metric)
    interval = score.interval
    baseline = numbers.score(score.baseline)
    used = "which were not used to choose the model"
    if report.looks > 1:
        models = numbers.counted(
            report.looks - 1, "other model was", "other models were"
        )
        level = numbers.confidence(report.level)
        used = f"on which {models} evaluated before (gates at {level})"
    lower_is_better = " (lower is better)"
    if metric_of(report.metric).greater_is_better:
        lower_is_better = ""
    bounds = ""
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        bounds = f" The {_CONFIDENCE} interval is {numbers.bounds(interval)}."
    return (
        f"{_decided(report)} {_named(report)} scores {report.metric} "
        f"{numbers.estimate(interval)}{lower_is_better} on {report.rows:,} rows "
        f"of the {HOLD_OUT}, {used}.{bounds} The baseline (no features) scores "
        f"{baseline}: the model is {_beside_baseline(report)}."
    )


def _beside_baseline(report: ValidationReport) -> str:
    """Whether the model is better, at the level of the interval and of the gates."""
    score = report.score(report.metric)
    gate = report.baseline_gate
    gate_level = numbers.confidence(report.level)
    if gate is not None and gate.passed:
        return f"significantly better ({gate_level} level)"
    if significantly_better(report.metric, score.difference_to_baseline):
        how = f"significantly better ({_CONFIDENCE} level)"
        if gate is None:
            return how
        looks = numbers.counted(report.looks, "look")
        return f"{how}, but not at the {gate_level} level of the gates after {looks}"
    if better(report.metric, score.interval.estimate, score.baseline):
        return f"better, but not significantly ({_CONFIDENCE} level)"
    return "not better"


def _decided(report: ValidationReport) -> str:
    """Which gates passed or failed, in a sentence."""
    count = len(report.gates)
    if report.accepted:
        rules = "; ".join(gate.name for gate in report.gates)
        gates = f"{count} of {count} gates pass"
        if count == 1:
            gates = "the one gate passes"
        conditions = numbers.accepted_under(report.conditions).removeprefix("accepted")
        return f"Accepted{conditions}: {gates} ({rules})."
    failed = "; ".join(f"{gate.name}: {gate.means}" for gate in report.failed_gates)
    gates = f"{len(report.failed_gates)} of {count} gates"
    if count == 1:
        gates = "the one gate"
    return f"Not accepted: {gates} failed ({failed})."


def _named(report: ValidationReport) -> str:
    """`lightgbm (learning_rate 0.05)`, not the key, which may end in a digest; an
    ensemble's name alone.
    """
    name = report.configuration.partition("__")[0]
    if name == ENSEMBLE or not report.hyperparameters:
        return name
    return f"{name} ({numbers.settings(report.hyperparameters)})"


def _allowed_for(report: ValidationReport) -> str:
    """What the intervals allow for, and what so few rows or days do not show."""
    text = ""
    if report.horizons:
        text += (
            " The intervals allow for consecutive times that resemble each other, if "
            "that fades within weeks. Where it takes months (long memory), a year does "
            "not show it, and in simulations 6 to 7 of 10 intervals of log_loss hold."
        )
    squared = {"rmse", "r2"} & {score.metric for score in report.scores}
    if squared and report.rows < _FEW_FOR_A_TAIL:
        text += (
            " The intervals allow for larger errors than these rows hold. A tail that "
            f"is nearly too heavy for a variance need not show in {report.rows:,} "
            "rows: in simulations with 500, 9 of 10 intervals of rmse hold, and where "
            "no caveat names the tail 7 to 9 of 10."
        )
    return text


def _scores(report: ValidationReport, charts: Charts) -> Section:
    reweighted = report.miscalibration is not None
    rows = [
        (
            named(score.metric, reweighted=reweighted),
            numbers.estimate(score.interval),
            numbers.bounds(score.interval),
            numbers.score(score.baseline),
            numbers.interval(score.difference_to_baseline),
            metric_of(score.metric).better_is,
        )
        for score in report.scores
    ]
    header = (
        "metric",
        "estimate",
        f"{_CONFIDENCE} interval",
        "baseline",
        "minus the baseline",
        "better is",
    )
    fitted_on = "train and test rows" if report.refitted else "train rows"
    settings = numbers.settings(report.hyperparameters) or "default settings"
    positive = ""
    if report.prevalence is not None:
        positive = f", {numbers.share(report.prevalence)} positive"
    text = (
        f"{report.metric} is {metric_of(report.metric).words}. The model ({settings}) "
        f"was fitted on {fitted_on} and evaluated on {report.rows:,} validation "
        f"rows{positive}. The baseline predicts the same for every row: the constant "
        "that suits the metric best. The difference to it is paired by row, so it has "
        "an interval of its own."
    )
    text += _allowed_for(report)
    table = TableBlock(header, rows)
    gap = report.gap
    chosen_on = evaluated(gap.evaluation)
    fit = "of the fit on the train rows"
    if gap.evaluation == "cross_validation":
        fit = (
            "of models fitted on a part of the train and test rows, and of the final "
            "model"
        )
    part = "" if gap.rows is None else f", there on {gap.rows:,} evenly spaced rows"
    loss = (
        f"From {chosen_on.name} to validation: {report.metric} {fit}{part}. A loss "
        f"shows the selection bias of the score {chosen_on.short}, whose interval on "
        "the leaderboard allows for the choice."
    )
    compared = TableBlock(
        ("on", report.metric),
        (
            (chosen_on.name, numbers.interval(gap.test)),
            ("validation", numbers.interval(gap.validation)),
            (f"validation minus {chosen_on.name}", numbers.interval(gap.difference)),
        ),
    )
    drawn = charts.get("scores", ())
    return _section("Scores", text, table, loss, compared, *drawn)


def _calibration(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    details = report.details
    if not details.calibration:
        return
    named_curves = [(curve.class_name, curve) for curve in details.calibration]
    named_curves += [
        (f"{curve.class_name}, before calibrating", curve)
        for curve in details.uncalibrated
    ]
    rows = [
        (
            name,
            numbers.interval(curve.slope),
            numbers.interval(curve.intercept),
            numbers.score(curve.expected_error),
            numbers.score(curve.by_chance),
        )
        for name, curve in named_curves
    ]
    header = (
        "class",
        "slope (ideal: 1)",
        "intercept (ideal: 0)",
        "mean error",
        "by chance",
    )
    texts = []
    if report.miscalibration is not None:
        setting = report.miscalibration.setting
        texts.append(f"The probabilities are not calibrated: {setting} shifts them.")
    texts += _calibrated(details.calibration)
    if report.calibrated_by is not None:
        texts.append(
            f"A calibrator was applied ({report.calibrated_by}), learnt from "
            "predictions of train rows by fits that had not seen these rows."
        )
    meaning = (
        "Slope and intercept are of a logistic recalibration on the validation rows "
        "(Cox 1958; the intercept with slope 1); their intervals hold together at the "
        f"{_CONFIDENCE} level. The mean error is over bins of equal size; the last "
        "column is its "
        "value for a perfectly calibrated model. Vertical lines: Wilson's interval for "
        "each bin alone."
    )
    table = TableBlock(header, rows)
    drawn = charts.get("calibration", ())
    yield _section("Calibration", *texts, table, *drawn, meaning)


def _calibrated(curves: Sequence[CalibrationCurve]) -> Iterator[str]:
    """What slopes and intercepts mean: one sentence for all classes with the same
    meaning.
    """
    by_meaning: dict[str, list[CalibrationCurve]] = {}
    for curve in curves:
        by_meaning.setdefault(_miscalibration_of(curve), []).append(curve)
    for meaning, alike in by_meaning.items():
        errors = ", ".join(f"{100 * curve.expected_error:.1f}" for curve in alike)
        error = f"the mean error is {errors} percentage points"
        if meaning == _CALIBRATED:
            chance = ", ".join(f"{100 * curve.by_chance:.1f}" for curve in alike)
            error += f", {chance} are expected by chance"
        names = ", ".join(curve.class_name for curve in alike)
        classes = "" if len(curves) == 1 else f"{names}: "
        yield f"{classes}{meaning}; {error}."


def _miscalibration_of(curve: CalibrationCurve) -> str:
    slope, intercept = curve.slope, curve.intercept
    if not math.isfinite(slope.high - slope.low):
        return "The slope cannot be estimated here"
    if not curve.in_doubt:
        return _CALIBRATED
    ways = {
        "overconfident: high ones are too high and low ones too low": slope.high < 1,
        "underconfident: high ones are too low and low ones too high": slope.low > 1,
        "too high on average": intercept.high < 0,
        "too low on average": intercept.low > 0,
    }
    applying = ", and ".join(way for way, applies in ways.items() if applies)
    return f"The probabilities are {applying}"


def _threshold(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    threshold = report.threshold
    result = report.details.at_threshold
    if threshold is None or result is None:
        return
    chosen_on = evaluated(report.gap.evaluation)
    cut = numbers.probability(threshold.value) if threshold.value <= 1 else "above 1"
    text = (
        f"A row is predicted positive from a probability of {cut} on. This threshold "
        f"{threshold.aim} {chosen_on.where} "
        f"({numbers.score(threshold.test_score)} there). On validation, "
        f"{numbers.share(result.called)} of the rows are predicted positive; the "
        f"precision is {numbers.interval(result.precision)}, the recall "
        f"{numbers.interval(result.recall)}."
    )
    warning = (
        f"The curves are those of {chosen_on.by}; the points are the result on "
        "validation. Do not choose another threshold by the points: that would be "
        "choosing on validation rows."
    )
    costs = _costs(result, chosen_on.short) if result.ways else ()
    drawn = charts.get("threshold", ())
    yield _section("Decision threshold", text, *costs, *drawn, warning)


def _costs(result: AtThreshold, where: str) -> tuple[str, Block]:
    rows = []
    for way in result.ways:
        needed = 0 < way.threshold <= 1
        rows.append(
            (
                way.name,
                numbers.probability(way.threshold) if needed else "not needed",
                numbers.score(way.on_test),
                numbers.interval(way.on_validation),
            )
        )
    header = ("decide by", "threshold", f"cost per row {where}", "on validation")
    text = (
        f"With costs in the YAML, the threshold of least cost {where} is used; f1, "
        "accuracy and balanced accuracy above are computed at it. Its cost on "
        "validation:"
    )
    return text, TableBlock(header, rows)


def _errors(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    residuals = report.details.residuals
    quantile = report.details.quantile
    if residuals is None:
        return
    side = "too low" if residuals.mean > 0 else "too high"
    text = (
        f"The mean absolute error is {numbers.score(residuals.mean_absolute)}, the "
        f"median {numbers.score(residuals.median_absolute)}, the largest "
        f"{numbers.score(residuals.largest)}, all in units of the target. The standard "
        f"deviation of the target is {numbers.score(residuals.spread_of_target)}. On "
        f"average, predictions are {numbers.score(abs(residuals.mean))} {side}."
    )
    shares = []
    if quantile is not None:
        shares.append(
            f"{numbers.share(quantile.level)} of the targets should be below the "
            f"prediction; {numbers.interval(quantile.below)} of the validation rows "
            f"are. With {numbers.score(quantile.shift)} added to every prediction, the "
            f"shift that is right on the rows {evaluated(report.gap.evaluation).by}, "
            f"{numbers.interval(quantile.shifted)} are. The model itself does not add "
            "it."
        )
    table = TableBlock(
        ("quantile of rows", *map(numbers.share, QUANTILES)),
        (("actual minus predicted", *map(numbers.score, residuals.quantiles)),),
    )
    yield _section("Errors", text, *shares, table, *charts.get("residuals", ()))


def _classes(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    outcomes = report.details.classes
    if not outcomes:
        return
    rows = []
    for outcome in outcomes:
        confused = ""
        if outcome.confused_with is not None:
            share = numbers.share(outcome.confused / outcome.support)
            confused = f"{outcome.confused_with} ({outcome.confused:,}, {share})"
        rows.append(
            (
                outcome.label,
                f"{outcome.support:,}",
                numbers.score(outcome.precision),
                numbers.score(outcome.recall),
                numbers.score(outcome.f1),
                confused,
            )
        )
    header = ("class", "rows", "precision", "recall", "f1", "most often predicted as")
    worst = min(outcomes, key=lambda label: (math.isnan(label.recall), label.recall))
    text = (
        "Recall is the share of a class's rows that are found; precision is the share "
        "of the rows predicted as the class that belong to it. Class "
        f"{worst.label} has the lowest recall: {numbers.share(worst.recall)} of "
        f"{numbers.counted(worst.support, 'row')}."
    )
    table, *rest = first_rows(header, rows, _MOST_CLASSES, "class in report.json")
    drawn = charts.get("classes", ())
    yield _section("Class by class", text, table, *drawn, *rest)


def _features(report: ValidationReport) -> Section:
    usage = report.usage
    title = "Importance of features"
    if usage is None:
        return _section(title, "Not computed: see the caveats.")
    if not usage.importance:
        why = f"{report.metric} is undefined on the test rows"
        return _section(title, f"Not computed: {why}.")
    # Of a target in small units, the largest loss may be far below one.
    largest = max(abs(feature.drop) for feature in usage.importance)
    digits = 4
    if 0 < largest < math.inf:
        digits = max(digits, 2 - math.floor(math.log10(largest)))
    losses = [
        Interval(
            round(feature.drop, digits),
            round(feature.drop - feature.deviation, digits),
            round(feature.drop + feature.deviation, digits),
        )
        for feature in usage.importance
    ]
    axis = around_zero(losses)
    rows = [
        (feature.feature, on_line(loss, axis, 0.0), _SIGNIFICANT[feature.significant])
        for feature, loss in zip(usage.importance, losses, strict=True)
    ]
    text = (
        f"Loss of {usage.metric} when the values of a feature are shuffled, on "
        f"{usage.rows:,} {_rows_of_usage(report)}, "
        f"{numbers.counted(usage.repeats, 'shuffle')} each, plus and minus the "
        "standard deviation between shuffles; a loss is significant by Student's "
        f"t-test against it ({_CONFIDENCE} level). Two features with the same "
        "information both look unimportant."
    )
    header = ("feature", f"{usage.metric} lost", "significant")
    all_rows = with_meanings(TableBlock(header, rows), report.meanings)
    more = "feature in report.json"
    table = first_rows(all_rows.header, all_rows.rows, _MOST_FEATURES, more)
    return _section(title, text, *table)


def _rows_of_usage(report: ValidationReport) -> str:
    if report.gap.evaluation == "test_set":
        return "test rows"
    return "rows of the first fold"


def _dependence(report: ValidationReport, charts: Charts) -> Iterator[Section]:
    usage = report.usage
    title = "How the first features are used"
    if usage is None or not usage.importance:
        return
    if usage.dependence:
        text = (
            "Mean prediction when a feature is set to one value after the other, on "
            f"{usage.rows_of_dependence:,} {_rows_of_usage(report)} (partial "
            "dependence, Friedman 2001). It is an average, not a causal effect: "
            "changing the feature in the world need not change the outcome. Marks and "
            "shares show where the rows are; elsewhere the curve extrapolates."
        )
        yield _section(title, text, *charts.get("dependence", ()))
    elif not usage.rows_of_dependence:
        why = "predicting the rows again for each value would take too long"
        yield _section(title, f"Not computed: {why}.")


def _segments(report: ValidationReport) -> Section:
    segments = report.segments
    title = "Weakest segments"
    if segments is None:
        return _section(title, "Not computed: see the caveats.")
    text = (
        "The expected score of a segment is that of a model whose probabilities, "
        "recalibrated on the whole set, are right there: a rare or difficult class "
        "alone does not make a segment weak."
    )
    if report.details.residuals is not None:
        text = (
            "The expected score of a segment is that of rows with about the same "
            "predictions."
        )
    left_out = [note for note in report.notes if note.startswith(MORE_SEGMENTS)]
    if not segments:
        which = "of the other features " if left_out else ""
        text = f"No segment {which}scores below what is expected there. {text}"
    for note in left_out:
        text += f" {note[0].upper()}{note[1:]}."
    if not segments:
        return _section(title, text)
    columns = (report.metric, "expected", "worse than expected")
    return _section(title, text, _parts(segments, "value", columns))


def _parts(
    parts: Sequence[Segment], value: str, columns: tuple[str, str, str]
) -> TableBlock:
    """A table of parts; `columns`: of score, expected score, and significance."""
    rows = [
        (
            part.column,
            part.value,
            f"{part.rows:,}",
            numbers.interval(part.score),
            numbers.score(part.expected),
            "significantly" if part.clearly_worse else "not significantly",
        )
        for part in parts
    ]
    return TableBlock(("feature", value, "rows", *columns), rows)


def _horizons(report: ValidationReport) -> Iterator[Section]:
    if not report.horizons:
        return
    text = (
        "Validation rows by their time after the last fitted row. The score has "
        "decayed where it is significantly worse than at first, each against the "
        f"expected score ({_CONFIDENCE} level, all together)."
    )
    columns = (report.metric, "expected", "decayed")
    table = _parts(report.horizons, "time after the last fitted row", columns)
    yield _section("Score by horizon", text, table)


def _acquaintance(report: ValidationReport) -> Iterator[Section]:
    if not report.acquaintance:
        return
    column = report.acquaintance[0].column
    text = (
        f"Values of {column} are known if a fitted row has them. New ones are scored "
        "beside them, each against the score to expect of such predictions "
        f"({_CONFIDENCE} level). split: {{predicts: new}} or known judges the model, "
        "and its gates, by these rows alone."
    )
    columns = (report.metric, "expected", "worse than known")
    yield _section(
        f"Known and new values of {column}",
        text,
        _parts(report.acquaintance, "values", columns),
    )


def _coverage(report: ValidationReport) -> Section:
    check = report.coverage
    gate = coverage_gate(report.coverage)
    title = "Prediction intervals"
    size = f"a mean width of {numbers.score(check.size)}"
    if check.calibrated.classes:
        title = "Prediction sets"
        size = f"{numbers.score(check.size)} classes on average"
    promise = f"{gate.rule} ({size})," if check.parts else f"{gate.rule}:"
    text = (
        f"{promise[0].upper()}{promise[1:]} {gate.means}. Calibrated on "
        f"{check.calibrated.rows:,} rows {evaluated(report.gap.evaluation).short}. The "
        "parts are classes, stretches of time, and the least covered segments. The "
        "intervals of these shares also allow for the sampling of the calibration rows."
    )
    if always := check.calibrated.in_every_set(check.coverage):
        labels = numbers.some_of([str(label) for label in always])
        text += (
            f" In every set: {labels}. Such a class has fewer than "
            f"{fewest_for(check.coverage)} calibration rows or clusters, too few to "
            "promise that share of it by leaving it out of any set."
        )
    columns = ("covered", "promised", "below the promise")
    return _section(title, text, _parts(check.parts, "value", columns))


def _worst_rows(report: ValidationReport, rows: pd.DataFrame) -> Section:
    loss = "log loss" if report.details.residuals is None else "absolute error"
    text = (
        f"The rows with the largest {loss}: of the {HOLD_OUT}, then of the "
        f"{evaluated(report.gap.evaluation).place} set. Ids and features are as "
        "delivered. Look for wrong labels, broken values and missing features. More "
        "rows: experiment_pipeline.worst_rows."
    )
    worst = run_record.worst_of(rows, _WORST_ROWS).iloc[:, :_WORST_COLUMNS]
    table = rows_table(plain_rows(worst.reset_index()))
    return Section("Worst rows", (Paragraph(text), table))
