import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, again, check, table

# all_missing_column


def test_an_empty_column_is_found() -> None:
    """A column without any value is found, and excluding it removes the finding."""
    finding = check("all_missing_column", table(empty=np.nan, nothing=None))
    assert (finding.outcome, finding.columns) == ("found", ("empty", "nothing"))
    assert again(finding, table(empty=np.nan, nothing=None)).outcome == "not_found"


# constant_column


def test_constant_columns_are_found_with_their_value() -> None:
    """Numbers and texts that never vary are found; excluding them removes the finding."""
    frame = table(year=2024, country="FR")
    finding = check("constant_column", frame)
    assert (finding.outcome, finding.columns) == ("found", ("year", "country"))
    assert "year = 2024, country = FR" in finding.evidence
    assert again(finding, frame).outcome == "not_found"


# almost_unique_column

RNG = np.random.default_rng(1)


@pytest.mark.parametrize(
    "values",
    [[f"V{i:04}" for i in range(ROWS)], RNG.permutation(ROWS), np.arange(ROWS) + 17.0],
)
def test_ids_are_found(values) -> None:
    """Texts and counters that differ in every row are found; excluding removes the finding."""
    frame = table(number=values)
    finding = check("almost_unique_column", frame)
    assert (finding.severity, finding.columns) == ("condition", ("number",))
    assert again(finding, frame).outcome != "found"


def test_a_whole_number_counts_when_its_name_says_id() -> None:
    """Sparse numbers are ids only by name."""
    sparse = RNG.choice(10**9, ROWS, replace=False)
    assert check("almost_unique_column", table(order_id=sparse)).outcome == "found"
    assert check("almost_unique_column", table(income=sparse)).outcome == "not_found"


def test_dates_in_texts_are_another_finding() -> None:
    """A text that differs in every row because it is a date is no id."""
    dates = [f"2024-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(ROWS - 64)]
    frame = table().head(ROWS - 64).assign(day=dates)
    assert check("almost_unique_column", frame).outcome == "not_found"


# mixed_types

MIXED = np.where(np.arange(ROWS) % 4 == 0, "unsure", "12.5")


def test_numbers_among_texts_are_a_condition() -> None:
    """A quarter of words among numbers is found; declaring the type settles it."""
    finding = check("mixed_types", table(answer=MIXED))
    assert (finding.severity, finding.number) == ("condition", 0.25)
    assert "'unsure'" in finding.evidence
    assert again(finding, table(answer=MIXED)).outcome != "found"


def test_python_types_of_an_object_column_are_named() -> None:
    """A column of objects says which types it holds."""
    values = np.array([1, "one"] * 200, dtype=object)
    assert "Python types" in check("mixed_types", table(answer=values)).evidence


# numbers_as_text

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
    finding = check("numbers_as_text", frame)
    assert (finding.severity, finding.columns) == ("condition", ("amount",))
    assert again(finding, frame).outcome == "not_found"
    assert np.allclose(after(finding, frame).frame["amount"].abs(), VALUES, atol=0.51)


def test_placeholders_are_declared_missing() -> None:
    """A question mark among numbers becomes missing, not unparsable."""
    frame = table(amount=VALUES.map("{:.2f}".format).where(np.arange(ROWS) % 5 > 0, "?"))
    finding = check("numbers_as_text", frame)
    assert yaml.safe_load(finding.yaml)["preparation"]["missing_values"] == {"amount": ["?"]}
    assert after(finding, frame).frame["amount"].isna().sum() == ROWS / 5


def test_declared_text_is_not_applicable() -> None:
    """Who declared the column as text meant it."""
    frame = table(amount=VALUES.map("{:.2f}".format)).drop(columns="colour")
    declared = {"types": {"amount": "text"}}
    assert check("numbers_as_text", frame, preparation=declared).outcome == "not_applicable"


# dates_as_text

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
    finding = check("dates_as_text", frame)
    assert (finding.severity, finding.columns) == ("condition", ("day",))
    assert again(finding, frame).outcome == "not_found"
    assert (after(finding, frame).frame["day"].dt.date == DAYS.dt.date).all()


def test_several_formats_are_listed() -> None:
    """Two ways of writing dates in one column are both declared, the frequent one first."""
    iso, german = DAYS.dt.strftime("%Y-%m-%d"), DAYS.dt.strftime("%d.%m.%Y")
    finding = check("dates_as_text", table(day=iso.where(np.arange(ROWS) % 3 > 0, german)))
    formats = yaml.safe_load(finding.yaml)["preparation"]["datetime_formats"]
    assert formats == {"day": ["ISO8601", "%d.%m.%Y"]}


def test_an_ambiguous_format_is_said_to_be_one() -> None:
    """Where day and month could be exchanged, people decide."""
    days = [f"{1 + i % 12:02}/{1 + i // 12 % 12:02}/2024" for i in range(ROWS)]
    assert "so decide" in check("dates_as_text", table(day=days)).evidence
