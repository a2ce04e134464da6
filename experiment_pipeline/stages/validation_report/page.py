"""What people see of the judgement: an outcome, and a document, whose sections are `sections.py`'s.

In: the report. Out: what is told; nothing is computed.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pandas as pd

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Document, around
from experiment_pipeline.reporting.outcome import (
    Check,
    Fact,
    Markdown,
    Notes,
    Outcome,
    PagePath,
    Pictures,
    Rows,
)
from experiment_pipeline.reporting.run_record import (
    GateRow,
    RecordRow,
    ReportRow,
    RunFacts,
    ScoreRow,
)
from experiment_pipeline.stages.validation_report import sections
from experiment_pipeline.stages.validation_report.calibration_section import calibration
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.stages.validation_report.next_search import NextSearch
from experiment_pipeline.stages.validation_report.report import ValidationReport


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
        markdown: the same, of its document.
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
            **_scored(report),
            "gates": Rows(_gate_rows(report)),
            "configuration": words,
            "looked at": looked_at(report.looks, report.overlap),
            "report": PagePath(place),
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
        record=[
            *_record_rows(report),
            *(ReportRow(name=name, place=where) for name, where in places.items()),
        ],
    )


def _score_in_words(report: ValidationReport) -> str:
    interval = numbers.interval(report.score(report.metric).interval)
    return f"{report.metric} {interval} on the validation set"


def _scored(report: ValidationReport) -> dict[str, Fact]:
    ranking = report.score(report.metric)
    return {
        "score on validation": f"{report.metric} {numbers.interval(ranking.interval)}",
        "baseline": f"{numbers.score(ranking.baseline)} without features",
        "minus baseline": numbers.interval(ranking.difference_to_baseline),
        "validation rows": f"{report.rows:,}",
    }


def _gate_rows(report: ValidationReport) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "outcome": [gate.outcome for gate in report.gates],
            "value": [gate.value for gate in report.gates],
            "limit": [gate.limit for gate in report.gates],
            "gate": [gate.rule for gate in report.gates],
            "what it means": [gate.means for gate in report.gates],
        }
    )


def _record_rows(report: ValidationReport) -> Iterator[RecordRow]:
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
    charts: sections.Charts = MappingProxyType({}),
) -> Document:
    """Return the report as a document: the decision, why not, and then what is known of it."""
    told = [
        sections.gates(report),
        *([] if following is None else [sections.next_steps(following)]),
        *sections.champion(report),
        sections.metrics(report, charts),
        *calibration(report, charts),
        *sections.threshold(report, charts),
        *sections.errors(report, charts),
        *sections.classes(report, charts),
        *sections.features(report, charts),
        sections.segments(report, charts),
        sections.notes(report),
    ]
    return Document(
        f"{report.experiment}: validation report", tuple(told), around(report.experiment)
    )
