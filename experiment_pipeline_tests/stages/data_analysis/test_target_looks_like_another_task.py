import numpy as np
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    after,
    numeric,
    rule,
    subject,
    table,
)

check = rule("target_looks_like_another_task").check

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
    finding = check(subject(frame, **declared))
    assert (finding.outcome, finding.severity) == ("found", severity)
    assert yaml.safe_load(finding.yaml)["task"] == likely
    assert check(after(finding, frame, **declared)).outcome == "not_found"


def test_numbers_stored_as_text_are_read() -> None:
    """A regression target of texts that are numbers is to be read as numbers."""
    frame = numeric(y=[f"{value:,.2f} €" for value in 1e4 * numeric()["y"]])
    finding = check(subject(frame, **REGRESSION))
    assert finding.severity == "blocks"
    assert check(after(finding, frame, **REGRESSION)).outcome == "not_found"


def test_no_yaml_where_criteria_would_have_to_change_too() -> None:
    """With acceptance criteria the new metric is for people to choose."""
    acceptance = [{"metric": "rmse", "at_most": 1}]
    finding = check(subject(table(y=GRADES), **REGRESSION, acceptance=acceptance))
    assert (finding.outcome, finding.yaml) == ("found", None)


@pytest.mark.parametrize(
    ("frame", "declared"), [(table(), {}), (numeric(), REGRESSION), (table(y=GRADES), MULTICLASS)]
)
def test_a_fitting_task_is_not_found(frame, declared) -> None:
    """Targets that suit their task are no finding."""
    assert check(subject(frame, **declared)).outcome == "not_found"


def test_a_constant_target_is_not_applicable() -> None:
    """A target with one value looks like no task."""
    assert check(subject(table(y=1))).outcome == "not_applicable"
