import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import after, rule, subject, table

check = rule("constant_column").check


def test_constant_columns_are_found_with_their_value() -> None:
    """Numbers and texts that never vary are found; excluding them removes the finding."""
    frame = table(year=2024, country="FR")
    finding = check(subject(frame))
    assert (finding.outcome, finding.columns) == ("found", ("year", "country"))
    assert "year = 2024, country = FR" in finding.evidence
    assert check(after(finding, frame)).outcome == "not_found"


def test_a_value_or_nothing_is_not_constant() -> None:
    """A column that is missing in some rows tells rows apart."""
    assert check(subject(table(flag=[1.0, np.nan] * 200))).outcome == "not_found"
