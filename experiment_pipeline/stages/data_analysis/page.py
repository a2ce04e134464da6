"""The data analysis as one self-contained HTML page, at most 5 MB.

In: a DataAnalysis, its table and spec. Out: HTML; verdict first, then findings, then skrub's
table report on rows outside of the validation set. The page loads nothing from elsewhere.
Everything that comes from the table is escaped by jinja2, or by skrub in its part.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, kind_of
from experiment_pipeline.columns.texts import as_text
from experiment_pipeline.errors import UnfitForModelling
from experiment_pipeline.reporting.outcome import Check, Markdown, Outcome, Place
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis
from experiment_pipeline.stages.data_analysis.finding import percent
from experiment_pipeline.stages.data_analysis.page_template import PAGE
from experiment_pipeline.stages.data_analysis.sentences import (
    measured,
    probe_sentence,
    weight_in_words,
)
from experiment_pipeline.stages.data_analysis.skill import NAMES
from experiment_pipeline.stages.data_analysis.verdict import RULES

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
        markdown: the analysis as `to_markdown` made it.
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


def report_html(analysis: DataAnalysis, frame: pd.DataFrame, spec: ExperimentSpec) -> str:
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
    analysis: DataAnalysis, frame: pd.DataFrame, spec: ExperimentSpec, most_columns: int
) -> str:
    columns = _columns(frame, spec, most_columns)
    return _template().render(
        analysis=analysis,
        spec=spec,
        probe=probe_sentence(analysis.probe, spec),
        rules=RULES,
        others=[f for f in analysis.findings if f.outcome != "found"],
        associations=analysis.associations[:_MOST_ASSOCIATIONS],
        scale=NAMES[spec.task],
        table_note=_table_note(analysis, frame, len(columns)),
        table=_table_report(frame.iloc[analysis.shown_rows][columns]) if columns else "",
    )


@lru_cache(maxsize=1)
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"measured": measured, "weight": weight_in_words, "percent": percent}
    return environment.from_string(PAGE)


def _columns(frame: pd.DataFrame, spec: ExperimentSpec, most: int) -> list[str]:
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
