import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    VALIDATION,
    numeric,
    rule,
    subject,
    table,
)

check = rule("target_missing").check


def _without(share: float) -> np.ndarray:
    y = table()["y"].to_numpy(dtype=object)
    y[: int(share * len(y))] = None
    return y


def test_a_tenth_without_a_target_is_a_condition() -> None:
    """Ten percent of rows without a target are found, with their share."""
    finding = check(subject(table(y=_without(0.1))))
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert finding.number == 0.1


def test_most_without_a_target_blocks() -> None:
    """More than half of the rows without a target block."""
    assert check(subject(table(y=_without(0.6)))).severity == "blocks"


def test_an_infinite_target_counts_as_missing() -> None:
    """A regression target that is infinite cannot be learnt from either."""
    y = numeric()["y"].to_numpy().copy()
    y[:40] = np.inf
    assert check(subject(numeric(y=y), **REGRESSION)).number == 0.1


def test_a_complete_target_is_not_found() -> None:
    """A target in every row is no finding, and the number is told all the same."""
    finding = check(subject(table()))
    assert (finding.outcome, finding.number) == ("not_found", 0)


def test_validation_rows_are_not_counted() -> None:
    """What is missing in the validation set alone is not looked at."""
    y = table()["y"].to_numpy(dtype=object)
    y[VALIDATION] = None
    assert check(subject(table(y=y))).number == 0
