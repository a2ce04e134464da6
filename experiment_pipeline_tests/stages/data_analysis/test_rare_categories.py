import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, rule, subject, table

check = rule("rare_categories").check


def test_a_category_of_three_rows_is_a_note() -> None:
    """Categories below ten rows are counted with their share."""
    colour = np.where(np.arange(ROWS) < 3, "mauve", table()["colour"])
    finding = check(subject(table(colour=colour)))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "note", 3)
    assert "1 category, 0.75 %" in finding.evidence


def test_frequent_categories_are_not_found() -> None:
    """Three colours of a hundred rows each are no finding."""
    assert check(subject(table())).outcome == "not_found"


def test_high_cardinality_is_another_finding() -> None:
    """A column of very many categories is not judged here."""
    frame = table(colour=[f"colour {i % 150}" for i in range(ROWS)])
    assert check(subject(frame)).outcome == "not_applicable"
