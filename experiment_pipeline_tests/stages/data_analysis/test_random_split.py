import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.bench.leak_tables import jittered, persons, smoted
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    again,
    analysed,
    check,
    table,
)

# related_rows

AS = {"binary": {}, "multiclass": MULTICLASS, "regression": REGRESSION}


@pytest.mark.parametrize("task", AS)
@pytest.mark.parametrize("related", [persons, jittered])
def test_rows_of_one_person_or_original_are_a_condition(task, related) -> None:
    """A target that is known by the nearest rows alone is found, whatever the task."""
    finding = check("related_rows", related(1, rows=ROWS, task=task).frame, **AS[task])
    assert finding.severity == "condition"
    assert "group" in finding.advice


def test_what_identifies_a_person_is_named_and_a_split_by_it_settles_it() -> None:
    """Columns in which the nearest rows agree are in the evidence."""
    frame = persons(1, rows=ROWS, equal=4).frame
    assert "Nearest rows agree in x" in check("related_rows", frame).evidence
    who = frame.groupby("x0").ngroup()
    split = {"split": {"by": "group", "column": "who"}}
    assert check("related_rows", frame.assign(who=who), **split).outcome == "not_found"


def test_synthetic_rows_are_told_by_lines() -> None:
    """Rows that SMOTE made before the split lie on lines between others; similar rows do not."""
    analysis = analysed(smoted(1, rows=ROWS).frame.rename_axis("row_number"))
    (finding,) = [one for one in analysis.found if one.code == "related_rows"]
    assert "oversampling (SMOTE)" in finding.evidence
    assert analysis.verdict == "go with conditions"


# random_split_over_time

DAYS = pd.date_range("2024-01-01", periods=ROWS)


def test_a_target_that_is_known_at_each_time_but_not_ahead_is_a_condition() -> None:
    """Both scores are in the evidence, and a split by time settles it."""
    waves = np.where(np.sin(np.arange(ROWS) / 20) > 0, "yes", "no")
    frame = table(day=DAYS, counter=np.arange(ROWS), y=waves)
    finding = check("random_split_over_time", frame)
    assert finding.severity == "condition"
    assert finding.evidence.count("roc_auc") == 1
    assert again(finding, frame).outcome == "not_applicable"
