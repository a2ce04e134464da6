"""The data analysis as Markdown, small enough for the Dagster UI.

In: a DataAnalysis. Out: text in which names and values of the table are escaped: they may
hold anything. The full report is `page.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiment_pipeline.reporting.markdown import bullets, escape, fenced
from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.sentences import (
    measured,
    probe_sentence,
    weight_in_words,
)

if TYPE_CHECKING:
    from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis


def render(analysis: DataAnalysis) -> str:
    """Verdict, reasons, probe, found findings with their YAML; the others by code only."""
    others = {
        outcome: [f"`{f.code}`" for f in analysis.findings if f.outcome == outcome]
        for outcome in ("not_found", "not_applicable")
    }
    blocks = [
        f"## Verdict: {analysis.verdict}",
        bullets(analysis.reasons),
        escape(probe_sentence(analysis.probe)),
        *(_finding(finding) for finding in analysis.found),
        f"**Not found:** {', '.join(others['not_found']) or 'none'}",
        f"**Not applicable:** {', '.join(others['not_applicable']) or 'none'}",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _finding(finding: Finding) -> str:
    parts = [
        f"### {finding.title}\n\n`{finding.code}` · {weight_in_words(finding)}",
        escape(finding.evidence),
        f"*{escape(finding.advice)}*",
    ]
    if numbers := measured(finding):
        parts[0] += f" · {escape(numbers)}"
    if finding.accepted is not None:
        parts.append(f"Accepted: {escape(finding.accepted)}")
    if finding.yaml is not None:
        parts.append(fenced("yaml", finding.yaml.removesuffix("\n")))
    return "\n\n".join(parts)
