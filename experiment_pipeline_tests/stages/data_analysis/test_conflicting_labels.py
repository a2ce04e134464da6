import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    numeric,
    rule,
    subject,
    table,
)

check = rule("conflicting_labels").check


def _twice(frame: pd.DataFrame, every: int) -> pd.DataFrame:
    """Each row twice; the target of every n-th copy is that of another row."""
    copies = frame.copy()
    copies.loc[::every, "y"] = np.roll(frame["y"], 1)[::every]
    both = pd.concat([frame, copies], ignore_index=True)
    return both.iloc[np.argsort(np.tile(np.arange(len(frame)), 2), kind="stable")].reset_index(
        drop=True
    )


def test_equal_rows_with_other_labels_are_a_condition() -> None:
    """The share of contradicted labels and the best accuracy they allow are told."""
    frame = _twice(table(), every=3)
    finding = check(subject(frame, metric="accuracy"))
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert finding.number is not None
    assert f"accuracy can be {1 - finding.number:.4g} at best" in finding.evidence


def test_a_criterion_above_the_ceiling_blocks() -> None:
    """No model can pass a gate that the labels rule out."""
    acceptance = [{"metric": "roc_auc", "at_least": 0.999}]
    finding = check(subject(_twice(table(), every=2), acceptance=acceptance))
    assert finding.severity == "blocks"
    assert "asks for 0.999" in finding.evidence


def test_the_ceiling_is_a_number_that_later_stages_read() -> None:
    """Told of the ranking metric alone, whether or not it weighs; none where rows are unique."""
    contradicted = check(subject(_twice(table(), every=3), metric="accuracy"))
    assert contradicted.ceiling == pytest.approx(1 - contradicted.number)
    agreed = check(subject(pd.concat([table(), table()], ignore_index=True), metric="accuracy"))
    assert (agreed.outcome, agreed.ceiling) == ("not_found", 1.0)
    assert check(subject(_twice(table(), every=3), metric="f1")).ceiling is None
    assert check(subject(table(), metric="accuracy")).ceiling is None


def test_a_table_of_few_combinations_is_a_note() -> None:
    """Where rows must repeat, different targets are noise."""
    frame = table()[["colour", "y"]]
    assert check(subject(frame)).severity == "note"


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape"])
def test_numbers_have_a_ceiling_too(metric) -> None:
    """For a number the contradicted share of the variance is told."""
    finding = check(subject(_twice(numeric(), every=1), task="regression", metric=metric))
    assert finding.outcome == "found"
    assert ("r2" if metric == "mape" else metric) in finding.evidence


def test_several_classes_have_a_ceiling_too() -> None:
    """Probabilities among equal rows bound the log loss."""
    y = np.arange(400) % 3
    finding = check(subject(_twice(table(y=y), every=2), **MULTICLASS))
    assert finding.outcome == "found"


def test_equal_rows_with_equal_labels_are_not_found() -> None:
    """Copies that agree are no conflict."""
    both = pd.concat([table(), table()], ignore_index=True)
    assert check(subject(both)).outcome == "not_found"


def test_rows_that_all_differ_are_not_applicable() -> None:
    """Without equal rows there is no ceiling."""
    assert check(subject(numeric(), **REGRESSION)).outcome == "not_applicable"
