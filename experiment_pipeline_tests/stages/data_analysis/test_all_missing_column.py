import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import after, rule, subject, table

check = rule("all_missing_column").check


def test_an_empty_column_is_found() -> None:
    """A column without any value is found, and excluding it removes the finding."""
    finding = check(subject(table(empty=np.nan, nothing=None)))
    assert (finding.outcome, finding.columns) == ("found", ("empty", "nothing"))
    assert check(after(finding, table(empty=np.nan, nothing=None))).outcome == "not_found"


def test_a_column_with_one_value_is_not_found() -> None:
    """One value in one row is enough not to be empty."""
    assert check(subject(table(lonely=[1.0] + [np.nan] * 399))).outcome == "not_found"
