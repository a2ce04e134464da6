"""Texts that are numbers, dates or categories, and what the YAML makes of them."""

import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import (
    ROWS,
    after,
    again,
    check,
    table,
)

VALUES = pd.Series(np.round(np.random.default_rng(2).uniform(1000, 999_999, ROWS), 2))
DAYS = pd.Series(pd.date_range("2023-05-14 10:30", periods=ROWS, freq="D"))


WRITE, FORMS = (
    (
        "{:.2f}".format,
        "{:,.2f}".format,
        "${:,.2f}".format,
        "{:.2f} kg".format,
        lambda value: f"-{100 * value:.1f} %",
        lambda value: f"{value:,.2f} €".translate(str.maketrans(",.", ".,")),
        lambda value: f"{value:.2f}".replace(".", ","),
        lambda value: f"{value:,.0f}".replace(",", "'"),
        lambda value: f"{value:,.0f}".replace(",", "\u202f"),
    ),
    (
        *("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d"),
        *("%d.%m.%Y %H:%M:%S", "%m/%d/%Y", "%d %b %Y", "%B %d, %Y"),
    ),
)


@pytest.mark.parametrize(
    ("code", "cells", "is_read"),
    [
        *(
            (
                "numbers_as_text",
                VALUES.map(write),
                lambda cells: np.allclose(cells.abs(), VALUES, atol=0.51),
            )
            for write in WRITE
        ),
        *(
            (
                "dates_as_text",
                DAYS.dt.strftime(form),
                lambda cells: (cells.dt.date == DAYS.dt.date).all(),
            )
            for form in FORMS
        ),
    ],
)
def test_every_way_of_writing_is_found_and_read(code, cells, is_read):
    """The preparation proposed reads each of them."""
    frame = table(written=cells)
    finding = check(code, frame)
    assert (finding.severity, finding.columns) == ("condition", ("written",))
    assert again(finding, frame).outcome == "not_found"
    assert is_read(after(finding, frame).frame["written"])


def test_placeholders_are_declared_missing():
    """A question mark among numbers becomes missing; declared text is left alone."""
    frame = table(
        amount=VALUES.map("{:.2f}".format).where(np.arange(ROWS) % 5 > 0, "?")
    )
    finding = check("numbers_as_text", frame)
    assert yaml.safe_load(finding.yaml)["preparation"]["missing_values"] == {
        "amount": ["?"]
    }
    assert after(finding, frame).frame["amount"].isna().sum() == ROWS / 5
    declared = {"types": {"amount": "text"}}
    assert check("numbers_as_text", frame, preparation=declared).outcome != "found"


def test_an_ambiguous_format_is_said_to_be_one():
    """Where day and month could be exchanged, people decide."""
    days = [f"{1 + i % 12:02}/{1 + i // 12 % 12:02}/2024" for i in range(ROWS)]
    assert "so decide" in check("dates_as_text", table(day=days)).evidence


@pytest.mark.parametrize(
    "values",
    [
        ["Berlin", "berlin", "Paris"],
        ["Berlin ", "Berlin", "Paris"],
        ["A  B", "A B", "c"],
    ],
)
def test_case_and_spaces_are_a_condition(values):
    """Spellings of one category are found; the proposed preparation unites them."""
    frame = table(city=[values[i % 3] for i in range(ROWS)])
    finding = check("category_variants", frame)
    assert (finding.severity, finding.number) == ("condition", 1)
    assert again(finding, frame).outcome == "not_found"
    assert after(finding, frame).frame["city"].nunique() == 2
