import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("missing_values").check

SPARSE = np.where(np.arange(ROWS) % 4 == 0, 1.5, np.nan)


def test_a_mostly_missing_column_is_found() -> None:
    """Three quarters missing pass the default threshold of one half."""
    finding = check(subject(table(gust=SPARSE)))
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("gust",), 0.75)
    assert check(after(finding, table(gust=SPARSE))).outcome == "not_found"


def test_the_threshold_can_be_changed() -> None:
    """A YAML that tolerates more finds nothing."""
    tolerant = {"thresholds": {"missing_values": 0.8}}
    assert check(subject(table(gust=SPARSE), analysis=tolerant)).outcome == "not_found"


def test_empty_columns_are_another_finding() -> None:
    """A column without any value is not listed here again."""
    assert check(subject(table(empty=np.nan))).outcome == "not_found"
