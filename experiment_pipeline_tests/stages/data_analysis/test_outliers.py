import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, rule, subject, table

check = rule("outliers").check

RNG = np.random.default_rng(6)


def test_a_hurricane_is_found() -> None:
    """A wind of 1,048 mph is told with its distance and the median."""
    wind = RNG.normal(10, 4, ROWS)
    wind[3] = 1048.4
    finding = check(subject(table(wind=wind)))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", "note", ("wind",))
    assert "wind = 1048.4" in finding.evidence


def test_a_long_tail_is_judged_on_the_logarithm() -> None:
    """Incomes reach far without being outliers; one that is far even so is found."""
    income = RNG.lognormal(10, 1, ROWS)
    assert check(subject(table(income=income))).outcome == "not_found"
    income[0] = income.max() * 1e9
    assert check(subject(table(income=income))).columns == ("income",)


def test_a_short_table_is_not_applicable() -> None:
    """Few values have no bulk to be outside of."""
    assert check(subject(table().head(40))).outcome == "not_applicable"


def test_a_column_of_mostly_one_value_is_not_judged() -> None:
    """Where half of the values are equal there is no spread to count in."""
    frame = table(rain=np.where(np.arange(ROWS) % 10 == 0, 5.0, 0.0))[["rain", "y"]]
    assert check(subject(frame)).outcome == "not_applicable"
