import numpy as np

from experiment_pipeline_tests.stages.data_analysis.tables import (
    REGRESSION,
    ROWS,
    VALIDATION,
    after,
    numeric,
    rule,
    subject,
    table,
)

check, leak_suspect = rule("telling_missing_values").check, rule("leak_suspect").check

RNG = np.random.default_rng(11)
LATE = (table()["y"] == "yes").to_numpy()
CANCELLED = LATE & (np.arange(ROWS) % 4 == 0)


def test_values_that_are_missing_with_the_outcome_are_a_condition() -> None:
    """A plane missing only where the flight is late is found, though it is no leak suspect."""
    frame = table(seats=np.where(CANCELLED, np.nan, RNG.normal(size=ROWS)))
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == (
        "found",
        "condition",
        ("seats",),
    )
    assert leak_suspect(subject(frame)).outcome == "not_found"
    assert check(after(finding, frame)).outcome == "not_applicable"


def test_a_number_that_is_always_the_same_is_found_too() -> None:
    """Of a regression target, the spread among these rows is compared with the usual one."""
    gone = np.arange(ROWS) % 8 == 0
    y = np.where(gone, 0.0, numeric()["y"] + 10)
    frame = numeric(y=y, note=np.where(gone, None, "seen"))
    assert check(subject(frame, **REGRESSION)).columns == ("note",)


def test_values_missing_at_random_are_not_found() -> None:
    """What is missing now and then says nothing."""
    frame = table(z=table()["z"].where(RNG.random(ROWS) > 0.3))
    assert check(subject(frame)).outcome == "not_found"


def test_a_rare_class_is_no_surprise() -> None:
    """Thirty rows without the rare class are what chance gives."""
    y = np.where(np.arange(ROWS) % 100 == 1, "yes", "no")
    frame = table(y=y, z=table()["z"].where(np.arange(ROWS) % 10 != 0))
    assert check(subject(frame)).outcome == "not_found"


def test_validation_rows_are_not_read() -> None:
    """What is missing in the validation set alone is not looked at."""
    frame = table(z=table()["z"].where(~(VALIDATION & LATE)))
    assert check(subject(frame)).outcome == "not_applicable"


def test_a_complete_table_is_not_applicable() -> None:
    """Where nothing is missing nothing can tell."""
    assert check(subject(table())).outcome == "not_applicable"


def test_a_constant_target_is_not_applicable() -> None:
    """A target that never varies is told by everything."""
    assert check(subject(table(y="yes"))).outcome == "not_applicable"
