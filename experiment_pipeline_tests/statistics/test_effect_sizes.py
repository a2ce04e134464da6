"""Effect sizes: large differences alarm, noise does not, whatever the type."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.table.samples import differences


def normal(rows: int, mean: float = 0.0, seed: int = 0) -> pd.Series:
    """Draw a sample."""
    return pd.Series(np.random.default_rng(seed).normal(mean, 1, rows))


def test_two_samples_of_one_source_do_not_alarm():
    """At any size, 200 comparisons without a difference raise hardly an alarm."""
    for rows in (10, 60, 2_000):
        alarms = sum(
            differences(normal(3 * rows, seed=seed), normal(rows, seed=1_000 + seed))[
                0
            ].alarming
            for seed in range(200)
        )
        assert alarms <= 3


def test_a_shift_alarms_and_grows():
    """The effect grows with the shift; one standard deviation is large."""
    effects = [
        differences(normal(2_000), normal(500, shift, 1))[0] for shift in (0, 0.3, 1)
    ]
    assert [effect.alarming for effect in effects] == [False, False, True]
    assert (
        effects[0].effect_size < effects[1].effect_size < 0.25 < effects[2].effect_size
    )


@pytest.mark.parametrize(
    ("reference", "sample"),
    [
        (["a", "b"] * 500, ["a"] * 200),
        (["a", "b"] * 500, ["c"] * 200),
        ([True, False] * 500, [True] * 200),
        ([0, 1] * 500, [1] * 200),
        ([1.0, 2.0] * 500, [None] * 200),
        (
            pd.date_range("2024-01-01", periods=1_000),
            pd.date_range("2025-01-01", periods=200),
        ),
        (np.arange(1_000.0), [np.inf] * 200),
    ],
)
def test_every_type_of_column_can_alarm(reference, sample):
    """Categories, flags, missing values, dates and infinities count as differences."""
    (apart,) = differences(pd.Series(reference), pd.Series(sample))
    assert apart.alarming


def test_nothing_to_compare_is_no_difference_and_a_million_rows_make_no_shift_large():
    """Empty samples and constant columns have no effect; the size of samples decides
    about noise alone.
    """
    nothing = [([1.0], []), ([], [1.0]), ([1] * 9, [1] * 9)]
    for reference, sample in (*nothing, (normal(500_000), normal(500_000, 0.05, 1))):
        (apart,) = differences(pd.Series(reference), pd.Series(sample))
        assert not apart.alarming
        assert apart.effect_size < (0.01 if len(sample) > 9 else 1e-300)
