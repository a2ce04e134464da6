import numpy as np
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, after, rule, subject, table

check = rule("almost_unique_column").check

RNG = np.random.default_rng(1)


@pytest.mark.parametrize(
    "values",
    [
        [f"V{i:04}" for i in range(ROWS)],
        RNG.permutation(ROWS),
        np.arange(ROWS) + 17.0,
    ],
)
def test_ids_are_found(values) -> None:
    """Texts and counters that differ in every row are found; excluding removes the finding."""
    frame = table(number=values)
    finding = check(subject(frame))
    assert (finding.outcome, finding.severity, finding.columns) == (
        "found",
        "condition",
        ("number",),
    )
    assert check(after(finding, frame)).outcome != "found"


def test_a_whole_number_counts_when_its_name_says_id() -> None:
    """Sparse numbers are ids only by name."""
    sparse = RNG.choice(10**9, ROWS, replace=False)
    assert check(subject(table(order_id=sparse))).outcome == "found"
    assert check(subject(table(income=sparse))).outcome == "not_found"


def test_dates_in_texts_are_another_finding() -> None:
    """A text that differs in every row because it is a date is no id."""
    dates = [f"2024-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(ROWS - 64)]
    frame = table().head(ROWS - 64).assign(day=dates)
    assert check(subject(frame)).outcome == "not_found"


def test_measurements_and_categories_are_not_found() -> None:
    """A plain table has no ids."""
    assert check(subject(table())).outcome == "not_found"


def test_numbers_alone_are_not_applicable() -> None:
    """Measurements may differ in every row: nothing to judge."""
    assert check(subject(table().drop(columns="colour"))).outcome == "not_applicable"
