"""The data analysis as an outcome, Markdown, and an HTML page.

The page also has a table of the columns, on rows outside of the validation set.
"""

from collections.abc import Mapping
from dataclasses import replace
from textwrap import indent
from typing import Any

import numpy as np
import pandas as pd
import yaml

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.outcome import (
    Check,
    Fact,
    Markdown,
    Outcome,
    PagePath,
    Rows,
)
from experiment_pipeline.reporting.run_record import FindingRow, ReportRow, RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.data_analysis import pictures
from experiment_pipeline.stages.data_analysis.analysis import (
    DataAnalysis,
    unfit,
    weight,
)
from experiment_pipeline.stages.data_analysis.finding import Finding, Severity
from experiment_pipeline.stages.data_analysis.findings.probe import (
    BASELINE,
    NoProbe,
    Probe,
)
from experiment_pipeline.stages.data_analysis.skill import NAMES
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.dictionary import NO_DICTIONARY, Dictionary
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.table import plain_rows

MOST_COLUMNS = 60
_FIRST_ROWS = 5
_MOST_ASSOCIATIONS = 20
_TONES: dict[Severity, document.Tone] = {
    "blocks": "failed",
    "condition": "doubtful",
    "note": "",
}


def outcome(
    analysis: Mapping[str, Any], target: str, markdown: str, place: str
) -> Outcome:
    """The verdict, `no go` ends the run, and the findings.

    `analysis` is what `DataAnalysis.to_json` wrote.
    """
    verdict = analysis["verdict"]
    because = "; ".join(analysis["reasons"]) or "no conditions, nothing that blocks"
    findings = [f for f in analysis["findings"] if f["outcome"] == "found"]
    facts: dict[str, Fact] = {
        "verdict": verdict,
        "because": because,
        "report": PagePath(place),
    }
    if analysis["rows"] != analysis["rows_read"]:
        facts["rows"] = analysis["rows"]
        facts["rows_read"] = analysis["rows_read"]
    columns = ["severity", "title", "evidence", "advice"]
    facts["found"] = Rows(pd.DataFrame(findings, columns=columns))
    facts["findings"] = Markdown(markdown)
    go = verdict != "no go"
    check = Check(
        "fit_for_modelling",
        passed=go,
        means=f"{verdict} for predicting {target}: {because}",
        refusal=None if go else unfit(target, because),
    )
    note = f"verdict: {verdict}: {because}"
    if place:  # a run in memory writes no page
        note += f"; report: {place}"
    return Outcome(
        notes=[note] if go else [],
        facts=facts,
        checks=[check],
        record=[
            RunFacts(verdict=verdict),
            *map(_finding_row, findings),
            ReportRow(name="data_analysis", place=place),
        ],
    )


def _finding_row(finding: Mapping[str, Any]) -> FindingRow:
    return FindingRow(
        code=finding["code"],
        title=finding["title"],
        severity=finding["severity"],
        column_names=tuple(finding["columns"]),
        number=finding["number"],
        threshold=finding["threshold"],
        evidence=finding["evidence"],
        advice=finding["advice"],
        accepted=finding["accepted"],
    )


def markdown_report(analysis: DataAnalysis, spec: ExperimentSpec) -> str:
    """The summary and the findings of the page."""
    sections = (_summary(analysis, spec), _findings(analysis, spec))
    return document.render(document.Document(_title(spec), sections))


def report_html(
    analysis: DataAnalysis,
    frame: pd.DataFrame,
    spec: ExperimentSpec,
    dictionary: Dictionary = NO_DICTIONARY,
) -> str:
    """Render the page; `analysis` is of this very frame."""
    meanings = dictionary.of_features(map(str, frame.columns), spec.preparation)
    sections = (
        _summary(analysis, spec),
        _findings(analysis, spec, frame),
        _table(analysis, frame, spec, meanings),
        _skills(analysis, spec, meanings),
        _silent_rules(analysis),
    )
    page = document.Document(_title(spec), sections)
    return document.render_html(page, tone=document.TONE_OF[analysis.verdict])


def _title(spec: ExperimentSpec) -> str:
    return f"Data analysis of {spec.name}"


def _summary(analysis: DataAnalysis, spec: ExperimentSpec) -> document.Section:
    rows = f"{analysis.rows:,} rows"
    if analysis.rows_read < analysis.rows:
        sample = f"a sample of {analysis.rows_read:,}"
        rows += f"; the findings are based on {sample}"
    question = f"Target {spec.target}, task {spec.task}, metric {spec.metric}, {rows}."
    # The reasons that are findings are below.
    reasons = [one for one in analysis.reasons if one not in analysis.conditions]
    if not analysis.reasons:
        reasons = ["No conditions, nothing that blocks."]
    blocks = (
        document.Paragraph(f"Verdict: {analysis.verdict}"),
        *([document.Bullets(reasons)] if reasons else []),
        document.Paragraph(_probe_sentence(analysis.probe)),
        document.Paragraph(question),
    )
    return document.Section("Summary", blocks)


def _probe_sentence(probe: Probe | NoProbe) -> str:
    """Best score and baseline, and the rows on which they were measured."""
    if isinstance(probe, NoProbe):
        return f"No probe: {probe.reason}"
    best, baseline = probe.score(probe.best), probe.score(BASELINE)
    rows = f"{probe.folds} folds of {probe.rows:,} rows"
    if probe.left_out:
        names = numbers.some_of(list(map(numbers.shown, probe.left_out)))
        rows += f", without the leak suspects {names}"
    if probe.unread:
        rows += f", without {probe.unread:,} of the text features"
    return (
        f"Best probe {numbers.spread(best.mean, best.standard_error)} {probe.metric} "
        f"({probe.best}), baseline {numbers.score(baseline.mean)}; {rows}."
    )


def _findings(
    analysis: DataAnalysis, spec: ExperimentSpec, frame: pd.DataFrame | None = None
) -> document.Section:
    """The findings, the most severe one first, with pictures of a table."""
    blocks: list[document.Block] = []
    for finding in analysis.found:
        card = _card(finding)
        if frame is not None:
            shown = frame.iloc[analysis.shown_rows]
            drawn = pictures.pictures(finding, frame, shown, spec)
            card = replace(card, blocks=(*card.blocks, *drawn))
        blocks.append(card)
    if not blocks:
        blocks.append(document.Paragraph("None."))
    if settings := _settings(analysis, spec):
        how = (
            "Settings for all findings. Each key replaces the same key of defs.yaml "
            "and keeps its values; remove what does not apply."
        )
        blocks.append(document.Paragraph(how))
        yaml_text = indent(to_yaml(settings), "  ").rstrip()
        blocks.append(document.Code("yaml", yaml_text))
    return document.Section("Findings", tuple(blocks))


def _card(finding: Finding) -> document.Card:
    """A finding with its number, threshold and acceptance."""
    measured = finding.code
    if finding.number is not None:
        measured += f" · {finding.number:.4g}"
        if finding.threshold is not None:
            measured += f" (threshold {finding.threshold:.4g})"
    texts = [finding.evidence, finding.advice, measured]
    tag: str = finding.severity
    if finding.accepted is not None:
        tag = f"{weight(finding)} (accepted {finding.severity})"
        texts.append(f"Accepted: {finding.accepted}")
    blocks = tuple(map(document.Paragraph, texts))
    return document.Card(finding.title, tag, _TONES[finding.severity], blocks)


def _settings(analysis: DataAnalysis, spec: ExperimentSpec) -> dict[str, Any]:
    """The YAML of all findings, with what the experiment has under the same keys."""
    declared = spec.declared()
    settings: dict[str, Any] = {}
    for finding in analysis.found:
        if finding.yaml and finding.accepted is None:
            for key, value in yaml.safe_load(finding.yaml).items():
                settings[key] = _merged(settings.get(key, declared.get(key)), value)
    return settings


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _silent_rules(analysis: DataAnalysis) -> document.Section:
    rows = tuple(
        (finding.code, finding.outcome.replace("_", " "), finding.evidence)
        for finding in analysis.findings
        if finding.outcome != "found"
    )
    table = document.TableBlock(("code", "outcome", "evidence"), rows)
    title = f"{len(rows)} rules that found nothing or did not apply"
    return document.Section(title, (table,), folded=True)


def _skills(
    analysis: DataAnalysis, spec: ExperimentSpec, meanings: Mapping[str, Meaning]
) -> document.Section:
    strongest = analysis.associations[:_MOST_ASSOCIATIONS]
    meaning = (
        f"Skill of a model with one feature, as {NAMES[spec.task]}, on rows it was not "
        f"fitted on; the highest {len(strongest)} of {len(analysis.associations):,}."
    )
    rows = [(a.column, pictures.bar(a.skill)) for a in strongest]
    table = document.TableBlock(("feature", "skill"), rows)
    table = document.with_meanings(table, meanings)
    title = "Features that predict the target alone"
    return document.Section(title, (document.Paragraph(meaning), table), folded=True)


def _table(
    analysis: DataAnalysis,
    frame: pd.DataFrame,
    spec: ExperimentSpec,
    meanings: Mapping[str, Meaning],
) -> document.Section:
    """A row for each of the first columns and the target, and the first rows."""
    features = [column for column in frame.columns if column != spec.target]
    named = {spec.target, *features[: MOST_COLUMNS - 1]}
    columns = [column for column in frame.columns if column in named]
    sample = frame.iloc[analysis.shown_rows][columns]
    extent = (
        f"{len(sample):,} of {analysis.rows:,} rows, none of the validation set; "
        f"{len(columns):,} of {len(frame.columns):,} columns."
    )
    header = ("column", "type", "missing", "distinct", "distribution", "values")
    rows = tuple(_column(sample[name]) for name in columns)
    blocks = (
        document.Paragraph(extent),
        document.with_meanings(document.TableBlock(header, rows), meanings),
        document.Paragraph("The first of these rows:"),
        document.rows_table(plain_rows(sample.head(_FIRST_ROWS))),
    )
    return document.Section("The table", blocks, folded=True)


def _column(column: pd.Series) -> tuple[document.Cell, ...]:
    """Name, type, missing share, distinct values, bars, and values in words."""
    kind, present = kind_of(column), column.dropna()
    if len(present) and (kind == "datetime" or kind in QUANTITIES):
        distinct = present.nunique()
        heights, words = _distribution(present)
    else:
        present = as_text(present)
        distinct = present.nunique()
        heights, words = _frequencies(present)
    missing = column.isna().mean()
    return (
        numbers.shown(column.name),
        kind,
        numbers.share(missing) if missing else "",
        f"{distinct:,}",
        pictures.bars(heights),
        words,
    )


def _distribution(column: pd.Series) -> tuple[np.ndarray, str]:
    """Rows per bin of numbers or instants, and range and median in words."""
    extremes = column.quantile([0.0, 0.5, 1.0], interpolation="lower")
    low, middle, high = extremes.map(_value)
    words = f"{low} to {high}, median {middle}"
    values = numbers_of(column)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.zeros(pictures.BARS), words
    if kind_of(column) in QUANTITIES:
        words += f", mean {numbers.spread(values.mean(), values.std())}"
    values = values / max(np.abs(values).max(), 1e-300)
    # A few outliers would leave all others in one bar.
    low, high = np.quantile(values, [0.01, 0.99])
    # From 0 on, because beside a large number there may be no room for so many bars.
    return np.histogram(np.clip(values, low, high) - low, bins=pictures.BARS)[0], words


def _frequencies(column: pd.Series) -> tuple[np.ndarray, str]:
    """Shares of the most frequent texts, and the first ones in words."""
    shares = column.value_counts(normalize=True)
    first = [
        f"{numbers.shown(text)} ({numbers.share(share)})"
        for text, share in shares.head(4).items()
    ]
    words = numbers.some_of([*first, *shares.index[4:]], most=4)
    return shares.head(pictures.BARS).to_numpy(), words


def _value(cell: Any) -> str:
    if isinstance(cell, pd.Timestamp):
        return numbers.shown(cell)
    return numbers.setting(float(cell))
