import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    ROWS,
    rule,
    subject,
    table,
)

check = rule("too_many_classes").check


def test_more_classes_than_the_threshold_are_a_condition() -> None:
    """121 classes pass the default of a hundred."""
    finding = check(subject(table(y=[f"class {i % 121}" for i in range(ROWS)]), **MULTICLASS))
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert (finding.number, finding.threshold) == (121, 100)


def test_a_class_per_row_blocks() -> None:
    """An id as the target cannot be learnt."""
    finding = check(subject(table(y=[f"class {i}" for i in range(ROWS)]), **MULTICLASS))
    assert finding.severity == "blocks"


def test_the_threshold_can_be_changed() -> None:
    """The YAML may allow fewer classes."""
    strict = {"thresholds": {"too_many_classes": 3}}
    frame = table(y=np.arange(ROWS) % 4)
    assert check(subject(frame, **MULTICLASS, analysis=strict)).outcome == "found"
    assert check(subject(frame, **MULTICLASS)).outcome == "not_found"


def test_two_classes_are_not_applicable() -> None:
    """A binary task has no number of classes to judge."""
    assert check(subject(table())).outcome == "not_applicable"
