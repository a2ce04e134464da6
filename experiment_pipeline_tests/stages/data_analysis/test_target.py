import numpy as np
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    again,
    check,
    numeric,
    subject,
    table,
)

# target_missing


def test_a_tenth_without_a_target_is_a_condition() -> None:
    """Ten percent of rows without a target are found, with their share."""
    finding = check("target_missing", table(y=np.where(np.arange(ROWS) < 40, None, table()["y"])))
    assert finding.severity == "condition"
    assert finding.number == 0.1


def test_an_infinite_target_counts_as_missing() -> None:
    """A regression target that is infinite cannot be learnt from either."""
    y = numeric()["y"].to_numpy().copy()
    y[:40] = np.inf
    assert check("target_missing", numeric(y=y), **REGRESSION).number == 0.1


# target_constant


def test_one_value_blocks() -> None:
    """A target that is always the same leaves nothing to predict."""
    finding = check("target_constant", table(y="yes"))
    assert (finding.severity, finding.number) == ("blocks", 1)
    assert "'yes'" in finding.evidence
    assert check("target_constant", table(y=None)).number == 0


# target_looks_like_another_task

GRADES = np.arange(ROWS) % 4


@pytest.mark.parametrize(
    ("target", "declared", "severity", "likely"),
    [
        (GRADES, REGRESSION, "condition", "multiclass"),
        (GRADES % 2, REGRESSION, "condition", "binary"),
        (GRADES % 2, MULTICLASS, "condition", "binary"),
        (numeric()["y"], MULTICLASS, "condition", "regression"),
        (GRADES, {}, "blocks", "multiclass"),
        (table()["y"], REGRESSION, "blocks", "binary"),
    ],
)
def test_another_task_is_named(target, declared, severity, likely) -> None:
    """The likely task is named, and the YAML that declares it removes the finding."""
    frame = table(y=target)
    finding = check("target_looks_like_another_task", frame, **declared)
    assert (finding.outcome, finding.severity) == ("found", severity)
    assert yaml.safe_load(finding.yaml)["task"] == likely
    assert again(finding, frame, **declared).outcome == "not_found"


def test_numbers_stored_as_text_are_read() -> None:
    """A regression target of texts that are numbers is to be read as numbers."""
    frame = numeric(y=[f"{value:,.2f} €" for value in 1e4 * numeric()["y"]])
    finding = check("target_looks_like_another_task", frame, **REGRESSION)
    assert finding.severity == "blocks"
    assert again(finding, frame, **REGRESSION).outcome == "not_found"


# too_many_classes


def test_more_classes_than_the_threshold_are_a_condition() -> None:
    """121 classes pass the default of a hundred, which the YAML may raise; a class per row blocks."""
    frame = table(y=[f"class {i % 121}" for i in range(ROWS)])
    finding = check("too_many_classes", frame, **MULTICLASS)
    assert finding.severity == "condition"
    assert (finding.number, finding.threshold) == (121, 100)
    more = {"thresholds": {"too_many_classes": 121}}
    assert check("too_many_classes", frame, **MULTICLASS, analysis=more).outcome == "not_found"
    ids = table(y=[f"class {i}" for i in range(ROWS)])
    assert check("too_many_classes", ids, **MULTICLASS).severity == "blocks"


# too_few_rows_per_class


def _rare(rows: list[int]) -> np.ndarray:
    y = np.where(np.arange(ROWS) % 2 == 0, "often", "usual")
    y[rows] = "rare"
    return y


def test_a_class_with_few_rows_in_a_set_is_a_condition() -> None:
    """The class and the set with the fewest rows are named."""
    rows = [*range(0, 300, 10), 6, 16, 26]
    finding = check("too_few_rows_per_class", table(y=_rare(rows)), **MULTICLASS)
    assert (finding.severity, finding.number) == ("condition", 3)
    assert "'rare' has 3 rows in the test set" in finding.evidence


def test_a_class_that_a_set_lacks_is_set_aside() -> None:
    """Without a row in the test set a class cannot be judged: a condition, which is said."""
    examined = subject(table(y=_rare([0, 10, 20])), **MULTICLASS)
    finding = check("too_few_rows_per_class", examined.frame, **MULTICLASS)
    assert finding.severity == "condition"
    assert "'rare' (3 rows)" in finding.evidence
    assert examined.target.set_aside == {"rare": 3}
    assert "rare" not in (examined.target.classes or ())


def test_the_yaml_decides_that_no_class_is_set_aside() -> None:
    """`rare_classes: stop`, which the finding writes, makes it block."""
    frame = table(y=_rare([0, 10, 20]))
    finding = again(check("too_few_rows_per_class", frame, **MULTICLASS), frame, **MULTICLASS)
    assert (finding.severity, finding.number) == ("blocks", 0)


def test_a_new_class_is_not_rare() -> None:
    """A class that the test set lacks although it has many rows blocks as before."""
    rows = [row for row in range(ROWS) if row % 10 < 6][:100]
    assert check("too_few_rows_per_class", table(y=_rare(rows)), **MULTICLASS).severity == "blocks"


def test_the_validation_set_is_estimated_without_its_targets() -> None:
    """Whatever class the validation rows have, the finding stays the same."""
    y = _rare([0, 6])
    changed = table(y=np.where(VALIDATION, "rare", y))
    before = check("too_few_rows_per_class", table(y=y), **MULTICLASS)
    assert check("too_few_rows_per_class", changed, **MULTICLASS) == before


# class_imbalance

RARE = np.where(np.arange(ROWS) % 40 == 0, "yes", "no")


def test_a_rare_class_is_a_note() -> None:
    """A metric that sees the rare class makes it a note."""
    finding = check("class_imbalance", table(y=RARE))
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert "'yes'" in finding.evidence


def test_accuracy_makes_it_a_condition() -> None:
    """Accuracy rewards ignoring the rare class; another metric is proposed."""
    accuracy = {"metric": "accuracy"}
    finding = check("class_imbalance", table(y=RARE), **accuracy)
    assert finding.severity == "condition"
    assert again(finding, table(y=RARE), **accuracy).severity == "note"


# too_few_rows


def test_a_wide_table_is_a_condition() -> None:
    """More features than a tenth of the train rows are found."""
    noise = np.random.default_rng(0).normal(size=400)
    finding = check("too_few_rows", table(**{f"n{i}": noise for i in range(40)}))
    assert finding.severity == "condition"
    assert finding.number is not None
    assert finding.number < 10


def test_a_handful_of_rows_blocks() -> None:
    """Twenty rows allow no conclusion."""
    finding = check("too_few_rows", table().head(20))
    assert (finding.severity, finding.number) == ("blocks", 20)
