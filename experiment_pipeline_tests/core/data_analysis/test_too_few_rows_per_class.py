import numpy as np

from experiment_pipeline.core.data_analysis.findings.too_few_rows_per_class import check
from experiment_pipeline_tests.core.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    numeric,
    subject,
    table,
)


def _rare(rows: list[int]) -> np.ndarray:
    y = np.where(np.arange(ROWS) % 2 == 0, "often", "usual")
    y[rows] = "rare"
    return y


def test_a_class_with_few_rows_in_a_set_is_a_condition() -> None:
    """The class and the set with the fewest rows are named."""
    rows = [*range(0, 300, 10), 6, 16, 26]
    finding = check(subject(table(y=_rare(rows)), **MULTICLASS))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "condition", 3)
    assert "'rare' has 3 rows in the test set" in finding.evidence


def test_a_class_that_a_set_lacks_blocks() -> None:
    """A class without a row in the test set cannot be judged."""
    assert check(subject(table(y=_rare([0, 10, 20])), **MULTICLASS)).severity == "blocks"


def test_the_validation_set_is_estimated_without_its_targets() -> None:
    """Whatever class the validation rows have, the finding stays the same."""
    before = subject(table(y=_rare([0, 6])), **MULTICLASS)
    changed = np.where(VALIDATION, "rare", before.frame["y"])
    assert check(before) == check(subject(table(y=changed), **MULTICLASS))


def test_frequent_classes_are_not_found() -> None:
    """Classes with enough rows everywhere are no finding."""
    assert check(subject(table())).outcome == "not_found"


def test_regression_is_not_applicable() -> None:
    """Numbers have no classes."""
    assert check(subject(numeric(), **REGRESSION)).outcome == "not_applicable"
