import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("infinite_values").check

RATIO = np.where(np.arange(ROWS) % 100 == 0, np.inf, 1.0 * np.arange(ROWS))


def test_infinite_values_are_a_condition() -> None:
    """Both infinities are counted; declaring them missing removes the finding."""
    finding = check(subject(table(ratio=RATIO, other=-RATIO)))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "condition", 4)
    assert finding.columns == ("ratio", "other")
    assert check(after(finding, table(ratio=RATIO, other=-RATIO))).outcome == "not_found"


def test_finite_numbers_are_not_found() -> None:
    """A plain table is finite."""
    assert check(subject(table())).outcome == "not_found"


def test_texts_alone_are_not_applicable() -> None:
    """Texts cannot be infinite."""
    assert check(subject(table()[["colour", "y"]])).outcome == "not_applicable"
