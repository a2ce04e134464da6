import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    rule,
    subject,
    table,
)

check = rule("absurd_magnitudes").check


def _with(value: float) -> np.ndarray:
    heights = np.random.default_rng(0).normal(1.7, 0.1, ROWS)
    heights[5] = value
    return heights


def test_a_wrong_unit_is_a_condition() -> None:
    """A height in micrometres among metres is found with its value."""
    finding = check(subject(table(height=_with(1.8e6))))
    assert (finding.outcome, finding.severity, finding.columns) == (
        "found",
        "condition",
        ("height",),
    )
    assert "1.8e+06" in finding.evidence


def test_a_number_beyond_float32_is_found_in_any_table() -> None:
    """Trees calculate in float32, so even a short table is judged."""
    frame = table(height=_with(1e300)).head(50)
    assert check(subject(frame)).outcome == "found"


def test_a_target_beyond_float32_blocks() -> None:
    """No model can be fitted to such a target; a column like it is only a condition."""
    assert check(subject(table(y=_with(1e200)), **REGRESSION)).severity == "blocks"
    assert check(subject(table(height=_with(1e200)))).severity == "condition"


def test_an_outlier_is_not_absurd() -> None:
    """A giant is an outlier, no error of unit."""
    assert check(subject(table(height=_with(2.7)))).outcome == "not_found"


def test_texts_alone_are_not_applicable() -> None:
    """Texts have no magnitude."""
    assert check(subject(table()[["colour", "y"]])).outcome == "not_applicable"
