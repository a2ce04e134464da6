"""Winners are compared row by row, by the clusters of the split."""

import numpy as np
import pytest

from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.quality import Quality, paired


def test_the_difference_is_above_zero_where_ours_is_better():
    """Its standard error is that of a mean of paired differences, where rows of one
    cluster count together; worse by more than one does not hold.
    """
    y = np.array([1.0, 2.0, 3.0, 4.0])

    def compared(ours: list[float], other: list[float], clusters: list[int]) -> Quality:
        both = (SetPrediction(y, y + one, np.array(clusters)) for one in (ours, other))
        return paired("x", "mae", *both)

    quality = compared([0, 0, 1, 1], [1, 2, 1, 2], [0, 1, 2, 3])
    by_row = np.array([1.0, 2.0, 0.0, 1.0])
    assert quality.difference == pytest.approx(by_row.mean())
    assert quality.standard_error == pytest.approx(by_row.std(ddof=1) / 2)
    assert quality.cells()[-1] == "yes"
    assert compared([2] * 4, [1] * 4, [0, 1, 2, 3]).cells()[-1] == "no"
    together = compared([0.5] * 4, [0.5, 0.5, 1.5, 1.5], [0, 0, 1, 1])
    assert together.standard_error == pytest.approx(0.5)
