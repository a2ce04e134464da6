import numpy as np
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("category_variants").check

MAKERS = ["AIRBUS", "AIRBUS INDUSTRIE", "BOEING", "EMBRAER"]


@pytest.mark.parametrize(
    "values", [["Berlin", "berlin", "Paris"], ["Berlin ", "Berlin", "Paris"], ["A  B", "A B", "c"]]
)
def test_case_and_spaces_are_a_condition(values) -> None:
    """Spellings of one category are found; the proposed preparation unites them."""
    frame = table(city=[values[i % 3] for i in range(ROWS)])
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "condition", 1)
    prepared = after(finding, frame)
    assert check(prepared).outcome == "not_found"
    assert prepared.frame["city"].nunique() == 2


def test_words_left_out_are_a_note() -> None:
    """A maker with and without its second word may be the same."""
    frame = table(maker=[MAKERS[i % 4] for i in range(ROWS)])
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert after(finding, frame).frame["maker"].nunique() == 3


def test_a_typing_error_is_a_note() -> None:
    """A rare text one letter from a frequent one may be an error."""
    city = np.where(np.arange(ROWS) % 2 == 0, "Hamburg", "Munich").astype(object)
    city[7] = "Hambrug"
    city[9] = "Hamburgg"
    finding = check(subject(table(city=city)))
    assert (finding.severity, finding.number) == ("note", 1)
    assert "'Hamburgg'" in finding.evidence


def test_classes_of_the_target_are_compared_too() -> None:
    """Two spellings of a class are two classes to a model."""
    y = np.where(np.arange(ROWS) % 5 == 0, "Yes", table()["y"])
    finding = check(subject(table(y=y), task="multiclass", metric="log_loss"))
    assert finding.columns == ("y",)


def test_codes_and_different_words_are_not_found() -> None:
    """Zones that differ in a digit are different zones."""
    frame = table(zone=[f"zone {i % 9}" for i in range(ROWS)])
    assert check(subject(frame)).outcome == "not_found"


def test_numbers_alone_are_not_applicable() -> None:
    """Numbers have one spelling."""
    frame = table(y=np.arange(ROWS) % 2).drop(columns="colour")
    assert check(subject(frame)).outcome == "not_applicable"
