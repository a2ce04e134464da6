"""The data analysis as an outcome, Markdown, and an HTML page.

The page also has a table of the columns, on rows outside of the validation set.
"""

from collections.abc import Iterator, Mapping
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
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.table import plain_rows

MOST_COLUMNS = 60
_FIRST_ROWS, _BARS, _HEIGHT = 5, 12, 20
_MOST_ASSOCIATIONS = 20
_TONES: dict[Severity, document.Tone] = {
    "blocks": "failed",
    "condition": "doubtful",
    "note": "",
}


def outcome(
    analysis: Mapping[str, Any], target: str, markdown: str, place: str
) -> Outcome:
    """The verdict (`no go` ends the run) and the findings, as `DataAnalysis.to_json`
    wrote them.
    """
    verdict = analysis["verdict"]
    because = "; ".join(analysis["reasons"]) or "no conditions, nothing that blocks"
    go = verdict != "no go"
    found = [one for one in analysis["findings"] if one["outcome"] == "found"]
    shown = ["severity", "title", "evidence", "advice"]
    rows, read = analysis["rows"], analysis["rows_read"]
    sample: dict[str, Fact] = {} if rows == read else {"rows": rows, "rows_read": read}
    names = (
        "code",
        "title",
        "severity",
        "number",
        "threshold",
        "evidence",
        "advice",
        "accepted",
    )
    recorded = [
        FindingRow(
            column_names=tuple(one["columns"]), **{name: one[name] for name in names}
        )
        for one in found
    ]
    means = f"{verdict} for predicting {target}: {because}"
    refusal = None if go else unfit(target, because)
    return Outcome(
        notes=[f"verdict: {verdict}: {because}; report: {place}"] if go else [],
        facts={
            "verdict": verdict,
            "because": because,
            "report": PagePath(place),
            **sample,
            "found": Rows(pd.DataFrame(found, columns=shown)),
            "findings": Markdown(markdown),
        },
        checks=[Check("fit_for_modelling", go, means, refusal=refusal)],
        record=[
            RunFacts(verdict=verdict),
            *recorded,
            ReportRow(name="data_analysis", place=place),
        ],
    )


def markdown_report(analysis: DataAnalysis, spec: ExperimentSpec) -> str:
    """Verdict, reasons, probe, found findings and their YAML; the others by
    code only.
    """
    blocks: list[document.Block] = [
        document.Bullets(analysis.reasons),
        document.Paragraph(_probe_sentence(analysis.probe)),
        document.Paragraph(f"{_rows(analysis)}."),
        *map(_card, analysis.found),
        *_patch(analysis, spec),
    ]
    parts = [f"## Verdict: {analysis.verdict}", *map(document.rendered, blocks)]
    for name, words in (
        ("not_found", "Not found"),
        ("not_applicable", "Not applicable"),
    ):
        codes = [
            f"`{finding.code}`"
            for finding in analysis.findings
            if finding.outcome == name
        ]
        parts.append(f"**{words}:** {', '.join(codes) or 'none'}")
    return "\n\n".join(filter(None, parts)) + "\n"


def _card(finding: Finding) -> document.Card:
    """A finding with its number, threshold and acceptance."""
    head = [finding.code]
    if finding.number is not None:
        limit = (
            "" if finding.threshold is None else f" (threshold {finding.threshold:.4g})"
        )
        head.append(f"{finding.number:.4g}{limit}")
    texts, tag = (
        [" · ".join(head), finding.evidence, finding.advice],
        str(finding.severity),
    )
    if finding.accepted is not None:
        tag = f"{weight(finding)} (accepted {finding.severity})"
        texts.append(f"Accepted: {finding.accepted}")
    blocks = tuple(map(document.Paragraph, texts))
    return document.Card(finding.title, tag, _TONES[finding.severity], blocks)


def _patch(analysis: DataAnalysis, spec: ExperimentSpec) -> Iterator[document.Block]:
    """The settings of all findings as one YAML, with what the experiment has under the
    same keys.
    """
    wanted = [one.yaml for one in analysis.found if one.yaml and one.accepted is None]
    given, patch = spec.model_dump(mode="json", exclude_unset=True), dict[str, Any]()
    for key, value in (pair for one in wanted for pair in yaml.safe_load(one).items()):
        patch[key] = _merged(patch.get(key, given.get(key)), value)
    if patch:
        said = (
            "Settings for all findings. Each key replaces the same key of defs.yaml and keeps its values; "
            "remove what does not apply."
        )
        yield document.Paragraph(said)
        yield document.Code("yaml", indent(to_yaml(patch), "  ").rstrip())


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _probe_sentence(probe: Probe | NoProbe) -> str:
    """Best score and baseline, and the rows on which they were measured."""
    if isinstance(probe, NoProbe):
        return f"No probe: {probe.reason}"
    best, baseline = probe.score(probe.best), probe.score(BASELINE)
    reached = numbers.spread(best.mean, best.standard_error)
    left_out = numbers.some_of([numbers.shown(column) for column in probe.left_out])
    without = f", without the leak suspects {left_out}" if left_out else ""
    without += (
        f", without {probe.unread:,} of the text features" if probe.unread else ""
    )
    return (
        f"Best probe {reached} {probe.metric} ({probe.best}), baseline "
        f"{numbers.score(baseline.mean)}; {probe.folds} folds of {probe.rows:,} rows{without}."
    )


def report_html(
    analysis: DataAnalysis, frame: pd.DataFrame, spec: ExperimentSpec
) -> str:
    """Render the page; `analysis` is of this very frame."""
    asked = f"Target {spec.target}, task {spec.task}, metric {spec.metric}, {_rows(analysis)}."
    verdict: tuple[document.Block, ...] = (
        document.Paragraph(f"Verdict: {analysis.verdict}"),
        document.Bullets(analysis.reasons or ("No conditions, nothing that blocks.",)),
        document.Paragraph(_probe_sentence(analysis.probe)),
        document.Paragraph(asked),
    )
    found = (*map(_card, analysis.found), *_patch(analysis, spec))
    others = tuple(
        (finding.code, finding.outcome.replace("_", " "), finding.evidence)
        for finding in analysis.findings
        if finding.outcome != "found"
    )
    # The target and the first columns, in the table's order.
    first = [column for column in frame.columns if column != spec.target][
        : MOST_COLUMNS - 1
    ]
    columns = [column for column in frame.columns if column in {spec.target, *first}]
    note = (
        f"{len(analysis.shown_rows):,} of {analysis.rows:,} rows, none of the validation set; "
        f"{len(columns):,} of {len(frame.columns):,} columns."
    )
    table = _table(frame.iloc[analysis.shown_rows][columns])
    strongest = analysis.associations[:_MOST_ASSOCIATIONS]
    alone = (
        f"Skill of a model with one feature, as {NAMES[spec.task]}, on rows it was not fitted on; "
        f"the highest {len(strongest)} of {len(analysis.associations):,}."
    )
    rows = tuple((one.column, numbers.share(one.skill)) for one in strongest)
    skills = (
        document.Paragraph(alone),
        document.TableBlock(("feature", "skill"), rows),
    )
    sections = (
        document.Section("Summary", verdict),
        document.Section("Findings", found or (document.Paragraph("None."),)),
        document.Section(
            f"{len(others)} rules that found nothing or did not apply",
            (document.TableBlock(("code", "outcome", "evidence"), others),),
            folded=True,
        ),
        document.Section("Features that predict the target alone", skills),
        document.Section("The table", (document.Paragraph(note), *table)),
    )
    around = document.around(spec.name)
    content = document.Document(f"Data analysis of {spec.name}", sections, around)
    return document.render_html(content, tone=document.TONE_OF[analysis.verdict])


def _rows(analysis: DataAnalysis) -> str:
    """How many rows there are, and how many of them were read."""
    sample = f"; the findings are based on a sample of {analysis.rows_read:,}"
    return (
        f"{analysis.rows:,} rows{sample if analysis.rows_read < analysis.rows else ''}"
    )


def _table(sample: pd.DataFrame) -> tuple[document.Block, ...]:
    """A row for each column, and the first rows."""
    header = ("column", "type", "missing", "distinct", "distribution", "values")
    return (
        document.TableBlock(
            header, tuple(_column(sample[name]) for name in sample.columns)
        ),
        document.Paragraph("The first of these rows:"),
        document.rows_table(plain_rows(sample.head(_FIRST_ROWS))),
    )


def _column(column: pd.Series) -> tuple[document.Cell, ...]:
    """A column's type, missing share, distinct values, distribution as bars, and values
    in words.
    """
    kind, known = kind_of(column), column.dropna()
    if len(known) and (kind == "datetime" or kind in QUANTITIES):
        low, middle, high = known.quantile([0.0, 0.5, 1.0], interpolation="lower").map(
            _value
        )
        distinct, words = known.nunique(), f"{low} to {high}, median {middle}"
        values = numbers_of(known)
        values = values[np.isfinite(values)]
        if kind in QUANTITIES and len(values):
            words += f", mean {numbers.spread(values.mean(), values.std())}"
        values = values / max(np.abs(values).max(initial=0.0), 1e-300)
        # A few outliers would leave all others in one bar.
        within = np.quantile(values, [0.01, 0.99]) if len(values) else (0, 0)
        # From 0 on, because beside a large number there may be no room for so many
        # bars.
        bars = np.histogram(np.clip(values, *within) - within[0], bins=_BARS)[0]
    else:
        shares = as_text(known).value_counts(normalize=True)
        distinct, bars = len(shares), shares.head(_BARS).to_numpy()
        first = [
            f"{numbers.shown(text)} ({numbers.share(part)})"
            for text, part in shares.head(4).items()
        ]
        words = numbers.some_of([*first, *shares.index[4:]], most=4)
    missing = len(column) - len(known)
    lacks = numbers.share(missing / len(column)) if missing else ""
    return (
        numbers.shown(column.name),
        kind,
        lacks,
        f"{distinct:,}",
        _drawn(bars),
        words,
    )


def _value(cell: Any) -> str:
    return (
        numbers.shown(cell)
        if isinstance(cell, pd.Timestamp)
        else numbers.setting(float(cell))
    )


def _drawn(bars: np.ndarray) -> document.Markup:
    """Bars of these heights, as decoration: the text beside them has the values."""
    heights = _HEIGHT * bars / max(bars.max(initial=0), 1e-300)
    drawn = (
        f'<rect x="{6 * place}" y="{_HEIGHT - height:.1f}" width="5" height="{height:.1f}"/>'
        for place, height in enumerate(heights)
    )
    size = f'width="{6 * _BARS}" height="{_HEIGHT}"'
    return document.Markup(
        f'<svg class="bars" aria-hidden="true" {size}>{"".join(drawn)}</svg>'
    )
