import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("near_duplicate_columns").check


def test_another_unit_is_found() -> None:
    """Miles and kilometres say the same; excluding one removes the finding."""
    frame = table(miles=table()["x"] * 0.62)
    finding = check(subject(frame))
    assert (finding.outcome, finding.columns) == ("found", ("x", "miles"))
    assert check(after(finding, frame)).outcome == "not_found"


def test_a_code_and_its_name_are_found() -> None:
    """A category and its number determine each other."""
    frame = table(code=table()["colour"].map({"red": 3, "green": 1, "blue": 2}))
    assert check(subject(frame)).columns == ("colour", "code")


def test_missing_values_must_agree() -> None:
    """The same numbers, missing in other rows, do not say the same."""
    x = table()["x"]
    gaps = x.where(np.arange(ROWS) % 3 > 0)
    assert check(subject(table(other=gaps))).outcome == "not_found"
    assert check(subject(table(x=gaps, other=-gaps))).outcome == "not_found"
    assert check(subject(table(x=gaps, other=2 * gaps))).outcome == "found"


def test_independent_columns_are_not_found() -> None:
    """A plain table has no pair."""
    assert check(subject(table())).outcome == "not_found"


def test_one_feature_is_not_applicable() -> None:
    """A pair needs two."""
    assert check(subject(table()[["x", "y"]])).outcome == "not_applicable"
