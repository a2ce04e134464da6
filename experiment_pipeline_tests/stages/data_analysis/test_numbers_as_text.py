import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("numbers_as_text").check

VALUES = pd.Series(np.round(np.random.default_rng(2).uniform(1000, 999_999, ROWS), 2))


def _german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize(
    "write",
    [
        "{:.2f}".format,
        "{:,.2f}".format,
        "${:,.2f}".format,
        "{:.2f} kg".format,
        "-{:.1f} %".format,
        _german,
        lambda value: f"{_german(value)} €",
        lambda value: f"{value:.2f}".replace(".", ","),
        lambda value: f"{value:,.0f}".replace(",", "'"),
        lambda value: f"{value:,.0f}".replace(",", "\u202f"),
    ],
)
def test_every_way_of_writing_is_found_and_read(write) -> None:
    """Numbers in text are found, and the preparation proposed reads every one of them."""
    frame = table(amount=VALUES.map(write))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == (
        "found",
        "condition",
        ("amount",),
    )
    prepared = after(finding, frame)
    assert check(prepared).outcome == "not_found"
    read = prepared.frame["amount"]
    assert np.allclose(read.abs(), VALUES, atol=0.51)


def test_placeholders_are_declared_missing() -> None:
    """A question mark among numbers becomes missing, not unparsable."""
    frame = table(amount=VALUES.map("{:.2f}".format).where(np.arange(ROWS) % 5 > 0, "?"))
    finding = check(subject(frame))
    assert yaml.safe_load(finding.yaml)["preparation"]["missing_values"] == {"amount": ["?"]}
    assert after(finding, frame).frame["amount"].isna().sum() == ROWS / 5


def test_codes_are_not_found() -> None:
    """Postcodes with leading zeros and seats are no numbers."""
    frame = table(
        postcode=[f"0{i % 90 + 10}" for i in range(ROWS)],
        seat=[f"{i % 30}{'ABCDEF'[i % 6]}" for i in range(ROWS)],
    )
    assert check(subject(frame)).outcome == "not_found"


def test_declared_text_is_not_applicable() -> None:
    """Who declared the column as text meant it."""
    frame = table(amount=VALUES.map("{:.2f}".format)).drop(columns="colour")
    declared = {"types": {"amount": "text"}}
    assert check(subject(frame, preparation=declared)).outcome == "not_applicable"
