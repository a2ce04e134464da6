import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import rule, subject, table

check = rule("too_few_rows").check


def test_a_wide_table_is_a_condition() -> None:
    """More features than a tenth of the train rows are found."""
    noise = np.random.default_rng(0).normal(size=400)
    finding = check(subject(table(**{f"n{i}": noise for i in range(40)})))
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert finding.number is not None
    assert finding.number < 10


def test_a_handful_of_rows_blocks() -> None:
    """Twenty rows allow no conclusion."""
    finding = check(subject(table().head(20)))
    assert (finding.severity, finding.number) == ("blocks", 20)


def test_a_long_table_is_not_found() -> None:
    """240 train rows are enough for three features."""
    assert check(subject(table())).outcome == "not_found"
