import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import VALIDATION, rule, subject, table

check = rule("target_constant").check


def test_one_value_blocks() -> None:
    """A target that is always the same leaves nothing to predict."""
    finding = check(subject(table(y="yes")))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "blocks", 1)
    assert "'yes'" in finding.evidence


def test_no_value_blocks() -> None:
    """So does a target without any value."""
    assert check(subject(table(y=None))).number == 0


def test_a_second_value_in_validation_alone_does_not_count() -> None:
    """The validation rows cannot tell that the target varies."""
    assert check(subject(table(y=np.where(VALIDATION, "no", "yes")))).outcome == "found"


def test_two_values_are_not_found() -> None:
    """A target with two values is no finding."""
    assert check(subject(table())).outcome == "not_found"
