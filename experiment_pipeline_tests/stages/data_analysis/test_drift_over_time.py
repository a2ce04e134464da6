import numpy as np
import pandas as pd

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    VALIDATION,
    after,
    numeric,
    rule,
    subject,
    table,
)

check = rule("drift_over_time").check

DAYS = pd.date_range("2024-01-01", periods=ROWS)
LATE = np.arange(ROWS) > ROWS / 2


def test_a_feature_that_changes_is_a_condition() -> None:
    """A shift over time calls for a split by time, after which it is a note."""
    frame = table(day=DAYS, price=np.random.default_rng(0).normal(size=ROWS) + 3 * LATE)
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == (
        "found",
        "condition",
        ("price",),
    )
    assert check(after(finding, frame)).severity == "note"


def test_a_category_that_changes_is_found() -> None:
    """So is a category that comes up late."""
    frame = table(day=DAYS, shop=np.where(LATE, "new", "old"))
    assert check(subject(frame)).columns == ("shop",)


def test_a_target_that_changes_is_found() -> None:
    """The target of the visible rows is compared too, and named first."""
    finding = check(subject(table(day=DAYS, y=np.where(LATE, "yes", "no"))))
    assert finding.columns[0] == "y"
    assert check(subject(numeric(day=DAYS, y=1.0 * np.arange(ROWS)), **REGRESSION)).columns == (
        "y",
    )


def test_a_target_that_changes_in_validation_alone_is_not_seen() -> None:
    """Targets of the validation set are not read."""
    frame = table(day=DAYS)
    changed = np.where(VALIDATION & LATE, "yes", frame["y"])
    assert check(subject(frame)) == check(subject(table(day=DAYS, y=changed)))


def test_a_steady_table_is_not_found() -> None:
    """Without a change there is no finding, though there is a time."""
    assert check(subject(table(day=DAYS))).outcome == "not_found"


def test_a_table_without_time_is_not_applicable() -> None:
    """Without a datetime column there is nothing to order by."""
    assert check(subject(table())).outcome == "not_applicable"


def test_a_single_moment_is_not_applicable() -> None:
    """One moment has no early and late."""
    assert check(subject(table(day=DAYS[0]))).outcome == "not_applicable"
