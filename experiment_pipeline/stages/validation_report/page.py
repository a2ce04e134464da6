"""A validation report as Markdown and as a page. In: data. Out: text; nothing is computed.

Pictures go into the page; the Dagster UI shows them beside the Markdown.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.document import Bullets, Code, Paragraph, Section, Table
from experiment_pipeline.reporting.outcome import (
    Check,
    Fact,
    Markdown,
    Notes,
    Outcome,
    Pictures,
    Place,
    Rows,
)
from experiment_pipeline.reporting.remembered import (
    GateRow,
    Remembered,
    ReportRow,
    RunFacts,
    ScoreRow,
)
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.stages.validation_report.next_search import NextSearch
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.calibration import named
from experiment_pipeline.statistics.metrics import METRICS


def to_markdown(report: ValidationReport, next_search: NextSearch | None = None) -> str:
    """Return the report as Markdown; with `next_search` also why, and what to try next."""
    return document.render(build_document(report, next_search))


def to_html(
    report: ValidationReport,
    pictures: Mapping[str, bytes],
    next_search: NextSearch | None = None,
) -> str:
    """Return the report as one self-contained page with its pictures (title → PNG)."""
    return document.render_html(
        build_document(report, next_search), pictures, passed=report.accepted
    )


def outcome(
    report: ValidationReport,
    markdown: str,
    pictures: Mapping[str, bytes],
    places: Mapping[str, str],
    words: str,
) -> Outcome:
    """The judgement: scores, gates, decision.

    Args:
        report: the judgement.
        markdown: the same, as `to_markdown` made it.
        pictures: title → PNG.
        places: name → place of the page, "validation_report", of the search to try next where it
            is not accepted, "next_search", and of what else a run remembers.
        words: the chosen configuration, for people.
    """
    place, next_search = places["validation_report"], places.get("next_search", "no file")
    ranking = report.score(report.metric)
    alone = report.gates[0] if len(report.gates) == 1 else None
    decision = "accepted" if report.accepted else "not accepted"
    refusal = NotAccepted(
        words,
        "; ".join(gate.in_words() for gate in report.failed_gates),
        f"Read the report for the reasons; the search to try next is in it, and in {next_search}.",
    )
    return Outcome(
        notes=[f"{decision}: {words}: {_score_in_words(report)}", f"report: {place}"],
        facts={
            "decision": decision,
            "configuration": words,
            **_scored(report),
            "gates": Rows(_gate_rows(report)),
            "looked at": looked_at(report.looks, report.overlap),
            "report": Place(place),
            "notes": Notes(report.notes),
            "judgement": Markdown(markdown),
            "pictures": Pictures(pictures),
            f"validation {report.metric}": ranking.interval.estimate,
            f"baseline {report.metric}": ranking.baseline,
            "looks": report.looks,
        },
        checks=[
            Check(
                "acceptance_criteria_met",
                passed=report.accepted,
                means="\n".join(gate.in_words() for gate in report.gates),
                value=None if alone is None else alone.value,
                limit=None if alone is None else alone.limit,
                facts={"gates": Rows(_gate_rows(report))},
                refusal=None if report.accepted else refusal,
            )
        ],
        remembered=[
            *_remembered(report),
            *(ReportRow(name=name, place=where) for name, where in places.items()),
        ],
    )


def _score_in_words(report: ValidationReport) -> str:
    interval = numbers.interval(report.score(report.metric).interval)
    return f"{report.metric} {interval} on the validation set"


def _scored(report: ValidationReport) -> dict[str, Fact]:
    ranking = report.score(report.metric)
    return {
        "score": f"{_score_in_words(report)} ({report.rows:,} rows)",
        "baseline": (
            f"{numbers.score(ranking.baseline)} without features; the difference, on the same "
            f"rows, is {numbers.interval(ranking.difference_to_baseline)}"
        ),
    }


def _gate_rows(report: ValidationReport) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "outcome": [gate.outcome for gate in report.gates],
            "value": [gate.value for gate in report.gates],
            "limit": [gate.limit for gate in report.gates],
            "gate": [gate.rule for gate in report.gates],
        }
    )


def _remembered(report: ValidationReport) -> Iterator[Remembered]:
    """The judgement as rows: scores, gates, and what the run's own row says of it."""
    ranking = report.score(report.metric)
    yield RunFacts(
        validation_score=ranking.interval.estimate,
        validation_low=ranking.interval.low,
        validation_high=ranking.interval.high,
        validation_baseline=ranking.baseline,
        looks=report.looks,
        overlap=report.overlap,
        decision="; ".join(gate.in_words() for gate in report.gates),
    )
    for score in report.scores:
        yield ScoreRow.of("validation", score.metric, score.interval, score.baseline)
    for number, gate in enumerate(report.gates, start=1):
        yield GateRow(
            number=number,
            metric=gate.metric,
            rule=gate.rule,
            value=gate.value,
            limit_value=gate.limit,
            outcome=gate.outcome,
        )


def headline(report: ValidationReport) -> str:
    """Return the decision in a sentence."""
    score = numbers.interval(report.score(report.metric).interval)
    decision = "accepted" if report.accepted else "not accepted"
    return f"{report.configuration} is {decision}: {report.metric} {score} on the validation set"


def build_document(
    report: ValidationReport, following: NextSearch | None = None
) -> document.Document:
    """Return the report as a document."""
    sections = [_gates(report), *([] if following is None else [_next(following)])]
    sections += [*_champion(report), _metrics(report), _gap(report)]
    sections += [*_threshold(report), _segments(report), _notes(report)]
    return document.Document(f"{report.experiment}: validation report", tuple(sections))


def _gates(report: ValidationReport) -> Section:
    rows = tuple(
        (gate.rule, numbers.score(gate.value), numbers.score(gate.limit), gate.outcome)
        for gate in report.gates
    )
    table = Table(("gate", "value", "limit", "outcome"), rows)
    return Section("Decision", (Paragraph(headline(report) + "."), table))


def _champion(report: ValidationReport) -> list[Section]:
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
    table = Table(("", held.metric), rows)
    return [Section("Against the champion", (Paragraph(said), table))]


def _next(next_search: NextSearch) -> Section:
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


def _metrics(report: ValidationReport) -> Section:
    rows = tuple(
        (
            named(score.metric, reweighted=report.miscalibration is not None),
            numbers.score(score.interval.estimate),
            numbers.bounds(score.interval),
            numbers.score(score.baseline),
            numbers.interval(score.difference_to_baseline),
            "higher" if METRICS[score.metric].greater_is_better else "lower",
        )
        for score in report.scores
    )
    seen = "train and test rows" if report.refitted else "train rows"
    said = f"The exported model was fitted on {seen}; {report.rows:,} validation rows."
    if report.prevalence is not None:
        said += f" Positive are {numbers.share(report.prevalence)} of them."
    said += (
        " The baseline predicts the same for every row, what suits the metric best; the "
        "difference to it is paired, so its interval is not that of the score moved."
    )
    scored = ("metric", "estimate", "95 % interval", "baseline")
    table = Table((*scored, "minus the baseline", "better is"), rows)
    return Section("Metrics", (Paragraph(said), table))


def _gap(report: ValidationReport) -> Section:
    gap = report.gap
    rows = (
        ("test", numbers.interval(gap.test)),
        ("validation", numbers.interval(gap.validation)),
        ("validation minus test", numbers.interval(gap.difference)),
    )
    said = (
        f"{report.metric} of the same fit, the one of the search, which has seen train rows only."
    )
    if report.threshold is not None and METRICS[report.metric].by_threshold:
        said += (
            " On test, every row is decided by a threshold that was chosen on other rows: this "
            "score is lower than the one that ranked, and can be compared with validation."
        )
    return Section("From test to validation", (Paragraph(said), Table(("on", report.metric), rows)))


def _threshold(report: ValidationReport) -> list[Section]:
    if report.threshold is None:
        return []
    said = (
        f"A row is called positive from a probability of {numbers.probability(report.threshold.value)} on: this "
        f"maximises {report.threshold.metric} on the test set "
        f"({numbers.score(report.threshold.test_score)} there)."
    )
    return [Section("Decision threshold", (Paragraph(said),))]


def _segments(report: ValidationReport) -> Section:
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
    return Section("Weakest segments", (Table(header, rows) if rows else none,))


def _notes(report: ValidationReport) -> Section:
    looks = Paragraph(looked_at(report.looks, report.overlap))
    return Section("Notes", (looks, *([Bullets(report.notes)] if report.notes else [])))
