"""The benchmark of budgets times search, refit and report together."""

import pytest

from experiment_pipeline_tests.bench.budget import MOST_SHARE, Shape, measurements


@pytest.mark.slow
def test_a_small_budget_is_measured_as_a_share() -> None:
    """The three together take more of it than the search alone."""
    whole, search, fits = measurements(((Shape(2_000, 6, 2), 8.0),))
    assert 0 < search.value < whole.value
    assert whole.goal == MOST_SHARE
    assert fits.value > 1
