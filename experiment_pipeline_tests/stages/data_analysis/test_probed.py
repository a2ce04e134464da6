import numpy as np
import pytest

from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.findings import PROBE_RULES
from experiment_pipeline.stages.data_analysis.probe import NoProbe
from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    check,
    numeric,
    subject,
    table,
)

# probe_no_better_than_baseline


def test_noise_is_a_condition() -> None:
    """Features that know nothing about the target are found."""
    noise = np.random.default_rng(1).choice(["yes", "no"], ROWS)
    finding = check("probe_no_better_than_baseline", table(y=noise))
    assert finding.severity == "condition"


def test_signal_is_not_found() -> None:
    """A feature that predicts is no finding, and the gain is told."""
    finding = check("probe_no_better_than_baseline", table())
    assert finding.outcome == "not_found"
    assert "standard errors" in finding.evidence


# probe_nearly_perfect


def test_a_leak_over_two_columns_is_a_condition() -> None:
    """Two columns that give the target away together, neither alone, are found."""
    rng = np.random.default_rng(0)
    paid, due = rng.normal(size=(2, 400))
    frame = table(paid=paid, due=due, y=np.where(paid > due, "yes", "no"))
    finding = check("probe_nearly_perfect", frame)
    assert finding.severity == "condition"
    assert set(finding.columns[:2]) == {"paid", "due"}


# criterion_out_of_reach


def _judged(at_least: float) -> Finding:
    acceptance = [{"metric": "roc_auc", "at_least": at_least}]
    return check("criterion_out_of_reach", table(), acceptance=acceptance)


def test_a_criterion_far_above_is_a_condition_and_never_blocks() -> None:
    """A criterion of 0.99 is far from a probe of about 0.75."""
    finding = _judged(0.99)
    assert finding.severity == "condition"
    assert "criterion 0.99" in finding.evidence


def test_a_criterion_within_reach_is_not_found() -> None:
    """What the probe reaches, a search will reach."""
    finding = _judged(0.6)
    assert (finding.outcome, finding.number) == ("not_found", 0)


def test_the_direction_of_the_metric_counts() -> None:
    """An error that must be far smaller than the probe's is found."""
    acceptance = [{"metric": "rmse", "at_most": 0.1}, {"metric": "r2", "at_least": 0.1}]
    finding = check("criterion_out_of_reach", numeric(), **REGRESSION, acceptance=acceptance)
    assert finding.outcome == "found"
    assert "rmse" in finding.evidence


@pytest.mark.parametrize("rule", PROBE_RULES, ids=lambda rule: rule.code)
def test_without_a_probe_it_is_not_applicable(rule) -> None:
    """The reason of the missing probe is passed on."""
    acceptance = [{"metric": "roc_auc", "at_least": 0.9}]
    finding = rule.check(subject(table(), acceptance=acceptance), NoProbe("no reason"))
    assert (finding.outcome, finding.evidence) == ("not_applicable", "no reason")
