"""The data analysis as an outcome, Markdown, and a self-contained HTML page of at most 5 MB.

In: a DataAnalysis, for the page its table and spec. Out: verdict first, then findings; the page
also has skrub's table report on rows outside of the validation set. Names and values are escaped
by skrub in its part, by the document in all others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import DataError
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.outcome import Check, Fact, Markdown, Outcome, PagePath, Rows
from experiment_pipeline.reporting.run_record import FindingRow, ReportRow, RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import (
    VERDICT_RULES,
    DataAnalysis,
    Verdict,
    weight,
)
from experiment_pipeline.stages.data_analysis.finding import Finding, Severity
from experiment_pipeline.stages.data_analysis.probe import BASELINE, NoProbe, Probe
from experiment_pipeline.stages.data_analysis.skill import NAMES
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, kind_of

MOST_BYTES = 5_000_000
MOST_COLUMNS = 60
MOST_CHARACTERS = 200
_MOST_ASSOCIATIONS = 20
_VERDICT_TONES: dict[Verdict, document.Tone] = {
    "go": "passed",
    "go with conditions": "doubtful",
    "no go": "failed",
}
_TONES: dict[Severity, document.Tone] = {"blocks": "failed", "condition": "doubtful", "note": ""}


def outcome(analysis: Mapping[str, Any], target: str, markdown: str, place: str) -> Outcome:
    """The verdict, which a `no go` makes the end of the run, and the findings.

    Args:
        analysis: what `DataAnalysis.to_json` wrote.
        target: the column that is to be predicted.
        markdown: the analysis as `markdown_report` made it.
        place: where the page lies.
    """
    verdict, reasons = analysis["verdict"], analysis["reasons"]
    because = "; ".join(reasons) or "no conditions, nothing that blocks"
    go = verdict != "no go"
    return Outcome(
        notes=[f"verdict: {verdict}: {because}; report: {place}"] if go else [],
        facts={
            "verdict": verdict,
            "because": because,
            "report": PagePath(place),
            **_rows_read(analysis),
            "found": Rows(_found(analysis)),
            "findings": Markdown(markdown),
        },
        checks=[
            Check(
                "fit_for_modelling",
                passed=go,
                means=f"{verdict} for predicting {target}: {because}",
                refusal=None if go else _refusal(target, because),
            )
        ],
        record=[
            RunFacts(verdict=verdict),
            *(_row(one) for one in analysis["findings"] if one["outcome"] == "found"),
            ReportRow(name="data_analysis", place=place),
        ],
    )


def _rows_read(analysis: Mapping[str, Any]) -> dict[str, Fact]:
    """Rows of the table and of its sample, where the analysis is of one."""
    rows, read = analysis["rows"], analysis["rows_read"]
    return {} if rows == read else {"rows": rows, "rows_read": read}


def _found(analysis: Mapping[str, Any]) -> pd.DataFrame:
    found = [one for one in analysis["findings"] if one["outcome"] == "found"]
    names = ("severity", "title", "evidence", "advice")
    return pd.DataFrame([{name: one[name] for name in names} for one in found], columns=names)


def _row(finding: Mapping[str, Any]) -> FindingRow:
    names = ("code", "title", "severity", "number", "threshold", "evidence", "advice", "accepted")
    return FindingRow(
        column_names=tuple(finding["columns"]), **{name: finding[name] for name in names}
    )


def _refusal(target: str, because: str) -> DataError:
    return DataError(
        f"target {target}",
        f"the data analysis says no go: {because}",
        "Change the data or the YAML as the report advises, or accept the finding: give its code and a "
        "reason under analysis.accept.",
    )


def markdown_report(analysis: DataAnalysis) -> str:
    """Verdict, reasons, probe, found findings with their YAML; the others by code only."""
    blocks: list[document.Block] = [
        document.Bullets(analysis.reasons),
        document.Paragraph(_probe_sentence(analysis.probe)),
        *(
            [document.Paragraph(f"{_rows(analysis)}.")]
            if analysis.rows_read < analysis.rows
            else []
        ),
        *map(_card, analysis.found),
    ]
    parts = [f"## Verdict: {analysis.verdict}", *map(document.rendered, blocks)]
    for name, words in (("not_found", "Not found"), ("not_applicable", "Not applicable")):
        codes = [f"`{finding.code}`" for finding in analysis.findings if finding.outcome == name]
        parts.append(f"**{words}:** {', '.join(codes) or 'none'}")
    return "\n\n".join(filter(None, parts)) + "\n"


def _card(finding: Finding) -> document.Card:
    """A finding with its number, threshold and acceptance."""
    said = [finding.code]
    if finding.number is not None:
        limit = "" if finding.threshold is None else f" (threshold {finding.threshold:.4g})"
        said.append(f"{finding.number:.4g}{limit}")
    texts = [" · ".join(said), finding.evidence, finding.advice]
    tag: str = finding.severity
    if finding.accepted is not None:
        tag = f"{weight(finding)} (accepted {finding.severity})"
        texts.append(f"Accepted: {finding.accepted}")
    blocks: list[document.Block] = list(map(document.Paragraph, texts))
    if finding.yaml is not None:
        blocks.append(document.Code("yaml", finding.yaml.removesuffix("\n")))
    return document.Card(finding.title, tag, _TONES[finding.severity], tuple(blocks))


def _probe_sentence(probe: Probe | NoProbe, spec: ExperimentSpec | None = None) -> str:
    """`Best probe 0.6912 ± 0.0110 roc_auc (lightgbm), baseline 0.5000, your criterion 0.75`."""
    if isinstance(probe, NoProbe):
        return f"No probe: {probe.reason}"
    best, baseline = probe.score(probe.best), probe.score(BASELINE)
    reached = f"{numbers.score(best.mean)} ± {numbers.score(best.standard_error)}"
    criteria = [
        f"your criterion {c.limit:g}"
        for c in (spec.acceptance if spec else ())
        if c.metric == probe.metric
    ]
    parts = [
        f"Best probe {reached} {probe.metric} ({probe.best})",
        f"baseline {numbers.score(baseline.mean)}",
        *criteria,
    ]
    left_out = numbers.some_of([numbers.shown(column) for column in probe.left_out])
    without = f", without the leak suspects {left_out}" if left_out else ""
    without += f", without {probe.unread:,} of the text features" if probe.unread else ""
    return f"{', '.join(parts)}; {probe.folds} folds of {probe.rows:,} rows{without}."


def report_html(analysis: DataAnalysis, frame: pd.DataFrame, spec: ExperimentSpec) -> str:
    """Render the page.

    Args:
        analysis: of this very table: `analysis.shown_rows` are positions in it.
        frame: the prepared table.
        spec: the experiment.
    """
    for most_columns in (MOST_COLUMNS, 20, 5, 0):
        told = _document(analysis, frame, spec, most_columns)
        page = document.render_html(told, tone=_VERDICT_TONES[analysis.verdict])
        if len(page.encode()) <= MOST_BYTES:
            break
    return page


def _document(
    analysis: DataAnalysis, frame: pd.DataFrame, spec: ExperimentSpec, most_columns: int
) -> document.Document:
    asked = f"Target {spec.target}, task {spec.task}, metric {spec.metric}, {_rows(analysis)}."
    verdict: tuple[document.Block, ...] = (
        document.Paragraph(f"Verdict: {analysis.verdict}"),
        *([document.Bullets(analysis.reasons)] if analysis.reasons else []),
        document.Paragraph(_probe_sentence(analysis.probe, spec)),
        document.Paragraph(asked),
    )
    none: tuple[document.Block, ...] = (document.Paragraph("None."),)
    found = tuple(map(_card, analysis.found)) or none
    others = tuple(
        (finding.code, finding.outcome.replace("_", " "), finding.evidence)
        for finding in analysis.findings
        if finding.outcome != "found"
    )
    rules = document.Bullets(VERDICT_RULES)
    columns = _columns(frame, spec, most_columns)
    table = _table_report(frame.iloc[analysis.shown_rows][columns]) if columns else ""
    note = (
        f"{len(analysis.shown_rows):,} of {analysis.rows:,} rows, sampled outside of the validation set "
        f"(final hold-out); {len(columns):,} of {len(frame.columns):,} columns; texts are cut after "
        f"{MOST_CHARACTERS} characters."
    )
    sections = (
        document.Section("In short", verdict),
        document.Section("Findings", found),
        document.Section(
            f"{len(others)} rules that found nothing or did not apply",
            (document.TableBlock(("code", "outcome", "evidence"), others),),
            folded=True,
        ),
        *_associations(analysis, spec),
        document.Section("How the verdict is made", (rules,), folded=True),
        document.Section("The table", (document.Paragraph(note), document.Markup(table))),
    )
    return document.Document(f"Data analysis of {spec.name}", sections, document.around(spec.name))


def _rows(analysis: DataAnalysis) -> str:
    """How many rows there are, and how many of them were read."""
    if analysis.rows_read == analysis.rows:
        return f"{analysis.rows:,} rows"
    return (
        f"{analysis.rows:,} rows; the findings are based on a sample of {analysis.rows_read:,}, chosen "
        "by a hash of their features"
    )


def _associations(analysis: DataAnalysis, spec: ExperimentSpec) -> list[document.Section]:
    strongest = analysis.associations[:_MOST_ASSOCIATIONS]
    if not strongest:
        return []
    said = (
        f"Skill of a model with one feature, as {NAMES[spec.task]}, on rows it was not fitted on; "
        f"the highest {len(strongest)} of {len(analysis.associations):,}."
    )
    rows = tuple((one.column, numbers.share(one.skill)) for one in strongest)
    table = document.TableBlock(("feature", "skill"), rows)
    return [
        document.Section(
            "Features that predict the target alone", (document.Paragraph(said), table)
        )
    ]


def _columns(frame: pd.DataFrame, spec: ExperimentSpec, most: int) -> list[str]:
    """The target and the first columns, in the table's order."""
    others = [column for column in frame.columns if column != spec.target]
    kept = {spec.target, *others[: max(most - 1, 0)]} if most else set()
    return [column for column in frame.columns if column in kept]


def _table_report(sample: pd.DataFrame) -> str:
    """Skrub's report as an HTML fragment with its own script and style."""
    from skrub import TableReport

    shortened = sample.assign(
        **{c: _shortened(sample[c]) for c in sample.columns if kind_of(sample[c]) not in NUMERIC}
    )
    # An infinite value has its finding; here it would make every statistic undefined.
    report = TableReport(
        shortened.replace([np.inf, -np.inf], np.nan),
        title="",
        verbose=0,
        plot_distributions=True,
        compute_associations=True,
        open_tab="stats",
    )
    return str(report.html_snippet())


def _shortened(column: pd.Series) -> pd.Series:
    if kind_of(column) == "datetime":
        return column
    return as_text(column).str.slice(0, MOST_CHARACTERS)
