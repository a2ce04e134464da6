import numpy as np

from experiment_pipeline.stages.data_analysis.probe import NoProbe, run_probe
from experiment_pipeline_tests.stages.data_analysis.tables import rule, subject, table

check = rule("probe_nearly_perfect").check


def test_a_leak_over_two_columns_is_a_condition() -> None:
    """Two columns that give the target away together, neither alone, are found."""
    rng = np.random.default_rng(0)
    paid, due = rng.normal(size=(2, 400))
    examined = subject(table(paid=paid, due=due, y=np.where(paid > due, "yes", "no")))
    finding = check(examined, run_probe(examined, ()))
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert set(finding.columns[:2]) == {"paid", "due"}


def test_an_honest_table_is_not_found() -> None:
    """Noise keeps a probe from being perfect."""
    examined = subject(table())
    assert check(examined, run_probe(examined, ())).outcome == "not_found"


def test_without_a_probe_it_is_not_applicable() -> None:
    """Without a probe nothing can be too good."""
    assert check(subject(table()), NoProbe("no reason")).outcome == "not_applicable"
