import re

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis
from experiment_pipeline.stages.data_analysis.page import MOST_BYTES, markdown_report, report_html
from experiment_pipeline_tests.stages.data_analysis.tables import (
    ROWS,
    VALIDATION,
    analysed,
    experiment,
    table,
)

MARKUP = "<script>alert(1)</script>"


def _report(frame: pd.DataFrame, **changes) -> tuple[DataAnalysis, str]:
    analysis = analysed(frame, **changes)
    return analysis, report_html(analysis, frame, experiment(**changes))


def test_the_verdict_comes_first_and_the_table_last() -> None:
    """People read the verdict, the probe, the findings, then the profile."""
    analysis, page = _report(table(outcome=table()["y"]))
    places = [
        page.index(text)
        for text in ("Verdict: no go", "Best probe", "<h2>Findings</h2>", "<h2>The table</h2>")
    ]
    assert places == sorted(places)
    for finding in analysis.found:
        assert finding.code in page


def test_the_page_needs_nothing_else() -> None:
    """No script, style, font or picture is loaded from elsewhere."""
    _, page = _report(table())
    loaded = re.findall(r"""(?:src|srcset|@import|url\()\s*=?\s*["']?(https?:[^"')]*)""", page)
    assert loaded == []
    assert not re.search(r"<link\b[^>]*href=[\"']https?:", page)


def test_names_and_values_are_shown_and_never_run() -> None:
    """Markup in column names, values and reasons is escaped in both forms of the report."""
    frame = table(**{MARKUP: MARKUP, "`|*_[x](http://evil)": 1, "outcome": table()["y"]})
    accept = {"leak_suspect": MARKUP}
    analysis, page = _report(frame, analysis={"accept": accept})
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    markdown = re.sub(r"(?s)(`{3,})yaml\n.*?\1", "", markdown_report(analysis))
    assert "<script>" not in markdown
    assert "[x](http" not in markdown


def test_a_name_cannot_close_the_block_of_yaml() -> None:
    """Backticks in a column name make the fence longer."""
    analysis, _ = _report(table(**{"a\n```\n<b>": 1}))
    assert "\n````yaml\n" in markdown_report(analysis)


def test_rows_of_the_validation_set_are_not_shown() -> None:
    """The profile of the table, target included, is one of the other rows."""
    secret = np.where(VALIDATION, "secret", "open")
    _, page = _report(table(note=secret))
    profile = page[page.index("<h2>The table</h2>") :]
    assert "open" in profile
    assert "secret" not in profile


def test_sampling_is_said_aloud() -> None:
    """How many rows and columns the profile is of stands above it."""
    _, page = _report(table(), analysis={"report_rows": 100})
    assert "100 of 400 rows" in page
    assert "4 of 4 columns" in page


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(
            table(**{f"n{i}": np.arange(ROWS) for i in range(300)}), marks=pytest.mark.slow
        ),
        table(**{f"long{i}": ["word " * 4000 + str(i)] * ROWS for i in range(5)}),
    ],
)
def test_wide_and_long_tables_stay_small(frame) -> None:
    """Columns beyond sixty, and texts beyond 200 characters, are cut and not told in full."""
    _, page = _report(frame)
    assert len(page.encode()) < MOST_BYTES
    assert "of 304 columns" in page or "cut after 200 characters" in page
