"""Winners are compared row by row, by the clusters of the split."""

import numpy as np
import pytest

from experiment_pipeline_tests.bench.quality import paired

Y = np.array([1.0, 2.0, 3.0, 4.0])
EACH_ROW = np.arange(4)


def test_the_difference_is_above_zero_where_ours_is_better():
    """Its standard error is that of a mean of paired differences; worse by more than
    one does not hold.
    """
    ours, other = Y + np.array([0, 0, 1, 1]), Y + np.array([1, 2, 1, 2])
    quality = paired("x", "mae", Y, ours, other, EACH_ROW)
    by_row = np.array([1.0, 2.0, 0.0, 1.0])
    assert quality.difference == pytest.approx(by_row.mean())
    assert quality.standard_error == pytest.approx(by_row.std(ddof=1) / 2)
    assert quality.cells()[-1] == "yes"
    assert paired("x", "mae", Y, Y + 2, Y + 1, EACH_ROW).cells()[-1] == "no"


def test_rows_of_one_cluster_count_together():
    """Four rows in two clusters know as much as two."""
    ours, other = Y + 0.5, Y + np.array([0.5, 0.5, 1.5, 1.5])
    alone = paired("x", "mae", Y, ours, other, EACH_ROW)
    together = paired("x", "mae", Y, ours, other, np.array([0, 0, 1, 1]))
    assert together.difference == alone.difference == pytest.approx(0.5)
    assert together.standard_error == pytest.approx(0.5)
    assert together.standard_error > alone.standard_error
