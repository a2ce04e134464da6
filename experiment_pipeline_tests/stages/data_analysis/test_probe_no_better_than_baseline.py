import numpy as np

from experiment_pipeline.stages.data_analysis.probe import NoProbe, run_probe
from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, rule, subject, table

check = rule("probe_no_better_than_baseline").check


def test_noise_is_a_condition() -> None:
    """Features that know nothing about the target are found."""
    noise = np.random.default_rng(1).choice(["yes", "no"], ROWS)
    examined = subject(table(y=noise))
    finding = check(examined, run_probe(examined, ()))
    assert (finding.outcome, finding.severity) == ("found", "condition")


def test_signal_is_not_found() -> None:
    """A feature that predicts is no finding, and the gain is told."""
    examined = subject(table())
    finding = check(examined, run_probe(examined, ()))
    assert finding.outcome == "not_found"
    assert "standard errors" in finding.evidence


def test_without_a_probe_it_is_not_applicable() -> None:
    """The reason of the missing probe is passed on."""
    finding = check(subject(table()), NoProbe("no reason"))
    assert (finding.outcome, finding.evidence) == ("not_applicable", "no reason")
