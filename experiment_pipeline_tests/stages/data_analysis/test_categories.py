import numpy as np
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, again, check, table

# category_variants

MAKERS = ["AIRBUS", "AIRBUS INDUSTRIE", "BOEING", "EMBRAER"]


@pytest.mark.parametrize(
    "values", [["Berlin", "berlin", "Paris"], ["Berlin ", "Berlin", "Paris"], ["A  B", "A B", "c"]]
)
def test_case_and_spaces_are_a_condition(values) -> None:
    """Spellings of one category are found; the proposed preparation unites them."""
    frame = table(city=[values[i % 3] for i in range(ROWS)])
    finding = check("category_variants", frame)
    assert (finding.severity, finding.number) == ("condition", 1)
    assert again(finding, frame).outcome == "not_found"
    assert after(finding, frame).frame["city"].nunique() == 2


def test_words_left_out_are_a_note() -> None:
    """A maker with and without its second word may be the same."""
    frame = table(maker=[MAKERS[i % 4] for i in range(ROWS)])
    finding = check("category_variants", frame)
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert after(finding, frame).frame["maker"].nunique() == 3


def test_a_typing_error_is_a_note() -> None:
    """A rare text one letter from a frequent one may be an error."""
    city = np.where(np.arange(ROWS) % 2 == 0, "Hamburg", "Munich").astype(object)
    city[7] = "Hambrug"
    city[9] = "Hamburgg"
    finding = check("category_variants", table(city=city))
    assert (finding.severity, finding.number) == ("note", 1)
    assert "'Hamburgg'" in finding.evidence


def test_classes_of_the_target_are_compared_too() -> None:
    """Two spellings of a class are two classes to a model."""
    y = np.where(np.arange(ROWS) % 5 == 0, "Yes", table()["y"])
    finding = check("category_variants", table(y=y), task="multiclass", metric="log_loss")
    assert finding.columns == ("y",)


# high_cardinality


def test_many_categories_are_a_note() -> None:
    """150 distinct texts pass the default of a hundred; excluding removes the finding."""
    frame = table(street=[f"street {i % 150}" for i in range(ROWS)])
    finding = check("high_cardinality", frame)
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("street",), 150)
    assert again(finding, frame).outcome == "not_found"


# rare_categories


def test_a_category_of_three_rows_is_a_note() -> None:
    """Categories below ten rows are counted with their share."""
    colour = np.where(np.arange(ROWS) < 3, "mauve", table()["colour"])
    finding = check("rare_categories", table(colour=colour))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "note", 3)
    assert "1 category, 0.75 %" in finding.evidence


# near_duplicate_columns


def test_another_cluster_is_found() -> None:
    """Miles and kilometres say the same; excluding one removes the finding."""
    frame = table(miles=table()["x"] * 0.62)
    finding = check("near_duplicate_columns", frame)
    assert (finding.outcome, finding.columns) == ("found", ("x", "miles"))
    assert again(finding, frame).outcome == "not_found"


def test_a_code_and_its_name_are_found() -> None:
    """A category and its number determine each other."""
    frame = table(code=table()["colour"].map({"red": 3, "green": 1, "blue": 2}))
    assert check("near_duplicate_columns", frame).columns == ("colour", "code")


def test_missing_values_must_agree() -> None:
    """The same numbers, missing in other rows, do not say the same."""
    x = table()["x"]
    gaps = x.where(np.arange(ROWS) % 3 > 0)
    assert check("near_duplicate_columns", table(other=gaps)).outcome == "not_found"
    assert check("near_duplicate_columns", table(x=gaps, other=-gaps)).outcome == "not_found"
    assert check("near_duplicate_columns", table(x=gaps, other=2 * gaps)).outcome == "found"
