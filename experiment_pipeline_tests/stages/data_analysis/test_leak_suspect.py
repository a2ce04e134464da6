import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    after,
    numeric,
    rule,
    subject,
    table,
)

check = rule("leak_suspect").check

RNG = np.random.default_rng(3)


def test_a_copy_of_the_target_blocks() -> None:
    """A column that names the class is found, and excluding it removes the finding."""
    frame = table(outcome=table()["y"].map({"yes": "paid", "no": "defaulted"}))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == ("found", "blocks", ("outcome",))
    assert check(after(finding, frame)).outcome == "not_found"


def test_a_column_that_is_missing_with_the_outcome_blocks() -> None:
    """That a value is missing can give the target away too."""
    frame = table(closed=np.where(table()["y"] == "yes", np.nan, RNG.normal(size=ROWS)))
    assert check(subject(frame)).columns == ("closed",)


def test_a_very_strong_column_is_a_condition() -> None:
    """A column that predicts almost always, but not always, is for people to judge."""
    wrong = RNG.random(ROWS) < 0.03
    frame = table(early=(table()["y"] == "yes") ^ wrong)
    finding = check(subject(frame))
    assert (finding.severity, finding.columns) == ("condition", ("early",))


@pytest.mark.parametrize("scale", [np.asarray, np.exp])
def test_a_function_of_a_numeric_target_blocks(scale) -> None:
    """A monotone function of the target is found, whatever its tail."""
    frame = numeric()
    assert check(subject(numeric(paid=scale(frame["y"])), **REGRESSION)).columns == ("paid",)


def test_columns_that_sum_to_the_target_block() -> None:
    """Two columns that add up to the target are found though neither predicts it alone."""
    casual, registered = RNG.integers(0, 500, ROWS), RNG.integers(0, 500, ROWS)
    frame = numeric(casual=casual, registered=registered, y=casual + registered)
    finding = check(subject(frame, **REGRESSION))
    assert (finding.severity, finding.columns) == ("blocks", ("casual", "registered"))
    assert "casual + registered equals the target" in finding.evidence


def test_columns_that_multiply_to_the_target_block() -> None:
    """So are quantity and price of a revenue."""
    quantity, price = RNG.integers(1, 20, ROWS), RNG.uniform(1, 9, ROWS)
    finding = check(subject(numeric(q=quantity, p=price, y=quantity * price), **REGRESSION))
    assert "q · p equals the target" in finding.evidence


def test_a_copy_with_flips_is_a_condition() -> None:
    """A tenth of wrong rows hides a copy from its skill, not from how it agrees."""
    flipped = (table()["y"] == "yes") ^ (np.random.default_rng(1).random(ROWS) < 0.1)
    finding = check(subject(table(x=RNG.normal(size=ROWS), copy=flipped)))
    assert (finding.severity, finding.columns) == ("condition", ("copy",))


def test_a_number_that_is_the_target_in_most_rows_is_a_condition() -> None:
    """Equal to the last digit in nine of ten rows is a copy, in whatever unit."""
    y = numeric()["y"].to_numpy()
    copy = np.where(RNG.random(ROWS) < 0.1, RNG.permutation(y), y) * 1.8 + 32
    finding = check(subject(numeric(copy=copy), **REGRESSION))
    assert (finding.severity, finding.columns) == ("condition", ("copy",))


def test_an_honest_flag_is_no_copy() -> None:
    """A flag that is right in four of five rows is not found."""
    flag = (table()["y"] == "yes") ^ (RNG.random(ROWS) < 0.2)
    assert check(subject(table(flag=flag))).outcome == "not_found"


def test_a_near_copy_of_a_rare_class_blocks() -> None:
    """Noise of a millionth hides nothing, however few rows are positive."""
    y = np.arange(ROWS) % 25 == 0
    finding = check(subject(table(y=y, near=y + 1e-6 * RNG.normal(size=ROWS))))
    assert (finding.severity, finding.columns) == ("blocks", ("near",))


@pytest.mark.parametrize("name", ["C{}", "C{:06d}"])
def test_ids_in_the_order_of_the_target_are_found(name) -> None:
    """Ids given out after sorting by the target say it, C9 before C10."""
    y = table()["y"].to_numpy()
    places = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    finding = check(subject(table(id=[name.format(place) for place in places])))
    assert finding.columns == ("id",)
    assert "in the order of its texts" in finding.evidence
    shuffled = RNG.permutation(places)
    honest = table(id=[name.format(place) for place in shuffled])
    assert check(subject(honest)).outcome == "not_found"


def test_a_text_that_says_the_target_is_found() -> None:
    """A word among others, or an amount; a text that only tends to say it is not."""
    said = table()["y"].map({"yes": "closed", "no": "open"})
    filler = pd.Series(RNG.choice(["the", "case", "was", "seen", "by", "us"], (ROWS, 3)).tolist())
    number = pd.Series(RNG.integers(0, 10_000, ROWS).astype(str)) + " "
    notes = number + filler.str.join(" ")
    telling = check(subject(table(note=(notes + " " + said.array).array)))
    assert (telling.severity, telling.columns) == ("blocks", ("note",))
    assert "by its words" in telling.evidence
    tends = said.where(RNG.random(ROWS) < 0.6, RNG.permutation(said))
    assert check(subject(table(note=(notes + " " + tends.array).array))).outcome == "not_found"
    amounts = numeric()["y"].abs().map(lambda y: f"paid {y:.4f} EUR").array
    paid = numeric(note=amounts, y=numeric()["y"].abs())
    assert check(subject(paid, **REGRESSION)).columns == ("note",)


def test_several_classes_are_measured_too() -> None:
    """A code of the class is found among several classes."""
    y = np.arange(ROWS) % 4
    finding = check(subject(table(y=y, code=y * 10 + 7), **MULTICLASS))
    assert finding.columns == ("code",)


def test_an_excluded_column_is_no_suspect() -> None:
    """What no model gets cannot leak."""
    frame = table(outcome=table()["y"])
    assert check(subject(frame, exclude={"outcome": "known later"})).outcome == "not_found"


def test_the_validation_set_is_not_read() -> None:
    """A column that gives away only the validation rows is not seen."""
    frame = table()
    noise = RNG.permutation(frame["y"])
    assert check(subject(table(c=np.where(VALIDATION, frame["y"], noise)))).outcome == "not_found"


def test_a_good_predictor_is_not_found() -> None:
    """An honest feature is no suspect, and its skill is told."""
    finding = check(subject(table()))
    assert finding.outcome == "not_found"
    assert "x (" in finding.evidence


def test_a_constant_target_is_not_applicable() -> None:
    """Nothing can give away what never varies."""
    assert check(subject(table(y="yes"))).outcome == "not_applicable"
