import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, rule, subject, table

check = rule("skewed_column").check


def test_a_long_tail_is_a_note() -> None:
    """A few very large values make a column skewed."""
    tail = np.exp(np.linspace(0, 1, ROWS) ** 30 * 12)
    finding = check(subject(table(amount=tail, debt=-tail)))
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert finding.columns == ("amount", "debt")


def test_a_normal_column_is_not_found() -> None:
    """A plain table is symmetric enough."""
    assert check(subject(table())).outcome == "not_found"


def test_codes_are_not_applicable() -> None:
    """A column of few values has no tail."""
    frame = table(code=np.arange(ROWS) % 3)[["code", "y"]]
    assert check(subject(frame)).outcome == "not_applicable"
