import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    after,
    numeric,
    rule,
    subject,
    table,
)

check = rule("class_imbalance").check

RARE = np.where(np.arange(ROWS) % 40 == 0, "yes", "no")


def test_a_rare_class_is_a_note() -> None:
    """A metric that sees the rare class makes it a note."""
    finding = check(subject(table(y=RARE)))
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert "'yes'" in finding.evidence


def test_accuracy_makes_it_a_condition() -> None:
    """Accuracy rewards ignoring the rare class; another metric is proposed."""
    accuracy = {"metric": "accuracy"}
    finding = check(subject(table(y=RARE), **accuracy))
    assert finding.severity == "condition"
    assert check(after(finding, table(y=RARE), **accuracy)).severity == "note"


def test_balanced_classes_are_not_found() -> None:
    """Two classes of about equal size are no finding."""
    assert check(subject(table())).outcome == "not_found"


def test_regression_is_not_applicable() -> None:
    """Numbers have no classes."""
    assert check(subject(numeric(), **REGRESSION)).outcome == "not_applicable"
