import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("dates_as_text").check

DAYS = pd.Series(pd.date_range("2023-05-14 10:30", periods=ROWS, freq="D"))


@pytest.mark.parametrize(
    "form",
    [
        *("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d"),
        *("%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y", "%d %b %Y", "%B %d, %Y"),
    ],
)
def test_every_format_is_found_and_read(form) -> None:
    """Dates in text are found, and the preparation proposed reads every one of them."""
    frame = table(day=DAYS.dt.strftime(form))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", "condition", ("day",))
    prepared = after(finding, frame)
    assert check(prepared).outcome == "not_found"
    assert (prepared.frame["day"].dt.date == DAYS.dt.date).all()


def test_several_formats_are_listed() -> None:
    """Two ways of writing dates in one column are both declared, the frequent one first."""
    mixed = DAYS.dt.strftime("%Y-%m-%d").where(
        np.arange(ROWS) % 3 > 0, DAYS.dt.strftime("%d.%m.%Y")
    )
    finding = check(subject(table(day=mixed)))
    formats = yaml.safe_load(finding.yaml)["preparation"]["datetime_formats"]
    assert formats == {"day": ["ISO8601", "%d.%m.%Y"]}


def test_an_ambiguous_format_is_said_to_be_one() -> None:
    """Where day and month could be exchanged, people decide."""
    days = [f"{1 + i % 12:02}/{1 + i // 12 % 12:02}/2024" for i in range(ROWS)]
    assert "so decide" in check(subject(table(day=days))).evidence


def test_other_texts_are_not_found() -> None:
    """Categories, versions and phone numbers are no dates."""
    frame = table(
        version=[f"1.{i % 9}.{i % 7}" for i in range(ROWS)],
        release=[f"2024.{i % 20}.{i % 40}" for i in range(ROWS)],
        file=[f"2024/{i:05}/{i % 7}" for i in range(ROWS)],
        phone="01234-567890",
    )
    assert check(subject(frame)).outcome == "not_found"


def test_a_table_without_texts_is_not_applicable() -> None:
    """Numbers are no dates."""
    assert check(subject(table().drop(columns="colour"))).outcome == "not_applicable"
