"""The benchmark of reports makes the tables it names, and times the report apart from the refit."""

import pytest

from experiment_pipeline_tests.bench.reports import MOST_SHARE, Shape, measurements


@pytest.mark.parametrize(("classes", "task"), [(1, "regression"), (2, "binary"), (7, "multiclass")])
def test_a_shape_makes_its_table(classes: int, task: str) -> None:
    """Rows, features and classes are those of the name."""
    shape = Shape(300, 20, classes)
    table = shape.table()
    assert shape.task == task
    assert table.shape == (300, 21)
    assert task == "regression" or table["y"].nunique() == classes


@pytest.mark.slow
def test_a_small_report_is_measured_in_all_its_parts() -> None:
    """Search, refit, the rest, and its share of the search."""
    search, _, rest, share = measurements((Shape(2_000, 6, 2),), 3.0)
    assert share.value == pytest.approx(rest.value / search.value)
    assert share.goal == MOST_SHARE
