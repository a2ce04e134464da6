import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, again, check, table

RNG = np.random.default_rng(1)
ROW = np.arange(ROWS)
SOME = ROW % 10 == 0

# missing_values

SPARSE = np.where(ROW % 4 == 0, 1.5, np.nan)


def test_a_mostly_missing_column_is_found() -> None:
    """Three quarters missing pass the default threshold of one half, and so does every row."""
    frame = table(gust=SPARSE, empty=None)
    finding = check("missing_values", frame)
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("empty", "gust"), 1)
    assert again(finding, frame).outcome == "not_found"


# constant_column


def test_constant_columns_are_found_with_their_value() -> None:
    """Numbers and texts that never vary are found; excluding them removes the finding."""
    frame = table(year=2024, country="FR")
    finding = check("constant_column", frame)
    assert set(finding.columns) == {"year", "country"}
    assert "year = 2024, country = FR" in finding.evidence
    assert again(finding, frame).outcome == "not_found"


# almost_unique_column


@pytest.mark.parametrize(
    "values", [[f"V{i:04}" for i in range(ROWS)], RNG.permutation(ROWS), ROW + 17.0]
)
def test_ids_are_found(values) -> None:
    """Texts and counters that differ in every row are found; excluding removes the finding."""
    frame = table(number=values)
    finding = check("almost_unique_column", frame)
    assert (finding.severity, finding.columns) == ("condition", ("number",))
    assert again(finding, frame).outcome != "found"


# mixed_types


def test_numbers_among_texts_are_a_condition() -> None:
    """A quarter of words among numbers is found; declaring the type settles it."""
    frame = table(answer=np.where(ROW % 4 == 0, "unsure", "12.5"))
    finding = check("mixed_types", frame)
    assert (finding.severity, finding.number) == ("condition", 0.25)
    assert "'unsure'" in finding.evidence
    assert again(finding, frame).outcome != "found"


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
    """A question mark among numbers becomes missing, not unparsable; declared text is left alone."""
    frame = table(amount=VALUES.map("{:.2f}".format).where(ROW % 5 > 0, "?"))
    finding = check("numbers_as_text", frame)
    assert yaml.safe_load(finding.yaml)["preparation"]["missing_values"] == {"amount": ["?"]}
    assert after(finding, frame).frame["amount"].isna().sum() == ROWS / 5
    declared = {"types": {"amount": "text"}}
    assert check("numbers_as_text", frame, preparation=declared).outcome != "found"


# dates_as_text

DAYS = pd.Series(pd.date_range("2023-05-14 10:30", periods=ROWS, freq="D"))


@pytest.mark.parametrize(
    "form",
    [
        *("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d"),
        *("%d.%m.%Y %H:%M:%S", "%m/%d/%Y", "%d %b %Y", "%B %d, %Y"),
    ],
)
def test_every_format_is_found_and_read(form) -> None:
    """Dates in text are found, and the preparation proposed reads every one of them."""
    frame = table(day=DAYS.dt.strftime(form))
    finding = check("dates_as_text", frame)
    assert (finding.severity, finding.columns) == ("condition", ("day",))
    assert again(finding, frame).outcome == "not_found"
    assert (after(finding, frame).frame["day"].dt.date == DAYS.dt.date).all()


def test_an_ambiguous_format_is_said_to_be_one() -> None:
    """Where day and month could be exchanged, people decide."""
    days = [f"{1 + i % 12:02}/{1 + i // 12 % 12:02}/2024" for i in range(ROWS)]
    assert "so decide" in check("dates_as_text", table(day=days)).evidence


# category_variants


@pytest.mark.parametrize(
    "values", [["Berlin", "berlin", "Paris"], ["Berlin ", "Berlin", "Paris"], ["A  B", "A B", "c"]]
)
def test_case_and_spaces_are_a_condition(values) -> None:
    """Spellings of one category are found; the proposed preparation unites them."""
    frame = table(city=[values[i % 3] for i in range(ROWS)])
    finding = check("category_variants", frame)
    assert (finding.severity, finding.number) == ("condition", 1)
    assert again(finding, frame).outcome == "not_found"
    assert after(finding, frame).frame["city"].nunique() == 2


# placeholder_values


@pytest.mark.parametrize("mark", ["?", "Not available", "   "])
def test_texts_for_missing_are_a_note(mark) -> None:
    """A text that says missing is found; declaring it removes the finding."""
    frame = table(job=np.where(SOME, mark, table()["colour"]))
    finding = check("placeholder_values", frame)
    assert (finding.outcome, finding.severity, finding.number) == ("found", "note", 0.1)
    assert again(finding, frame).outcome == "not_found"


@pytest.mark.parametrize(
    ("mark", "severity"), [(-999, "condition"), (9999.0, "condition"), (-1, "note"), (0, "note")]
)
def test_numbers_for_missing_are_found(mark, severity) -> None:
    """A usual placeholder far from all other numbers is found; declaring it removes it."""
    frame = table(age=np.where(SOME, mark, RNG.integers(30, 50, ROWS)))
    finding = check("placeholder_values", frame)
    assert (finding.outcome, finding.severity, finding.columns) == ("found", severity, ("age",))
    assert again(finding, frame).outcome == "not_found"


def test_a_class_that_says_unknown_is_a_condition() -> None:
    """A placeholder in the target is a class that nobody wants to predict."""
    frame = table(y=np.where(SOME, "?", table()["y"]))
    finding = check("placeholder_values", frame, task="multiclass", metric="log_loss")
    assert (finding.severity, finding.columns) == ("condition", ("y",))


@pytest.mark.parametrize(
    "values",
    [
        RNG.poisson(1.0, ROWS),
        RNG.integers(-2, 15, ROWS),
        np.where(SOME, 99, RNG.integers(60, 99, ROWS)),
        RNG.integers(0, 3, ROWS) * 999,
        np.where(ROW == 7, -999, RNG.integers(30, 50, ROWS)),
    ],
)
def test_ordinary_numbers_are_not_found(values) -> None:
    """Counts, small negative numbers, codes and single outliers are no placeholders."""
    assert check("placeholder_values", table(age=values)).outcome == "not_found"


# infinite_values


def test_infinite_values_are_a_condition() -> None:
    """Both infinities are counted; declaring them missing removes the finding."""
    ratio = np.where(ROW % 100 == 0, np.inf, 1.0 * ROW)
    frame = table(ratio=ratio, other=-ratio)
    finding = check("infinite_values", frame)
    assert (finding.severity, finding.number) == ("condition", 4)
    assert finding.columns == ("ratio", "other")
    assert again(finding, frame).outcome == "not_found"


# absurd_magnitudes


def test_a_wrong_unit_is_a_condition() -> None:
    """A height in micrometres among metres is found with its value."""
    heights = np.where(ROW == 5, 1.8e6, RNG.normal(1.7, 0.1, ROWS))
    finding = check("absurd_magnitudes", table(height=heights))
    assert (finding.severity, finding.columns) == ("condition", ("height",))
    assert "1.8e+06" in finding.evidence


# outliers


def test_a_hurricane_is_found() -> None:
    """A wind of 1,048 mph is told with its distance and the median."""
    wind = RNG.normal(10, 4, ROWS)
    wind[3] = 1048.4
    finding = check("outliers", table(wind=wind))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", "note", ("wind",))
    assert "wind (1048.4, " in finding.evidence


def test_a_long_tail_is_judged_on_the_logarithm() -> None:
    """Incomes reach far without being outliers; one that is far even so is found."""
    income = RNG.lognormal(10, 1, ROWS)
    assert check("outliers", table(income=income)).outcome == "not_found"
    income[0] = income.max() * 1e9
    assert check("outliers", table(income=income)).columns == ("income",)
