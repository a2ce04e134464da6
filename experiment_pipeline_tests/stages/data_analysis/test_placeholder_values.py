import numpy as np
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("placeholder_values").check

RNG = np.random.default_rng(4)
SOME = np.arange(ROWS) % 10 == 0


@pytest.mark.parametrize("mark", ["?", "unknown", "Not available", "   ", "-"])
def test_texts_for_missing_are_a_note(mark) -> None:
    """A text that says missing is found; declaring it removes the finding."""
    frame = table(job=np.where(SOME, mark, table()["colour"]))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.number) == ("found", "note", 0.1)
    assert check(after(finding, frame)).outcome == "not_found"


@pytest.mark.parametrize(
    ("mark", "severity"),
    [(-999, "condition"), (9999.0, "condition"), (-1, "note"), (0, "note")],
)
def test_numbers_for_missing_are_found(mark, severity) -> None:
    """A usual placeholder far from all other numbers is found; declaring it removes it."""
    frame = table(age=np.where(SOME, mark, RNG.integers(30, 50, ROWS)))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", severity, ("age",))
    assert check(after(finding, frame)).outcome == "not_found"


def test_a_class_that_says_unknown_is_a_condition() -> None:
    """A placeholder in the target is a class that nobody wants to predict."""
    frame = table(y=np.where(SOME, "?", table()["y"]))
    finding = check(subject(frame, task="multiclass", metric="log_loss"))
    assert (finding.severity, finding.columns) == ("condition", ("y",))


@pytest.mark.parametrize(
    "values",
    [
        RNG.poisson(1.0, ROWS),
        RNG.integers(-2, 15, ROWS),
        np.where(SOME, 99, RNG.integers(60, 99, ROWS)),
        RNG.integers(0, 3, ROWS) * 999,
        np.where(np.arange(ROWS) == 7, -999, RNG.integers(30, 50, ROWS)),
    ],
)
def test_ordinary_numbers_are_not_found(values) -> None:
    """Counts, small negative numbers, codes and single outliers are no placeholders."""
    assert check(subject(table(age=values))).outcome == "not_found"


def test_a_table_without_features_of_these_kinds_is_not_applicable() -> None:
    """Without numbers and texts there is nothing to look for."""
    assert check(subject(table(y=SOME)[["y"]])).outcome == "not_applicable"
