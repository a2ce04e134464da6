import numpy as np
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    again,
    check,
    table,
)

# placeholder_values

RNG = np.random.default_rng(4)
SOME = np.arange(ROWS) % 10 == 0


@pytest.mark.parametrize("mark", ["?", "unknown", "Not available", "   ", "-"])
def test_texts_for_missing_are_a_note(mark) -> None:
    """A text that says missing is found; declaring it removes the finding."""
    frame = table(job=np.where(SOME, mark, table()["colour"]))
    finding = check("placeholder_values", frame)
    assert (finding.outcome, finding.severity, finding.number) == ("found", "note", 0.1)
    assert again(finding, frame).outcome == "not_found"


@pytest.mark.parametrize(
    ("mark", "severity"),
    [(-999, "condition"), (9999.0, "condition"), (-1, "note"), (0, "note")],
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
        np.where(np.arange(ROWS) == 7, -999, RNG.integers(30, 50, ROWS)),
    ],
)
def test_ordinary_numbers_are_not_found(values) -> None:
    """Counts, small negative numbers, codes and single outliers are no placeholders."""
    assert check("placeholder_values", table(age=values)).outcome == "not_found"


# infinite_values

RATIO = np.where(np.arange(ROWS) % 100 == 0, np.inf, 1.0 * np.arange(ROWS))


def test_infinite_values_are_a_condition() -> None:
    """Both infinities are counted; declaring them missing removes the finding."""
    finding = check("infinite_values", table(ratio=RATIO, other=-RATIO))
    assert (finding.severity, finding.number) == ("condition", 4)
    assert finding.columns == ("ratio", "other")
    assert again(finding, table(ratio=RATIO, other=-RATIO)).outcome == "not_found"


# absurd_magnitudes


def _with(value: float) -> np.ndarray:
    heights = np.random.default_rng(0).normal(1.7, 0.1, ROWS)
    heights[5] = value
    return heights


def test_a_wrong_cluster_is_a_condition() -> None:
    """A height in micrometres among metres is found with its value."""
    finding = check("absurd_magnitudes", table(height=_with(1.8e6)))
    assert (finding.severity, finding.columns) == ("condition", ("height",))
    assert "1.8e+06" in finding.evidence


def test_a_number_beyond_float32_is_found_in_any_table() -> None:
    """Trees calculate in float32, so even a short table is judged."""
    frame = table(height=_with(1e300)).head(50)
    assert check("absurd_magnitudes", frame).outcome == "found"


def test_a_target_beyond_float32_blocks() -> None:
    """No model can be fitted to such a target; a column like it is only a condition."""
    assert check("absurd_magnitudes", table(y=_with(1e200)), **REGRESSION).severity == "blocks"
    assert check("absurd_magnitudes", table(height=_with(1e200))).severity == "condition"


# outliers


def test_a_hurricane_is_found() -> None:
    """A wind of 1,048 mph is told with its distance and the median."""
    wind = RNG.normal(10, 4, ROWS)
    wind[3] = 1048.4
    finding = check("outliers", table(wind=wind))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", "note", ("wind",))
    assert "wind = 1048.4" in finding.evidence


def test_a_long_tail_is_judged_on_the_logarithm() -> None:
    """Incomes reach far without being outliers; one that is far even so is found."""
    income = RNG.lognormal(10, 1, ROWS)
    assert check("outliers", table(income=income)).outcome == "not_found"
    income[0] = income.max() * 1e9
    assert check("outliers", table(income=income)).columns == ("income",)


# skewed_column


def test_a_long_tail_is_a_note() -> None:
    """A few very large values make a column skewed."""
    tail = np.exp(np.linspace(0, 1, ROWS) ** 30 * 12)
    finding = check("skewed_column", table(amount=tail, debt=-tail))
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert finding.columns == ("amount", "debt")


# missing_values

SPARSE = np.where(np.arange(ROWS) % 4 == 0, 1.5, np.nan)


def test_a_mostly_missing_column_is_found() -> None:
    """Three quarters missing pass the default threshold of one half."""
    finding = check("missing_values", table(gust=SPARSE))
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("gust",), 0.75)
    assert again(finding, table(gust=SPARSE)).outcome == "not_found"
