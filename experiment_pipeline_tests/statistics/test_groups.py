"""Measures of groups: fairlearn's numbers, what small groups claim, what pairs share,
what is 0.
"""

from itertools import permutations

import numpy as np
import pytest

from experiment_pipeline.statistics.groups import GroupMeasure, compare_groups
from experiment_pipeline.statistics.interval import Interval, Weights
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.statistics_groups import draw

# By group, then difference and ratio of fairlearn's MetricFrame (0.15.0), of the rows
# of `_table`.
PLAIN = {
    "selection_rate": (0.474708, 0.508772, 0.563319, 0.088611, 0.842699),
    "true_positive_rate": (0.637168, 0.640625, 0.651899, 0.014731, 0.977404),
    "false_positive_rate": (0.347222, 0.34, 0.366197, 0.026197, 0.928462),
    "precision": (0.590164, 0.706897, 0.79845, 0.208286, 0.739137),
}
WEIGHTED = {
    "selection_rate": (0.464789, 0.5, 0.588133, 0.123344, 0.790279),
    "true_positive_rate": (0.641115, 0.628049, 0.664141, 0.036093, 0.945655),
    "false_positive_rate": (0.321023, 0.330645, 0.418079, 0.097056, 0.767852),
    "precision": (0.619529, 0.715278, 0.780415, 0.160887, 0.793845),
}
ROWS = np.arange(600)
CLASSES = ("no", "yes")


def _table(weights: Weights = None) -> tuple[np.ndarray, SetPrediction]:
    """Codes of three groups, and predictions; no generator, so that another package
    gets the same.
    """
    codes = ROWS * ROWS // 7 % 3
    y = (45 + 12 * codes > (ROWS * 37 + 11) % 101) * 1
    return codes, SetPrediction(
        y, 0.25 * y + 0.75 * ((ROWS * 53 + 7) % 97) / 97, ROWS, weights
    )


def _extremes(measure: GroupMeasure) -> dict[str, Interval]:
    return {kind: value for kind, _, _, value in measure.extremes()}


@pytest.mark.parametrize(
    ("weights", "numbers"), [(None, PLAIN), (1.0 + ROWS % 4, WEIGHTED)]
)
def test_rates_differences_and_ratios_are_those_of_fairlearn(
    weights: Weights, numbers: dict[str, tuple[float, ...]]
):
    """To every digit, with and without row weights, within intervals; calibration has a
    sign, so no ratio.
    """
    codes, predicted = _table(weights)
    *rates, calibration = compare_groups(codes, predicted, 0.5, CLASSES)
    for rate in rates:
        values = [*rate.intervals.values(), *_extremes(rate).values()]
        assert [value.estimate for value in values] == pytest.approx(
            numbers[rate.name], abs=1e-6
        )
        assert all(value.low <= value.estimate <= value.high for value in values)
    gap, last = predicted.prediction - predicted.y, codes == 2
    mean = np.average(gap[last], weights=None if weights is None else weights[last])
    assert calibration.intervals[2].estimate == pytest.approx(mean)
    assert _extremes(calibration).keys() == {"difference"}


def test_groups_of_few_clusters_claim_nothing():
    """29 rows, or any number of rows of 29 clusters, are counted, and neither measured
    nor compared.
    """
    y = np.arange(1_000) % 2
    codes = np.repeat([0, 1, 2], [300, 29, 671])
    clusters = np.where(
        codes == 2, ROWS[np.arange(1_000) % 29] + 5_000, np.arange(1_000)
    )
    found = compare_groups(
        codes, SetPrediction(y, y * 0.5 + 0.2, clusters), 0.5, CLASSES
    )[0]
    assert found.rows.tolist() == [300, 29, 671]
    assert found.intervals.keys() == {0}
    assert [*found.extremes()] == []


def test_nobody_selected_is_no_certainty():
    """0 of 200 has an interval; against 60 of 200 it is found, and against 0 it has no
    ratio.
    """
    codes, y = np.repeat([0, 1], 200), np.arange(400) % 2
    some = ((codes == 1) & (np.arange(400) % 10 < 3)) * 1.0
    found, none = (
        compare_groups(codes, SetPrediction(y, called, np.arange(400)), 0.5, CLASSES)[0]
        for called in (some, 0.0 * some)
    )
    assert 0.01 < found.intervals[0].high < 0.03
    assert _extremes(found)["difference"].low > 0.2
    assert (_extremes(found)["ratio"].low, _extremes(none)["difference"].low) == (0, 0)
    assert 0 < _extremes(found)["ratio"].high < 0.12
    assert _extremes(none).keys() == {"difference"}


def test_numbers_have_errors_and_several_classes_rates_of_each():
    """Mean and absolute error; accuracy, and the share that is predicted as
    each class.
    """
    codes = np.repeat([0, 1], 100)
    y = np.linspace(0, 1, 200)
    shift = np.where(codes == 1, 0.3, 0.1 * (-1) ** np.arange(200))
    moved = SetPrediction(y, y + shift, ROWS[:200])
    error, size = compare_groups(codes, moved, 0.5, None)
    assert [round(group.estimate, 6) for group in error.intervals.values()] == [0, 0.3]
    assert _extremes(size)["ratio"].estimate == pytest.approx(1 / 3)
    classes, chances = np.arange(200) % 3, np.eye(3)[np.arange(200) // 2 % 3]
    several = SetPrediction(classes, chances, np.arange(200))
    accuracy, *rates = compare_groups(codes, several, 0.5, ("a", "b", "c"))
    right = (classes == chances.argmax(axis=1))[:100].mean()
    assert accuracy.intervals[0].estimate == pytest.approx(right)
    assert [rate.name for rate in rates] == [
        f"{name}: selection_rate" for name in "abc"
    ]
    assert sum(rate.intervals[1].estimate for rate in rates) == pytest.approx(1)


def test_what_groups_share_does_not_part_them():
    """Days that are bad for both groups widen the intervals of both, not that of their
    difference.
    """
    days = np.repeat(np.arange(100), 20)
    luck = np.random.default_rng(0).normal(size=100)[days]
    moved = SetPrediction(0 * luck, luck + 0.01 * (-1) ** np.arange(2_000), days)
    error = compare_groups(np.arange(2_000) // 2 % 2, moved, 0.5, None)[0]
    alone = [group.high - group.low for group in error.intervals.values()]
    assert _extremes(error)["difference"].high < min(alone) / 10


def test_comparisons_of_days_agree_with_one_another():
    """From A to C no interval is wider than those by way of B: all have their errors
    from the same days.
    """
    drawn = (
        draw(np.random.default_rng(n), groups=6, together="days", number=True)
        for n in (1, 2)
    )
    for reach in (np.ptp(found[0].differences, axis=-1) for found in drawn):
        ways = permutations(range(6), 3)
        assert min(reach[a, b] + reach[b, c] - reach[a, c] for a, b, c in ways) > 0


def test_more_groups_need_wider_intervals():
    """The difference of two equal groups reaches as far as before, times the quantile
    for 15 pairs.
    """
    codes, y = np.arange(6_000) % 6, np.random.default_rng(0).normal(size=6_000)
    moved, two = SetPrediction(0 * y, y, np.arange(6_000)), codes < 2
    few = compare_groups(codes[two], moved.rows(two), 0.5, None)[0].differences
    many = compare_groups(codes, moved, 0.5, None)[0].differences
    reaches = [np.ptp(bounds[0, 1]) for bounds in (few, many)]
    # Two measures of a pair, and thirty: by Bonferroni 2.24 and 3.14 standard errors at
    # the most.
    assert 1.2 < reaches[1] / reaches[0] < 3.14 / 1.96
