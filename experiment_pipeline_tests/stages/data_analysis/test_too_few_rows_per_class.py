import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    after,
    numeric,
    rule,
    subject,
    table,
)

check = rule("too_few_rows_per_class").check


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


def test_a_class_that_a_set_lacks_is_set_aside() -> None:
    """Without a row in the test set a class cannot be judged: a condition, which is said."""
    examined = subject(table(y=_rare([0, 10, 20])), **MULTICLASS)
    finding = check(examined)
    assert finding.severity == "condition"
    assert "'rare' (3 rows)" in finding.evidence
    assert examined.target.set_aside == {"rare": 3}
    assert "rare" not in (examined.target.classes or ())


def test_the_yaml_decides_that_no_class_is_set_aside() -> None:
    """`rare_classes: stop`, which the finding writes, makes it block."""
    frame = table(y=_rare([0, 10, 20]))
    finding = check(after(check(subject(frame, **MULTICLASS)), frame, **MULTICLASS))
    assert (finding.severity, finding.number) == ("blocks", 0)


def test_a_new_class_is_not_rare() -> None:
    """A class that the test set lacks although it has many rows blocks as before."""
    rows = [row for row in range(ROWS) if row % 10 < 6][:100]
    assert check(subject(table(y=_rare(rows)), **MULTICLASS)).severity == "blocks"


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
