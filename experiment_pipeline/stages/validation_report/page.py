"""What people see of the judgement: an outcome, and a document, whose sections are `sections.py`'s.

In: the report. Out: what is told; nothing is computed.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.reporting.document import Document
from experiment_pipeline.reporting.outcome import Check, Markdown, Outcome, Pictures, Place
from experiment_pipeline.reporting.remembered import (
    GateRow,
    Remembered,
    ReportRow,
    RunFacts,
    ScoreRow,
)
from experiment_pipeline.stages.validation_report import sections
from experiment_pipeline.stages.validation_report.next_search import NextSearch
from experiment_pipeline.stages.validation_report.report import ValidationReport


def outcome(
    report: ValidationReport,
    markdown: str,
    pictures: Mapping[str, bytes],
    next_search: str,
    places: Mapping[str, str],
) -> Outcome:
    """The judgement: scores, gates, decision.

    Args:
        report: the judgement.
        markdown: the same, of its document.
        pictures: title → PNG.
        next_search: the YAML of the search to try next; only for a report that is not accepted.
        places: name → place of the page, "validation_report", and of what else a run remembers.
    """
    place = places["validation_report"]
    gates = [gate.in_words() for gate in report.gates]
    refusal = NotAccepted(
        report.configuration,
        "; ".join(gate.in_words() for gate in report.failed_gates),
        f"Read the report for the reasons, then try this search:\n{next_search}",
    )
    return Outcome(
        notes=[sections.decision(report), f"report: {place}"],
        facts={
            "accepted": report.accepted,
            f"validation {report.metric}": report.score(report.metric).interval.estimate,
            "looks": report.looks,
            "judgement": Markdown(markdown),
            "pictures": Pictures(pictures),
            "report": Place(place),
        },
        checks=[
            Check(
                "acceptance_criteria_met",
                passed=report.accepted,
                means="\n".join(gates),
                refusal=None if report.accepted else refusal,
            )
        ],
        remembered=[
            *_remembered(report),
            *(ReportRow(name=name, place=where) for name, where in places.items()),
        ],
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


def build_document(
    report: ValidationReport,
    following: NextSearch | None = None,
    pictures: sections.Pictures = MappingProxyType({}),
) -> Document:
    """Return the report as a document: the decision, why not, and then what is known of it."""
    told = [
        sections.gates(report),
        *([] if following is None else [sections.next_steps(following)]),
        *sections.champion(report),
        sections.metrics(report, pictures),
        *sections.calibration(report, pictures),
        *sections.threshold(report, pictures),
        *sections.errors(report, pictures),
        *sections.classes(report, pictures),
        *sections.features(report, pictures),
        sections.segments(report, pictures),
        sections.notes(report),
    ]
    return Document(f"{report.experiment}: validation report", tuple(told))
