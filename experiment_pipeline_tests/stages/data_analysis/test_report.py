import re

import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis
from experiment_pipeline.stages.data_analysis.page import markdown_report, report_html
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline_tests.stages.data_analysis import tables

MARKUP = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def report() -> tuple[DataAnalysis, str]:
    """An analysis with a leak, markup and secrets, and its page."""
    frame = tables.table(
        **{MARKUP: MARKUP, "`|*_[x](http://evil)": 1, "a\n```\n<b>": 1},
        outcome=tables.table()["y"],
        note=np.where(tables.VALIDATION, "secret", "open"),
        long=["word " * 4000] * tables.ROWS,
    )
    settings = {"analysis": {"accept": {"leak_suspect": MARKUP}, "report_rows": 100}}
    analysis = tables.analysed(frame, **settings)
    return analysis, report_html(analysis, frame, tables.experiment(**settings))


def test_the_verdict_comes_first_and_the_table_last(report):
    """People read the verdict, the probe, the findings, then the table."""
    analysis, page = report
    shown = (
        "Verdict: go with",
        "Best probe",
        "<h2>Findings</h2>",
        "<h2>The table</h2>",
    )
    places = [page.index(text) for text in shown]
    assert places == sorted(places)
    assert [
        finding.code for finding in analysis.found if finding.code not in page
    ] == []
    assert "100 of 400 rows" in page
    assert "10 of 10 columns" in page


def test_columns_are_explained_where_the_dictionary_knows_them():
    """In the table of columns and beside their skill; escaped as any text."""
    words = "columns: {x: {description: 'Way <b>', unit: km}, z: {known: never}}"
    analysis = tables.analysed(tables.table(), words)
    pages = [
        report_html(analysis, tables.table(), tables.experiment(), dictionary_of(text))
        for text in ("", words)
    ]
    assert [page.count("Way &lt;b&gt;, in km") for page in pages] == [0, 2]
    assert [page.count(">meaning</th>") for page in pages] == [0, 2]


def test_names_and_values_are_shown_and_never_run(report):
    """Markup in names, values and reasons is escaped in both forms."""
    analysis, page = report
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    markdown = markdown_report(analysis, tables.experiment())
    # Backticks in a column name make the fence longer.
    assert "\n````yaml\n" in markdown
    markdown = re.sub(r"(?s)(`{3,})yaml\n.*?\1", "", markdown)
    assert "<script>" not in markdown
    assert "[x](http" not in markdown


def test_rows_of_the_validation_set_are_not_shown(report):
    """Its rows are of the other sets, and its texts are cut."""
    _, page = report
    profile = page[page.index("<h2>The table</h2>") :]
    assert "open" in profile
    assert "secret" not in profile
    assert re.search(r"word word… \([\d.]+ %\)", profile)
    assert len(page.encode()) < 100_000


def test_the_settings_of_all_findings_are_one_patch():
    """Pasted, no key stands twice, and what the experiment excludes already stays."""
    frame = tables.table(
        constant=1,
        outcome=tables.table()["y"],
        empty=[None] * (tables.ROWS - 1) + [1.0],
    )
    spec = tables.experiment(exclude={"other": "not known in time"})
    (patch,) = re.findall(
        r"(?s)```yaml\n(.*?)```", markdown_report(tables.analysed(frame), spec)
    )
    excluded = yaml.safe_load(f"attributes:\n{patch}")["attributes"]["exclude"]
    assert {"other", "constant", "outcome", "empty"} <= set(excluded)


def test_findings_about_target_time_and_gaps_have_pictures():
    """What reveals the target by its values, what drifts by time, gaps by column; rows
    of the validation set are not in them.
    """
    y = tables.table()["y"]
    half = np.arange(tables.ROWS) >= tables.ROWS / 2
    frame = tables.table(
        outcome=y.where(~tables.VALIDATION, "hidden"),
        when=pd.date_range("2025-01-01", periods=tables.ROWS, freq="h"),
        city=np.where(half, "Rome", "Oslo"),
        gaps=np.where(np.arange(tables.ROWS) % 4, np.nan, np.arange(tables.ROWS)),
        hole=np.where(y == "yes", np.nan, 1.0),
    )
    analysis = tables.analysed(frame)
    page = report_html(analysis, frame, tables.experiment())
    assert "<td>no</td><td>" in page
    assert re.search(r"<td>missing</td><td>\d+</td><td>.*yes 100 %", page)
    assert re.search(
        r"<td>city</td><td>.*</td><td>share of \w+ [01] to [01]</td>", page
    )
    assert "--a:0;--b:75" in page
    assert "hidden" not in page[: page.index("The table")]


def test_numbers_that_differ_by_rounding_alone_are_drawn():
    """Beside a sum of shares of about 1 there is no room for twelve bars."""
    frame = tables.table(
        total=np.where(np.arange(tables.ROWS) % 2, 1.0, np.nextafter(1, 2))
    )
    assert "total" in report_html(
        tables.analysed(tables.table()), frame, tables.experiment()
    )


@pytest.mark.slow
def test_wide_tables_stay_small():
    """Columns beyond sixty are left out."""
    frame = tables.table(**{f"n{i}": np.arange(tables.ROWS) for i in range(300)})
    page = report_html(tables.analysed(tables.table()), frame, tables.experiment())
    assert len(page.encode()) < 200_000
    assert "of 304 columns" in page
