"""The data analysis for people: a self-contained HTML page of at most 5 MB, and Markdown.

In: a DataAnalysis, for the page its table and spec. Out: verdict first, then findings; the page
also has skrub's table report on rows outside of the validation set, and loads nothing from
elsewhere. Names and values of the table may hold anything: they are escaped by jinja2, by skrub in
its part, and in the Markdown, which is small enough for the Dagster UI.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiment_pipeline.columns.coercion import as_text
from experiment_pipeline.columns.kinds import NUMERIC, kind_of
from experiment_pipeline.errors import UnfitForModelling
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import bullets, escape, fenced
from experiment_pipeline.reporting.outcome import Check, Markdown, Outcome, Place
from experiment_pipeline.spec import DataAnalysisSpec
from experiment_pipeline.stages.data_analysis.analysis import VERDICT_RULES, DataAnalysis, weight
from experiment_pipeline.stages.data_analysis.finding import Finding, shown, some_of
from experiment_pipeline.stages.data_analysis.probe import BASELINE, NoProbe, Probe
from experiment_pipeline.stages.data_analysis.skill import NAMES

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data analysis of {{ spec.name }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
         padding: 0 1rem; color: #1c2430; background: #fff; }
  h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { margin-top: 2rem; font-size: 1.2rem; }
  .verdict { padding: .8rem 1rem; border-left: .5rem solid; font-size: 1.15rem; }
  .go { border-color: #1a7f4b; background: #e9f6ef; }
  .conditions { border-color: #b7791f; background: #fdf5e3; }
  .no { border-color: #b3261e; background: #fbeae9; }
  .finding { border: 1px solid #d5dae1; border-radius: 4px; padding: .6rem 1rem; margin: .8rem 0; }
  .finding h3 { margin: 0; font-size: 1rem; } .finding p { margin: .4rem 0; }
  .tag { font-size: .8rem; padding: 0 .5rem; border-radius: 1rem; background: #e6eaf0; }
  .blocks { background: #f3c6c3; } .condition { background: #f6dfae; }
  code, pre { font: 13px/1.45 ui-monospace, monospace; }
  pre { background: #f5f7fa; padding: .6rem; overflow-x: auto; }
  table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left;
          vertical-align: top; overflow-wrap: anywhere; }
  .quiet { color: #5b6675; }
</style>
</head>
<body>
<h1>Data analysis of {{ spec.name }}</h1>
<p class="quiet">Target <code>{{ spec.target }}</code>, task {{ spec.task }}, metric
{{ spec.metric }}, {{ "{:,}".format(analysis.rows) }} rows.</p>

{% set colour = {"go": "go", "no go": "no"}.get(analysis.verdict, "conditions") %}
<div class="verdict {{ colour }}"><strong>Verdict: {{ analysis.verdict }}</strong>
{% if analysis.reasons %}
<ul>{% for reason in analysis.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>
{% endif %}
</div>
<p>{{ probe }}</p>

<h2>Findings</h2>
{% for finding in analysis.found %}
<div class="finding">
  <h3>{{ finding.title }} <span class="tag {{ finding.severity }}">{{ finding|weight }}</span></h3>
  <p class="quiet"><code>{{ finding.code }}</code> {{ finding|measured }}</p>
  <p>{{ finding.evidence }}</p>
  <p>{{ finding.advice }}</p>
  {% if finding.accepted is not none %}<p>Accepted: {{ finding.accepted }}</p>{% endif %}
  {% if finding.yaml %}<pre>{{ finding.yaml }}</pre>{% endif %}
</div>
{% else %}
<p>None.</p>
{% endfor %}

<details><summary>{{ others|length }} rules that found nothing or did not apply</summary>
<table>
{% for finding in others %}
<tr><td><code>{{ finding.code }}</code></td><td>{{ finding.outcome|replace("_", " ") }}</td>
<td>{{ finding.evidence }}</td></tr>
{% endfor %}
</table></details>

{% if associations %}
<h2>What predicts the target alone</h2>
<p class="quiet">Skill of a model on one feature, as {{ scale }}, on rows it was not fitted on;
the strongest {{ associations|length }} of {{ "{:,}".format(analysis.associations|length) }}.</p>
<table>
{% for association in associations %}
<tr><td><code>{{ association.column }}</code></td><td>{{ association.skill|share }}</td></tr>
{% endfor %}
</table>
{% endif %}

<details><summary>How the verdict is made</summary>
<ol>{% for rule in rules %}<li>{{ rule }}</li>{% endfor %}</ol></details>

<h2>The table</h2>
<p class="quiet">{{ table_note }}</p>
{{ table|safe }}
</body>
</html>
"""


def probe_sentence(probe: Probe | NoProbe, spec: DataAnalysisSpec | None = None) -> str:
    """`Best probe 0.6912 ± 0.0110 roc_auc (lightgbm), baseline 0.5000, your criterion 0.75`."""
    if isinstance(probe, NoProbe):
        return f"No probe: {probe.reason}"
    best, baseline = probe.score(probe.best), probe.score(BASELINE)
    reached = f"{numbers.score(best.mean)} ± {numbers.score(best.standard_error)}"
    criteria = [
        f"your criterion {c.at_least if c.at_least is not None else c.at_most:g}"
        for c in (spec.acceptance if spec else ())
        if c.metric == probe.metric
    ]
    parts = [
        f"Best probe {reached} {probe.metric} ({probe.best})",
        f"baseline {numbers.score(baseline.mean)}",
        *criteria,
    ]
    left_out = some_of([shown(column) for column in probe.left_out])
    without = f", without the leak suspects {left_out}" if left_out else ""
    without += f", without {probe.unread:,} of the text features" if probe.unread else ""
    return f"{', '.join(parts)}; {probe.folds} folds of {probe.rows:,} rows{without}."


def weight_in_words(finding: Finding) -> str:
    """`blocks`, `condition`, `note`, with what acceptance made of it."""
    if finding.accepted is None:
        return finding.severity
    return f"{weight(finding)} (accepted {finding.severity})"


def measured(finding: Finding) -> str:
    """The number and its threshold, for people; empty where there is none."""
    if finding.number is None:
        return ""
    limit = "" if finding.threshold is None else f" (threshold {finding.threshold:.4g})"
    return f"{finding.number:.4g}{limit}"


if TYPE_CHECKING:
    from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis


def markdown_report(analysis: DataAnalysis) -> str:
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


if TYPE_CHECKING:
    import jinja2

MOST_BYTES = 5_000_000
MOST_COLUMNS = 60
MOST_CHARACTERS = 200
_MOST_ASSOCIATIONS = 20


def outcome(
    verdict: str, reasons: Sequence[str], target: str, markdown: str, place: str
) -> Outcome:
    """The verdict, which a `no go` makes the end of the run, and the findings.

    Args:
        verdict: go, go with conditions, or no go.
        reasons: of the verdict.
        target: the column that is to be predicted.
        markdown: the analysis as `markdown_report` made it.
        place: where the page lies.
    """
    because = "; ".join(reasons) or "no condition, nothing that blocks"
    go = verdict != "no go"
    return Outcome(
        notes=[f"verdict: {verdict}: {because}; report: {place}"] if go else [],
        facts={"verdict": verdict, "findings": Markdown(markdown), "report": Place(place)},
        checks=[
            Check(
                "fit_for_modelling",
                passed=go,
                means=f"{verdict} for predicting {target}: {because}",
                refusal=None if go else _refusal(target, because),
            )
        ],
    )


def _refusal(target: str, because: str) -> UnfitForModelling:
    return UnfitForModelling(
        f"target {target}",
        f"the data analysis says no go: {because}",
        "Change the data or the YAML as the report says, or accept the finding by its code under "
        "analysis.accept with the reason.",
    )


def report_html(analysis: DataAnalysis, frame: pd.DataFrame, spec: DataAnalysisSpec) -> str:
    """Render the page.

    Args:
        analysis: of this very table: `analysis.shown_rows` are positions in it.
        frame: the prepared table.
        spec: the experiment.
    """
    for most_columns in (MOST_COLUMNS, 20, 5, 0):
        page = _page(analysis, frame, spec, most_columns)
        if len(page.encode()) <= MOST_BYTES:
            break
    return page


def _page(
    analysis: DataAnalysis, frame: pd.DataFrame, spec: DataAnalysisSpec, most_columns: int
) -> str:
    columns = _columns(frame, spec, most_columns)
    return _template().render(
        analysis=analysis,
        spec=spec,
        probe=probe_sentence(analysis.probe, spec),
        rules=VERDICT_RULES,
        others=[f for f in analysis.findings if f.outcome != "found"],
        associations=analysis.associations[:_MOST_ASSOCIATIONS],
        scale=NAMES[spec.task],
        table_note=_table_note(analysis, frame, len(columns)),
        table=_table_report(frame.iloc[analysis.shown_rows][columns]) if columns else "",
    )


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"measured": measured, "weight": weight_in_words, "share": numbers.share}
    return environment.from_string(PAGE)


def _columns(frame: pd.DataFrame, spec: DataAnalysisSpec, most: int) -> list[str]:
    """The target and the first columns, in the table's order."""
    others = [column for column in frame.columns if column != spec.target]
    kept = {spec.target, *others[: max(most - 1, 0)]} if most else set()
    return [column for column in frame.columns if column in kept]


def _table_note(analysis: DataAnalysis, frame: pd.DataFrame, columns: int) -> str:
    """What the table report leaves out, said aloud."""
    return (
        f"{len(analysis.shown_rows):,} of {len(frame):,} rows, sampled from those outside of the "
        f"validation set; {columns:,} of {len(frame.columns):,} columns; texts are cut after "
        f"{MOST_CHARACTERS} characters."
    )


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
