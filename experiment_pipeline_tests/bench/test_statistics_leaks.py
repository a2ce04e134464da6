"""The catalogue of leaks is planted as it says, and its leaks are named."""

import numpy as np
import pytest

from experiment_pipeline_tests.bench.clean_tables import CLEAN
from experiment_pipeline_tests.bench.statistics_leaks import LEAK, VARIANTS, judged


def test_the_catalogue_is_large_enough_and_the_same_for_a_seed():
    """At least 26 leaks on five tables, and 30 tables without one."""
    assert len(VARIANTS) >= 26
    assert len(CLEAN.made) + len(CLEAN.real) >= 30
    one, again = (VARIANTS[2].planted(1).frame[LEAK] for _ in range(2))
    assert np.array_equal(one, again)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rolling mean of 30 rows", "text id sorted by the target"])
def test_a_planted_leak_is_named(name):
    """The analysis as a whole names the planted column."""
    (variant,) = [one for one in VARIANTS if one.name == name and "binary" in one.base.__name__]
    assert judged(variant.planted(2)).columns == (LEAK,)
