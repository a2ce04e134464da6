import numpy as np
import pandas as pd

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    VALIDATION,
    again,
    check,
    numeric,
    table,
)

# drift_over_time

DAYS = pd.date_range("2024-01-01", periods=ROWS)
LATE = np.arange(ROWS) > ROWS / 2


def test_a_feature_that_changes_is_a_condition() -> None:
    """A shift over time calls for a split by time, after which it is a note."""
    frame = table(day=DAYS, price=np.random.default_rng(0).normal(size=ROWS) + 3 * LATE)
    finding = check("drift_over_time", frame)
    assert (finding.severity, finding.columns) == ("condition", ("price",))
    assert again(finding, frame).severity == "note"


def test_a_category_that_changes_is_found() -> None:
    """So is a category that comes up late."""
    frame = table(day=DAYS, shop=np.where(LATE, "new", "old"))
    assert check("drift_over_time", frame).columns == ("shop",)


def test_a_target_that_changes_is_found() -> None:
    """The target of the visible rows is compared too, and named first."""
    finding = check("drift_over_time", table(day=DAYS, y=np.where(LATE, "yes", "no")))
    assert finding.columns[0] == "y"
    rising = numeric(day=DAYS, y=1.0 * np.arange(ROWS))
    assert check("drift_over_time", rising, **REGRESSION).columns == ("y",)


def test_a_target_that_changes_in_validation_alone_is_not_seen() -> None:
    """Targets of the validation set are not read."""
    frame = table(day=DAYS)
    changed = np.where(VALIDATION & LATE, "yes", frame["y"])
    assert check("drift_over_time", frame) == check("drift_over_time", table(day=DAYS, y=changed))
