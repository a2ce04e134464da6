import numpy as np
import pytest

from experiment_pipeline.core.data_analysis.findings.leak_suspect import check
from experiment_pipeline_tests.core.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    after,
    numeric,
    subject,
    table,
)

RNG = np.random.default_rng(3)


def test_a_copy_of_the_target_blocks() -> None:
    """A column that names the class is found, and excluding it removes the finding."""
    frame = table(outcome=table()["y"].map({"yes": "paid", "no": "defaulted"}))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", "blocks", ("outcome",))
    assert check(after(finding, frame)).outcome == "not_found"


def test_a_column_that_is_missing_with_the_outcome_blocks() -> None:
    """That a value is missing can give the target away too."""
    frame = table(closed=np.where(table()["y"] == "yes", np.nan, RNG.normal(size=ROWS)))
    assert check(subject(frame)).columns == ("closed",)


def test_a_very_strong_column_is_a_condition() -> None:
    """A column that predicts almost always, but not always, is for people to judge."""
    wrong = RNG.random(ROWS) < 0.03
    frame = table(early=(table()["y"] == "yes") ^ wrong)
    finding = check(subject(frame))
    assert (finding.severity, finding.columns) == ("condition", ("early",))


@pytest.mark.parametrize("scale", [np.asarray, np.exp])
def test_a_function_of_a_numeric_target_blocks(scale) -> None:
    """A monotone function of the target is found, whatever its tail."""
    frame = numeric()
    assert check(subject(numeric(paid=scale(frame["y"])), **REGRESSION)).columns == ("paid",)


def test_columns_that_sum_to_the_target_block() -> None:
    """Two columns that add up to the target are found though neither predicts it alone."""
    casual, registered = RNG.integers(0, 500, ROWS), RNG.integers(0, 500, ROWS)
    frame = numeric(casual=casual, registered=registered, y=casual + registered)
    finding = check(subject(frame, **REGRESSION))
    assert (finding.severity, finding.columns) == ("blocks", ("casual", "registered"))
    assert "casual + registered equals the target" in finding.evidence


def test_columns_that_multiply_to_the_target_block() -> None:
    """So are quantity and price of a revenue."""
    quantity, price = RNG.integers(1, 20, ROWS), RNG.uniform(1, 9, ROWS)
    finding = check(subject(numeric(q=quantity, p=price, y=quantity * price), **REGRESSION))
    assert "q · p equals the target" in finding.evidence


def test_several_classes_are_measured_too() -> None:
    """A code of the class is found among several classes."""
    y = np.arange(ROWS) % 4
    finding = check(subject(table(y=y, code=y * 10 + 7), **MULTICLASS))
    assert finding.columns == ("code",)


def test_an_excluded_column_is_no_suspect() -> None:
    """What no model gets cannot leak."""
    frame = table(outcome=table()["y"])
    assert check(subject(frame, exclude={"outcome": "known later"})).outcome == "not_found"


def test_the_validation_set_is_not_read() -> None:
    """A column that gives away only the validation rows is not seen."""
    frame = table()
    noise = RNG.permutation(frame["y"])
    assert check(subject(table(c=np.where(VALIDATION, frame["y"], noise)))).outcome == "not_found"


def test_a_good_predictor_is_not_found() -> None:
    """An honest feature is no suspect, and its skill is told."""
    finding = check(subject(table()))
    assert finding.outcome == "not_found"
    assert "x (" in finding.evidence


def test_a_constant_target_is_not_applicable() -> None:
    """Nothing can give away what never varies."""
    assert check(subject(table(y="yes"))).outcome == "not_applicable"
