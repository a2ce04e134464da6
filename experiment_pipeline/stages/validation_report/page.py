"""A validation report as an outcome and as a document, whose sections are in `sections.py`.

In: the report. Out: facts, checks, rows of the run record; nothing is computed.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pandas as pd

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import HOLD_OUT, Document, around
from experiment_pipeline.reporting.outcome import (
    Check,
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
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import NextSearch


def outcome(
    report: ValidationReport,
    markdown: str,
    pictures: Mapping[str, bytes],
    places: Mapping[str, str],
    words: str,
) -> Outcome:
    """Return scores, gates and decision.

    Args:
        report: the judgement.
        markdown: the same, of its document.
        pictures: title → PNG.
        places: name → place of the page, "validation_report", of the search to try next where it
            is not accepted, "next_search", and of other files of the run.
        words: the chosen configuration, for people.
    """
    place, next_search = places["validation_report"], places.get("next_search", "no file")
    ranking = report.score(report.metric)
    score = f"{report.metric} {numbers.interval(ranking.interval)}"
    alone = report.gates[0] if len(report.gates) == 1 else None
    decision = "accepted" if report.accepted else "not accepted"
    gates = Rows(_gate_rows(report))
    return Outcome(
        notes=[f"{decision}: {words}: {score} on the {HOLD_OUT}", f"report: {place}"],
        facts={
            "decision": decision,
            "score on validation": score,
            "baseline": f"{numbers.score(ranking.baseline)} without features",
            "minus baseline": numbers.interval(ranking.difference_to_baseline),
            "validation rows": f"{report.rows:,}",
            "gates": gates,
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
                facts={"gates": gates},
                refusal=None if report.accepted else _refusal(report, words, next_search),
            )
        ],
        record=[
            *_record_rows(report),
            *(ReportRow(name=name, place=where) for name, where in places.items()),
        ],
    )


def _refusal(report: ValidationReport, words: str, next_search: str) -> NotAccepted:
    return NotAccepted(
        words,
        "; ".join(gate.in_words() for gate in report.failed_gates),
        f"Read the report for the reasons; the search to try next is in it, and in {next_search}.",
    )


def _gate_rows(report: ValidationReport) -> pd.DataFrame:
    return pd.DataFrame(
        [(gate.outcome, gate.value, gate.limit, gate.rule, gate.means) for gate in report.gates],
        columns=["outcome", "value", "limit", "gate", "what it means"],
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
    """Return the report as a document: the decision, the reasons, and the details."""
    parts = (
        sections.gates(report),
        *([] if following is None else [sections.next_steps(following)]),
        *sections.champion(report),
        sections.metrics(report, charts),
        *sections.calibration(report, charts),
        *sections.threshold(report, charts),
        *sections.errors(report, charts),
        *sections.classes(report, charts),
        *sections.features(report, charts),
        sections.segments(report, charts),
        sections.caveats(report),
    )
    return Document(f"{report.experiment}: validation report", parts, around(report.experiment))
