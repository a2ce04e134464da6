import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("mixed_types").check

MIXED = np.where(np.arange(ROWS) % 4 == 0, "unsure", "12.5")


def test_numbers_among_texts_are_a_condition() -> None:
    """A quarter of words among numbers is found; declaring the type settles it."""
    finding = check(subject(table(answer=MIXED)))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "condition", 0.25)
    assert "'unsure'" in finding.evidence
    assert check(after(finding, table(answer=MIXED))).outcome != "found"


def test_python_types_of_an_object_column_are_named() -> None:
    """A column of objects says which types it holds."""
    values = np.array([1, "one"] * 200, dtype=object)
    assert "Python types" in check(subject(table(answer=values))).evidence


def test_placeholders_and_codes_do_not_count() -> None:
    """A question mark is a missing value, and 9E no number."""
    frame = table(
        answer=np.where(np.arange(ROWS) % 4 == 0, "?", "12.5"),
        carrier=np.where(np.arange(ROWS) % 4 == 0, "9E", "UA"),
    )
    assert check(subject(frame)).outcome == "not_found"


def test_a_table_without_texts_is_not_applicable() -> None:
    """Numbers cannot be mixed."""
    assert check(subject(table().drop(columns="colour"))).outcome == "not_applicable"
