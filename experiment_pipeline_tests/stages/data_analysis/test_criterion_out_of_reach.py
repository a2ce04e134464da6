from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.probe import NoProbe, run_probe
from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    numeric,
    rule,
    subject,
    table,
)

check = rule("criterion_out_of_reach").check


def _judged(at_least: float) -> Finding:
    acceptance = [{"metric": "roc_auc", "at_least": at_least}]
    examined = subject(table(), acceptance=acceptance)
    return check(examined, run_probe(examined, ()))


def test_a_criterion_far_above_is_a_condition_and_never_blocks() -> None:
    """A criterion of 0.99 is far from a probe of about 0.75."""
    finding = _judged(0.99)
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert "criterion 0.99" in finding.evidence


def test_a_criterion_within_reach_is_not_found() -> None:
    """What the probe reaches, a search will reach."""
    finding = _judged(0.6)
    assert (finding.outcome, finding.number) == ("not_found", 0)


def test_the_direction_of_the_metric_counts() -> None:
    """An error that must be far smaller than the probe's is found."""
    acceptance = [{"metric": "rmse", "at_most": 0.1}, {"metric": "r2", "at_least": 0.1}]
    examined = subject(numeric(), **REGRESSION, acceptance=acceptance)
    finding = check(examined, run_probe(examined, ()))
    assert finding.outcome == "found"
    assert "rmse" in finding.evidence


def test_without_criteria_it_is_not_applicable() -> None:
    """An experiment that asks for nothing cannot ask for too much."""
    examined = subject(table())
    assert check(examined, run_probe(examined, ())).outcome == "not_applicable"


def test_without_a_probe_it_is_not_applicable() -> None:
    """Without a probe there is nothing to compare with."""
    acceptance = [{"metric": "roc_auc", "at_least": 0.9}]
    finding = check(subject(table(), acceptance=acceptance), NoProbe("no reason"))
    assert finding.evidence == "no reason"
